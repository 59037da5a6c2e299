"""The kinds of the eighth round without time: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import Kind, start

from round_8 import networks as nets

_LEAKY = "activation=leaky_relu " + start("he")
_HE = {"init": start("he"), "activation": "activation=leaky_relu"}

KINDS = {
    "masked_convolutions": Kind(
        nets.masked_convolutions,
        "task=knits depth=4 width=24 lr=0.005 batch=32 init_gain=1.3 steps=200",
        _HE
        | {"init": start("he", 1.3) + " branch_gain=0.3", "norm": "norm=layer", "skip": "skip=true branch_gain=0.5"},
    ),
    "registration": Kind(
        nets.registration,
        "task=leaves depth=5 width=12 lr=0.002 batch=32 head_gain=0.02 steps=200",
        _HE | {"init": start("he", 1, 0.02), "norm": "norm=group", "skip": "skip=true"},
    ),
    "assignment": Kind(
        nets.assignment,
        "task=locks depth=3 width=64 lr=0.002 batch=32 steps=300",
        {"init": start("he"), "activation": _LEAKY, "norm": "norm=layer", "skip": "skip=true"},
    ),
    "mixture_density": Kind(
        nets.mixture_density,
        "task=otters depth=3 width=96 lr=0.003 batch=64 head_gain=0.5 eps=0.01 steps=400",
        _HE | {"init": start("he", 1, 0.5), "norm": "norm=layer", "skip": "skip=true"},
    ),
    "capsules": Kind(
        nets.capsules,
        "task=masks depth=2 width=24 lr=0.005 batch=32 eps=0.001 steps=200",
        _HE | {"init": start("he") + " branch_gain=1", "norm": "norm=group", "skip": "skip=true"},
    ),
}
