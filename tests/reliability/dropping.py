"""An activation with dropout behind it, as a user's own would be: `activation=dropping:relu`."""

from __future__ import annotations

from torch import nn


def relu() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Dropout(0.2))


relu.gain = 2**0.5  # type: ignore[attr-defined]
