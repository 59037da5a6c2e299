"""The kinds of the fourth round: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import Kind, start

from round_4 import networks as nets
from round_4 import sequences

LEAKY = {"init": start("he"), "activation": "activation=leaky_relu"}
GROUPED = LEAKY | {"norm": "norm=group", "skip": "skip=true"}
LAYERED = LEAKY | {"norm": "norm=layer", "skip": "skip=true"}

KINDS = {
    "bottlenecks": Kind(
        nets.bottlenecks,
        "task=digits depth=3 width=12 lr=0.003 norm=batch skip=true batch=32",
        GROUPED,
    ),
    "shuffled_groups": Kind(
        nets.shuffled_groups,
        "task=digits depth=4 width=24 lr=0.003 norm=batch skip=true",
        GROUPED,
    ),
    "atrous": Kind(
        nets.atrous,
        "task=scenes depth=5 width=12 lr=0.005 batch=16 steps=150",
        GROUPED | {"skip": "skip=true branch_gain=0.5"},
    ),
    "plain_deep": Kind(
        nets.plain_deep,
        "task=digits depth=8 width=16 lr=0.002 batch=32 steps=150",
        LEAKY | {"norm": "norm=group"},
    ),
    "patch_attention": Kind(
        nets.patch_attention,
        "task=digits depth=4 width=32 lr=0.003 norm=pre activation=gelu init=xavier batch=32 steps=150",
        {"init": start("xavier"), "norm": "norm=pre", "activation": "activation=gelu"},
    ),
    "factors": Kind(
        nets.factors,
        "task=clicks depth=2 width=32 lr=0.005 steps=200",
        LEAKY | {"norm": "norm=layer"},
    ),
    "quantiles": Kind(
        nets.quantiles,
        "task=rents depth=4 width=48 lr=0.003 norm=layer skip=true steps=200",
        LAYERED,
    ),
    "weighed_set": Kind(
        nets.weighed_set,
        "task=parcels length=12 depth=4 width=32 lr=0.003 steps=200",
        LAYERED,
    ),
    "generated_weights": Kind(
        nets.generated_weights,
        "task=machines depth=3 width=32 lr=0.003 init=lecun activation=tanh steps=200",
        {
            "init": "init=lecun init_gain=1 branch_gain=1 bias=0 head_gain=1",
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=leaky_relu",
        },
    ),
    "rays": Kind(
        nets.rays,
        "task=picture_of_places depth=6 width=64 lr=0.002 batch=128 steps=200",
        LAYERED,
    ),
    "minimal_gate": Kind(
        sequences.minimal_gate,
        "task=facts length=20 depth=1 width=48 lr=0.01 init=default cell=gru steps=200",
        {
            "init": start("orthogonal") + " recurrent_gain=1",
            "forget_bias": "forget_bias=2",
            "cell": "cell=gru",
            "norm": "norm=layer",
        },
    ),
    "attention_pool": Kind(
        sequences.attention_pool,
        "task=bursts length=24 depth=1 width=32 lr=0.01 init=default cell=gru norm=layer steps=120",
        {
            "init": "init=orthogonal init_gain=1 recurrent_gain=1 head_gain=1",
            "forget_bias": "forget_bias=4",
            "cell": "cell=gru",
            "norm": "norm=layer",
        },
    ),
    "letters_ahead": Kind(
        sequences.letters_ahead,
        "task=rounds length=20 depth=2 width=32 lr=0.005 norm=pre activation=silu init=xavier steps=150",
        {"init": "init=xavier init_gain=1 head_gain=1", "norm": "norm=pre"},
    ),
    "signal_resnet": Kind(
        sequences.signal_resnet,
        "task=bearings length=128 depth=3 width=8 lr=0.003 skip=true norm=batch steps=100",
        norm="group",
    ),
    "conv_then_cell": Kind(
        sequences.conv_then_cell,
        "task=walks length=64 depth=3 width=24 lr=0.005 forget_bias=2 steps=150",
        {
            "init": start("he") + " recurrent_gain=1",
            "norm": "norm=group",
            "forget_bias": "forget_bias=4",
            "cell": "cell=lstm",
            "activation": "activation=leaky_relu",
        },
    ),
    "frames": Kind(
        sequences.frames,
        "task=curtain length=10 depth=2 width=32 lr=0.003 cell=gru steps=150",
        {
            "init": start("he") + " recurrent_gain=1",
            "norm": "norm=group",
            "forget_bias": "forget_bias=2",
            "cell": "cell=lstm",
            "activation": "activation=leaky_relu",
        },
    ),
    "conv_lstm": Kind(
        sequences.conv_lstm,
        "task=clouds_moving length=8 depth=1 width=6 lr=0.02 init=default activation=tanh batch=32 steps=70",
        {"init": start("default") + " recurrent_gain=1", "forget_bias": "forget_bias=1", "norm": "norm=group"},
    ),
    "actor_critic": Kind(
        sequences.player,
        "task=lights length=8 depth=2 width=32 lr=0.005 cell=gru activation=tanh init=orthogonal steps=120",
        {
            "init": start("orthogonal") + " recurrent_gain=1",
            "cell": "cell=gru",
            "forget_bias": "forget_bias=2",
            "norm": "norm=layer",
            "activation": "activation=relu",
        },
    ),
}
