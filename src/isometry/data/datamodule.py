"""The LightningDataModule over images in memory; one with `DataLoader`s is what a fork with big data writes instead."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DataError
from ..randomness import permutation
from .augmentation import Augmentation
from .image_data import ImageData
from .loader import ImageLoader, batch_sizes
from .sources import ImageSet
from .splits import stratified_split


class ImageDataModule(ImageData):
    """Train, validation and test loaders over one `ImageSet`.

    Args:
        image_set: The images; its test split is the test set.
        batch_size: Images of a global training batch.
        eval_batch_size: Images of a validation or test batch.
        val_fraction: Share of train cut off for validation, of every class.
        split_seed: Decides which.
        seed: Decides the order and the augmentation.
        augment: Applied to training batches.
        drop_last: Leave out the last partial training batch.
        limit_train_images: Keep only this many training images, before validation is cut off; None: all.
    """

    def __init__(
        self,
        image_set: ImageSet,
        *,
        batch_size: int,
        eval_batch_size: int,
        val_fraction: float,
        split_seed: int,
        seed: int,
        augment: Augmentation,
        drop_last: bool,
        limit_train_images: int | None = None,
    ) -> None:
        super().__init__()
        self.image_set = image_set
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.augment = augment
        self.drop_last = drop_last
        pool = torch.arange(len(image_set.train_labels))
        if limit_train_images is not None and limit_train_images < len(pool):
            pool = permutation(len(pool), split_seed, "limit")[:limit_train_images].sort().values
        kept, cut = stratified_split(image_set.train_labels[pool], val_fraction, split_seed)
        self.train_indices, self.val_indices = pool[kept], pool[cut]
        if not len(self.val_indices):
            raise DataError(
                f"error: of {len(pool)} training images no class has two, so none is left for validation\n"
                "  fix:   a larger data.limit_train_images, or more images"
            )
        if drop_last and len(self.train_indices) < batch_size:
            raise DataError(
                f"error: {len(self.train_indices)} training images do not fill one batch of {batch_size}\n"
                f"  fix:   data.batch_size={max(len(self.train_indices) // 2, 1)}   or   data.drop_last=false"
            )
        self.mean, self.std = channel_statistics(image_set.train_images[self.train_indices])
        channels, height, width = image_set.train_images.shape[1:]
        self.image_shape = (channels, height, width)
        self.class_names = image_set.class_names

    @property
    def batch_sizes(self) -> list[int]:
        """Images of each training batch of an epoch, as one process is served them."""
        return batch_sizes(len(self.train_indices), self.batch_size, self.drop_last)

    @property
    def num_batches(self) -> int:
        return len(self.batch_sizes)

    def describe(self) -> str:
        sizes = self.batch_sizes
        left_out = len(self.train_indices) - sum(sizes)
        last = f"the last {left_out} of each epoch's order left out" if left_out else f"the last of {sizes[-1]}"
        counts = (len(self.train_indices), len(self.val_indices), len(self.image_set.test_labels))
        counted = "{:,} train, {:,} val, {:,} test".format(*counts)
        shape = "×".join(map(str, self.image_shape))
        return f"{counted} images {shape}; batches of {self.batch_size}, {last}"

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        images, labels = self.image_set.test_images, self.image_set.test_labels
        shown = torch.linspace(0, len(labels) - 1, min(len(labels), count)).long()  # over all classes, also when these
        return images[shown], labels[shown]  # come in order

    def train_dataloader(self) -> ImageLoader:
        images, labels = self._select(self.train_indices)
        return self._loader(images, labels, self.batch_size, training=True)

    def val_dataloader(self) -> ImageLoader:
        images, labels = self._select(self.val_indices)
        return self._loader(images, labels, self.eval_batch_size, training=False)

    def test_dataloader(self) -> ImageLoader:
        return self._loader(
            self.image_set.test_images, self.image_set.test_labels, self.eval_batch_size, training=False
        )

    def _select(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.image_set.train_images[indices], self.image_set.train_labels[indices]

    def _loader(self, images: Tensor, labels: Tensor, batch_size: int, training: bool) -> ImageLoader:
        trainer = self.trainer
        return ImageLoader(
            images,
            labels,
            self.mean,
            self.std,
            batch_size,
            order_seed=self.seed if training else None,
            augment=self.augment if training else None,
            drop_last=self.drop_last and training,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            device=trainer.strategy.root_device if trainer else "cpu",
        )


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, pixel values in 0 … 1; float32 `[C]` each.

    Summed exactly in integers, so that the result does not depend on the number of threads.
    """
    total = torch.zeros(images.shape[1], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for chunk in images.split(4096):
        values = chunk.to(torch.int32)
        total += values.sum(dim=(0, 2, 3), dtype=torch.int64)
        squares += (values * values).sum(dim=(0, 2, 3), dtype=torch.int64)
    count = images.shape[0] * images.shape[2] * images.shape[3]
    mean = total.double() / count
    variance = (squares.double() / count - mean**2).clamp_min(1.0)  # one grey level: a constant channel is only shifted
    return (mean / 255).float(), (variance.sqrt() / 255).float()
