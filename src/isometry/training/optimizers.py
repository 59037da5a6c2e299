"""Optimizers and learning-rate schedules.

`optimizer(named_parameters, **options) -> Optimizer`, with one parameter group for weights, which decay, and one for
norms and biases, which do not (decaying a scale of 1 towards 0 shrinks every gradient below it).
`schedule(optimizer, total_steps, **options) -> [lr_scheduler config]` in Lightning's form. `total_steps` comes from the
data and the Trainer's limits, never from `trainer.estimated_stepping_batches`, which makes Lightning drop loader state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

NamedParameters = Iterable[tuple[str, nn.Parameter]]


def parameter_groups(named_parameters: NamedParameters, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Three groups: `weights` (two axes or more), `norms_and_biases`, and `scalars`; empty ones are left out.

    Scalars are Fixup's, called `scalar_…`: one number for a whole layer, whose gradient is a sum over all its units and
    places. They get a tenth of the rate (Zhang 2019): at the full one the nets die.
    """
    groups: list[dict[str, Any]] = [
        {"name": "weights", "params": [], "lr": lr, "weight_decay": weight_decay},
        {"name": "norms_and_biases", "params": [], "lr": lr, "weight_decay": 0.0},
        {"name": "scalars", "params": [], "lr": lr / 10, "weight_decay": 0.0},
    ]
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            is_scalar = name.rpartition(".")[2].startswith("scalar_")
            groups[2 if is_scalar else 0 if parameter.dim() >= 2 else 1]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def adamw(named: NamedParameters, *, lr: float, weight_decay: float, beta1: float, beta2: float) -> Optimizer:
    return AdamW(parameter_groups(named, lr, weight_decay), betas=(beta1, beta2))


def adam(named: NamedParameters, *, lr: float, weight_decay: float, beta1: float, beta2: float) -> Optimizer:
    return Adam(parameter_groups(named, lr, weight_decay), betas=(beta1, beta2))


def sgd(named: NamedParameters, *, lr: float, weight_decay: float, momentum: float) -> Optimizer:
    return SGD(parameter_groups(named, lr, weight_decay), momentum=momentum, nesterov=momentum > 0)


def rmsprop(named: NamedParameters, *, lr: float, weight_decay: float, momentum: float, smoothing: float) -> Optimizer:
    return RMSprop(parameter_groups(named, lr, weight_decay), momentum=momentum, alpha=smoothing)


# ------------------------------------------------------------------------------------------- schedules
Factor = Callable[[int], float]


def constant(optimizer: Optimizer, total_steps: int, *, warmup: float) -> list[dict[str, Any]]:
    return _each_step(optimizer, lambda step: _warmup(step, warmup * total_steps))


def cosine(optimizer: Optimizer, total_steps: int, *, warmup: float) -> list[dict[str, Any]]:
    start = warmup * total_steps
    return _each_step(optimizer, lambda step: _warmup(step, start) * _half_cosine(step, start, total_steps))


def onecycle(optimizer: Optimizer, total_steps: int, *, warmup: float) -> list[dict[str, Any]]:
    peak, low = warmup * total_steps, 1 / 25

    def factor(step: int) -> float:
        rising = low + (1 - low) * (1 - _half_cosine(step, 0, peak)) if step < peak else 1.0
        return rising * _half_cosine(step, peak, total_steps)

    return _each_step(optimizer, factor)


def step(
    optimizer: Optimizer, total_steps: int, *, warmup: float, milestones: Sequence[float], factor: float
) -> list[dict[str, Any]]:
    def at(step: int) -> float:
        passed = sum(step >= milestone * total_steps for milestone in milestones)
        return float(_warmup(step, warmup * total_steps) * factor**passed)

    return _each_step(optimizer, at)


def plateau(
    optimizer: Optimizer, total_steps: int, *, warmup: float, factor: float, patience: int
) -> list[dict[str, Any]]:
    schedulers: list[dict[str, Any]] = []
    if warmup * total_steps >= 1:
        rising = LinearLR(optimizer, start_factor=1e-3, total_iters=round(warmup * total_steps))
        schedulers.append({"scheduler": rising, "interval": "step"})
    falling = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    return [*schedulers, {"scheduler": falling, "interval": "epoch", "monitor": "val/loss"}]


def _each_step(optimizer: Optimizer, factor: Factor) -> list[dict[str, Any]]:
    return [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]


def _warmup(step: int, steps: float) -> float:
    """Linear from 1/steps to 1: the first step moves, too."""
    return min(1.0, (step + 1) / steps) if steps > 0 else 1.0


def _half_cosine(step: float, start: float, end: float) -> float:
    """1 until `start`, then half a cosine to 0 at `end`."""
    progress = min(max((step - start) / max(end - start, 1), 0.0), 1.0)
    return (1 + math.cos(math.pi * progress)) / 2
