"""Rules on the gradient and the units behind it: does it arrive, how large, through depth, time and activations.

Each rule is a function of the evidence, and says nothing (None) or one finding. What a rule compares with is in
`thresholds.py`. A training that learns is not called broken for an odd slope: BatchNorm without skips grows by 1.21 a
layer (Yang et al. 2019) and trains, branches that start at zero have no gradient in the first step and do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .evidence import CELLS, NEEDED, Evidence
from .findings import CRITICAL, Finding, some_names
from .profile import Profile, TimeProfile
from .slope import Fit
from .thresholds import limit


# ------------------------------------------------------------------------------------------------- depth
def vanishing_gradients(evidence: Evidence) -> Finding | None:
    """∂L/∂z loses three decades or more on its way back; less where the loss falls slowly or not at all."""
    is_slow = evidence.learns_slowly or evidence.was_hampered
    slow = limit("depth.slow_decades") if is_slow else limit("depth.vanishing_decades")
    stuck = -limit("depth.chance_decades") if evidence.never_learned else limit("depth.stuck_decades")
    enough = stuck if evidence.is_stuck else slow
    hits = [_is_slope(fit) and fit.decades <= enough for _, fit in evidence.flows]
    first, persists = evidence.first_flow, evidence.persists(hits)
    from_start = first is not None and _is_slope(first) and first.decades <= enough
    is_weak = persists and evidence.flows[-1][1].decades > limit("depth.vanishing_decades")
    if is_weak and not (from_start or evidence.never_learned):
        return None
    is_strong = from_start and (persists or is_slow) and not evidence.has_converged
    if not persists and not (from_start and evidence.is_old_enough and evidence.losses):
        return None
    if evidence.learns and not is_strong:
        return None
    if not from_start and (evidence.starts_with_large_steps or dead_units(evidence) or saturated_units(evidence)):
        return None  # that is why
    profile, fit = (evidence.flows if persists else evidence.all_flows[:1])[-1]
    return _along_depth("vanishing_gradients", "shrinks", profile, fit)


def exploding_gradients(evidence: Evidence) -> Finding | None:
    """∂L/∂z grows by two decades or more on its way back, and did so from the start: else the steps were too large.

    By one, where nothing is learned at all.
    """
    enough = limit("depth.chance_decades") if evidence.never_learned else limit("depth.exploding_decades")
    first = evidence.first_flow
    if not first or not _is_slope(first) or first.decades < enough:
        return None
    if evidence.learns and not evidence.learns_slowly:
        return None
    hits = [_is_slope(fit) and fit.decades >= enough for _, fit in evidence.flows]
    is_slow = evidence.learns_slowly and evidence.is_old_enough  # its first steps have done the damage
    if not is_slow and not evidence.persists(hits):
        return None
    profile, fit = next((p, fit) for p, fit in evidence.all_flows if fit.decades >= enough)
    return _along_depth("exploding_gradients", "grows", profile, fit)


def _is_slope(fit: Fit) -> bool:
    return fit.quality >= limit("depth.quality")


def _along_depth(rule: str, verb: str, profile: Profile, fit: Fit) -> Finding:
    known = [layer for layer in profile.layers if layer.gradient_rms]
    top = max((layer.gradient_rms or 0.0 for layer in known[-3:]), default=0.0)
    far = [layer.name for layer in known if abs(math.log10((layer.gradient_rms or 0.0) / top)) >= 2] if top else []
    expected = profile.expected_backward_gain
    theory = "" if expected is None else f" (theory for this init and activation: ×{expected:.2f})"
    return Finding(
        rule,
        CRITICAL,
        f"∂L/∂z {verb} by ×{fit.gain:.2f} per layer on its way back{theory}: {abs(fit.decades):.1f} decades over "
        f"{fit.layers} layers, at step {profile.step}.",
        tuple(far),
        {
            "gain": fit.gain,
            "decades": fit.decades,
            "quality": fit.quality,
            **({} if expected is None else {"theory": expected}),
        },
    )


# -------------------------------------------------------------------------------------------------- time
def vanishing_through_time(evidence: Evidence) -> Finding | None:
    """∂L/∂h_t loses four decades or more over the sequence, and most of that soon; or most of it in each step.

    Three at once, where less than half of the loss goes.
    """
    profiles = [profile for profile in evidence.profiles if profile.times]
    if evidence.dead_at_first >= limit("units.dead"):
        return None  # that is why
    hits = [any(map(_vanishes_in_time, profile.times)) for profile in profiles]
    for holds, suffers in (
        (_forgets, evidence.learns_slowly and hits[:1] == [True]),
        (_is_lost, not evidence.has_converged and hits[:1] == [True]),
        (_is_cut_short, evidence.learns_slowly),
    ):
        was_so = bool(profiles) and all(any(map(holds, profile.times)) for profile in profiles[:NEEDED])
        if suffers and was_so and evidence.is_old_enough:
            return _through_time("vanishing_through_time", "shrinks", profiles[0], holds)  # learns from the end
    if evidence.learns or not evidence.persists(hits) or not hits[0]:  # else it follows from the steps
        return None
    return _through_time("vanishing_through_time", "shrinks", profiles[-1], _vanishes_in_time)


def exploding_through_time(evidence: Evidence) -> Finding | None:
    """∂L/∂h_t grows by two decades or more over the sequence, or by one at a fifth a step; and did from the start."""
    profiles = [profile for profile in evidence.profiles if profile.times]
    hits = [any(map(_explodes_in_time, profile.times)) for profile in profiles]
    persists = evidence.persists(hits) and hits[0]  # else it follows from the steps
    is_over = evidence.is_broken and hits[:1] == [True]  # too soon for three profiles
    was_so = evidence.is_stuck and hits[:NEEDED] == [True] * NEEDED  # and nothing was learned since
    is_wild = persists and evidence.chance is None and any(map(_is_chaotic, profiles[-1].times))
    if (evidence.learns and not is_wild) or not (is_over or was_so or persists):
        return None
    if not any(map(_has_recurrence, profiles)) and exploding_gradients(evidence):
        return None  # through the layers: all positions at once
    shown = profiles[-1] if persists and not is_over else profiles[0]
    return _through_time("exploding_through_time", "grows", shown, _explodes_in_time)


def _has_recurrence(profile: Profile) -> bool:
    """A cell, or layers that run more than once in a pass."""
    return any(layer.kind.startswith(CELLS) or layer.module != layer.name for layer in profile.layers)


def _through_time(rule: str, verb: str, profile: Profile, holds: Callable[[TimeProfile], bool]) -> Finding:
    shown = [time for time in profile.times if holds(time)]
    worst = max(shown, key=lambda time: abs(_decades(time)))
    steps, decades = len(worst.reach), _decades(worst)
    soon = f", tenfold within {worst.horizon}" if worst.horizon and decades < 0 else ""
    return Finding(
        rule,
        CRITICAL,
        f"∂L/∂h_t of {worst.name} {verb} by {abs(decades):.1f} decades on its way back through {steps} time steps"
        f"{soon}, at step {profile.step}.",
        tuple(time.name for time in shown),
        {"decades": decades, "horizon": float(worst.horizon or steps), "steps": float(steps)},
    )


def _decades(time: TimeProfile) -> float:
    """log10 of what arrives at the first time step over the largest; of a fit's end where nothing arrives."""
    norms = time.reach
    if not norms or not max(norms) > 0:
        return 0.0
    if norms[0] > 0 and math.isfinite(norms[0]) and norms[-1] > 0:
        return math.log10(norms[0] / norms[-1])
    return time.fit.decades if time.fit else 0.0


