"""What each remedy is: in words for any module, and as words of the command line where the settings are known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from .evidence import Evidence
from .findings import Finding, Remedy
from .profile import Profile
from .thresholds import limit

USUAL_UPDATE = 3e-3  # ‖Δw‖/‖w‖ to aim for
_SCHEMES = ("he_normal", "he_uniform", "orthogonal", "delta_orthogonal", "lsuv")  # those with the activation's gain
FLAT = ("sigmoid", "hardsigmoid")  # φ' <= 1/4
_SATURATING = ("sigmoid", "tanh", "hardtanh", "softsign", "hardsigmoid")


class Case:
    """A finding with what is known about the training: its settings, else what the profile tells."""

    def __init__(self, finding: Finding, evidence: Evidence, settings: Mapping[str, Any] | None) -> None:
        self.finding, self.evidence, self.settings = finding, evidence, settings

    def setting(self, key: str) -> Any:
        """Of a dotted key; None where it is not known."""
        value: Any = self.settings
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    @property
    def activation(self) -> str | None:
        """The activation behind most hidden layers; None where gates, say, have one and others another."""
        rows = [row for profile in self.evidence.profiles[:1] for row in profile.layers[:-1]]
        seen = [row.activation for row in rows if row.activation]
        usual = next((name for name in seen if seen.count(name) > len(rows) / 2), None)
        return self.setting("activation.name") or usual

    @property
    def is_saturating(self) -> bool:
        return self.activation in _SATURATING

    @property
    def has_norm(self) -> bool:
        """Whether activations are normalised."""
        if self.settings is not None:
            return bool(self.setting("norm.name") != "none")
        return any(profile.batch_norm_samples is not None for profile in self.evidence.profiles[:1])

    @property
    def is_half(self) -> bool:
        """Whether gradients are float16, which ends at 65504."""
        return any(layer.underflow is not None for profile in self.evidence.profiles for layer in profile.layers)

    @property
    def kinds(self) -> set[str]:
        """Of the weight layers."""
        return {row.kind for profile in self.evidence.profiles[:1] for row in profile.layers}

    @property
    def loses_on_the_way_up(self) -> bool:
        """Whether the weights' scale is off: activations shrink or grow, too, or theory's factor is not 1."""
        first = self.evidence.profiles[0] if self.evidence.profiles else None
        gains = [first.expected_backward_gain, first.forward_gain or _growth(first)] if first else []
        return any(gain is not None and abs(math.log(gain)) > 0.05 for gain in gains)

    @property
    def init_fits(self) -> bool:
        """Whether the weights have the scale for their activation already."""
        name = self.setting("init.name")
        return name in _SCHEMES and self.setting("init.gain") is None if name else not self.loses_on_the_way_up

    @property
    def is_bounded(self) -> bool:
        """Whether unknown activations keep z at one size, which hides the scale of the weights: a sine's do."""
        first = self.evidence.profiles[0] if self.evidence.profiles else None
        return self.activation is None and first is not None and abs(math.log(first.forward_gain or 1.0)) < 0.05

    @property
    def has_wild_weights(self) -> bool:
        """Whether weights make the gradient grow so: by theory, or where it knows too little, by more than sums do."""
        first = self.evidence.profiles[0] if self.evidence.profiles else None
        if first is None:
            return False
        expected = [row.expected_backward for row in first.layers if row.expected_backward is not None]
        if len(expected) >= len(first.layers) / 2:
            return statistics.median(expected) > limit("init.off")
        return (first.forward_gain or _growth(first) or 1.0) >= limit("init.wild")

    def is_open(self, action: str) -> bool:
        """Whether an action can change anything: a second norm cannot, nor a ReLU in place of a ReLU."""
        match action:
            case "norm":
                return not self.has_norm or self.finding.rule == "small_batch_norm"
            case "activation":
                return self.is_saturating or self.finding.rule == "dead_units"
            case "forget_bias":
                return self.setting("model.cell") in (None, "lstm")  # our GRU has no such option
            case "clip":
                return self.setting("clip.name") in (None, "none")
        return True

    def is_new(self, override: str) -> bool:
        """Whether a word of the command line says anything else than the settings do."""
        key, _, value = override.partition("=")
        now = self.setting(key)
        now = now.get("name") if isinstance(now, Mapping) else now
        return ("null" if now is None else str(now)) != value

    @property
    def update_ratio(self) -> float | None:
        return self.finding.evidence.get("update_ratio")

    def rate_times(self, factor: float) -> tuple[str, ...]:
        """`optimizer.lr=` with the factor, to one digit."""
        rate = self.setting("optimizer.lr")
        return (f"optimizer.lr={float(f'{rate * factor:.0e}'):g}",) if rate else ()


def _growth(profile: Profile) -> float | None:
    """Factor per layer from the first hidden activations to the last, where no two layers are alike for a fit."""
    sizes = [row.activation_rms for row in profile.layers[:-1]]
    if len(sizes) < 3 or not min(sizes) > 0 or not math.isfinite(max(sizes)):
        return None
    return float((sizes[-1] / sizes[0]) ** (1 / (len(sizes) - 1)))


# --------------------------------------------------------------------------------- what each action is
def _init(case: Case) -> Remedy:
    scheme = "orthogonal" if case.activation in ("tanh", "identity") else "he_normal"
    words = "Initialise with He's scheme or an orthogonal one, at the activation's gain"
    options = case.setting("init") or {}
    unset = (f"init.{key}=null" for key, value in options.items() if key != "name" and value is not None)
    return Remedy("init", words, ("init=" + scheme, *unset))


