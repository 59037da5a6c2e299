"""Normalisation, each called as `norm(num_channels) -> Module`, for `[B, C]`, `[B, C, T]` and `[B, C, H, W]` alike.

Most compute (x - mean) / √(variance + 1e-5) · weight + bias with a weight and a bias for each channel; they differ in
what the mean runs over: the batch (Ioffe & Szegedy 2015), all channels of one sample (Ba 2016), groups of them (Wu & He
2018). A layer before such a norm needs no bias of its own, hence `Norm.replaces_bias`. The root mean square norm (Zhang
& Sennrich 2019) only divides, by √(mean x² + 1e-5) over all channels of one sample: no mean taken off, no bias added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class Norm:
    """`norm(num_channels)` makes a module; `replaces_bias` says whether it adds a bias of its own."""

    make: Callable[[int], nn.Module]
    replaces_bias: bool = True

    def __call__(self, num_channels: int) -> nn.Module:
        return self.make(num_channels)


class BatchNorm(_BatchNorm):
    """`nn.BatchNorm1d/2d/3d` in one: channels second, any number of further axes, at least 2 values per channel."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"BatchNorm needs [B, C, ...], got {list(input.shape)}")


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` with channels second: the mean runs over all but the batch axis, the weight is one a channel."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(-1, *[1] * (x.dim() - 2))
        return F.rms_norm(x, x.shape[1:], eps=self.eps) * weight


def no_norm() -> Norm:
    return Norm(lambda num_channels: nn.Identity(), replaces_bias=False)


def batch_norm() -> Norm:
    return Norm(BatchNorm)


def layer_norm() -> Norm:
    # One group is layer normalisation over all but the batch axis, with its weights per channel instead of per pixel.
    return Norm(lambda num_channels: nn.GroupNorm(1, num_channels))


def group_norm(groups: int) -> Norm:
    def make(num_channels: int) -> nn.Module:
        if num_channels % groups:
            raise ValueError(
                f"norm.groups must divide the number of channels: got {groups} groups, {num_channels} channels"
            )
        return nn.GroupNorm(groups, num_channels)

    return Norm(make)


def rms_norm() -> Norm:
    return Norm(lambda num_channels: RMSNorm(num_channels, eps=1e-5), replaces_bias=False)
