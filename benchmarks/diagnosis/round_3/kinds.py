"""The kinds of the third round: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import RECURRENT, Kind, start

from round_3 import networks as nets
from round_3 import sequences, series

KINDS = {
    "inception": Kind(nets.inception, "task=digits depth=3 width=8 lr=0.002 batch=32", norm="group"),
    "squeeze": Kind(
        nets.squeeze,
        "task=digits depth=4 width=16 lr=0.003 norm=batch skip=true",
        {"init": start("he"), "norm": "norm=group", "skip": "skip=true", "activation": "activation=leaky_relu"},
    ),
    "convnext": Kind(
        nets.convnext,
        "task=digits depth=3 width=16 lr=0.003 norm=layer skip=true branch_gain=0.5 activation=gelu init=lecun "
        "batch=32",
        {
            "init": start("lecun"),
            "norm": "norm=layer",
            "skip": "skip=true branch_gain=0.5",
            "activation": "activation=gelu",
        },
    ),
    "triplets": Kind(nets.triplets, "task=digit_triplets depth=2 width=8 lr=0.001 init=he", norm="group"),
    "enlarger": Kind(nets.enlarger, "task=small_and_large depth=4 width=24 lr=0.003 steps=200", norm="group"),
    "heat_maps": Kind(nets.heat_maps, "task=places depth=2 width=8 lr=0.003 batch=32 steps=200", norm="group"),
    "crosses": Kind(
        nets.crosses,
        "task=products depth=2 width=32 lr=0.005 init=lecun init_gain=0.5 steps=200",
        {"init": start("lecun", 0.5), "norm": "norm=layer", "activation": "activation=leaky_relu"},
    ),
    "recommender": Kind(nets.recommender, "task=ratings depth=2 width=32 lr=0.005 steps=250"),
    "gated_units": Kind(
        nets.gated_units,
        "task=visits depth=3 width=48 lr=0.003 init=he steps=150",
        {"init": start("he"), "norm": "norm=layer", "skip": "skip=true"},
    ),
    "actor": Kind(
        nets.actor,
        "task=arms depth=2 width=32 lr=0.003 activation=tanh init=lecun head_gain=0.3 steps=250",
        {
            "init": start("orthogonal", head_gain=0.3),
            "activation": "activation=relu",
            "norm": "norm=layer",
            "skip": "skip=true",
        },
    ),
    "flow": Kind(
        nets.flow,
        "task=petals depth=8 width=32 lr=0.003 init=default steps=250",
        {"init": "init=default", "norm": "norm=layer", "activation": "activation=leaky_relu"},
    ),
    "denoiser": Kind(
        nets.denoiser,
        "task=swirl depth=4 width=48 lr=0.003 skip=true init=lecun branch_gain=0.5 activation=silu steps=150",
        {
            "init": start("lecun"),
            "norm": "norm=layer",
            "skip": "skip=true branch_gain=0.5",
            "activation": "activation=silu",
        },
    ),
    "euler": Kind(
        nets.euler,
        "task=spirals depth=10 width=32 lr=0.003 skip=true branch_gain=0.1 init=lecun activation=tanh steps=200",
        {
            "init": start("lecun"),
            "norm": "norm=layer",
            "skip": "skip=true branch_gain=0.1",
            "activation": "activation=leaky_relu",
        },
    ),
    "mean_of_both": Kind(
        sequences.mean_of_both,
        "task=first_of_two length=24 depth=1 width=24 lr=0.01 init=default cell=gru steps=150",
        RECURRENT | {"cell": "cell=gru", "norm": "norm=layer"},
    ),
    "stacked": Kind(
        sequences.stacked,
        "task=marked length=24 depth=2 width=24 lr=0.01 init=default forget_bias=3 activation=tanh steps=200",
        RECURRENT | {"cell": "cell=lstm"},
    ),
    "sketcher": Kind(
        sequences.sketcher,
        "task=curves length=16 width=40 lr=0.005 init=default cell=gru steps=200",
        RECURRENT | {"cell": "cell=gru"},
    ),
    "gaps": Kind(
        sequences.gaps,
        "task=dialects length=16 depth=3 width=32 lr=0.002 norm=layer activation=gelu init=xavier batch=32 steps=150",
        {"init": start("xavier"), "norm": "norm=layer"},
    ),
    "tones": Kind(sequences.tones, "task=chords length=64 depth=5 width=16 lr=0.003", norm="group"),
    "pooled_both_ways": Kind(
        series.pooled_both_ways,
        "task=gestures length=30 depth=1 width=32 lr=0.005 init=default cell=gru",
        RECURRENT | {"cell": "cell=lstm", "norm": "norm=layer"},
    ),
    "stacked_levels": Kind(
        series.stacked_levels,
        "task=tank length=40 width=32 lr=0.01 init=default forget_bias=2 steps=150",
        RECURRENT | {"cell": "cell=lstm", "norm": "norm=layer"},
    ),
    "sequence_code": Kind(
        series.sequence_code,
        "task=contours length=20 width=48 lr=0.01 init=default forget_bias=2 steps=200",
        RECURRENT | {"cell": "cell=lstm"},
    ),
    "causal_classes": Kind(
        series.causal_classes,
        "task=beats length=48 depth=8 width=24 lr=0.003 skip=true branch_gain=0.5",
        {"init": start("he"), "norm": "norm=group", "skip": "skip=true", "activation": "activation=leaky_relu"},
    ),
    "gap_filler": Kind(
        series.gap_filler,
        "task=forms length=16 depth=2 width=32 lr=0.005 norm=pre activation=gelu init=xavier",
        {"init": start("xavier"), "norm": "norm=pre"},
    ),
}