def _vanishes_in_time(time: TimeProfile) -> bool:
    if time.last_norms:
        return _forgets(time)
    soon = limit("time.horizon") * len(time.reach)
    if time.reach[-1] > 0:
        is_soon = time.horizon is not None and time.horizon < soon
    else:  # the loss asks for none of the last steps: as the fit has it
        is_soon = time.fit is not None and time.fit.gain**soon < 0.1
    return is_soon and _decades(time) <= limit("time.vanishing_decades")


def _forgets(time: TimeProfile) -> bool:
    """Whether it is so much that the past plays no part, also for what is learned slowly.

    Where there is a loss at each step, the last one need not look far back; but it should look back at all.
    """
    return _is_lost(time) if time.last_norms else _decades(time) <= limit("time.extreme_decades")


def _is_lost(time: TimeProfile) -> bool:
    return time.fit is not None and time.fit.gain <= limit("time.least_gain")


def _is_cut_short(time: TimeProfile) -> bool:
    """Whether hardly more than the last steps are heard, of a loss at the end."""
    if time.last_norms or time.horizon is None or time.horizon >= limit("time.short_horizon") * len(time.reach):
        return False
    return _decades(time) <= limit("time.short_decades")


def _explodes_in_time(time: TimeProfile) -> bool:
    is_steep = time.fit is not None and time.fit.gain >= limit("time.exploding_gain")
    return _decades(time) >= (limit("time.steep_decades") if is_steep else limit("time.exploding_decades"))


