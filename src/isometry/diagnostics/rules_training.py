"""Rules on what goes in, how it starts, and how far each step moves: inputs, scales, loss, updates, clipping.

As in `rules_gradient.py`: functions of the evidence, numbers in `thresholds.py`.
"""

from __future__ import annotations

import math
import statistics

from .evidence import CELLS, NEEDED, RECENT, SPAN, Evidence
from .findings import CRITICAL, WARNING, Finding
from .outputs import head_of
from .profile import LayerProfile
from .thresholds import limit


# ------------------------------------------------------------------------------------ inputs and outputs
def bad_input_scale(evidence: Evidence) -> Finding | None:
    """Inputs far from size 1, and the training suffers."""
    first = evidence.profiles[0] if evidence.profiles else None
    if first is None or first.input_std is None or not math.isfinite(first.input_std):
        return None
    passes_on = first.layers[-1].activation_rms > limit("input.large_output")  # no norm is in between
    pins_gates = first.layers[0].kind.startswith(CELLS) and not evidence.has_converged
    suffers = evidence.is_tried or evidence.learns_slowly or evidence.is_born_saturated or passes_on or pins_gates
    if not suffers or not evidence.is_old_enough:
        return None
    mean, std = first.input_mean or 0.0, first.input_std
    size = math.hypot(mean, std)
    if limit("input.small_std") <= size <= limit("input.large_std"):
        return None
    return Finding(
        "bad_input_scale",
        CRITICAL,
        f"The inputs have mean {mean:.3g} and standard deviation {std:.3g}; layers are initialised for a size near 1.",
        (first.layers[0].name,),
        {"mean": mean, "std": std, "largest": first.input_largest or 0.0},
    )


def bad_init_scale(evidence: Evidence) -> Finding | None:
    """Activations start far too large or small, and the training suffers."""
    if not evidence.profiles or not evidence.is_old_enough or evidence.is_born_dead:
        return None  # what does not fire has no size
    found = _wild_outputs(evidence)
    if found is not None or not (evidence.is_tried or evidence.learns_slowly or evidence.was_hampered):
        return found
    fit = evidence.profiles[0].forward
    enough = limit("depth.forward_decades") if evidence.is_tried else limit("depth.forward_extreme")
    if fit is not None and fit.quality >= limit("depth.quality") and abs(fit.decades) >= enough:
        words = f"Activations change by ×{fit.gain:.2f} per layer on their way up, {fit.decades:+.1f} decades in all."
        return Finding("bad_init_scale", CRITICAL, words, (), {"gain": fit.gain, "decades": fit.decades})
    if evidence.was_hampered and evidence.head is not None and evidence.head.activation_rms:
        spread = evidence.head.sample_spread or 0.0
        words = (
            f"The first outputs differ between inputs by {spread:.2g} of their size: the input is lost on its way up."
        )
        return Finding("bad_init_scale", CRITICAL, words, (), {"spread": spread})
    return None


def _wild_outputs(evidence: Evidence) -> Finding | None:
    """The first outputs are so large that they alone make the loss, and little was learned but to shrink them."""
    may_fall = 0 < len(evidence.losses) < limit("loss.chance_steps") and not evidence.is_broken  # at once
    first = evidence.profiles[0]
    loss, chance, head = first.loss, evidence.chance, evidence.head
    if loss is None or head is None or may_fall:
        return None
    size = head.activation_rms
    if chance is None and (_shrinks(evidence, head) or _is_loud(evidence)):
        since = "the loss has not fallen" if evidence.is_tried else "what has gone of the loss went as they shrank"
        words = f"The outputs start at a size of {size:.3g}, and {since}."
        return Finding("bad_init_scale", CRITICAL, words, (head.name,), {"loss": loss, "outputs": size})
    if evidence.is_tried and chance and not (evidence.best_loss or chance) < limit("loss.chance") * chance:
        large = limit("head.large_loss")
        are_values = first.guess is not None and not evidence.is_softmax  # of a loss in its usual size
        make_it = (first.elasticity or 0.0) >= limit("head.makes_loss")  # it is no matter of targets
        are_wild = are_values and make_it and loss > limit("head.large_values") * chance
        if (evidence.is_softmax or are_wild) and loss > large * chance:
            words = f"The first loss is {loss:.3g}, a guess has {chance:.3g}: outputs start at a size of {size:.3g}."
            return Finding("bad_init_scale", CRITICAL, words, (head.name,), {"loss": loss, "outputs": size})
    return None


