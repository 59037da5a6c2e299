"""Proves that an epoch serves every image once, in an order of (seed, epoch) alone, whatever the number of processes,
and that what is served is the normalised picture.
"""

from __future__ import annotations

import itertools
from itertools import zip_longest

import pytest
import torch
from lightning_fabric.utilities.data import _set_sampler_epoch
from torch import Tensor

from isometry.data.augmentation import Augmentation, crop_flip
from isometry.data.datamodule import channel_statistics
from isometry.data.loader import ImageLoader, batch_sizes
from isometry.randomness import derive, permutation

SIZE = 23


def tagged(size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Images whose every pixel, and whose label, is the image's number."""
    numbers = torch.arange(size)
    return numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 12, 12).clone(), numbers


def make(
    batch_size: int = 5,
    *,
    size: int = SIZE,
    order_seed: int | None = 1,
    augment: Augmentation | None = None,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> ImageLoader:
    """Serves pixel values as they are: mean 0, and a standard deviation of one grey level."""
    return ImageLoader(
        *tagged(size),
        torch.zeros(2),
        torch.full((2,), 1 / 255),
        batch_size,
        order_seed=order_seed,
        augment=augment,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
    )


def served(loader: ImageLoader, epoch: int = 0) -> list[int]:
    loader.set_epoch(epoch)
    return [int(label) for _, labels in loader for label in labels]


# ------------------------------------------------------------------------------------------------------- once, in order
@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_an_epoch_serves_every_image_once_with_its_own_label(batch_size: int) -> None:
    batches = list(make(batch_size))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert sorted(labels.tolist()) == list(range(SIZE))
    expected = labels.float().view(-1, 1, 1, 1).expand_as(images)
    torch.testing.assert_close(images, expected, rtol=1e-6, atol=1e-5)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64


def test_the_order_is_the_permutation_of_seed_and_epoch() -> None:
    for seed, epoch in [(1, 0), (1, 7), (2, 0)]:
        assert served(make(order_seed=seed), epoch) == permutation(SIZE, seed, "order", epoch).tolist()


def test_another_epoch_or_seed_gives_another_order() -> None:
    base = served(make(), 0)
    assert base != served(make(), 1)
    assert base != served(make(order_seed=2), 0)
    assert base != sorted(base)


def test_the_order_depends_neither_on_the_batch_size_nor_on_what_was_served_before() -> None:
    used = make(4)
    served(used, 0)
    served(used, 5)
    torch.rand(3)  # nor on torch's own generator
    assert served(used, 1) == served(make(9), 1)


def test_serving_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    served(make(augment=crop_flip))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("epoch", [0, 3])
def test_without_a_seed_the_order_is_the_given_one_and_nothing_is_augmented(epoch: int) -> None:
    loader = make(order_seed=None, augment=crop_flip)
    assert served(loader, epoch) == list(range(SIZE))
    assert float(next(iter(loader))[0][1].min()) > 0.9  # crop_flip would have shifted black in


# ------------------------------------------------------------------------------------------------------------ processes
def as_one(world_size: int, epoch: int, augment: Augmentation | None, drop_last: bool) -> list[tuple[Tensor, Tensor]]:
    """The global batches put together from the shares of all processes, dealt out one image to each in turn."""
    loaders = [make(10, rank=r, world_size=world_size, augment=augment, drop_last=drop_last) for r in range(world_size)]
    for loader in loaders:
        loader.set_epoch(epoch)
    together = []
    for shares in zip(*loaders, strict=True):
        rounds = zip_longest(*[list(zip(*share, strict=True)) for share in shares])
        dealt = [sample for samples in rounds for sample in samples if sample is not None]
        together.append((torch.stack([image for image, _ in dealt]), torch.stack([label for _, label in dealt])))
    return together


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("augment", [None, crop_flip])
@pytest.mark.parametrize("drop_last", [False, True])
def test_any_number_of_processes_serves_the_same_global_batches(
    world_size: int, augment: Augmentation | None, drop_last: bool
) -> None:
    alone = make(10, augment=augment, drop_last=drop_last)
    alone.set_epoch(2)
    batches = list(alone)
    together = as_one(world_size, 2, augment, drop_last)
    if not drop_last and world_size > 3:  # 23 images: the last 3 join the batch before them
        batches[-2:] = [tuple(torch.cat(parts) for parts in zip(*batches[-2:], strict=True))]
    assert len(together) == len(batches)
    for (images, labels), (expected_images, expected_labels) in zip(together, batches, strict=True):
        assert torch.equal(labels, expected_labels)
        assert torch.equal(images, expected_images)


def test_the_shares_of_a_whole_batch_differ_by_one_image_at_most() -> None:
    sizes = [len(next(iter(make(10, rank=rank, world_size=3)))[1]) for rank in range(3)]
    assert sizes == [4, 3, 3]


def test_no_process_ever_gets_an_empty_share() -> None:
    for size, world_size, drop_last in itertools.product(range(4, 30), (1, 2, 3, 4), (False, True)):
        sizes = batch_sizes(size, 4, drop_last, world_size)
        assert sum(sizes) == (size - size % 4 if drop_last else size)
        assert all(count >= world_size for count in sizes)
        loaders = [
            make(4, size=size, drop_last=drop_last, rank=rank, world_size=world_size) for rank in range(world_size)
        ]
        assert len({len(loader) for loader in loaders}) == 1


def test_a_pass_goes_on_where_the_state_says() -> None:
    whole = [labels.tolist() for _, labels in make(5)]
    stopped, resumed = make(5), make(5)
    served = iter(stopped)
    begun = [next(served)[1].tolist() for _ in range(2)]
    resumed.load_state_dict(stopped.state_dict())
    assert begun + [labels.tolist() for _, labels in resumed] == whole
    assert [labels.tolist() for _, labels in resumed] == whole  # the pass after it is whole again
    assert resumed.state_dict() == {"next_batch": 0}


# -------------------------------------------------------------------------------------------------------------- lengths
@pytest.mark.parametrize(
    ("size", "batch_size", "drop_last", "sizes"),
    [
        (23, 5, False, [5, 5, 5, 5, 3]),
        (23, 5, True, [5, 5, 5, 5]),
        (20, 5, False, [5, 5, 5, 5]),
        (20, 5, True, [5, 5, 5, 5]),
        (3, 5, False, [3]),
        (3, 5, True, []),
    ],
)
def test_length_and_batch_sizes(size: int, batch_size: int, drop_last: bool, sizes: list[int]) -> None:
    loader = make(batch_size, size=size, drop_last=drop_last)
    assert [len(labels) for _, labels in loader] == sizes
    assert len(loader) == len(sizes)


def test_what_drop_last_leaves_out_is_the_end_of_this_epochs_order() -> None:
    assert served(make(drop_last=True), 4) == served(make(), 4)[:20]
    assert set(served(make(drop_last=True), 4)) != set(served(make(drop_last=True), 5))


# -------------------------------------------------------------------------------------------------------- normalisation
def coloured(size: int = 300) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([40, 120, 250]).view(1, 3, 1, 1)  # each channel with another mean and spread
    return (torch.rand(size, 3, 6, 7, generator=generator) * levels).to(torch.uint8)


def test_normalisation_is_the_formula() -> None:
    images, mean, std = coloured(), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.3, 0.05])
    found = torch.cat([batch for batch, _ in ImageLoader(images, torch.zeros(300).long(), mean, std, 64)])
    shape = (1, 3, 1, 1)
    expected = (images.double() / 255 - mean.double().view(shape)) / std.double().view(shape)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_with_the_statistics_of_the_images_each_channel_has_mean_0_and_deviation_1() -> None:
    images = coloured()
    found = torch.cat([b for b, _ in ImageLoader(images, torch.zeros(300).long(), *channel_statistics(images), 64)])
    channels = found.double().transpose(0, 1).flatten(1)
    assert channels.mean(dim=1).abs().max() < 1e-5
    assert (channels.std(dim=1, correction=0) - 1).abs().max() < 1e-5