def _is_chaotic(time: TimeProfile) -> bool:
    """Whether it explodes so fast that a loss which falls has fallen from a wild start."""
    is_steep = time.fit is not None and time.fit.gain >= limit("time.chaotic_gain")
    return is_steep and _decades(time) >= limit("time.exploding_decades")


# ------------------------------------------------------------------------------------------------- units
def dead_units(evidence: Evidence) -> Finding | None:
    """Half of a layer's units were zero in each of 1,000 samples, and the loss does not fall; or a whole layer's."""
    windows = [record.dead for record in evidence.history.units]
    windows += [_dead(profile) for profile in evidence.profiles] if evidence.is_probe else []
    worst = [max(dead.values(), default=0.0) for dead in windows[-2:]]
    needed = limit("units.all_dead") if evidence.learns else limit("units.dead")
    if not worst or min(worst) < needed or evidence.has_converged:
        return None
    dead = {name: share for name, share in windows[-1].items() if share >= limit("units.dead")}
    return Finding(
        "dead_units",
        CRITICAL,
        f"{worst[-1]:.0%} of a layer's units were exactly zero in each of at least 1,000 samples, in "
        f"{some_names(dead)}: no gradient passes through them.",
        tuple(dead),
        {"dead": worst[-1], "layers": float(len(dead))},
    )


def _dead(profile: Profile) -> dict[str, float]:
    return {layer.name: layer.dead for layer in profile.layers if layer.dead is not None}


def saturated_units(evidence: Evidence) -> Finding | None:
    """Half of a hidden layer's sigmoid or tanh outputs or more lie where φ' is below a twentieth of its largest."""

    def saturated(profile: Profile) -> dict[str, float]:
        shares = evidence.saturation(profile)
        return {name: share for name, share in shares.items() if share >= limit("units.saturated")}

    if evidence.learns and not evidence.is_born_saturated:
        return None
    if not evidence.in_profiles(lambda profile: bool(saturated(profile))):
        return None
    found = saturated(evidence.profiles[-1])
    worst = max(found.values())
    return Finding(
        "saturated_units",
        CRITICAL,
        f"Up to {worst:.0%} of the activations in {some_names(found)} lie on the flat ends of their curve, where no "
        "gradient passes.",
        tuple(found),
        {"saturated": worst, "layers": float(len(found))},
    )


def symmetric_init(evidence: Evidence) -> Finding | None:
    """All units of a layer have the same weights and go on having them: the layer is one unit wide."""

    def equal(profile: Profile) -> list[str]:
        spreads = [row for row in profile.layers if row.weight_spread is not None]
        return [row.name for row in spreads if (row.weight_spread or 0.0) < limit("units.spread")]

    def holds(profile: Profile) -> bool:  # a single layer may start at zero: a head, the end of a branch
        return len(equal(profile)) > (len(profile.layers) / 2 if evidence.is_probe else 0)

    if not evidence.in_profiles(holds):
        return None
    names = equal(evidence.profiles[-1])
    if evidence.learns and len(names) < limit("units.equal_layers"):
        return None
    return Finding(
        "symmetric_init",
        CRITICAL,
        f"All units have the same weights in {some_names(names)}, so they get the same gradient and stay equal.",
        tuple(names),
        {"layers": float(len(names))},
    )
