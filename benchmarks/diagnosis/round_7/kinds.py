"""The kinds of the seventh round without time: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import Kind, start

from round_7 import networks as nets

_HE = start("he") + " branch_gain=1"
_LEAKY = {"init": _HE, "activation": "activation=leaky_relu"}
_QUIET = _LEAKY | {"init": start("he") + " branch_gain=0.3"}

KINDS = {
    "early_exits": Kind(
        nets.early_exits,
        "task=tiles depth=6 width=16 lr=0.005 norm=group batch=32 steps=150",
        _QUIET | {"norm": "norm=group", "skip": "skip=true"},
    ),
    "graph_attention": Kind(
        nets.graph_attention,
        "task=villages depth=2 width=32 lr=0.005 norm=layer skip=true batch=32 steps=200",
        _QUIET | {"norm": "norm=layer", "skip": "skip=true"},
    ),
    "quantised": Kind(
        nets.quantised,
        "task=mosaics depth=4 width=32 lr=0.01 branch_gain=0.3 batch=32 steps=300",
        _QUIET | {"norm": "norm=group", "skip": "skip=true"},
    ),
    "hazards": Kind(
        nets.hazards,
        "task=pumps depth=3 width=96 lr=0.003 steps=400",
        _LEAKY | {"norm": "norm=layer", "skip": "skip=true"},
    ),
    "soft_trees": Kind(
        nets.soft_trees,
        "task=mushrooms depth=4 width=16 lr=0.02 batch=128 init=xavier steps=400",
        {"init": start("xavier") + " branch_gain=1", "activation": "branch_gain=1", "norm": "norm=batch"},
    ),
    "margins": Kind(
        nets.margins,
        "task=seals depth=4 width=16 lr=0.003 batch=32 steps=200 eps=0.1",
        _LEAKY | {"norm": "norm=group", "skip": "skip=true", "logits": "head=logits head_gain=1"},
    ),
    "without_redundancy": Kind(
        nets.without_redundancy,
        "task=gulls depth=3 width=96 lr=0.003 batch=128 steps=400 eps=0.0001",
        _LEAKY | {"norm": "norm=layer", "skip": "skip=true", "batch_size": "batch=128"},
    ),
}
