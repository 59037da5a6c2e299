"""The kinds of the sixth round's sequences: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import Kind, start

from round_6 import sequences

KINDS = {
    "two_rates": Kind(
        sequences.two_clocks,
        "task=flares length=24 depth=1 width=32 lr=0.01 init=default cell=gru norm=layer forget_bias=2 steps=120",
        {
            "init": start("orthogonal") + " recurrent_gain=1",
            "norm": "norm=layer",
            "forget_bias": "forget_bias=2",
            "cell": "cell=gru",
        },
    ),
    "phone_listener": Kind(
        sequences.listener,
        "task=spoken length=24 depth=2 width=16 lr=0.005 cell=gru steps=120",
        {
            "init": start("he") + " recurrent_gain=1",
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=leaky_relu",
            "cell": "cell=gru",
        },
    ),
    "forecast": Kind(
        sequences.forecast,
        "task=squalls length=20 depth=1 width=32 lr=0.005 init=xavier steps=150",
        {
            "init": start("xavier") + " branch_gain=1 recurrent_gain=1",
            "norm": "norm=layer",
            "skip": "skip=true",
            "stable_ops": "eps=0.3",
        },
    ),
    "doors": Kind(
        sequences.doors,
        "task=rooms depth=3 width=48 lr=0.003 steps=200",
        {
            "init": start("he"),
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=leaky_relu",
        },
    ),
    "memory": Kind(
        sequences.memory,
        "task=stories depth=2 width=32 lr=0.005 skip=true init=xavier steps=200",
        {
            "init": start("xavier") + " branch_gain=1",
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=leaky_relu",
        },
    ),
    "conformer": Kind(
        sequences.conformer,
        "task=whistles length=20 depth=2 width=32 lr=0.003 norm=pre activation=silu init=xavier batch=32 steps=120",
        {
            "init": start("xavier") + " branch_gain=1",
            "norm": "norm=pre",
            "activation": "activation=silu",
        },
    ),
}
