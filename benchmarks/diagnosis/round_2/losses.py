"""Losses and scores of the round's tasks: pairs, two tasks at once, pictures through a drawn code."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

TEMPERATURE = 0.2


def pairs_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """InfoNCE: which of the batch's second views belongs to the first one? At chance ln B."""
    first, second = F.normalize(outputs, dim=2).unbind(1)
    return F.cross_entropy(first @ second.T / TEMPERATURE, torch.arange(len(first)))


def pairs_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """How often a digit of another class is as near as one of the same; 1: as often as not."""
    first, second = F.normalize(outputs, dim=2).unbind(1)
    near = first @ second.T
    rivals, stranger = near.roll(1, dims=1).diagonal(), targets != targets.roll(1)
    own = near.diagonal()
    wrong = (rivals > own).float() + 0.5 * (rivals == own).float()
    return wrong[stranger].mean().item() / 0.5


def both_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    labels, values = targets[:, 0].long(), targets[:, 1]
    named = F.cross_entropy(outputs[:, :-1], labels, label_smoothing=s.smoothing)
    return named + F.mse_loss(outputs[:, -1], values)


def both_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """The mean of both tasks' own."""
    error = (outputs[:, :-1].argmax(dim=1) != targets[:, 0].long()).float().mean().item()
    values = targets[:, 1]
    squares = (outputs[:, -1] - values).square().mean() / (values - values.mean()).square().mean()
    return (error / 0.9 + min(squares.item(), 1.0)) / 2


def code_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The bound of a variational autoencoder, in nats a picture."""
    pictures, mean, log_variance = _split(task, outputs)
    drawn = F.binary_cross_entropy_with_logits(pictures, targets, reduction="sum")
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
    return (drawn + divergence) / len(targets)


def code_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    squares = (_split(task, outputs)[0].sigmoid() - targets).square().mean()
    return (squares / (targets - targets.mean(0)).square().mean()).item()


def _split(task: Task, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pictures, code = outputs[:, : task.outputs], outputs[:, task.outputs :]
    mean, log_variance = code.chunk(2, dim=1)
    return pictures, mean, log_variance


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "pairs": pairs_loss, "both": both_loss, "code": code_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "pairs": pairs_score, "both": both_score, "code": code_score,
}  # fmt: skip
