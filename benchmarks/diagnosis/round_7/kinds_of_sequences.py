"""The kinds of the seventh round's sequences: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import RECURRENT, Kind, start

from round_7 import sequences

_LAYERS = {"norm": "norm=layer", "skip": "skip=true", "activation": "activation=leaky_relu"}

KINDS = {
    "tag_chain": Kind(
        sequences.tag_chain,
        "task=boreholes length=24 depth=3 width=24 lr=0.005 batch=32 steps=120",
        _LAYERS | {"init": start("he") + " branch_gain=1", "norm": "norm=group"},
    ),
    "bracket": Kind(
        sequences.bracket,
        "task=cups length=8 depth=1 width=32 lr=0.01 init=xavier steps=200",
        _LAYERS
        | {
            "init": start("xavier") + " recurrent_gain=1",
            "forget_bias": "forget_bias=1",
            "cell": "cell=lstm",
        },
    ),
    "helmsman": Kind(
        sequences.helmsman,
        "task=helms depth=2 width=48 lr=0.003 head_gain=0.1 steps=250",
        _LAYERS | {"init": start("he", head_gain=0.1), "logits": "head=logits head_gain=0.1"},
    ),
    "eruptions": Kind(
        sequences.eruptions,
        "task=geysers length=20 depth=1 width=32 lr=0.01 cell=gru init=xavier op=log eps=0.1 batch=32 steps=120",
        _LAYERS | RECURRENT | {"cell": "cell=gru", "stable_ops": "eps=0.1"},
    ),
    "quasi_recurrent": Kind(
        sequences.quasi_recurrent,
        "task=tolls length=30 depth=2 width=32 lr=0.01 init=xavier forget_bias=2 steps=200",
        {
            "init": start("xavier") + " branch_gain=1",
            "norm": "norm=layer",
            "skip": "skip=true",
            "forget_bias": "forget_bias=3",
        },
    ),
    "charts": Kind(
        sequences.charts,
        "task=wards length=18 depth=1 width=24 lr=0.01 cell=gru init=xavier steps=150",
        _LAYERS
        | {
            "init": start("xavier") + " recurrent_gain=1",
            "forget_bias": "forget_bias=2",
            "cell": "cell=gru",
        },
    ),
    "kernel_attention": Kind(
        sequences.kernel_attention,
        "task=cloakrooms length=14 depth=2 width=32 lr=0.005 norm=pre init=xavier eps=1e-6 batch=32 steps=200",
        {
            "init": start("xavier") + " branch_gain=1",
            "norm": "norm=pre",
            "activation": "activation=gelu",
            "stable_ops": "eps=0.01",
        },
    ),
}
