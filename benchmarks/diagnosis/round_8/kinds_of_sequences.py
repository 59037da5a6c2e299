"""The kinds of the eighth round's sequences: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import RECURRENT, Kind, start

from round_8 import sequences

_LAYERS = {"norm": "norm=layer", "skip": "skip=true", "activation": "activation=leaky_relu"}

KINDS = {
    "film_classes": Kind(
        sequences.film_classes,
        "task=puppets length=8 depth=2 width=12 norm=group lr=0.005 batch=32 steps=120",
        _LAYERS | {"init": start("he") + " branch_gain=1", "norm": "norm=group"},
    ),
    "voices": Kind(
        sequences.voices,
        "task=duets depth=3 width=32 skip=true norm=layer lr=0.003 eps=0.01 batch=32 steps=300",
        _LAYERS | {"init": start("he") + " branch_gain=1", "stable_ops": "eps=0.01"},
    ),
    "span_reader": Kind(
        sequences.span_reader,
        "task=ledgers length=24 depth=2 width=32 cell=gru lr=0.005 batch=32 steps=200",
        _LAYERS | RECURRENT | {"init": start("he") + " recurrent_gain=1", "cell": "cell=gru"},
    ),
    "spiking": Kind(
        sequences.spiking,
        "task=crickets length=24 depth=2 width=48 forget_bias=3 lr=0.005 batch=64 steps=250",
        {"init": start("he"), "norm": "norm=layer", "forget_bias": "forget_bias=3"},
    ),
    "rider": Kind(
        sequences.rider,
        "task=unicycles length=30 depth=2 width=32 head_gain=0.1 lr=0.003 batch=64 steps=200",
        _LAYERS | {"init": start("he", head_gain=0.1), "logits": "head=logits head_gain=0.1"},
    ),
}
