"""The kinds of the first round: dense nets, regression, recurrent nets, bags of words."""

from __future__ import annotations

import networks
from kind import RECURRENT, Kind

KINDS = {
    "dense": Kind(networks.dense, "task=flat_digits"),
    "regression": Kind(networks.dense, "task=table depth=4 lr=0.003"),
    "recurrent": Kind(
        networks.recurrent, "task=recall depth=1 width=32 lr=0.003 init=default", RECURRENT | {"cell": "cell=lstm"}
    ),
    "bag": Kind(networks.bag, "task=texts depth=2 lr=0.003"),
}
