"""The kinds of the second round: what they are made of, and how their users follow advice."""

from __future__ import annotations

import networks
from kind import RECURRENT, Kind, start

from round_2 import networks as nets
from round_2 import sequences

KINDS = {
    "cell_loop": Kind(
        networks.cell_loop, "task=recall width=32 lr=0.003 init=orthogonal cell=gru", RECURRENT | {"cell": "cell=gru"}
    ),
    "transformer": Kind(
        networks.transformer,
        "task=majority width=32 depth=4 norm=pre activation=gelu init=xavier length=16 batch=32 lr=0.002",
        {"init": start("xavier"), "norm": "norm=pre"},
    ),
    "autoencoder": Kind(networks.autoencoder, "task=pictures depth=4 lr=0.003"),
    "signal_net": Kind(networks.signal_net, "task=waves length=64 width=16 depth=6 lr=0.003", norm="group"),
    "gan": Kind(networks.generator, "task=ring depth=3 width=32 lr=0.002 head=logits activation=leaky_relu"),
    "pyramid": Kind(networks.pyramid, "task=flat_digits width=96 depth=12"),
    "unet": Kind(networks.unet, "task=noisy_pictures width=8 depth=6 lr=0.003", norm="group"),
    "two_towers": Kind(networks.two_towers, "task=digit_pairs depth=3"),
    "fine_tuned": Kind(networks.image_net, "task=digits depth=4 width=8 lr=0.003 freeze=true", norm="group"),
    "highway": Kind(
        nets.highway,
        "task=flat_digits depth=12 width=48 forget_bias=2 init=lecun",
        {
            "init": start("lecun") + " forget_bias=2",
            "norm": "norm=layer",
            "activation": "activation=leaky_relu",
            "skip": "forget_bias=2",
        },
    ),
    "maxout": Kind(
        nets.maxout,
        "task=flat_digits width=48 init=lecun",
        {"init": start("lecun"), "norm": "norm=layer", "skip": "skip=true"},
    ),
    "experts": Kind(nets.experts, "task=regimes depth=2 width=32 lr=0.003"),
    "sine_net": Kind(
        nets.sine_net,
        "task=surface depth=5 width=48 lr=0.002",
        {"init": start("he"), "norm": "norm=layer", "skip": "skip=true"},
    ),
    "siamese": Kind(nets.siamese, "task=like_pairs depth=3"),
    "multi_task": Kind(nets.shared_trunk, "task=digits_and_slant depth=4"),
    "variational": Kind(nets.variational, "task=drawn_pictures depth=2 width=128 lr=0.005 steps=300"),
    "mixer": Kind(
        nets.mixer,
        "task=digits depth=4 width=32 lr=0.002 norm=layer skip=true activation=gelu init=xavier",
        {"init": start("xavier"), "norm": "norm=layer", "skip": "skip=true", "activation": "activation=leaky_relu"},
    ),
    "separable": Kind(nets.separable, "task=digits depth=6 width=24 lr=0.003", norm="group"),
    "densenet": Kind(nets.densenet, "task=digits depth=6 width=8 lr=0.003 batch=32", norm="group"),
    "point_set": Kind(nets.point_set, "task=clouds depth=4 width=32 lr=0.003", norm="group"),
    "graph": Kind(
        nets.graph,
        "task=communities length=16 depth=4 width=32 lr=0.003 eps=0.001 init=lecun",
        {"init": start("lecun"), "norm": "norm=layer", "skip": "skip=true", "activation": "activation=leaky_relu"},
    ),
    "tagger": Kind(
        sequences.tagger,
        "task=tags length=30 depth=1 width=32 lr=0.01 init=default",
        RECURRENT | {"forget_bias": "forget_bias=2", "cell": "cell=lstm"},
    ),
    "translator": Kind(
        sequences.translator,
        "task=reversals length=6 width=48 lr=0.005 init=default cell=gru steps=200",
        RECURRENT | {"cell": "cell=gru"},
    ),
    "linear_recurrence": Kind(
        sequences.linear_recurrence,
        "task=recall depth=2 width=32 lr=0.003 forget_bias=4 norm=layer activation=gelu init=lecun",
        {
            "init": "init=lecun init_gain=1 recurrent_gain=1 bias=0 head_gain=1",
            "norm": "norm=layer",
            "forget_bias": "forget_bias=4",
        },
    ),
    "gated_waves": Kind(
        sequences.gated_waves,
        "task=tides length=48 depth=6 width=16 lr=0.003 skip=true init=lecun",
        {"init": start("lecun"), "norm": "norm=layer", "skip": "skip=true"},
    ),
}
