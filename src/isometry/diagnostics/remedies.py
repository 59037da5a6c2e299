"""Which change cures what: for each rule the remedies, likeliest first.

The order follows the cause: a scheme that loses 0.71 a layer is replaced before a norm covers it up; where the
scheme is right already, norm and skips come first. What a remedy is worth is found out by trying it (`trials.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .actions import ACTIONS, FLAT, Case
from .evidence import Evidence
from .findings import Finding, Remedy
from .thresholds import limit


def _vanishing(case: Case) -> Sequence[str]:
    if case.activation in FLAT:
        return ("activation", "norm", "skip", "init")  # φ' <= 1/4: no usual scale of the weights makes up for it
    return ("norm", "skip", "activation") if case.init_fits else ("init", "norm", "skip", "activation")


def _exploding(case: Case) -> Sequence[str]:
    if case.has_norm:
        return ("skip", "clip", "lower_lr", "init")
    if "MultiheadAttention" in case.kinds:
        return ("norm", "init", "clip", "lower_lr")  # its skips are there
    if case.settings is None and case.is_bounded:
        return ("init", "norm", "skip", "clip")
    if case.init_fits:
        return ("norm", "skip", "clip", "lower_lr")
    if case.settings is None and not case.has_wild_weights:
        return ("norm", "init", "skip", "clip")
    return ("init", "norm", "skip", "clip")


def _vanishing_through_time(case: Case) -> Sequence[str]:
    is_gated = case.setting("model.cell") in ("lstm", "gru") or any(
        kind.startswith(("LSTM", "GRU")) for kind in case.kinds
    )
    if is_gated:
        return ("forget_bias", "cell", "init")
    if case.settings is None and not any(kind.startswith("RNN") for kind in case.kinds):
        return ("forget_bias", "init", "cell")  # a recurrence of their own: it forgets by its gates, or by its weights
    is_orthogonal = case.setting("init.name") not in (
        None,
        "pytorch_default",
    )  # hidden weights: all but torch's own are
    return ("cell", "norm") if is_orthogonal else ("init", "cell", "norm")


def _dead(case: Case) -> Sequence[str]:
    """Born dead, or killed by a step that was too large."""
    was_hit = any(ratio > limit("update.large") for _, ratio in case.evidence.update_ratios)
    return (
        ("init", "norm", "activation", "lower_lr")
        if case.evidence.is_born_dead and not was_hit
        else ("lower_lr", "activation", "norm")
    )


def _saturated(case: Case) -> Sequence[str]:
    usual = ("init", "norm", "activation", "scale_inputs")
    return ("lower_lr", *usual) if case.evidence.starts_with_large_steps else (*usual, "lower_lr")


def _scale(case: Case) -> Sequence[str]:
    """The weights, or, where sums grow through the trunk and not in the head, a norm."""
    first = case.evidence.profiles[0]
    sizes = [row.activation_rms for row in first.layers[-2:]]
    is_head = len(sizes) == 2 and sizes[1] > limit("init.wild") * sizes[0]
    grows = (first.forward_gain or 1.0) > 1 and not (is_head or case.has_wild_weights or case.has_norm)
    return ("norm", "init", "lower_lr") if grows and case.settings is None else ("init", "norm", "lower_lr")


def _at_chance(case: Case) -> Sequence[str]:
    """The labels, unless the net itself has something to be said against."""
    if case.activation in FLAT:
        return ("activation", "norm", "labels")
    loss, chance = case.evidence.first_loss, case.evidence.chance
    if loss is not None and chance is not None and loss > limit("head.large_loss") * chance:
        return ("init", "lower_lr", "labels")
    return ("labels", "lower_lr", "raise_lr")


def _diverging(case: Case) -> Sequence[str]:
    return ("loss_sign",) if case.finding.evidence["recent"] < 0 else ("lower_lr", "clip", "norm")


def _no_number(case: Case) -> Sequence[str]:
    if case.finding.evidence.get("inputs"):
        return ("check_data",)
    if "skipped" in case.finding.evidence or case.is_half:
        return ("precision", "lower_lr")
    return ("stable_ops", "lower_lr", "clip", "check_data")


def _head(case: Case) -> Sequence[str]:
    return ("cross_entropy",) if "guess" in case.finding.evidence else ("logits",)


def _unstable(case: Case) -> Sequence[str]:
    first = ("check_data", "clip") if "batches" in case.finding.evidence else ("clip", "check_data")
    return (*first, "lower_lr")


def _always(*actions: str) -> Callable[[Case], Sequence[str]]:
    return lambda case: actions


_BY_RULE: dict[str, Callable[[Case], Sequence[str]]] = {
    "vanishing_gradients": _vanishing,
    "exploding_gradients": _exploding,
    "vanishing_through_time": _vanishing_through_time,
    "exploding_through_time": _always("init", "cell", "clip", "lower_lr"),
    "dead_units": _dead,
    "saturated_units": _saturated,
    "bad_init_scale": _scale,
    "symmetric_init": _always("init"),
    "update_too_large": _always("lower_lr", "clip", "norm"),
    "update_too_small": _always("raise_lr", "raise_lr_more", "norm"),
    "diverging_loss": _diverging,
    "unstable_gradients": _unstable,
    "chronic_clipping": _always("loosen_clip", "lower_lr"),
    "non_finite": _no_number,
    "no_gradient": _always("connect"),
    "fp16_underflow": _always("precision"),
    "loss_at_chance": _at_chance,
    "bad_output_head": _head,
    "bad_input_scale": _always("scale_inputs", "norm", "lower_lr"),
    "small_batch_norm": _always("norm", "batch_size"),
}


def remedies(finding: Finding, evidence: Evidence, settings: Mapping[str, Any] | None = None) -> tuple[Remedy, ...]:
    """What could cure a finding, likeliest first; without the run's settings in words alone."""
    case = Case(finding, evidence, settings)
    made = [ACTIONS[action](case) for action in _BY_RULE[finding.rule](case) if case.is_open(action)]
    if settings is None:
        return tuple(Remedy(remedy.action, remedy.words) for remedy in made)
    return tuple(remedy for remedy in made if not remedy.overrides or any(map(case.is_new, remedy.overrides)))
