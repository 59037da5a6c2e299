"""Activations as a user's own would be: one with dropout, `dropping:relu`, and one that fails, `dropping:Rare`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def relu() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Dropout(0.2))


relu.gain = 2**0.5  # type: ignore[attr-defined]


class Rare(nn.ReLU):
    """In training, NaN in one call of sixteen, drawn from the batch's own randomness."""

    gain = 2**0.5

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * torch.nan if self.training and torch.rand(()) < 1 / 16 else x)
