"""Where Lightning keeps the loss scale of fp16."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor


def loss_scaler(trainer: Trainer) -> Any:
    """The GradScaler of fp16; None otherwise."""
    return getattr(trainer.precision_plugin, "scaler", None)


def loss_scale(trainer: Trainer) -> Tensor | None:
    """What the loss is multiplied by, on the device: asking the scaler for a number would wait for the GPU."""
    scaler = loss_scaler(trainer)
    return None if scaler is None else scaler.scale(torch.ones((), device=trainer.strategy.root_device))
