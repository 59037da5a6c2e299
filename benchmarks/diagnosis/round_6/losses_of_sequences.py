"""Losses and scores of the round's sequences: phones without an alignment, a density, what moves are worth."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

from round_6.tasks_of_sequences import PHONES, WORTH


def phones_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006) of logits `[B, T, 7]`; label 0 is the blank."""
    lengths = torch.full((len(outputs),), outputs.shape[1]), torch.full((len(outputs),), targets.shape[1])
    return F.ctc_loss(outputs.float().log_softmax(dim=2).transpose(0, 1), targets, *lengths)


def phones_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Of what the best answer leaves that is the same everywhere: some share of blanks."""
    constants = [
        phones_loss(task, F.pad(torch.zeros(*outputs.shape[:2], PHONES), (1, 0), value=blank), targets, s)
        for blank in (-1.0, 0.0, 1.0, 2.0, 3.0)
    ]
    return (phones_loss(task, outputs, targets, s) / min(constants)).item()


def density_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """What a normal density of `[B, T, (mean, scale)]` costs; scales are logarithms or, with `op`, sizes over `eps`."""
    mean, told = outputs.float().chunk(2, dim=2)
    scale = told.exp() if s.op == "none" else told.abs() + s.eps
    return (scale.log() + 0.5 * ((targets - mean) / scale).square()).mean()


def density_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    constant = targets.std().log() + 0.5
    return ((density_loss(task, outputs, targets, s) - task.floor) / (constant - task.floor)).item()


def moves_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Q-learning: the door's worth is its reward and what the best door behind it is said to be worth."""
    before, behind = outputs.float().unbind(1)
    said = before.gather(1, targets[:, :1].long())[:, 0]
    return F.smooth_l1_loss(said, targets[:, 1] + WORTH * behind.detach().amax(dim=1))


def moves_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """What is lost by the door that seems best, of what is lost by any door."""
    worth, chosen = targets[:, 2:], outputs[:, 0].argmax(dim=1, keepdim=True)
    best = worth.amax(dim=1)
    return ((best - worth.gather(1, chosen)[:, 0]).mean() / (best - worth.mean(dim=1)).mean()).item()


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "phones": phones_loss, "densities": density_loss, "moves": moves_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "phones": phones_score, "densities": density_score, "moves": moves_score,
}  # fmt: skip
