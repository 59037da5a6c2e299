"""Loss and score of the round's task that has one of its own: quantiles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from knobs import Settings
from tasks import Task
from torch import Tensor

QUANTILES = torch.tensor([0.1, 0.5, 0.9])


def quantiles_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The pinball loss: what is missed above costs the quantile, what is missed below the rest."""
    missed = targets - outputs
    return torch.maximum(QUANTILES * missed, (QUANTILES - 1) * missed).mean()


def quantiles_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Of what the best constants leave."""
    constants = torch.quantile(targets.squeeze(1), QUANTILES)[None]
    return (quantiles_loss(task, outputs, targets, s) / quantiles_loss(task, constants, targets, s)).item()


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {"quantiles": quantiles_loss}
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {"quantiles": quantiles_score}
