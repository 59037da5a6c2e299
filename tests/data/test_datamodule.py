"""Proves that validation is cut from train, that the published test set arrives untouched, and that the numbers others
plan by (batches, smallest batch, statistics) are those of the loaders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from isometry.data.augmentation import crop_flip, none
from isometry.data.datamodule import ImageDataModule, channel_statistics
from isometry.data.loader import ImageLoader
from isometry.data.sources import ImageSet
from isometry.data.splits import stratified_split
from isometry.errors import DataError

TRAIN, TEST = 200, 40


def numbered(start: int, count: int) -> Tensor:
    """1×2×3 images that spell out their number in their first two pixels, so that each can be told."""
    images = torch.zeros(count, 1, 2, 3, dtype=torch.uint8)
    numbers = torch.arange(start, start + count)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = numbers // 256, numbers % 256
    return images


def image_set(train: int = TRAIN, classes: int = 4) -> ImageSet:
    names = tuple("abcdefgh"[:classes])
    labels = [torch.arange(count) % classes for count in (train, TEST)]
    return ImageSet(numbered(0, train), labels[0], numbered(30_000, TEST), labels[1], names)


def make(images: ImageSet | None = None, **changes: Any) -> ImageDataModule:
    options = {"batch_size": 16, "eval_batch_size": 30, "val_fraction": 0.1, "split_seed": 0, "seed": 1}
    options |= {"augment": none, "drop_last": False} | changes
    return ImageDataModule(images or image_set(), **options)


def numbers(data: ImageDataModule, loader: ImageLoader) -> list[int]:
    """The numbers of the images a loader serves, read from the pixels after undoing the normalisation."""
    images = torch.cat([batch for batch, _ in loader])
    pixels = ((images.double() * data.std.double() + data.mean.double()) * 255).round().long()
    return (pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 0, 1]).tolist()


# ----------------------------------------------------------------------------------------------------------- the splits
def test_train_and_validation_are_disjoint_and_together_the_training_set() -> None:
    data = make()
    train, val = (numbers(data, loader) for loader in (data.train_dataloader(), data.val_dataloader()))
    assert sorted(train + val) == list(range(TRAIN))
    assert len(val) == 20


@pytest.mark.parametrize("changes", [{}, {"drop_last": True}, {"augment": crop_flip}, {"limit_train_images": 50}])
def test_the_test_set_is_the_published_one_in_its_order(changes: dict[str, Any]) -> None:
    data = make(**changes)
    assert numbers(data, data.test_dataloader()) == list(range(30_000, 30_000 + TEST))
    labels = torch.cat([labels for _, labels in data.test_dataloader()])
    assert torch.equal(labels, data.image_set.test_labels)


def test_validation_is_served_whole_in_order_and_unaugmented_whatever_train_does() -> None:
    plain, other = make(), make(augment=crop_flip, drop_last=True, seed=9)
    assert (
        numbers(plain, plain.val_dataloader()) == numbers(other, other.val_dataloader()) == plain.val_indices.tolist()
    )


def test_the_cut_is_the_stratified_split_of_its_own_seed() -> None:
    kept, cut = stratified_split(image_set().train_labels, 0.1, 3)
    for seed in (1, 2):
        data = make(split_seed=3, seed=seed)
        assert torch.equal(data.train_indices, kept)
        assert torch.equal(data.val_indices, cut)
    assert not torch.equal(make(split_seed=4).val_indices, cut)


def test_the_seed_decides_the_order() -> None:
    first, again, other = (numbers(data, data.train_dataloader()) for data in (make(), make(), make(seed=2)))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)


def test_augmentation_changes_training_batches() -> None:
    plain, augmented = (next(iter(make(augment=augment).train_dataloader()))[0] for augment in (none, crop_flip))
    assert plain.shape == augmented.shape
    assert not torch.equal(plain, augmented)


# --------------------------------------------------------------------------------------------------------- fewer images
@pytest.mark.parametrize("limit", [8, 50, 199])
def test_a_limit_keeps_so_many_images_before_validation_is_cut(limit: int) -> None:
    data = make(limit_train_images=limit)
    together = torch.cat([data.train_indices, data.val_indices])
    assert len(together) == len(together.unique()) == limit
    assert len(data.val_indices) >= 1
    assert together.max() < TRAIN


@pytest.mark.parametrize("limit", [None, TRAIN, TRAIN + 1])
def test_a_limit_that_is_none_changes_nothing(limit: int | None) -> None:
    assert torch.equal(make(limit_train_images=limit).train_indices, make().train_indices)


def test_the_images_a_limit_keeps_depend_on_the_split_seed_alone() -> None:
    def kept(**changes: int) -> list[int]:
        data = make(limit_train_images=50, **changes)
        return sorted([*data.train_indices.tolist(), *data.val_indices.tolist()])

    assert kept() == kept(seed=2)
    assert kept() != kept(split_seed=1)


@pytest.mark.parametrize("limit", [None, 3])
def test_no_image_for_validation_is_an_error_that_says_so(limit: int | None) -> None:
    lonely = image_set(train=8, classes=8)  # one image of each class
    with pytest.raises(DataError, match="none is left for validation") as caught:
        make(lonely, limit_train_images=limit)
    assert f"of {limit or 8} training images" in str(caught.value)
    assert "data.limit_train_images" in str(caught.value)


@pytest.mark.parametrize("batch_size", [181, 1000])
def test_fewer_images_than_a_batch_is_an_error_when_partial_batches_are_left_out(batch_size: int) -> None:
    with pytest.raises(DataError) as caught:
        make(batch_size=batch_size, drop_last=True)
    assert f"180 training images do not fill one batch of {batch_size}" in str(caught.value)
    assert "data.batch_size=90" in str(caught.value)
    assert "data.drop_last=false" in str(caught.value)


def test_both_fixes_of_that_error_work() -> None:
    assert make(batch_size=90, drop_last=True).batch_sizes == [90, 90]
    assert make(batch_size=1000, drop_last=False).batch_sizes == [180]
    assert make(batch_size=180, drop_last=True).batch_sizes == [180]  # exactly one batch is enough


# -------------------------------------------------------------------------------------------------- what others plan by
@pytest.mark.parametrize("batch_size", [1, 16, 60, 180, 500])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_and_the_smallest_batch_are_those_served(batch_size: int, drop_last: bool) -> None:
    if drop_last and batch_size > 180:
        batch_size = 179
    data = make(batch_size=batch_size, drop_last=drop_last)
    sizes = [len(labels) for _, labels in data.train_dataloader()]
    assert len(data.train_dataloader()) == len(sizes)
    assert data.batch_sizes == sizes


def test_evaluation_has_its_own_batch_size() -> None:
    data = make(eval_batch_size=7)
    assert [len(labels) for _, labels in data.val_dataloader()] == [7, 7, 6]
    assert [len(labels) for _, labels in data.test_dataloader()] == [7] * 5 + [5]


def test_shape_and_class_names_are_those_of_the_images() -> None:
    assert make().image_shape == (1, 2, 3)
    assert make().class_names == ("a", "b", "c", "d")


# ----------------------------------------------------------------------------------------------------------- statistics
@pytest.mark.parametrize("count", [1, 100, 5000])  # 5000: more than one chunk
def test_statistics_are_numpys_in_double_precision(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    levels = torch.tensor([256, 90, 20]).view(1, 3, 1, 1)
    images = (torch.rand(count, 3, 5, 4, generator=generator) * levels).to(torch.uint8)
    pixels = images.numpy().astype(np.float64) / 255
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean.numpy(), pixels.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.numpy(), pixels.std(axis=(0, 2, 3)), rtol=1e-6)
    assert mean.dtype == std.dtype == torch.float32


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 4), (100, 103)])
def test_statistics_of_two_levels_are_the_closed_form(low: int, high: int) -> None:
    images = torch.tensor([low, high], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    mean, std = channel_statistics(images)
    assert float(mean) == pytest.approx((low + high) / 2 / 255, rel=1e-6)
    assert float(std) == pytest.approx((high - low) / 2 / 255, rel=1e-6)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_constant_channel_is_shifted_to_zero_not_divided_by_zero(level: int) -> None:
    images = torch.full((3, 2, 4, 4), level, dtype=torch.uint8)
    mean, std = channel_statistics(images)
    torch.testing.assert_close(std, torch.full((2,), 1 / 255))
    batch, _ = ImageLoader(images, torch.zeros(3).long(), mean, std, 3).make_batch(torch.arange(3))
    assert batch.abs().max() < 1e-4


def test_statistics_do_not_overflow() -> None:
    images = torch.full((3000, 1, 64, 64), 255, dtype=torch.uint8)  # sum of squares 8e11, far beyond int32
    mean, _ = channel_statistics(images)
    assert float(mean) == 1


def test_statistics_are_of_the_training_part_alone() -> None:
    images = image_set()
    data = make(images)
    images.train_images[data.val_indices] = 255
    images.test_images.fill_(255)
    again = make(images)
    assert torch.equal(again.mean, data.mean)
    assert torch.equal(again.std, data.std)
    images.train_images[data.train_indices[0]] = 255  # the negative control
    assert not torch.equal(make(images).mean, data.mean)


# ------------------------------------------------------------------------------------------------------------ Lightning
class Recorder(LightningModule):
    """Keeps what identifies the images it is trained on, in order; learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.epochs: dict[int, list[float]] = {}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.epochs.setdefault(self.current_epoch, []).extend(batch[0][:, 0, 0, 1].tolist())
        return self.weight * 0

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """So that Lightning also walks through validation between the epochs."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_a_real_trainer_serves_each_epoch_in_its_own_order() -> None:
    data, module = make(), Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    loader = make().train_dataloader()
    for epoch in range(3):
        loader.set_epoch(epoch)
        assert module.epochs[epoch] == [pixel for images, _ in loader for pixel in images[:, 0, 0, 1].tolist()]
    assert module.epochs[0] != module.epochs[1]
