"""Rules on gradients that are lost: cut off, masked, in no optimizer's hands, no numbers, or too small for float16.

As in `rules_gradient.py`: functions of the evidence, numbers in `thresholds.py`.
"""

from __future__ import annotations

import statistics

from .evidence import NEEDED, Evidence
from .findings import CRITICAL, WARNING, Finding, some_names
from .profile import LayerProfile, Profile
from .thresholds import limit

LEAST_GRADIENT = 1e-30  # RMS; float32 ends at 1e-45, and a gradient that vanishes is smaller from layer to layer


def no_gradient(evidence: Evidence) -> Finding | None:
    """Weight layers that run and want a gradient, and get none, or belong to no optimizer."""
    if not evidence.profiles:
        return None
    recent = [_calls(profile) for profile in evidence.profiles[-3:]]
    names = list(recent[-1])
    cut_off = {name for name in names if _is_cut_off(evidence, recent, name)} | _masked(evidence)
    cut = [name for name in names if name in cut_off or _has_no_optimizer(evidence, recent, name)]
    if not cut:
        return None
    share = len(cut) / len(names)
    is_trunk = share >= limit("no_gradient.share") or cut[0] == names[0]
    is_on_purpose = bool(evidence.learns) and evidence.learns_well and not cut_off  # a tuned head
    return Finding(
        "no_gradient",
        CRITICAL if is_trunk and not is_on_purpose else WARNING,
        f"{len(cut)} of {len(names)} weight layers get no gradient or belong to no optimizer, though they want one: "
        f"{some_names(cut)}.",
        tuple(cut),
        {"layers": float(len(cut)), "share": share},
    )


Calls = dict[str, list[LayerProfile]]


def _calls(profile: Profile) -> Calls:
    """Of each weight layer."""
    calls: Calls = {}
    for layer in profile.layers:
        calls.setdefault(layer.module, []).append(layer)
    return calls


def _is_cut_off(evidence: Evidence, recent: list[Calls], name: str) -> bool:
    """Whether no call of a layer got back a gradient that it could have passed on, in all recent profiles."""
    rows = [calls.get(name, []) for calls in recent]
    is_cut = all(each and all(row.detached for row in each) for each in rows)
    return is_cut and (evidence.is_probe or len(recent) == 3)


def _masked(evidence: Evidence) -> set[str]:
    """Layers to which nothing but zeros ever came back, as what they make is multiplied by zero.

    Not so where units are dead, nor where the gradient has vanished or float16 has lost it on its way.
    """
    dead = [max(record.dead.values(), default=0.0) for record in evidence.history.units]
    least = min((row.gradient_rms for row in evidence.profiles[0].layers if row.gradient_rms), default=0.0)
    if not dead or max(dead) >= limit("units.dead") or least < LEAST_GRADIENT or len(evidence.profiles) < NEEDED:
        return set()
    rows = [row for profile in (*evidence.early_profiles, *evidence.profiles[-NEEDED:]) for row in profile.layers]
    return {row.module for row in rows} - {
        row.module for row in rows if row.gradient_rms != 0 or row.underflow is not None
    }


def _has_no_optimizer(evidence: Evidence, recent: list[Calls], name: str) -> bool:
    """Whether a gradient flows through a layer whose parameters no optimizer has, in all recent records."""
    records = evidence.records[-4:]  # of two optimizers two each
    if len(records) < 3 or any(name in record.frozen for record in records):
        return False
    if not any(row.gradient_rms for calls in recent for row in calls.get(name, [])):
        return False  # nothing flows here for reasons that other rules know: dead units, no_grad on purpose
    return not any(name in record.layers or name in record.unused for record in records)


def non_finite(evidence: Evidence) -> Finding | None:
    """A NaN or infinity that no loss scaler asked for, or a scaler that skips step after step."""
    found = evidence.history.nonfinite
    skipped = [record for record in evidence.records[-NEEDED:] if record.scale is not None]
    skips = sum(record.skipped for record in skipped) if all(r.skipped == len(r.totals) for r in skipped) else 0
    if found:
        first = found[0]
        place = first.module or first.parameter or "the loss"
        whose = "the batch itself" if first.inputs else place
        words = f"The first NaN or infinity came up in {whose}, at step {first.step}."
        return Finding("non_finite", CRITICAL, words, (place,), {"step": float(first.step), "inputs": first.inputs})
    if skips >= limit("fp16.skipped"):
        words = f"The loss scaler has skipped the last {skips} steps for an infinite gradient."
        return Finding("non_finite", CRITICAL, words, (), {"skipped": float(skips)})
    return None


def fp16_underflow(evidence: Evidence) -> Finding | None:
    """∂L/∂z lies where float16 has hardly any numbers left, so that part of it is rounded to zero."""

    def share(profile: Profile) -> float:
        shares = [_lost(row) for row in profile.layers if row.underflow is not None]
        return statistics.median(shares or [0.0])

    if not evidence.in_profiles(lambda profile: share(profile) >= limit("fp16.underflow")):
        return None
    early = [share(profile) for profile in evidence.early_profiles]
    is_bad = min(early) >= limit("fp16.underflow") and evidence.learns_slowly
    is_all = min(early) >= limit("fp16.all") and not evidence.has_converged
    if evidence.learns and not (is_bad or is_all):
        return None
    worst = share(evidence.profiles[-1])
    half = [row for row in evidence.profiles[-1].layers if row.underflow is not None]
    names = tuple(row.name for row in half if _lost(row) >= limit("fp16.underflow"))
    words = f"{worst:.0%} of ∂L/∂z is below 4.8e-7, where float16 has fewer than three bits; what is smaller is lost."
    return Finding("fp16_underflow", CRITICAL, words, names, {"underflow": worst})


def _lost(layer: LayerProfile) -> float:
    """Share of a float16 layer's ∂L/∂z that is lost or about to be: all of it, where nothing but zeros came back."""
    return (layer.underflow or 0.0) if layer.gradient_rms else 1.0
