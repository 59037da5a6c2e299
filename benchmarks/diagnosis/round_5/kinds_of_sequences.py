"""The kinds of the fifth round's nets of sequences: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import Kind, start

from round_5 import listeners, readers, sequences

KINDS = {
    "forecaster": Kind(
        sequences.forecaster,
        "task=demand length=24 depth=1 width=32 lr=0.01 init=default cell=gru norm=layer steps=150",
        {
            "init": start("default") + " recurrent_gain=1 forget_bias=1",
            "forget_bias": "forget_bias=2",
            "cell": "cell=gru",
            "norm": "norm=layer",
            "skip": "skip=true",
            "stable_ops": "eps=0.1",  # added to a variance, of values around 1
        },
    ),
    "hearing": Kind(
        sequences.hearing,
        "task=spelt length=36 depth=2 width=24 lr=0.01 cell=gru norm=layer batch=32 steps=150",
        {
            "init": start("he") + " recurrent_gain=1",
            "forget_bias": "forget_bias=2",
            "cell": "cell=lstm",
            "norm": "norm=layer",
            "activation": "activation=leaky_relu",
        },
    ),
    "reads": Kind(
        readers.reads,
        "task=whereabouts depth=2 width=32 lr=0.01 norm=layer skip=true steps=200",
        {
            "init": start("he") + " branch_gain=1",
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=leaky_relu",
        },
    ),
    "bootstrapped": Kind(
        sequences.bootstrapped,
        "task=maze depth=3 width=48 lr=0.003 branch_gain=0.1 steps=250",
        {
            "init": start("he"),
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=leaky_relu",
        },
    ),
    "two_clocks": Kind(
        sequences.two_clocks,
        "task=phrases length=7 depth=1 width=32 lr=0.005 cell=gru steps=150",
        {
            "init": start("he") + " recurrent_gain=1",
            "forget_bias": "forget_bias=2",
            "cell": "cell=gru",
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=leaky_relu",
        },
    ),
    "listener": Kind(
        listeners.listener,
        "task=commands length=30 depth=2 width=32 lr=0.003 norm=batch activation=silu init=xavier batch=32 steps=120",
        {
            "init": start("xavier") + " branch_gain=1",
            "norm": "norm=layer",
            "activation": "activation=silu",
        },
    ),
    "pointers": Kind(
        readers.pointers,
        "task=parcels_by_weight length=5 depth=1 width=32 lr=0.005 cell=gru activation=tanh init=xavier steps=200",
        {
            "init": start("xavier") + " recurrent_gain=1",
            "cell": "cell=gru",
            "norm": "norm=layer",
            "activation": "activation=leaky_relu",
        },
    ),
    "state_spaces": Kind(
        sequences.state_spaces,
        "task=echoes length=48 depth=3 width=24 lr=0.01 init=lecun norm=layer skip=true forget_bias=3 activation=gelu "
        "batch=32 steps=120",
        {
            "init": start("lecun") + " recurrent_gain=1 branch_gain=1 forget_bias=3",
            "forget_bias": "forget_bias=3",
            "norm": "norm=layer",
            "skip": "skip=true",
        },
    ),
}
