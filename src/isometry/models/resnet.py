"""CIFAR ResNet with 6n+2 layers (He et al. 2016, "Deep Residual Learning", §4.2).

One convolution, three stages of n residual blocks with 16, 32, 64 channels, the mean over space, a dense head.
Parameters on CIFAR-10, which a test recounts (the paper's table 6):

| depth | n  | parameters |
|-------|----|------------|
| 20    | 3  | 0.27M      |
| 32    | 5  | 0.46M      |
| 44    | 7  | 0.66M      |
| 56    | 9  | 0.85M      |
| 110   | 18 | 1.7M       |

`shortcut="none"` is the paper's plain twin: the same layers without the additions. `layers/blocks.py` has the forms of
the block; ResNet-1202 (19.4M parameters) builds and steps, and so do far deeper ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..layers.activations import Activation
from ..layers.blocks import FixupBlock, PreactivationBlock, ResidualBlock, conv_block
from ..layers.normalization import Norm


class ResNet(nn.Module):
    """Args:
    image_shape: (C, H, W) of the images.
    num_classes: K.
    norm: Makes the norm after each convolution.
    activation: Makes the activations.
    depth: 6n+2 weight layers.
    width: Channels of the first stage.
    shortcut: "identity", "projection" or "none".
    preactivation: Whether norm and activation come before the convolutions.
    zero_gamma: Whether the last norm of each block starts at weight 0.
    residual: "standard", "rezero" or "fixup".
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        norm: Norm,
        activation: Activation,
        *,
        depth: int,
        width: int,
        shortcut: str,
        preactivation: bool,
        zero_gamma: bool,
        residual: str,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a CIFAR ResNet has 6n+2 layers (8, 14, 20 …), got depth={depth}")
        blocks_per_stage = (depth - 2) // 6
        make: Callable[..., nn.Module] = partial(ResidualBlock, zero_gamma=zero_gamma, rezero=residual == "rezero")
        if preactivation:
            make = partial(PreactivationBlock, rezero=residual == "rezero")
        if residual == "fixup":
            make = partial(FixupBlock, num_blocks=3 * blocks_per_stage)
        self.stem = conv_block(image_shape[0], width, norm, activation)
        channels, blocks = width, []
        for stage in range(3):
            for index in range(blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                out_channels = width * 2**stage
                blocks.append(make(channels, out_channels, norm, activation, stride, shortcut=shortcut))
                channels = out_channels
        self.trunk = nn.Sequential(*blocks)
        self.top = nn.Sequential(norm(channels), activation()) if preactivation else nn.Identity()
        self.head = nn.Linear(channels, num_classes)
        self.zero_head = residual == "fixup"

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, K]`."""
        logits: Tensor = self.head(self.top(self.trunk(self.stem(images))).mean(dim=(2, 3)))
        return logits

    def adjust_initialization(self, rng: torch.Generator) -> dict[str, str]:
        if not self.zero_head:
            return {}
        nn.init.zeros_(self.head.weight)
        return {"head.weight": "zero (Fixup)"}
