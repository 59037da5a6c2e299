"""Losses and scores of the round's tasks that have their own: a mean and its spread, grades in order, a law."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor


def spread_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Gauss's, of a mean and the logarithm of a variance."""
    mean, variance = outputs.chunk(2, dim=1)
    missed = (targets - mean).square()
    return 0.5 * (variance + missed * (-variance).exp()).mean() + 0.5 * math.log(2 * math.pi)


def spread_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """From the true spreads to one normal distribution for all."""
    alike = 0.5 * math.log(2 * math.pi * math.e * targets.var().item())
    return (spread_loss(task, outputs, targets, s).item() - task.floor) / (alike - task.floor)


def grades_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Binary cross-entropy of each level (Niu et al., 2016)."""
    return F.binary_cross_entropy_with_logits(outputs, targets * (1 - s.smoothing) + 0.5 * s.smoothing)


def grades_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """By how many grades one is off, of what the median leaves."""
    threshold = 0.5 if s.head == "sigmoid" else 0.0
    found, true = (outputs > threshold).sum(dim=1).float(), targets.sum(dim=1)
    return ((found - true).abs().mean() / (true.median() - true).abs().mean()).item()


def law_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """What is left of the equation: the solution itself is not shown."""
    return F.mse_loss(outputs[:, 1], targets[:, 0])


def law_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Of the solution."""
    return (F.mse_loss(outputs[:, 0], targets[:, 1]) / targets[:, 1].var()).item()


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "spread": spread_loss, "grades": grades_loss, "law": law_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "spread": spread_score, "grades": grades_score, "law": law_score,
}  # fmt: skip
