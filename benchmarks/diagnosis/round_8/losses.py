"""Losses and scores of the round's tasks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

SMOOTH = 0.02  # what bends that differ from their neighbours cost
INSIDE, OUTSIDE, ABSENT = 0.9, 0.1, 0.5  # lengths of a capsule that is there, or is not; what the latter weighs


# --------------------------------------------------------------------------------------------- stitches
def stitches_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Cross-entropy of each point given those before it (van den Oord et al. 2016)."""
    return F.cross_entropy(outputs, targets, label_smoothing=s.smoothing)


def stitches_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """From the true chances to the shares of the colours."""
    shares = torch.bincount(targets.flatten(), minlength=task.outputs) / targets.numel()
    guess = float(-(shares * shares.log()).sum())
    return (F.cross_entropy(outputs, targets).item() - task.floor) / (guess - task.floor)


# ------------------------------------------------------------------------------------------------ warps
def warps_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Squares between the bent picture and the book's, and bends that are to be smooth (Balakrishnan et al. 2019)."""
    picture, bends = outputs[:, 0], outputs[:, 1:]
    rough = bends.diff(dim=2).square().mean() + bends.diff(dim=3).square().mean()
    return F.mse_loss(picture, targets) + SMOOTH * rough


def warps_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Squares that are left, of those of pictures that are not bent at all."""
    still = F.mse_loss(task.inputs[-len(targets) :, 0], targets)
    return (F.mse_loss(outputs[:, 0], targets) / still).item()


# ---------------------------------------------------------------------------------------------- matches
def matches_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """What the plan says of each true pair (Sarlin et al. 2020)."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), label_smoothing=s.smoothing)


def matches_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    return (outputs.argmax(dim=2) != targets).float().mean().item() / (1 - 1 / task.outputs)


# ------------------------------------------------------------------------------------------------ bells
def bells_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Minus the log of a weighed sum of bells (Bishop 1994); `eps` keeps the bells from width 0."""
    weights, means, widths = outputs.float().chunk(3, dim=1)
    away = (targets - means) / (widths.exp() + s.eps)
    told = -0.5 * away.square() - (widths.exp() + s.eps).log() - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(weights.log_softmax(dim=1) + told, dim=1).mean()


def bells_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """From the true density to a histogram that knows nothing of the row."""
    values = targets.flatten()
    shares = torch.histc(values, bins=30)
    shares = shares[shares > 0] / len(values)
    guess = float(-(shares * shares.log()).sum()) + math.log(float(values.max() - values.min()) / 30)
    return (bells_loss(task, outputs, targets, s).item() - task.floor) / (guess - task.floor)


# --------------------------------------------------------------------------------------------- capsules
def capsules_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The true capsule is to be long, the others short (Sabour et al. 2017)."""
    true = F.one_hot(targets, task.outputs).float()
    long, short = (INSIDE - outputs.float()).relu().square(), (outputs.float() - OUTSIDE).relu().square()
    return (true * long + ABSENT * (1 - true) * short).sum(dim=1).mean()


def capsules_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    return (outputs.argmax(dim=1) != targets).float().mean().item() / (1 - 1 / task.outputs)


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "stitches": stitches_loss, "warps": warps_loss, "matches": matches_loss, "bells": bells_loss,
    "capsules": capsules_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "stitches": stitches_score, "warps": warps_score, "matches": matches_score, "bells": bells_score,
    "capsules": capsules_score,
}  # fmt: skip
