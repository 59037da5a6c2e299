"""The blocks the models are stacked from: convolution or dense layer, norm, activation; and the residual blocks.

A residual block's gradient reaches its input over the shortcut, undiminished, whatever the branch does. The forms
differ in what stands on the shortcut, in the order within the branch, and in how loud the branch is at the start:

| block              | computes                                        | at the start                              |
|--------------------|-------------------------------------------------|-------------------------------------------|
| ResidualBlock      | φ(x + α · norm(conv φ(norm(conv x))))           | as loud as the norm makes it              |
|   zero_gamma       |                                                 | the last norm's γ = 0: φ(x) (Goyal 2017)  |
|   rezero           | α is learned                                    | α = 0: φ(x) (Bachlechner 2020)            |
| PreactivationBlock | x + α · conv φ(norm(conv φ(norm x)))            | (He 2016, "Identity Mappings"); rezero: x |
| FixupBlock         | φ(x + a · conv(φ(conv(x + b₁) + b₂) + b₃) + b₄) | last weights 0: φ(x) (Zhang 2019)         |

After a ReLU φ(x) is x, so a net of such blocks starts as the identity, however deep.
"""

from __future__ import annotations

import torch
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


# ------------------------------------------------------------------------------------------- shortcuts
class PaddedShortcut(nn.Module):
    """The paper's option A: every stride-th pixel, new channels filled with zeros half on each side; no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in, H, W] -> [B, out, H/stride, W/stride]`."""
        if self.stride == 1 and self.new_channels == 0:
            return x
        before = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))


def _shortcut(kind: str, in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module | None:
    """`projection` is the paper's option B: a 1×1 convolution and a norm where the shape changes."""
    if kind == "none":
        return None
    if kind == "projection" and (stride > 1 or in_channels != out_channels):
        conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=not norm.replaces_bias)
        return nn.Sequential(conv, norm(out_channels))
    return PaddedShortcut(in_channels, out_channels, stride)


# ---------------------------------------------------------------------------------------------- blocks
class ResidualBlock(nn.Module):
    """φ(shortcut(x) + branch(x)) (He 2016, fig. 2). `[B, in, H, W] -> [B, out, H/stride, W/stride]`.

    Args:
        in_channels, out_channels, norm, activation, stride: Of the two convolutions.
        shortcut: "identity", "projection" or "none", which leaves the branch alone.
        zero_gamma: Whether the weight of the last norm starts at 0.
        rezero: Whether the branch is multiplied by a learned number that starts at 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm,
        activation: Activation,
        stride: int,
        *,
        shortcut: str,
        zero_gamma: bool = False,
        rezero: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, norm, stride)
        self.norm1 = norm(out_channels)
        self.activation1 = activation()
        self.conv2 = _conv3x3(out_channels, out_channels, norm, 1)
        self.norm2 = norm(out_channels)
        self.activation2 = activation()
        self.shortcut = _shortcut(shortcut, in_channels, out_channels, stride, norm)
        self.alpha = nn.Parameter(torch.zeros(1)) if rezero else None
        self.zero_gamma = zero_gamma
        if zero_gamma and not isinstance(getattr(self.norm2, "weight", None), Tensor):
            raise ValueError(f"zero_gamma needs a norm with a weight, got {type(self.norm2).__name__}")

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm2(self.conv2(self.activation1(self.norm1(self.conv1(x)))))
        out: Tensor = self.activation2(_add(self.shortcut, x, branch, self.alpha))
        return out

    def adjust_initialization(self, rng: torch.Generator) -> dict[str, str]:
        if not self.zero_gamma:
            return {}
        nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]
        return {"norm2.weight": "zero"}


class PreactivationBlock(nn.Module):
    """shortcut(x) + branch(x), norm and activation before each convolution. Arguments as of `ResidualBlock`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm,
        activation: Activation,
        stride: int,
        *,
        shortcut: str,
        rezero: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.activation1 = activation()
        self.conv1 = _conv3x3(in_channels, out_channels, norm, stride)
        self.norm2 = norm(out_channels)
        self.activation2 = activation()
        self.conv2 = _conv3x3(out_channels, out_channels, norm, 1)
        self.shortcut = _shortcut(shortcut, in_channels, out_channels, stride, norm)
        self.alpha = nn.Parameter(torch.zeros(1)) if rezero else None

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(self.activation2(self.norm2(self.conv1(self.activation1(self.norm1(x))))))
        return _add(self.shortcut, x, branch, self.alpha)


class FixupBlock(nn.Module):
    """A residual block without norm that starts as the identity; the paper trains 10,000 layers of them (Zhang 2019).

    Scalars do a norm's work, a bias before each convolution and activation and a factor for the branch. With L blocks
    of m = 2 convolutions the first one's weights are multiplied by L^(-1/(2m-2)) = L^(-1/2), the last one's are 0, so
    that a step of SGD changes the output by as much as in one layer. The scalars learn at a tenth of the rate
    (`training/optimizers.py`): without that a 20-layer net was dead after one epoch of digits.

    Args:
        in_channels, out_channels, activation, stride, shortcut: As of `ResidualBlock`, but never "none".
        num_blocks: L, of the whole net.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm,
        activation: Activation,
        stride: int,
        *,
        shortcut: str,
        num_blocks: int,
    ) -> None:
        super().__init__()
        if norm.replaces_bias or not isinstance(norm(out_channels), nn.Identity):
            raise ValueError("fixup replaces the norm: it needs norm=none")
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.activation1 = activation()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.activation2 = activation()
        self.scalar_biases = nn.Parameter(torch.zeros(4))  # before conv1, activation1, conv2 and the addition
        self.scalar_scale = nn.Parameter(torch.ones(1))
        self.shortcut = _shortcut(shortcut, in_channels, out_channels, stride, norm)
        self.num_blocks = num_blocks

    def forward(self, x: Tensor) -> Tensor:
        b1, b2, b3, b4 = self.scalar_biases
        branch = self.conv2(self.activation1(self.conv1(x + b1) + b2) + b3) * self.scalar_scale + b4
        out: Tensor = self.activation2(_add(self.shortcut, x, branch))
        return out

    def adjust_initialization(self, rng: torch.Generator) -> dict[str, str]:
        factor = self.num_blocks**-0.5
        self.conv1.weight.mul_(factor)
        nn.init.zeros_(self.conv2.weight)
        return {"conv1.weight": f"{{}} × {factor:.3g} (Fixup)", "conv2.weight": "zero (Fixup)"}


def _add(shortcut: nn.Module | None, x: Tensor, branch: Tensor, alpha: Tensor | None = None) -> Tensor:
    if alpha is not None:
        branch = alpha * branch
    return branch if shortcut is None else branch + shortcut(x)


def _conv3x3(in_channels: int, out_channels: int, norm: Norm, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=not norm.replaces_bias)