def _shrinks(evidence: Evidence, head: LayerProfile) -> bool:
    """Whether outputs that start wild become smaller, or the loss is none the less for them."""
    last = head_of(evidence.profiles[-1])
    is_less = last is not None and head.activation_rms >= limit("head.shrinks") * last.activation_rms
    return head.activation_rms >= limit("head.wild") and (is_less or evidence.is_tried)


def _is_loud(evidence: Evidence) -> bool:
    """Whether outputs make more of the loss than they could of a squared error, as exponents do, and go on doing so."""
    return evidence.is_wild and (evidence.profiles[0].elasticity or 0.0) >= limit("head.loud")


def small_batch_norm(evidence: Evidence) -> Finding | None:
    """BatchNorm over so few samples that they are normalised by their own noise."""
    counts = [profile.batch_norm_samples for profile in evidence.profiles[-1:]]
    if not counts or counts[0] is None or counts[0] > limit("batch_norm.samples"):
        return None
    words = f"BatchNorm normalises over {counts[0]} samples: its statistics are noise, and others than in evaluation."
    is_enough = evidence.learns_well or counts[0] > limit("batch_norm.two")
    is_calm = not (bad_batches(evidence) or unstable_gradients(evidence))
    severity = WARNING if evidence.learns and is_enough and is_calm else CRITICAL
    return Finding("small_batch_norm", severity, words, (), {"samples": float(counts[0])})


# --------------------------------------------------------------------------------------------- updates
def update_too_large(evidence: Evidence) -> Finding | None:
    """Each step moves the weights by a tenth of their size or more."""
    broken = _breaking_step(evidence)
    if broken is not None and not evidence.learns:
        return broken
    if evidence.is_tried and evidence.weight_growth >= limit("update.grown"):
        words = f"The weights are {evidence.weight_growth:.3g} times as large as at first, and nothing is learned."
        return Finding("update_too_large", CRITICAL, words, (), {"growth": evidence.weight_growth})
    ratios = [ratio for _, ratio in evidence.update_ratios]
    hits = [ratio > limit("update.large") for ratio in ratios]
    is_over = evidence.is_broken and any(hits[-3:])  # the last steps before the loss was no number
    was_hit = evidence.was_shocked or evidence.is_at_chance
    is_damaged = was_hit and evidence.starts_with_large_steps and evidence.learns_slowly
    if not is_damaged and (evidence.learns or not (is_over or evidence.persists(hits))):
        return None
    shown = ratios[-3:] if any(hits[-3:]) else evidence.first_ratios
    ratio = min(ratio for ratio in shown if ratio > limit("update.large"))  # the others may have followed from it
    words = f"A step moves the weights by {ratio:.2g} of their size (median of the layers); 1e-3 is usual."
    return Finding("update_too_large", CRITICAL, words, (), {"update_ratio": ratio})


def _breaking_step(evidence: Evidence) -> Finding | None:
    """A single step after which the gradient is a fraction of what it was and the loss is higher, both for good."""
    totals, losses = next(iter(evidence.totals.values()), [])[-SPAN:], evidence.losses[-SPAN:]
    if len(totals) != len(losses):
        return None
    many = int(limit("collapse.steps"))
    for step in range(many, len(totals) - many):
        if totals[step] * limit("collapse.ratio") > totals[step - 1]:
            continue
        before, after = (statistics.median(part) for part in (totals[step - many : step], totals[step:]))
        was, is_now = (statistics.median(part) for part in (losses[step - many : step], losses[step:]))
        if 0 < before >= after * limit("collapse.ratio") and is_now - was > evidence.noise:
            words = (
                f"One step took the loss from {was:.3g} to {is_now:.3g} and the gradient from {before:.2g} to "
                f"{after:.2g}, and {len(totals) - step} steps later neither has come back: it was too large."
            )
            return Finding("update_too_large", CRITICAL, words, (), {"loss": is_now, "gradient": after / before})
    return None


def update_too_small(evidence: Evidence) -> Finding | None:
    """Steps so small that nothing is learned."""
    ratios = evidence.full_rate_ratios
    if not evidence.is_tried or evidence.is_warming_up or not evidence.are_steps_tiny:
        return None
    ratio = statistics.median(ratios[-3:])
    words = f"A step moves the weights by {ratio:.2g} of their size (median of the layers); 1e-3 is usual."
    return Finding("update_too_small", CRITICAL, words, (), {"update_ratio": ratio})


