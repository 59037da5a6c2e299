"""The kinds of the sixth round: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import Kind, start

from round_6 import networks as nets

_HE = start("he") + " branch_gain=1"
_LEAKY = {"init": _HE, "activation": "activation=leaky_relu"}

KINDS = {
    "lateral_pyramid": Kind(
        nets.lateral_pyramid,
        "task=craters depth=4 width=12 lr=0.005 norm=group batch=32 steps=150",
        _LEAKY | {"norm": "norm=group", "skip": "skip=true", "loosen_clip": "clip=1"},
    ),
    "cellular": Kind(
        nets.cellular,
        "task=meadows length=4 depth=6 width=12 lr=0.005 skip=true branch_gain=0.3 batch=32 steps=150",
        {
            "init": start("he") + " branch_gain=0.3",
            "activation": "activation=leaky_relu",
            "norm": "norm=group",
            "skip": "skip=true branch_gain=0.3",
        },
    ),
    "spectral_operator": Kind(
        nets.spectral_operator,
        "task=rods length=32 depth=3 width=16 lr=0.003 activation=gelu batch=32 steps=150",
        {"init": _HE, "activation": "activation=gelu", "norm": "norm=group", "skip": "skip=true"},
    ),
    "curves": Kind(
        nets.splines,
        "task=harvests depth=3 width=16 lr=0.005 init=lecun norm=layer activation=silu steps=200",
        {
            "init": start("lecun") + " branch_gain=1",
            "activation": "activation=silu",
            "norm": "norm=layer",
            "skip": "skip=true",
            "logits": "head=logits head_gain=1",
        },
    ),
    "column_tokens": Kind(
        nets.column_tokens,
        "task=wines depth=2 width=24 lr=0.003 norm=pre init=xavier steps=200",
        {"init": start("xavier") + " branch_gain=0.3", "activation": "activation=gelu", "norm": "norm=pre"},
    ),
    "told_apart": Kind(
        nets.told_apart,
        "task=soundings depth=3 width=48 lr=0.003 steps=200",
        _LEAKY | {"norm": "norm=layer", "skip": "skip=true", "logits": "head=logits head_gain=1"},
    ),
    "lawful": Kind(
        nets.lawful,
        "task=drum depth=4 width=32 lr=0.005 activation=tanh init=xavier steps=250",
        {
            "init": start("xavier") + " branch_gain=1",
            "activation": "activation=silu",
            "norm": "norm=layer",
            "skip": "skip=true",
        },
    ),
}