def test_augmentation_comes_before_normalisation_with_the_key_of_the_epoch() -> None:
    images, labels = coloured(), torch.arange(300)
    mean, std = channel_statistics(images)
    loader = ImageLoader(images, labels, mean, std, 300, order_seed=3, augment=crop_flip)
    loader.set_epoch(2)
    found, order = next(iter(loader))
    black_in = crop_flip(images[order], derive(3, "augment", 2), order)
    expected, _ = ImageLoader(black_in, labels, mean, std, 300).make_batch(torch.arange(300))
    assert torch.equal(found, expected)


def test_the_images_held_are_never_changed() -> None:
    loader = make(augment=crop_flip)
    served(loader)
    assert torch.equal(loader.images, tagged()[0])


# ------------------------------------------------------------------------------------------------------------ Lightning
def test_lightning_finds_set_epoch() -> None:
    loader = make()
    _set_sampler_epoch(loader, 6)
    assert loader.epoch == 6
    assert [int(label) for _, labels in loader for label in labels] == served(make(), 6)


def test_lightning_would_not_find_it_without_the_sampler() -> None:
    """Negative control: the call above goes through `sampler`, not through the loader itself."""

    class Bare:
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    bare = Bare()
    _set_sampler_epoch(bare, 6)
    assert bare.epoch == 0
