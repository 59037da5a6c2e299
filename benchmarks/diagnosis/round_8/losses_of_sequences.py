"""Losses and scores of the round's sequences: voices, spans, rides."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

from round_8.tasks_of_sequences import ride_cost


# ------------------------------------------------------------------------------------------------ voices
def voices_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Minus the scale-invariant ratio of signal to noise, in decibels (Le Roux et al. 2019), of both voices."""
    heard = outputs.float()
    share = (heard * targets).sum(dim=2, keepdim=True) / (targets.square().sum(dim=2, keepdim=True) + s.eps)
    signal = (share * targets).square().sum(dim=2)
    noise = (heard - share * targets).square().sum(dim=2)
    return -10 * torch.log10((signal + s.eps) / (noise + s.eps)).mean()


def voices_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """The share of each voice's energy that is noise, of what it is in the sum of both; where nobody rests."""
    sings = (targets.abs().amax(dim=2) > 0).all(dim=1)
    outputs, targets = outputs[sings], targets[sings]
    return (_noise(outputs, targets) / _noise(targets.sum(dim=1, keepdim=True), targets)).item()


def _noise(heard: Tensor, targets: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(heard, targets, dim=2).square()).mean()


# ------------------------------------------------------------------------------------------------- spans
def spans_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Cross-entropy of the first and of the last place, of logits `[B, T, 2]`."""
    return F.cross_entropy(outputs.float(), targets, label_smoothing=s.smoothing)


def spans_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Share of wrong places, of the share that the most frequent ones would get wrong."""
    wrong = (outputs.argmax(dim=1) != targets).float().mean()
    often = torch.stack([each.bincount().max() for each in targets.unbind(1)]).float().mean() / len(targets)
    return (wrong / (1 - often)).item()


# ------------------------------------------------------------------------------------------------- rides
def rides_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """What a step costs: of states and pushes `[B, T, 4 + 1]`."""
    steps = outputs.float().flatten(0, 1)
    return ride_cost(steps[:, :4], steps[:, 4:]).mean()


def rides_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """How far above a regulator's cost, of how far it is not to push; in logarithms."""
    cost = rides_loss(task, outputs, targets, s).log()
    regulated, fallen = targets.mean(dim=0).log()
    return ((cost - regulated) / (fallen - regulated)).item()


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "voices": voices_loss, "spans": spans_loss, "rides": rides_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "voices": voices_score, "spans": spans_score, "rides": rides_score,
}  # fmt: skip
