"""Proves each augmentation pixel by pixel against a slow reference for one picture, and that what happens to a picture
is a function of the key and its index alone.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from isometry.data.augmentation import Augmentation, crop_flip, cutout, none, shift
from isometry.randomness import derive, uniform

KEY = derive(1, "augment", 0)
CHANGING = [shift, crop_flip, cutout]
ALL = [none, *CHANGING]
SHAPES = [(1, 28, 28), (3, 32, 32), (2, 9, 13)]


def pictures(count: int, shape: tuple[int, int, int] = (3, 12, 10)) -> Tensor:
    """No pixel is black, so that each black pixel after an augmentation is its doing."""
    return torch.randint(1, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------ the slow reference: one picture, nested lists
Picture = list[list[list[int]]]


def moved(picture: Picture, down: int, right: int) -> Picture:
    """Each pixel comes from `down` rows below and `right` columns to its right; black from outside."""
    height, width = len(picture[0]), len(picture[0][0])

    def pixel(plane: list[list[int]], y: int, x: int) -> int:
        return plane[y][x] if 0 <= y < height and 0 <= x < width else 0

    return [[[pixel(plane, y + down, x + right) for x in range(width)] for y in range(height)] for plane in picture]


def mirrored(picture: Picture) -> Picture:
    return [[row[::-1] for row in plane] for plane in picture]


def erased(picture: Picture, middle_y: int, middle_x: int) -> Picture:
    """Black from 4 before the middle to 3 behind it, both ways."""

    def keep(y: int, x: int) -> bool:
        return not (-4 <= y - middle_y <= 3 and -4 <= x - middle_x <= 3)

    return [
        [[value if keep(y, x) else 0 for x, value in enumerate(row)] for y, row in enumerate(plane)]
        for plane in picture
    ]


def offset(draw: float, reach: int) -> int:
    return math.floor(draw * (2 * reach + 1)) - reach


def reference(name: str, picture: Picture, key: int, index: int) -> Picture:
    draws = uniform(key, torch.tensor([index]), {"shift": 2, "crop_flip": 3, "cutout": 5}[name])[0].tolist()
    reach = 2 if name == "shift" else 4
    picture = moved(picture, offset(draws[0], reach), offset(draws[1], reach))
    if name != "shift" and draws[2] < 0.5:
        picture = mirrored(picture)
    if name == "cutout":
        height, width = len(picture[0]), len(picture[0][0])
        picture = erased(picture, math.floor(draws[3] * height), math.floor(draws[4] * width))
    return picture


@pytest.mark.parametrize("augment", CHANGING)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_slow_reference_pixel_by_pixel(augment: Augmentation, shape: tuple[int, int, int]) -> None:
    images, indices = pictures(12, shape), torch.tensor([0, 1, 2, 3, 5, 8, 13, 21, 59_999, 7, 6, 100])
    found = augment(images, KEY, indices)
    for image, index, got in zip(images, indices.tolist(), found, strict=True):
        assert got.tolist() == reference(augment.__name__, image.tolist(), KEY, index)


def test_the_reference_tells_the_augmentations_apart() -> None:
    """Negative control: no two of them do the same to these pictures."""
    images, indices = pictures(12), torch.arange(12)
    results = [augment(images, KEY, indices) for augment in ALL]
    assert sum(torch.equal(first, second) for first in results for second in results) == len(ALL)


# --------------------------------------------------------------------------------------------------- what holds for all
def test_none_hands_back_the_very_images() -> None:
    images = pictures(3)
    assert none(images, KEY, torch.arange(3)) is images


@pytest.mark.parametrize("augment", ALL)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_type_and_shape_are_kept(augment: Augmentation, shape: tuple[int, int, int], count: int) -> None:
    found = augment(pictures(count, shape), KEY, torch.arange(count))
    assert found.dtype == torch.uint8
    assert found.shape == (count, *shape)


@pytest.mark.parametrize("augment", ALL)
def test_the_images_given_are_left_alone(augment: Augmentation) -> None:
    images = pictures(20)
    augment(images, KEY, torch.arange(20))
    assert torch.equal(images, pictures(20))


@pytest.mark.parametrize("augment", ALL)
def test_a_picture_fares_alike_in_any_batch_and_order(augment: Augmentation) -> None:
    images, indices = pictures(30), torch.arange(100, 130)
    whole = augment(images, KEY, indices)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(images[order], KEY, indices[order]), whole[order])
    parts = [augment(images[part], KEY, indices[part]) for part in torch.arange(30).split(7)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("augment", CHANGING)
def test_another_key_or_index_changes_most_pictures(augment: Augmentation) -> None:
    images, indices = pictures(200), torch.arange(200)
    base = augment(images, KEY, indices)
    for other in (augment(images, derive(1, "augment", 1), indices), augment(images, KEY, indices + 200)):
        same = (base == other).flatten(1).all(dim=1)
        assert same.sum() < 30  # of shift's 25 places two draws agree once in 25: 8 ± 2.8


@pytest.mark.parametrize("augment", CHANGING)
def test_the_batch_position_does_not_matter_when_the_index_is_the_same(augment: Augmentation) -> None:
    image = pictures(1)
    found = augment(image.expand(5, -1, -1, -1), KEY, torch.full((5,), 77))
    assert torch.equal(found, found[:1].expand_as(found))


@pytest.mark.parametrize("augment", CHANGING)
def test_all_channels_move_together(augment: Augmentation) -> None:
    grey = pictures(20, (1, 12, 10))
    found = augment(grey.expand(-1, 3, -1, -1), KEY, torch.arange(20))
    assert torch.equal(found, augment(grey, KEY, torch.arange(20)).expand(-1, 3, -1, -1))


# ----------------------------------------------------------------------------------------- how often, how far, how much
def places_of_a_dot(augment: Augmentation, count: int) -> Tensor:
    """Where a single bright pixel at (20, 20) of 41×41 lands, `[count, 2]`."""
    images = torch.zeros(count, 1, 41, 41, dtype=torch.uint8)
    images[:, :, 20, 20] = 255
    found = augment(images, KEY, torch.arange(count)).nonzero()
    assert torch.equal(found[:, 0], torch.arange(count))
    return found[:, 2:] - 20


@pytest.mark.parametrize(("augment", "reach"), [(shift, 2), (crop_flip, 4)])
def test_every_offset_within_reach_is_equally_frequent(augment: Augmentation, reach: int) -> None:
    count, cells = 6000, 2 * reach + 1
    places = places_of_a_dot(augment, count)
    assert places.abs().max() == reach
    for axis in (0, 1):
        counts = (places[:, axis] + reach).bincount(minlength=cells).double()
        assert (counts - count / cells).abs().max() < 5 * math.sqrt(count / cells)


def test_half_of_the_pictures_are_mirrored() -> None:
    count = 4000
    images = torch.zeros(count, 1, 24, 24, dtype=torch.uint8)
    images[:, :, :, :12] = 255  # bright on the left; column 18 is bright if and only if mirrored, whatever the shift
    mirrored_ones = (crop_flip(images, KEY, torch.arange(count))[:, 0, 12, 18] == 255).sum()
    assert abs(int(mirrored_ones) - count / 2) < 5 * math.sqrt(count / 4)


def test_no_flip_is_in_shift() -> None:
    images = torch.zeros(500, 1, 24, 24, dtype=torch.uint8)
    images[:, :, :, :12] = 255
    assert not shift(images, KEY, torch.arange(500))[:, 0, 12, 18].any()


def test_cutout_erases_64_pixels_and_fewer_only_at_the_edge() -> None:
    images, indices = torch.full((3000, 2, 32, 32), 255, dtype=torch.uint8), torch.arange(3000)
    draws = uniform(KEY, indices, 5)
    unmoved = (torch.floor(draws[:, :2] * 9) == 4).all(dim=1)  # all black is cutout's
    inner = ((draws[:, 3:] * 32 >= 4) & (draws[:, 3:] * 32 < 29)).all(dim=1)  # the square is wholly inside
    black = (cutout(images, KEY, indices)[:, 0] == 0).flatten(1).sum(dim=1)
    assert min((unmoved & inner).sum(), (unmoved & ~inner).sum()) > 5
    assert (black[unmoved & inner] == 64).all()
    assert (black[unmoved & ~inner] < 64).all()
    assert (black[unmoved] >= 16).all()  # the middle is a pixel of the picture: at a corner 4×4 remain
