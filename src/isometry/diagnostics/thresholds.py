"""Every number that a rule compares with, and where it comes from: a paper, a tool, a closed form, or the suite.

"training part" means fitted on the training part of `benchmarks/diagnosis`, before its held-out part was scored; each
scoring of the held-out part notes `digest()`, so that a later change shows.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple


class Threshold(NamedTuple):
    """A number, and where it comes from."""

    value: float
    source: str


_SMD = "SageMaker Debugger's rule"
_TDC = "TheDeepChecker (TOSEM 2022)"
_FITTED = "training part"

THRESHOLDS: dict[str, Threshold] = {
    # ------------------------------------------------------------------------------------------ learning
    "loss.recovered": Threshold(0.33, f"share that has to go for what was found to be over: {_FITTED}"),
    "finding.outlasts": Threshold(4.0, f"times the steps at which it was last seen, while the loss is high: {_FITTED}"),
    "loss.learns": Threshold(0.10, f"share of the first loss that has to go: {_FITTED}"),
    "loss.stuck": Threshold(0.05, f"less than this share has gone: {_TDC} wants 5 % in a window"),
    "loss.steps": Threshold(20, "steps before a loss is called stuck: twice SageMaker's LossNotDecreasing"),
    "loss.slow": Threshold(0.5, f"less than this share has gone: strong evidence counts though it falls: {_FITTED}"),
    "loss.converged": Threshold(0.9, f"this share has gone: what is left comes from single samples: {_FITTED}"),
    "loss.diverged": Threshold(2.0, f"times its smallest: {_TDC}"),
    "loss.back": Threshold(0.9, f"of the first loss that a diverging one has come back to: {_FITTED}"),
    "loss.noise": Threshold(3.0, "standard deviations of a single loss that a growth has to exceed"),
    "loss.shock": Threshold(2.0, f"times the very first loss within the first steps: {_FITTED}"),
    "loss.chance": Threshold(0.97, f"of ln K, the loss of a guess among K classes: {_FITTED}"),
    "loss.chance_steps": Threshold(50, f"steps at chance; slow starters learn by then: {_FITTED}"),
    "loss.chance_long": Threshold(90, f"steps of which the best may lie below by chance: {_FITTED}"),
    "loss.chance_most": Threshold(2.0, f"times ln K; what is larger is no guess: {_FITTED}"),
    # ---------------------------------------------------------------------------------------------- depth
    "depth.vanishing_decades": Threshold(-3.0, "AUTOTRAINER's ratio of 1e-3 (ICSE 2021), of ∂L/∂z in place of ∂L/∂W"),
    "depth.stuck_decades": Threshold(-1.7, f"where the loss does not fall; other faults start above -1.2: {_FITTED}"),
    "depth.slow_decades": Threshold(-2.0, f"where less than half of the loss goes; healthy ones go faster: {_FITTED}"),
    "depth.exploding_decades": Threshold(
        2.0, f"{_FITTED}; AUTOTRAINER's ratio is 70 (1.85), 20 layers of BatchNorm and ReLU have 1.21^19 (1.6)"
    ),
    "depth.chance_decades": Threshold(1.0, f"either way, at a guess's loss; of shuffled labels 0.3 at most: {_FITTED}"),
    "depth.quality": Threshold(0.5, f"R² of the slope: {_FITTED}"),
    "depth.forward_decades": Threshold(2.0, f"of z over the trunk: {_FITTED}; {_SMD} takes a variance ratio of 10"),
    "depth.forward_extreme": Threshold(3.0, f"the same where less than half of the loss goes: {_FITTED}"),
    # ----------------------------------------------------------------------------------------------- time
    "time.vanishing_decades": Threshold(-4.0, f"over the sequence: {_FITTED}; a healthy LSTM has -2.1 over 28 steps"),
    "time.extreme_decades": Threshold(-8.0, f"at the start, also where the loss falls slowly: {_FITTED}"),
    "time.least_gain": Threshold(0.3, f"a step, from the start: {_FITTED}; torch's own cells have 0.5 to 0.8"),
    "time.horizon": Threshold(0.25, f"share of the sequence within which it falls tenfold: {_FITTED}"),
    "time.short_decades": Threshold(-3.0, f"over the sequence, where less than half of the loss goes: {_FITTED}"),
    "time.short_horizon": Threshold(0.1, f"share of the sequence within which that falls tenfold: {_FITTED}"),
    "time.exploding_decades": Threshold(2.0, f"over the sequence: {_FITTED}"),
    "time.exploding_gain": Threshold(1.2, f"a step, which is chaos: three times a critical init has 1.4: {_FITTED}"),
    "time.chaotic_gain": Threshold(1.4, "a step: that of a recurrence three times a critical init's size"),
    "time.steep_decades": Threshold(1.0, f"over the sequence, at such a gain: {_FITTED}"),
    # ---------------------------------------------------------------------------------------------- units
    "units.dead": Threshold(0.5, f"share of a layer: {_SMD} and {_TDC}"),
    "units.all_dead": Threshold(0.95, f"share of a layer that counts though the loss falls: {_FITTED}"),
    "units.saturated": Threshold(0.5, f"share of a layer's outputs: {_TDC} and DeepDiagnosis (ICSE 2022)"),
    "units.born_saturated": Threshold(0.85, f"in the first profiles, also where the loss falls: {_FITTED}"),
    "units.spread": Threshold(1e-3, "of equal units is 0, of float32's rounding 1e-7, of random ones 0.9"),
    "units.equal_layers": Threshold(2, f"layers with equal units that count though the loss falls: {_FITTED}"),
    # --------------------------------------------------------------------------------------------- updates
    "update.large": Threshold(0.1, f"median ‖Δw‖/‖w‖: {_TDC}"),
    "update.small": Threshold(1e-4, f"median ‖Δw‖/‖w‖: {_TDC}; a healthy one is 1e-3 (cs231n)"),
    "update.grown": Threshold(5.0, f"times ‖w‖ at first, median of the layers, and nothing is learned: {_FITTED}"),
    "update.small_at_chance": Threshold(
        5e-4, f"the same where the loss is a guess's: {_FITTED}; half of the usual one"
    ),
    "collapse.ratio": Threshold(10.0, f"by which a single step makes the gradient smaller: {_FITTED}"),
    "collapse.steps": Threshold(10, "steps before and after it that are compared: as many as a spike has before it"),
    # ---------------------------------------------------------------------------------------------- steps
    "clip.fraction": Threshold(0.5, f"share of steps that are clipped: {_FITTED}"),
    "clip.coefficient": Threshold(0.1, f"what clipping leaves of them: {_FITTED}"),
    "spike.ratio": Threshold(10.0, f"times the median of the 30 norms before: {_FITTED}"),
    "spike.worst": Threshold(100.0, f"times the median, also where the loss falls: {_FITTED}"),
    "spike.share": Threshold(0.02, f"of all steps: {_FITTED}"),
    "spike.count": Threshold(3, f"spikes at least: {_FITTED}"),
    "spike.often": Threshold(0.05, f"share of all steps, also where the usual ones have converged: {_FITTED}"),
    "spike.loss": Threshold(20.0, f"times the usual loss, on a batch of garbage: {_FITTED}"),
    "spike.normal": Threshold(2.0, f"times the usual loss at most, in the step before and again soon after: {_FITTED}"),
    "spike.soon": Threshold(10, f"steps after it: {_FITTED}"),
    "fp16.underflow": Threshold(0.5, f"share of ∂L/∂z with fewer than three bits left, median of layers: {_FITTED}"),
    "fp16.all": Threshold(0.99, "that share from the first step on: all is lost, also where it is found again later"),
    "fp16.skipped": Threshold(5, f"steps in a row that the scaler skipped: {_FITTED}"),
    # ---------------------------------------------------------------------------------- head and inputs
    "init.off": Threshold(1.1, "factor a layer by theory, of which 1 is right"),
    "init.wild": Threshold(2.0, f"measured factor a layer, or from the last one to the head: {_FITTED}"),
    "head.softmax": Threshold(0.03, "|Σ_k ∂L/∂z_k| behind a softmax is 0 in exact numbers; bfloat16 rounds by 0.004"),
    "head.chance": Threshold(0.2, f"first loss this near to ln K: {_FITTED}"),
    "head.out_of_reach": Threshold(0.2, f"share of a guess's loss; tanh and normal targets have 0.16: {_FITTED}"),
    "head.squashed": Threshold(
        0.35, "of the gradient √(1-1/K)/B that ln K has: a softmax in between leaves 1/K, a sigmoid 1/4"
    ),
    "head.no_softmax": Threshold(0.3, "times a unit's size: a softmax behind another leaves Σ_k ∂L/∂z_k near 0, too"),
    "head.sigmoid": Threshold(0.25, "largest σ': what a sigmoid leaves of a squared error's gradient"),
    "head.sigmoid_least": Threshold(0.1, "σ'(±2), at the start; what is less comes from a loss that is scaled"),
    "head.saturates": Threshold(0.6, f"of the first share that is left: {_FITTED}"),
    "head.flat": Threshold(2.0, "RMS of z, where σ' is 0.1 and less"),
    "head.guess": Threshold(0.3, f"about the squared error (1-1/K)/K of a guess among K classes: {_FITTED}"),
    "head.large_loss": Threshold(4.0, f"first loss over ln K: {_FITTED}; a ResNet-56 of BatchNorms starts at 3.2"),
    "head.large_values": Threshold(20.0, f"first loss over a guess's, of values that make it: {_FITTED}"),
    "head.makes_loss": Threshold(0.9, "elasticity: a squared error that wild outputs make has 2, one of bits has 1"),
    "head.blind": Threshold(
        0.01, f"of the outputs over samples: {_FITTED}; where no guess is told healthy ones end above 0.2"
    ),
    "head.wild": Threshold(10.0, f"RMS of the first outputs, of a loss whose guess is not known: {_FITTED}"),
    "head.shrinks": Threshold(2.0, f"factor by which such outputs become smaller: {_FITTED}"),
    "head.loud": Threshold(4.0, "elasticity of a loss; a squared error that wild outputs make has 2"),
    "head.masked": Threshold(0.2, f"share of exact zeros among the gradients of a sample's outputs: {_FITTED}"),
    "loss.elasticity": Threshold(
        0.4, f"of the outputs' size, from which on they make the loss: {_FITTED}; no healthy one stays above 0.27"
    ),
    "loss.unbounded": Threshold(1000.0, f"times its first size, below zero: {_FITTED}"),
    "input.large_std": Threshold(10.0, f"{_FITTED}"),
    "input.large_output": Threshold(10.0, f"RMS of the last layer's z, where inputs are large: {_FITTED}"),
    "input.small_std": Threshold(0.03, f"{_FITTED}"),
    "batch_norm.samples": Threshold(4, "GroupNorm's paper (Wu & He 2018) loses 10 points of accuracy at 2 samples"),
    "batch_norm.two": Threshold(2, "of two samples nothing but the sign of their difference is left"),
    "no_gradient.share": Threshold(0.5, f"of the weight layers: {_FITTED}"),
}


def limit(name: str) -> float:
    """The value of a threshold."""
    return THRESHOLDS[name].value


def digest() -> str:
    """Of all values."""
    values = {name: threshold.value for name, threshold in sorted(THRESHOLDS.items())}
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