def chronic_clipping(evidence: Evidence) -> Finding | None:
    """Nearly every step is clipped to a small part of itself, and nothing is learned; or little, in steps too small."""
    recent = [record for record in evidence.records[-5:] if record.clip_fraction is not None]
    hits = [
        (record.clip_fraction or 0.0) >= limit("clip.fraction") and record.clip_coefficient <= limit("clip.coefficient")
        for record in recent
    ]
    ratios = [ratio for _, ratio in evidence.update_ratios[-RECENT:]]
    are_tiny = bool(ratios) and max(ratios) < limit("update.small") and not evidence.learns_well
    if not (evidence.is_stuck or are_tiny) or not evidence.persists(hits):
        return None
    left = statistics.median(record.clip_coefficient for record in recent)
    what = "does not fall" if evidence.is_stuck else "falls slowly"
    words = f"Clipping leaves {left:.2g} of the gradient in nearly every step, and the loss {what}."
    return Finding("chronic_clipping", CRITICAL, words, (), {"coefficient": left})


def bad_batches(evidence: Evidence) -> Finding | None:
    """Out of a calm training a batch of many times the usual loss and gradient, and soon calm again: it is garbage.

    Steps that are too large raise the loss, too: of the steps after them.
    """
    if not evidence.has_converged:
        odd = _odd_inputs(evidence)
        if odd is not None:
            return odd
    totals = next(iter(evidence.totals.values()), [])
    if len(totals) != len(evidence.losses) or evidence.first_loss is None:
        return None
    if evidence.starts_with_large_steps or evidence.is_wild:
        return None  # no calm training
    losses, totals = evidence.losses[-SPAN:], totals[-SPAN:]
    found = [step for step in range(10, len(losses)) if _is_garbage(losses, totals, step, evidence.first_loss)]
    if not found:
        return None
    is_few, are_many = len(found) < limit("spike.count"), len(found) >= limit("spike.often") * len(losses)
    is_lost = are_many and statistics.fmean(losses) > evidence.first_loss  # what is usual is the least of it
    if (evidence.has_converged and not is_lost) or (evidence.learns and is_few):
        return None
    worst = max(losses[step] for step in found)
    words = (
        f"{len(found)} of {len(losses)} steps had a loss of up to {worst:.3g}, with usual ones right before and soon "
        "after: their batches are unlike the others."
    )
    return Finding("unstable_gradients", CRITICAL, words, (), {"batches": float(len(found)), "largest": worst})


def _odd_inputs(evidence: Evidence) -> Finding | None:
    """Inputs of many times the usual size, in a batch that happened to be profiled."""
    sizes = [profile.input_std for profile in evidence.profiles if profile.input_std is not None]
    usual = statistics.median(sizes) if sizes else 0.0
    odd = [size for size in sizes if size >= limit("spike.loss") * usual > 0]
    if not odd or len(sizes) < NEEDED or not evidence.is_old_enough:
        return None
    if len(odd) < limit("spike.often") * len(sizes):
        return None  # one odd batch of a long training
    words = (
        f"{len(odd)} of {len(sizes)} batches had inputs of a standard deviation up to {max(odd):.3g}, not {usual:.3g}."
    )
    return Finding("unstable_gradients", CRITICAL, words, (), {"batches": float(len(odd)), "largest": max(odd)})


