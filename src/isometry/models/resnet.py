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

`shortcut="none"` is the paper's plain twin: the same layers without the additions.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..layers.activations import Activation
from ..layers.blocks import ResidualBlock, conv_block
from ..layers.normalization import Norm


class ResNet(nn.Module):
    """Args:
    image_shape: (C, H, W) of the images.
    num_classes: K.
    norm: Makes the norm after each convolution.
    activation: Makes the activations.
    depth: 6n+2 weight layers.
    width: Channels of the first stage.
    shortcut: "identity" or "none".
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
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a CIFAR ResNet has 6n+2 layers (8, 14, 20 …), got depth={depth}")
        blocks_per_stage = (depth - 2) // 6
        self.stem = conv_block(image_shape[0], width, norm, activation)
        channels, blocks = width, []
        for stage in range(3):
            for index in range(blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                out_channels = width * 2**stage
                skip = shortcut == "identity"
                blocks.append(ResidualBlock(channels, out_channels, norm, activation, stride, skip))
                channels = out_channels
        self.trunk = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, K]`."""
        logits: Tensor = self.head(self.trunk(self.stem(images)).mean(dim=(2, 3)))
        return logits
