"""Losses and scores of the round's tasks that have some of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

from round_6.tasks import STEP

AMONG = 50  # views of which one is looked for
TEMPERATURE = 0.1


# ------------------------------------------------------------------------------------------------ found
def found_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The focal loss (Lin et al. 2017): what is easy counts for little; a sum over cells for each thing to be found."""
    belief = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    missed = torch.where(targets > 0.5, 1 - outputs.sigmoid(), outputs.sigmoid())
    return (missed.square() * belief).sum() / targets.sum().clamp(min=1)


def found_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """What is missed by as many of the surest cells as hold something; 1 is missing as much as by chance."""
    truth = targets.flatten()
    surest = outputs.flatten().topk(int(truth.sum())).indices
    return float((1 - truth[surest].mean()) / (1 - truth.mean()))


# --------------------------------------------------------------------------------------------- gaussian
def gaussian_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Minus the log likelihood of a normal distribution, whose mean and log variance are the outputs."""
    mean, spread = outputs[:, :1], outputs[:, 1:]
    return 0.5 * (spread + (targets - mean).square() * torch.exp(-spread)).mean()


def gaussian_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    return ((targets - outputs[:, :1]).square().mean() / targets.var()).item()


# ----------------------------------------------------------------------------------------------- grades
def grades_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """A logit for each "better than this grade" (Cheng et al. 2008)."""
    better = (targets[:, None] > torch.arange(task.outputs)).to(outputs)
    better = better * (1 - s.smoothing) + 0.5 * s.smoothing
    return F.binary_cross_entropy_with_logits(outputs, better)


def grades_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Grades missed by, of what the median grade misses."""
    middle = 0.5 if s.head in ("sigmoid", "softmax") else 0.0
    told = (outputs > middle).sum(dim=1)
    return ((told - targets).abs().float().mean() / (targets.median() - targets).abs().float().mean()).item()


# ------------------------------------------------------------------------------------------------ views
def _likeness(outputs: Tensor) -> Tensor:
    first, second = F.normalize(outputs, dim=2).unbind(1)
    return first @ second.T


def views_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Of all second views in the batch, which one belongs to the first, and the other way (Radford et al. 2021)."""
    logits = s.head_gain / TEMPERATURE * _likeness(outputs)
    own = torch.arange(len(outputs))
    first = F.cross_entropy(logits, own, label_smoothing=s.smoothing)
    return 0.5 * (first + F.cross_entropy(logits.T, own, label_smoothing=s.smoothing))


def views_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """One view missed among 50, of what is missed by chance."""
    groups = torch.split(outputs, AMONG)
    missed = [(_likeness(some).argmax(dim=1) != torch.arange(len(some))).float().mean() for some in groups]
    return float(torch.stack(missed).mean()) / (1 - 1 / AMONG)


# -------------------------------------------------------------------------------------------------- law
def law_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """What is left of the law inside (Raissi et al. 2019, by differences), and of the values on the frame."""
    values = outputs.squeeze(2)
    load, frame, on_frame, _ = targets.unbind(1)
    bent = (4 * values[:, 0] - values[:, 1:].sum(dim=1)) / STEP**2
    return (0.02 * (bent - load).square() + 2 * on_frame * (values[:, 0] - frame).square()).mean()


def law_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    truth = targets[:, 3]
    return ((outputs[:, 0, 0] - truth).square().mean() / truth.var()).item()


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "found": found_loss, "gaussian": gaussian_loss, "ranks": grades_loss, "views": views_loss, "residual": law_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "found": found_score, "gaussian": gaussian_score, "ranks": grades_score, "views": views_score,
    "residual": law_score,
}  # fmt: skip
