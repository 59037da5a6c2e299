"""What a run asks of its data: loaders, and a few facts. `datamodule.ImageDataModule` answers over images in memory; a
data set that is larger than the memory gets a class of its own, with ordinary `DataLoader`s (docs/extend.md).
"""

from __future__ import annotations

from pytorch_lightning import LightningDataModule
from torch import Tensor


class ImageData(LightningDataModule):
    """Train, validation and test loaders of (images float32 `[B, C, H, W]`, labels int64 `[B]`), and these:

    Attributes:
        image_shape: (C, H, W).
        class_names: The K classes.
        mean: float32 `[C]`, of pixel values in 0 … 1: what the images are normalised with.
        std: float32 `[C]`.
        notes: For the user.

    All of it, loaders included, can be asked for as soon as there is an object, without a Trainer.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: Tensor
    std: Tensor
    notes: tuple[str, ...] = ()

    @property
    def num_batches(self) -> int:
        """Of a training epoch, over all processes together."""
        return len(self.train_dataloader())

    def describe(self) -> str:
        """For the user, in one line."""
        loaders = {"train": self.train_dataloader(), "val": self.val_dataloader(), "test": self.test_dataloader()}
        sizes = ", ".join(f"{len(loader):,} {name}" for name, loader in loaders.items())
        return f"{sizes} batches of images {'×'.join(map(str, self.image_shape))}"

    def examples(self, count: int) -> tuple[Tensor, Tensor] | None:
        """Test pictures uint8 `[N, C, H, W]` and their labels, to show what is predicted for them; None: none."""
        return None
