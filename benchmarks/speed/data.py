"""Feeding a network: whole batches from memory against the usual practice, torchvision per sample in a `DataLoader`.

Both crop after padding (MNIST by 2, CIFAR by 4, and mirrored), scale to floats and normalise; batches of 128. The peers
have their images in memory, too, so nobody reads a disk; their workers are started before the clock is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from pairs import Ratio, in_turn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from isometry.data.augmentation import crop_flip, shift
from isometry.data.loader import ImageLoader

BATCH = 128
OURS, THEIRS = 200 * BATCH, 16 * BATCH  # images an epoch: about a second of each
KINDS = {"MNIST": ((1, 28, 28), shift, 2), "CIFAR-10": ((3, 32, 32), crop_flip, 4)}
PEERS = [("v1", 0), ("v1", 2), ("v2", 0), ("v2", 2)]  # torchvision's transforms, workers


class Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision's data sets do it: a PIL picture of a row of an array, through the transforms."""

    def __init__(self, images: Tensor, transform: Callable[[Any], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(to_pil_image(self.images[index])), index % 10


def made(shape: tuple[int, int, int], count: int) -> Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8)


def ours(kind: str) -> Callable[[], float]:
    """Seconds an image."""
    shape, augment, _ = KINDS[kind]
    mean, std = torch.full((shape[0],), 0.5), torch.full((shape[0],), 0.25)
    labels = torch.zeros(OURS, dtype=torch.int64)
    loader = ImageLoader(made(shape, OURS), labels, mean, std, BATCH, order_seed=1, augment=augment)
    return lambda: _seconds(loader) / OURS


def theirs(kind: str, version: str, workers: int) -> Callable[[], float]:
    shape, _, padding = KINDS[kind]
    mirror: list[Any] = [transforms.RandomHorizontalFlip()] if padding == 4 else []
    end = [0.5] * shape[0], [0.25] * shape[0]
    if version == "v1":
        steps = [transforms.RandomCrop(shape[1], padding), *mirror, transforms.ToTensor(), transforms.Normalize(*end)]
        transform: Any = transforms.Compose(steps)
    else:
        mirror = [v2.RandomHorizontalFlip()] if mirror else []
        scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*end)]
        transform = v2.Compose([v2.RandomCrop(shape[1], padding), *mirror, *scale])
    data = Pictures(made(shape, THEIRS), transform)
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: _seconds(loader) / THEIRS


def _seconds(loader: Any) -> float:
    """Of one epoch, from the first batch on: what starts a pass is not fed by it."""
    batches = iter(loader)
    next(batches)
    began = time.perf_counter()
    for _ in batches:
        pass
    return (time.perf_counter() - began) * len(loader) / (len(loader) - 1)


def measure(pairs: int, *, short: bool = False) -> dict[str, Ratio]:
    """Their time over ours."""
    found = {}
    for kind in KINDS:
        for version, workers in PEERS[: 1 if short else None]:
            ratio = in_turn(ours(kind), theirs(kind, version, workers), pairs).inverse()
            found[f"{kind}, {version}, {workers} workers"] = ratio
            print(
                f"{kind}, {version}, {workers} workers: {ratio}, ours {1 / ratio.theirs[-1]:,.0f} images/s", flush=True
            )
    return found


if __name__ == "__main__":
    measure(pairs=5)
