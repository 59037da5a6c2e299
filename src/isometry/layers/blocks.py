"""The blocks the models are stacked from: convolution or dense layer, norm, activation; and the residual block."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .activations import Activation
from .normalization import Norm


def conv_block(in_channels: int, out_channels: int, norm: Norm, activation: Activation, stride: int = 1) -> nn.Module:
    """3×3 convolution → norm → activation. `[B, in, H, W] -> [B, out, H/stride, W/stride]`."""
    conv = _conv3x3(in_channels, out_channels, norm, stride)
    return nn.Sequential(conv, norm(out_channels), activation())


def dense_block(in_features: int, out_features: int, norm: Norm, activation: Activation) -> nn.Module:
    """Dense layer → norm → activation. `[B, in] -> [B, out]`."""
    linear = nn.Linear(in_features, out_features, bias=not norm.replaces_bias)
    return nn.Sequential(linear, norm(out_features), activation())


class ResidualBlock(nn.Module):
    """φ(x + norm(conv(φ(norm(conv x))))) (He 2016, fig. 2), or the same without the `x +`.

    The shortcut is the paper's option A: where the shape changes it takes every second pixel and pads the new channels
    with zeros, so that it has no parameters.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm, activation: Activation, stride: int, shortcut: bool
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, norm, stride)
        self.norm1 = norm(out_channels)
        self.activation1 = activation()
        self.conv2 = _conv3x3(out_channels, out_channels, norm, 1)
        self.norm2 = norm(out_channels)
        self.activation2 = activation()
        self.stride = stride
        self.new_channels = out_channels - in_channels
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in, H, W] -> [B, out, H/stride, W/stride]`."""
        branch = self.norm2(self.conv2(self.activation1(self.norm1(self.conv1(x)))))
        out: Tensor = self.activation2(branch + self._skip(x) if self.shortcut else branch)
        return out

    def _skip(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))


def _conv3x3(in_channels: int, out_channels: int, norm: Norm, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=not norm.replaces_bias)
