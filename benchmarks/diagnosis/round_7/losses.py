"""Losses and scores of the round's tasks that have some of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

MARGIN, SCALE = 0.2, 12.0
REDUNDANCY = 0.05  # what a square off the diagonal counts


# ------------------------------------------------------------------------------------------------ exits
def exits_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Each exit's cross-entropy, alike."""
    each = targets[:, None].expand(-1, outputs.shape[2])
    return F.cross_entropy(outputs, each, label_smoothing=s.smoothing)


def exits_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Errors of the last exit, of a guess's."""
    return (outputs[:, :, -1].argmax(dim=1) != targets).float().mean().item() / (1 - 1 / task.outputs)


# -------------------------------------------------------------------------------------------- quantised
def quantised_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The pixels' cross-entropy, and how far the book and the encoder are apart."""
    pixels, apart = outputs[:, :-1], outputs[:, -1]
    return F.binary_cross_entropy_with_logits(pixels, targets.flatten(1)) + apart.mean()


def quantised_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Squares that are left, of those that the mean picture leaves."""
    pixels = outputs[:, :-1] if s.head == "sigmoid" else outputs[:, :-1].sigmoid()
    truth = targets.flatten(1)
    return ((pixels - truth).square().mean() / (truth - truth.mean(0)).square().mean()).item()


# --------------------------------------------------------------------------------------------- survival
def survival_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Minus the partial log likelihood (Cox 1972): who failed then, of all that were still at risk."""
    days, failed = targets[:, 0], targets[:, 1]
    latest = days.argsort(descending=True)
    risk = outputs.float()[latest, 0]
    told = risk - risk.logcumsumexp(dim=0)
    return -(told * failed[latest]).sum() / failed.sum().clamp(min=1)


def survival_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Pairs in the wrong order, from those of the true hazard to those of a guess."""
    floor = _discordance(targets[:, 2], targets)
    return (_discordance(outputs[:, 0], targets) - floor) / (0.5 - floor)


def _discordance(risk: Tensor, targets: Tensor) -> float:
    days, failed = targets[:, 0], targets[:, 1]
    is_known = (days[:, None] < days[None, :]) & (failed[:, None] > 0.5)
    less, equal = risk[:, None] < risk[None, :], risk[:, None] == risk[None, :]
    return ((less.float() + 0.5 * equal.float())[is_known]).mean().item()


# ----------------------------------------------------------------------------------------------- angles
def angles_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Cross-entropy of scaled cosines, the true class's angle larger by a margin (ArcFace, Deng et al. 2019)."""
    cosines = outputs.float().clamp(-0.999, 0.999)
    true = F.one_hot(targets, task.outputs).bool()
    logits = s.head_gain * SCALE * torch.where(true, torch.cos(cosines.acos() + MARGIN), cosines)
    return F.cross_entropy(logits, targets, label_smoothing=s.smoothing)


def angles_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    return (outputs.argmax(dim=1) != targets).float().mean().item() / (1 - 1 / task.outputs)


# -------------------------------------------------------------------------------------------- redundant
def redundant_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Correlations of two views over the batch are to be 1 with themselves, 0 else (Zbontar et al. 2021)."""
    first, second = outputs.float().unbind(1)
    both = _standard(first, s.eps).T @ _standard(second, s.eps) / len(first)
    own = both.diagonal()
    across = both.square().sum() - own.square().sum()
    return (1 - own).square().sum() + REDUNDANCY * across


def _standard(values: Tensor, eps: float) -> Tensor:
    return (values - values.mean(dim=0)) / (values.std(dim=0, correction=0) + eps)


def redundant_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """What a linear map, fitted to the first half of the rows, leaves of the targets of the second half."""
    seen = F.pad(_standard(outputs[:, 0].double(), 1e-6), (0, 1), value=1.0)
    truth, half = targets.double(), len(targets) // 2
    known = seen[:half]
    map_ = torch.linalg.solve(known.T @ known + 0.1 * torch.eye(known.shape[1]).double(), known.T @ truth[:half])
    left = (seen[half:] @ map_ - truth[half:]).square().mean()
    return (left / (truth[half:] - truth[:half].mean(0)).square().mean()).item()


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "exits": exits_loss, "quantised": quantised_loss, "survival": survival_loss, "angles": angles_loss,
    "redundant": redundant_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "exits": exits_score, "quantised": quantised_score, "survival": survival_score, "angles": angles_score,
    "redundant": redundant_score,
}  # fmt: skip
