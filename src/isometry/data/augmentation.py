"""Augmentation of a whole batch at once, on its device: `augment(images, key, indices) -> images`.

Every random number is a function of (key, sample index), the key of (seed, epoch): what happens to a picture depends
neither on its batch nor on the process that serves it. Images are uint8 `[B, C, H, W]`; what is shifted in is black.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..randomness import uniform

Augmentation = Callable[[Tensor, int, Tensor], Tensor]


def none(images: Tensor, key: int, indices: Tensor) -> Tensor:
    """As they are."""
    return images


def shift(images: Tensor, key: int, indices: Tensor) -> Tensor:
    """Move each image by up to 2 pixels in both directions."""
    return _translate(images, uniform(key, indices, 2), reach=2)


def crop_flip(images: Tensor, key: int, indices: Tensor) -> Tensor:
    """Pad by 4 and crop at random, mirror half of the images (He 2016, §4.2)."""
    draws = uniform(key, indices, 3)
    return _mirror(_translate(images, draws[:, :2], reach=4), draws[:, 2] < 0.5)


def cutout(images: Tensor, key: int, indices: Tensor) -> Tensor:
    """`crop_flip`, then an 8×8 square around a random pixel goes black (DeVries & Taylor 2017)."""
    draws = uniform(key, indices, 5)
    moved = _mirror(_translate(images, draws[:, :2], reach=4), draws[:, 2] < 0.5)
    return _erase(moved, draws[:, 3:], size=8)


def _translate(images: Tensor, draws: Tensor, reach: int) -> Tensor:
    """Shift by `draws` in [0, 1), two for each image, scaled to -reach … reach."""
    if not len(images):
        return images
    batch, channels, height, width = images.shape
    offsets = (draws * (2 * reach + 1)).long()
    padded = F.pad(images, (reach,) * 4)
    # A row of a picture is a window somewhere in all pixels: copied as one, 7 to 11 times faster than pixel by pixel.
    windows = padded.reshape(-1).unfold(0, width, 1)
    planes = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * padded.shape[2]
    rows = torch.arange(height, device=images.device) + offsets[:, :1]
    starts = (planes + rows[:, None, :]) * padded.shape[3] + offsets[:, 1, None, None]
    return windows.index_select(0, starts.flatten()).view_as(images)


def _mirror(images: Tensor, which: Tensor) -> Tensor:
    """Each image or its mirror image, taken whole: 5 times faster than `torch.where`."""
    both = torch.cat((images, images.flip(-1)))
    return both.index_select(0, torch.arange(len(images), device=images.device) + len(images) * which)


def _erase(images: Tensor, draws: Tensor, size: int) -> Tensor:
    """Black out the square of `size` pixels around the pixel drawn; it may reach over the edge."""
    height, width = images.shape[-2:]
    top = (draws[:, 0] * height).long() - size // 2
    left = (draws[:, 1] * width).long() - size // 2
    row = torch.arange(height, device=images.device) - top[:, None]
    column = torch.arange(width, device=images.device) - left[:, None]
    inside = ((row >= 0) & (row < size))[:, None, :, None] & ((column >= 0) & (column < size))[:, None, None, :]
    return images.masked_fill(inside, 0)