def _activation(case: Case) -> Remedy:
    if case.finding.rule == "dead_units":
        return Remedy(
            "activation", "Take an activation with a gradient below 0: leaky ReLU", ("activation=leaky_relu",)
        )
    words = "Take an activation that does not saturate, ReLU, with He's scheme"
    return Remedy("activation", words, ("activation=relu", "init=he_normal"))


def _norm(case: Case) -> Remedy:
    small = case.finding.rule == "small_batch_norm"
    name = "group" if small else "layer" if case.setting("model.name") == "lstm" else "batch"
    words = "Normalise within each sample: GroupNorm or LayerNorm" if small else "Normalise after each layer"
    return Remedy("norm", words, (f"norm={name}",))


def _skip(case: Case) -> Remedy:
    words = "Let the gradient pass by: skip connections around each block"
    if case.setting("model.name") == "resnet":
        has_skips = case.setting("model.shortcut") != "none"
        return Remedy("skip", words, ("model.residual=rezero",) if has_skips else ("model.shortcut=identity",))
    depth = case.setting("model.depth") or 20
    of_blocks = f"model.depth={6 * max(1, round((depth - 2) / 6)) + 2}"  # a CIFAR ResNet's nearest
    return Remedy("skip", words, ("model=resnet", of_blocks, "model.shortcut=identity"))


def _cell(case: Case) -> Remedy:
    return Remedy("cell", "Take a gated cell: LSTM with a forget bias of 1, or GRU", ("model.cell=lstm",))


def _forget_bias(case: Case) -> Remedy:
    words = "Start open the gate that keeps the state: a forget bias of 1 or more, or chrono initialisation"
    return Remedy("forget_bias", words, ("model.forget_bias=1.0",))


def _clip(case: Case) -> Remedy:
    return Remedy("clip", "Clip the gradient's norm", ("trainer.gradient_clip_val=1.0",))


def _loosen_clip(case: Case) -> Remedy:
    words = "Clip at the norm of a usual gradient, or not at all"
    own, value = case.setting("clip.name"), case.setting("trainer.gradient_clip_val")
    left = case.finding.evidence.get("coefficient")
    if own and own != "none":
        return Remedy("loosen_clip", words, ("clip=none",))
    usual = f"{value / left:.1g}" if value and left else "null"
    return Remedy("loosen_clip", words, (f"trainer.gradient_clip_val={usual}",))


def _lower_lr(case: Case) -> Remedy:
    ratio = case.update_ratio
    wanted = 10.0 ** math.floor(math.log10(USUAL_UPDATE / ratio)) if ratio and math.isfinite(ratio) else 0.1
    factor = min(max(wanted, 0.01), 0.1)  # a runaway step says little about a good one
    return Remedy("lower_lr", f"Lower the learning rate to {factor:g} of it", case.rate_times(factor))


def _raise_lr(case: Case) -> Remedy:
    factor = _up_to_usual(case)
    return Remedy("raise_lr", f"Raise the learning rate {factor:g} times", case.rate_times(factor))


def _raise_lr_more(case: Case) -> Remedy:
    factor = 10 * _up_to_usual(case)
    return Remedy("raise_lr_more", f"Raise the learning rate {factor:g} times", case.rate_times(factor))


def _up_to_usual(case: Case) -> float:
    ratio = case.update_ratio or USUAL_UPDATE / 10
    return 10.0 ** max(1, min(6, round(math.log10(USUAL_UPDATE / ratio))))


def _precision(case: Case) -> Remedy:
    words = "Train in bfloat16, which has float32's range, or scale the loss"
    return Remedy("precision", words, ("trainer.precision=bf16-mixed",))


def _in_words(action: str, words: str) -> Callable[[Case], Remedy]:
    return lambda case: Remedy(action, words)


ACTIONS: dict[str, Callable[[Case], Remedy]] = {
    "init": _init,
    "activation": _activation,
    "norm": _norm,
    "skip": _skip,
    "cell": _cell,
    "forget_bias": _forget_bias,
    "clip": _clip,
    "loosen_clip": _loosen_clip,
    "lower_lr": _lower_lr,
    "raise_lr": _raise_lr,
    "raise_lr_more": _raise_lr_more,
    "precision": _precision,
    "batch_size": lambda case: Remedy("batch_size", "Take larger batches", ("data.batch_size=64",)),
    "scale_inputs": _in_words("scale_inputs", "Normalise the inputs to mean 0 and standard deviation 1"),
    "logits": _in_words("logits", "Give the loss raw logits: no softmax, sigmoid or ReLU on the head"),
    "cross_entropy": _in_words("cross_entropy", "For classes take the cross-entropy of raw logits, no squared error"),
    "loss_sign": _in_words("loss_sign", "Minimise the loss itself, not its negative"),
    "labels": _in_words("labels", "Check that each label belongs to its input, after shuffling and augmentation, too"),
    "connect": _in_words("connect", "Let the gradient through (no detach) and give all parameters to the optimizer"),
    "check_data": _in_words("check_data", "Look for broken samples: NaN, or values far outside the others"),
    "stable_ops": _in_words("stable_ops", "Keep log, sqrt and divisions away from 0 with a small constant"),
}
