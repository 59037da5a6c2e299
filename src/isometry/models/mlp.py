"""Dense net of any depth: `depth` hidden layers of `width` units and a dense head. Where theory has closed forms."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..layers.activations import Activation
from ..layers.blocks import dense_block
from ..layers.normalization import Norm


class MLP(nn.Module):
    """Args:
    image_shape: (C, H, W) of the images, flattened.
    num_classes: K.
    norm: Makes the norm after each hidden layer.
    activation: Makes the activation after each norm.
    depth: Number of hidden layers.
    width: Units of each.
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
    ) -> None:
        super().__init__()
        sizes = [math.prod(image_shape), *[width] * depth]
        self.trunk = nn.Sequential(*(dense_block(sizes[i], sizes[i + 1], norm, activation) for i in range(depth)))
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, K]`."""
        logits: Tensor = self.head(self.trunk(images.flatten(1)))
        return logits