def _is_garbage(losses: list[float], totals: list[float], step: int, first: float) -> bool:
    before = slice(max(0, step - 30), step)
    if losses[step] < limit("spike.loss") * first:
        return False  # nearly all: over 500 steps this takes 0.2 ms a verdict, two medians for each 1.3 ms
    ordered = sorted(losses[before])
    usual, usual_total = max(ordered[3 * len(ordered) // 4], first), statistics.median(totals[before])
    is_jump = losses[step] >= limit("spike.loss") * usual and totals[step] >= limit("spike.ratio") * usual_total
    calm, soon = limit("spike.normal") * usual, int(limit("spike.soon"))
    return is_jump and losses[step - 1] <= calm and min(losses[step + 1 : step + 1 + soon], default=math.inf) <= calm


def unstable_gradients(evidence: Evidence) -> Finding | None:
    """Again and again a gradient many times larger than those around it, and than those at the start."""
    found = [_spikes(totals) for totals in evidence.totals.values()]  # of each optimizer
    spikes, steps = max(found, key=lambda each: len(each[0]), default=([], 0))
    if len(spikes) < limit("spike.count") or len(spikes) < limit("spike.share") * steps:
        return None
    worst = max(spikes)
    words = f"{len(spikes)} of {steps} steps had a gradient up to {worst:.0f} times as large as those before."
    is_clipped = all(record.clip_fraction is not None for record in evidence.records[-5:])
    if evidence.has_converged or (evidence.learns and (is_clipped or worst < limit("spike.worst"))):
        return None
    return Finding("unstable_gradients", CRITICAL, words, (), {"spikes": float(len(spikes)), "largest": worst})


def _spikes(totals: list[float]) -> tuple[list[float], int]:
    """(spikes, steps looked at), each spike over the median of the 30 before, and of the 30 after it: it is over soon.

    And of the first ten steps: near convergence most batches have hardly any gradient.
    """
    first = statistics.median([total for total in totals[:10] if math.isfinite(total)] or [0.0])
    finite = [total for total in totals[-SPAN:] if math.isfinite(total)]
    found = []
    for i in range(10, len(finite)):
        usual, after = max(statistics.median(finite[max(0, i - 30) : i]), first), finite[i + 1 : i + 31]
        if not usual or finite[i] < limit("spike.ratio") * usual:
            continue
        if finite[i] >= limit("spike.ratio") * statistics.median(after or [0.0]):
            found.append(finite[i] / usual)
    return found, len(finite)


# ------------------------------------------------------------------------------------------------ loss
def unbounded_loss(evidence: Evidence) -> Finding | None:
    """A cross-entropy below zero, or any loss that runs away below zero: what should be minimised is maximised."""
    first, recent = evidence.first_loss, evidence.recent_loss
    if first is None or recent is None or not recent < 0 or len(evidence.losses) < 5:
        return None
    if evidence.chance is None and -recent < limit("loss.unbounded") * abs(first):
        return None
    why = "no cross-entropy is negative" if evidence.chance else "it falls without bound"
    words = f"The loss has gone from {first:.3g} to {recent:.3g}, and {why}: its sign is flipped."
    return Finding("diverging_loss", CRITICAL, words, (), {"first": first, "recent": recent})


def diverging_loss(evidence: Evidence) -> Finding | None:
    """The loss has grown to a multiple of its smallest, back to where it started or beyond.

    One that started below zero, to twice that above it.
    """
    first, best, recent = evidence.first_loss, evidence.best_loss, evidence.recent_loss
    if first is None or recent is None or first == 0:
        return None
    best = first if best is None else min(best, first)
    start = max(limit("loss.back") * first, -limit("loss.diverged") * first)
    grew = recent >= limit("loss.diverged") * best and recent >= start
    if not grew or recent - best < limit("loss.noise") * evidence.noise or len(evidence.losses) < 5:
        return None
    if evidence.is_back and recent < _peak(evidence.losses) / limit("loss.diverged"):
        return None  # it comes down again: of one net that judges another one the loss may well rise for a while
    words = f"The loss has grown from {best:.3g} to {recent:.3g}; it started at {first:.3g}."
    return Finding("diverging_loss", CRITICAL, words, (), {"first": first, "best": best, "recent": recent})


def _peak(losses: list[float]) -> float:
    """The largest median of five in a row."""
    fives = [losses[i : i + 5] for i in range(0, len(losses) - 4, 5)]
    return max((statistics.median(five) for five in fives if all(map(math.isfinite, five))), default=0.0)


def loss_at_chance(evidence: Evidence) -> Finding | None:
    """The loss stays at that of a guess, though gradients flow and weights move."""
    chance, recent, steps = evidence.chance, evidence.recent_loss, len(evidence.losses)
    if not evidence.is_at_chance or recent is None:
        return None
    if chance is None:
        words = f"After {steps} steps the loss is {recent:.3g}, and the outputs are the same for all inputs: a guess."
        return Finding("loss_at_chance", CRITICAL, words, (), {"loss": recent})
    words = f"After {steps} steps the loss is {recent:.3g}; a guess has {chance:.3g}."
    return Finding("loss_at_chance", CRITICAL, words, (), {"loss": recent, "chance": chance})
