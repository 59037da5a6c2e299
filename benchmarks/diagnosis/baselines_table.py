"""The published detectors' thresholds, each with its source, and what their alarms mean in our words.

A statistic that has a threshold of its own per unit (1 %, ρ_B > 0.85 …) got it where it was measured, in
`statistics_published`.
"""

from __future__ import annotations

# --------------------------------------------------------------------------------------- thresholds
# SageMaker Debugger: AWS developer guide, "List of Debugger built-in rules", defaults.
SM_VANISHING = 1e-7  # VanishingGradient: mean |gradient| of a layer below
SM_UPDATE = (1e-8, 10.0)  # WeightUpdateRatio: ‖Δw‖/(‖w‖ + ε) outside
SM_UPDATE_EPSILON = 1e-9
SM_VARIANCE_RATIO = 10.0  # PoorWeightInitialization: largest variance of activation inputs over the smallest, above
SM_GRADIENT_RANGE = 1e-3  # … or gradient p95 - p5 below
SM_INIT_PATIENCE = 5  # … or no smaller loss for so many steps
SM_INIT_STEPS = 10  # … within so many first steps
SM_UNITS = 0.5  # DeadRelu, SaturatedActivation: share of such units above; the units' own 1 % and ranges are measured
SM_LOSS_STEPS = 10  # LossNotDecreasing: not below the loss of so many steps before
# AUTOTRAINER: Zhang et al., ICSE 2021, and its artefact's default parameters.
AT_RATIO = (1e-3, 70.0)  # β1, β3: first over last layer's gradient norm; vanishing below, exploding above
AT_FIRST = 1e-4  # β2: and the first layer's norm below
AT_ZEROS = 0.7  # γ: share of exactly zero gradient elements, dying ReLU from
AT_SWING = 0.03  # ζ: a peak above a trough by
AT_SWINGS = 0.2  # η: oscillating from so many swings a check
AT_SLOW = 0.01  # δ: slow convergence below
AT_TARGET = 0.7  # Θ: accuracy that a good training reaches
AT_JUDGED = 0.3  # share of the training before the first verdict
AT_LOSS = 1e3  # counts as NaN from
# DeepDiagnosis: Wardat et al., ICSE 2022, and its artefact.
DD_DEAD = 0.7  # share of outputs <= 0 of a ReLU, from
DD_SATURATED = 0.5  # share of inputs of a tanh or sigmoid beyond ±5, above
DD_VANISHING = 1e-7  # mean |gradient| below
DD_VARIANCE = (1e-5, 10.0)  # of weights, outside: the cause of what was seen
DD_RATE = (1e-5, 0.1)  # lr‖g‖/‖w‖ outside: the cause of what was seen
DD_EVERY = 5  # checks from one look at saturation and at an unchanging loss to the next
# TheDeepChecker: Ben Braiek and Khomh, TOSEM 2022, and its default settings.
TDC_UNITS = 0.5  # share of dead or saturated units above; |act| < 1e-5 at p95 and ρ_B > 0.85 are measured
TDC_STD = (0.5, 2.0)  # of activations, outside
TDC_GRADIENT = (1e-6, 1e6)  # mean |gradient| outside
TDC_GROWTH = (0.5, 2.0)  # its factor a check over the window: vanishing below, exploding from
TDC_UPDATE = (-4.0, -1.0)  # log10 mean|Δw|/mean|w| outside
TDC_SMALL = 0.95  # share of weights below 1e-5, above
TDC_FALL = 0.05  # share that the loss must lose over the window
TDC_DIVERGING = 2.0  # times the smallest loss of the window, from
TDC_FLUCTUATING = (50, 0.5)  # checks, share of them with a change of the loss's direction above
TDC_WINDOW = 5  # checks, also of the patience: in a row
TDC_PERIOD = 10  # steps from one check to the next
TDC_NO_VARIANCE = 1e-12  # of initial weights: symmetric below
# Global norm: a rule of thumb; above 10 is NeuroScope's.
GLOBAL_NORM = (1e-4, 10.0)

# ------------------------------------------------------------------------------------------ meanings
_VANISHING = ("vanishing_gradients", "vanishing_through_time", "no_gradient", "fp16_underflow")
_EXPLODING = ("exploding_gradients", "exploding_through_time", "unstable_gradients")
_NONFINITE = ("non_finite", "exploding_gradients", "exploding_through_time", "diverging_loss", "update_too_large")
_NO_PROGRESS = ("loss_at_chance", "update_too_small")
# Our names for each kind of alarm, all that it could mean: any of them counts as the right fault named.
MEANINGS: dict[str, tuple[str, ...]] = {
    "VanishingGradient": _VANISHING,
    "ExplodingTensor": _NONFINITE,
    "PoorWeightInitialization": ("bad_init_scale", "symmetric_init"),
    "WeightUpdateRatio large": ("update_too_large",),
    "WeightUpdateRatio small": ("update_too_small", "no_gradient"),
    "DeadRelu": ("dead_units",),
    "SaturatedActivation": ("saturated_units",),
    "LossNotDecreasing": (*_NO_PROGRESS, "diverging_loss"),
    "gradient vanish": _VANISHING,
    "gradient explode": (*_EXPLODING, "non_finite", "diverging_loss"),
    "dying ReLU": ("dead_units", "no_gradient"),
    "oscillating loss": ("unstable_gradients", "update_too_large"),
    "slow convergence": _NO_PROGRESS,
    "numerical error": (*_NONFINITE, "no_gradient", "symmetric_init"),
    "dead node": ("dead_units",),
    "saturated activation": ("saturated_units",),
    "vanishing gradient": _VANISHING,
    "loss not changing": _NO_PROGRESS,
    "poor weight": ("bad_init_scale", "symmetric_init"),
    "learning rate": ("update_too_large", "update_too_small"),
    "non-finite": _NONFINITE,
    "dead layer": ("dead_units",),
    "saturated layer": ("saturated_units",),
    "activations out of range": ("bad_init_scale", "bad_input_scale"),
    "vanishing": _VANISHING,
    "exploding": _EXPLODING,
    "large updates": ("update_too_large",),
    "small updates": ("update_too_small", "no_gradient"),
    "dead weights": ("symmetric_init", "bad_init_scale"),
    "symmetric weights": ("symmetric_init",),
    "loss not falling": _NO_PROGRESS,
    "diverging loss": ("diverging_loss", "update_too_large"),
    "fluctuating loss": ("unstable_gradients", "update_too_large"),
    "global norm small": _VANISHING,
    "global norm large": (*_EXPLODING, "non_finite", "diverging_loss"),
}
