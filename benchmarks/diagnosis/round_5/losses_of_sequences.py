"""Losses and scores of the round's tasks that have one of their own: normals, spelling, bootstrapped values."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

from round_5.tasks_of_sequences import BUTTONS, DISCOUNT


def normals_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Minus the log of a normal density; op=log: the net tells its variance, by a ReLU, else the log of its spread."""
    mean, told = outputs.unbind(-1)
    missed = (targets.squeeze(-1) - mean).square()
    if s.op == "log":
        variance = told.relu() + s.eps
        return 0.5 * (torch.log(variance) + missed / variance).mean() + 0.5 * math.log(2 * math.pi)
    return (told + 0.5 * missed * torch.exp(-2 * told)).mean() + 0.5 * math.log(2 * math.pi)


def normals_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Of what one normal density for all leaves above the floor."""
    chance = 0.5 * math.log(2 * math.pi * math.e * targets.var().item())
    return (normals_loss(task, outputs, targets, s).item() - task.floor) / (chance - task.floor)


def spelling_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """CTC (Graves et al. 2006), 0 is the blank."""
    logs = F.log_softmax(outputs.float(), dim=2).transpose(0, 1)
    return F.ctc_loss(logs, targets, torch.full((len(targets),), len(logs)), (targets > 0).sum(dim=1))


def spelling_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Symbols that are wrong, missing or too many, of all."""
    best = outputs.argmax(dim=2)
    repeated = F.pad(best[:, 1:] == best[:, :-1], (1, 0))
    told = torch.where(repeated, 0, best).tolist()
    wrong = sum(
        _apart([letter for letter in said if letter], [letter for letter in meant if letter])
        for said, meant in zip(told, targets.tolist(), strict=True)
    )
    return wrong / int((targets > 0).sum())


def _apart(a: list[int], b: list[int]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


def bootstrap_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The value of the button that was pressed, to its reward and the discounted best of what is behind."""
    here, behind = outputs.unbind(1)
    pressed, reward = targets[:, :BUTTONS], targets[:, BUTTONS]
    return F.mse_loss((here * pressed).sum(dim=1), reward + DISCOUNT * behind.amax(dim=1))


def bootstrap_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Of the variance of the true values."""
    truth = targets[:, BUTTONS + 1 :]
    return ((outputs[:, 0] - truth).square().mean() / (truth - truth.mean()).square().mean()).item()


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "normals": normals_loss, "spelling": spelling_loss, "bootstrap": bootstrap_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "normals": normals_score, "spelling": spelling_score, "bootstrap": bootstrap_score,
}  # fmt: skip
