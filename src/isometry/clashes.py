"""What does not go together, in one table; all else does. Torch-free.

`validation.py` refuses by it, `isometry strategies` and the README show it. Each entry is two choices, so that
any two that are not listed can be combined, whatever else is chosen (a test builds every such pair).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """A key at one of some values, or with `otherwise` at any other value than these."""

    key: str
    values: tuple[object, ...]
    otherwise: bool = False

    def __str__(self) -> str:
        values = "|".join("null" if value is None else str(value).lower() for value in self.values)
        return f"{self.key} other than {values}" if self.otherwise else f"{self.key}={values}"


@dataclass(frozen=True)
class Clash:
    """Two choices that do not go together, why, and what to write instead."""

    one: Choice
    other: Choice
    reason: str
    fixes: tuple[str, ...]


_FIXUP, _LSUV = Choice("model.residual", ("fixup",)), Choice("init", ("lsuv",))
_STARTS_AT_ZERO, _ZERO_GAMMA = Choice("model.residual", ("rezero", "fixup")), Choice("model.zero_gamma", (True,))

CLASHES: tuple[Clash, ...] = (
    Clash(
        _STARTS_AT_ZERO,
        Choice("model.shortcut", ("none",)),
        "the branch starts at 0 and nothing goes around it",
        ("model.shortcut=identity",),
    ),
    Clash(
        _STARTS_AT_ZERO,
        _ZERO_GAMMA,
        "both make the branch start at 0: with the two of them it gets no gradient",
        ("model.zero_gamma=false",),
    ),
    Clash(_FIXUP, Choice("norm", ("none",), otherwise=True), "Fixup takes the place of a norm", ("norm=none",)),
    Clash(
        _FIXUP,
        Choice("model.preactivation", (True,)),
        "Fixup is a form of the block with the activation last",
        ("model.preactivation=false",),
    ),
    Clash(
        _FIXUP,
        Choice("parametrization", ("none",), otherwise=True),
        "its last weights start at 0 and have no direction",
        ("parametrization=none",),
    ),
    Clash(_FIXUP, _LSUV, "its last weights start at 0, which no scale gives variance 1", ("init=he_normal",)),
    Clash(_ZERO_GAMMA, Choice("norm", ("none",)), "there is no γ", ("norm=batch", "model.zero_gamma=false")),
    Clash(
        _ZERO_GAMMA,
        Choice("model.shortcut", ("none",)),
        "the branch starts at 0 and nothing goes around it",
        ("model.shortcut=identity", "model.zero_gamma=false"),
    ),
    Clash(
        _ZERO_GAMMA,
        Choice("model.preactivation", (True,)),
        "the last norm stands before the last convolution there: a ReLU at 0 would pass it no gradient",
        ("model.residual=rezero model.zero_gamma=false",),
    ),
    Clash(
        _LSUV,
        Choice("parametrization", ("weight_standardization", "scaled_weight_standardization", "spectral_norm")),
        "the parametrization takes away the scale that LSUV sets",
        ("parametrization=none", "parametrization=weight_norm", "init=orthogonal"),
    ),
    Clash(
        Choice("init", ("zeros", "dirac")),
        Choice("parametrization", ("weight_norm",)),
        "units whose weights are all 0 have no direction: 0/0",
        ("parametrization=none", "init=orthogonal"),
    ),
    Clash(
        Choice("init", ("zeros",)),
        Choice("parametrization", ("spectral_norm",)),
        "the largest singular value is 0: 0/0",
        ("parametrization=none", "init=orthogonal"),
    ),
    Clash(
        Choice("model.forget_bias", (None,), otherwise=True),
        Choice("model.cell", ("lstm",), otherwise=True),
        "only an LSTM has a forget gate",
        ("model.cell=lstm", "model.forget_bias=null"),
    ),
    Clash(
        Choice("model.forget_bias", (None,), otherwise=True),
        Choice("model.chrono", (True,)),
        "both set the forget gate's bias",
        ("model.chrono=false", "model.forget_bias=null"),
    ),
    Clash(
        Choice("model.chrono", (True,)),
        Choice("model.cell", ("rnn", "irnn")),
        "there are no gates",
        ("model.cell=lstm", "model.chrono=false"),
    ),
    Clash(
        Choice("parametrization", ("weight_standardization",)),
        Choice("norm", ("none",)),
        "weights of variance 1 multiply z by √fan_in a layer: a norm must follow",
        ("norm=batch", "parametrization=scaled_weight_standardization"),
    ),
    Clash(
        Choice("clip", ("agc",)),
        _STARTS_AT_ZERO,
        "agc cuts the gradient of what is 0 to 1e-3 of its factor: the branch would stay silent",
        ("clip=percentile", "clip=none"),
    ),
    Clash(
        Choice("clip", ("agc",)),
        _ZERO_GAMMA,
        "agc cuts the gradient of what is 0 to 1e-3 of its factor: the branch would stay silent",
        ("clip=percentile", "clip=none", "model.zero_gamma=false"),
    ),
    Clash(
        Choice("clip", ("none",), otherwise=True),
        Choice("trainer.gradient_clip_val", (None,), otherwise=True),
        "the gradient would be clipped twice",
        ("trainer.gradient_clip_val=null", "clip=none"),
    ),
)
