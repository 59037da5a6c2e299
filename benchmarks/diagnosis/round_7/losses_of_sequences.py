"""Losses and scores of the round's sequences: chains of tags, deeds and their worth, eruptions, sums, risks, coats."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

from round_7.tasks_of_sequences import ELSEWHERE, WORTH


# ------------------------------------------------------------------------------------------------ strata
def strata_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """What the whole chain of tags costs, by place (Lafferty et al. 2001), of `[B, T, K, K]`; tag 0 lies before it."""
    fits = outputs.float()
    steps = task.outputs * F.pad(targets[:, :-1], (1, 0)) + targets
    told = fits.flatten(2).gather(2, steps[:, :, None]).sum(dim=(1, 2))
    every = fits[:, 0, 0]
    for step in fits[:, 1:].unbind(1):
        every = torch.logsumexp(every[:, :, None] + step, dim=1)
    return ((every.logsumexp(dim=1) - told) / targets.shape[1]).mean()


def strata_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Share of wrong tags of the likeliest chain, of the share that the most frequent tag would get wrong."""
    wrong = (likeliest(outputs) != targets).float().mean()
    often = targets.flatten().bincount().max() / targets.numel()
    return (wrong / (1 - often)).item()


def likeliest(fits: Tensor) -> Tensor:
    """Tags `[B, T]` by Viterbi."""
    best, came_from = fits[:, 0, 0], []
    for step in fits[:, 1:].unbind(1):
        best, before = (best[:, :, None] + step).max(dim=1)
        came_from.append(before)
    path = [best.argmax(dim=1)]
    for before in reversed(came_from):
        path.append(before.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], dim=1)


# ------------------------------------------------------------------------------------------------- deeds
def deeds_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The critic's error by its slow copy, and what the copy hopes of the actor's own deed (Lillicrap et al. 2016)."""
    said, hoped, later = outputs[:, :3].float().unbind(1)
    return F.smooth_l1_loss(said, targets[:, 0] + WORTH * later.detach()) - hoped.mean()


def deeds_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """How far the deeds are from the best ones, of how far the same deed at all times is."""
    best = targets[:, 1:]
    return ((outputs[:, 3:] - best).square().mean() / (best - best.mean(dim=0)).square().mean()).item()


# --------------------------------------------------------------------------------------------- eruptions
def eruptions_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The density of the next log gap, as a mixture of three bells, and the cross-entropy of its mark."""
    (gaps, marks), told = targets.unbind(2), outputs.float()
    weights, means, scales = told[..., :9].chunk(3, dim=2)
    away = (gaps[..., None] - means) * torch.exp(-scales)
    density = torch.logsumexp(weights.log_softmax(dim=2) - scales - 0.5 * away.square(), dim=2)
    return F.cross_entropy(told[..., 9:].flatten(0, 1), marks.flatten().long()) - density.mean()


def eruptions_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Between what is random in both and what one bell and one share for each mark cost."""
    gaps, marks = targets.unbind(2)
    shares = marks.flatten().long().bincount() / marks.numel()
    constant = gaps.std().log().item() + 0.5 - (shares * shares.log()).sum().item()
    return (eruptions_loss(task, outputs, targets, s).item() - task.floor) / (constant - task.floor)


# ------------------------------------------------------------------------------------- sums, risks, coats
def sums_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    return F.smooth_l1_loss(outputs.float(), targets, beta=0.5)


def sums_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    return ((outputs - targets).square().mean() / targets.var()).item()


def risks_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Binary cross-entropy of each risk; `smoothing` draws the truth to a half."""
    truth = targets * (1 - s.smoothing) + 0.5 * s.smoothing
    return F.binary_cross_entropy_with_logits(outputs.float(), truth)


def risks_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Brier's, of what the shares of each risk get."""
    return ((outputs.sigmoid() - targets).square().mean() / (targets - targets.mean(dim=0)).square().mean()).item()


def coats_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    return F.cross_entropy(outputs.float(), targets, ignore_index=ELSEWHERE, label_smoothing=s.smoothing)


def coats_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    asked = targets != ELSEWHERE
    wrong = (outputs.argmax(dim=1) != targets)[asked].float().mean().item()
    return wrong / (1 - 1 / task.outputs)


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "strata": strata_loss, "deeds": deeds_loss, "eruptions": eruptions_loss, "sums": sums_loss, "risks": risks_loss,
    "coats": coats_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "strata": strata_score, "deeds": deeds_score, "eruptions": eruptions_score, "sums": sums_score,
    "risks": risks_score, "coats": coats_score,
}  # fmt: skip
