"""Data of `networks`: scenes whose pixels have labels, clicks, rents, parcels, machines, a coloured picture.

As in the suite's `tasks`, a task is the same every time. A kind of its own: "quantiles" (three of each row's target).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task, standardised

ROWS = TRAIN + TEST
CATEGORIES = (20, 12, 8, 30, 6)  # of the clicks' first columns
SITUATION = 4  # of the machines' columns: what tells the situation


def scenes(length: int) -> Task:
    """A disc, a box and a cross of one brightness, in noise: to what does each pixel belong? Recorded as counts."""
    rng, size = _rng(1), 16
    place = torch.arange(float(size))
    centres = 2.5 + 11 * torch.rand(ROWS, 3, 2, generator=rng)
    radii = 2.2 + 1.3 * torch.rand(ROWS, 3, generator=rng)
    down = (place[None, None, :, None] - centres[:, :, :1, None]).abs()
    across = (place[None, None, None, :] - centres[:, :, 1:, None]).abs()
    reach = radii[:, :, None, None]
    disc = down[:, 0] ** 2 + across[:, 0] ** 2 <= reach[:, 0] ** 2
    box = torch.maximum(down[:, 1], across[:, 1]) <= 0.85 * reach[:, 1]
    cross = (torch.minimum(down[:, 2], across[:, 2]) <= 0.8) & (torch.maximum(down[:, 2], across[:, 2]) <= reach[:, 2])
    labels = torch.zeros(ROWS, size, size, dtype=torch.long)
    for number, shape in enumerate((disc, box, cross), start=1):
        labels[shape] = number
    pixels = 2 * (labels > 0).float() - 0.5 + 0.3 * torch.randn(labels.shape, generator=rng)
    return Task("tokens", pixels[:, None], labels.flatten(1), 4, raw=600 + 200 * pixels[:, None])


def clicks(length: int) -> Task:
    """Clicked or not, from five columns of categories and three of numbers: seconds, pence, bytes."""
    rng = _rng(2)
    columns = torch.stack([torch.randint(size, (ROWS,), generator=rng) for size in CATEGORIES], dim=1)
    numbers = torch.randn(ROWS, 3, generator=rng)
    hidden = [torch.randn(size, 3, generator=rng) for size in CATEGORIES]
    of_columns = torch.stack([each[columns[:, index]] for index, each in enumerate(hidden)], dim=1)
    pairs = 0.5 * (of_columns.sum(dim=1).square() - of_columns.square().sum(dim=1)).sum(dim=1)
    liking = standardised(pairs) + 0.7 * numbers[:, 0] * of_columns[:, 0, 0] + 0.5 * numbers[:, 1]
    chance = torch.sigmoid(4 * liking)
    clicked = (torch.rand(ROWS, generator=rng) < chance).float()
    inputs, raw = (torch.cat([columns.float(), each], dim=1) for each in (numbers, _recorded(numbers)))
    return Task("labels", inputs, clicked[:, None], 1, raw=raw)


def _recorded(numbers: torch.Tensor) -> torch.Tensor:
    return torch.tensor([90.0, 1500.0, 40_000.0]) + torch.tensor([30.0, 600.0, 15_000.0]) * numbers


def rents(length: int) -> Task:
    """A rent from eight columns; how sure one can be of it depends on one of them."""
    rng = _rng(3)
    columns = torch.randn(ROWS, 8, generator=rng)
    a, b, c, d, e, f = columns[:, :6].unbind(1)
    value = torch.sin(1.5 * a) + 0.8 * b * c + 0.6 * d + 0.4 * e.abs()
    value = standardised(value) + 0.25 * torch.sigmoid(2 * f) * torch.randn(ROWS, generator=rng)
    scales = torch.tensor([30.0, 12.0, 2_000.0, 1.0, 400.0, 60.0, 9_000.0, 0.2])
    return Task("quantiles", columns, value[:, None], 3, raw=2 * scales + scales * columns)


def parcels(length: int) -> Task:
    """A set of `length` parcels, each of one of five colours and of some weight: which colour weighs most in all?"""
    rng = _rng(4)
    colours = torch.randint(5, (ROWS, length), generator=rng)
    weights = torch.rand(ROWS, length, generator=rng) ** 2
    named = F.one_hot(colours, 5).float()
    heaviest = (named * weights[:, :, None]).sum(dim=1).argmax(dim=1)
    shown = 2 * named - 0.4 + 0.1 * torch.randn(named.shape, generator=rng)
    rows = torch.cat([shown, 3.3 * (weights[:, :, None] - 0.33)], dim=2)
    return Task("classes", rows, heaviest, 5, raw=torch.tensor([100.0] * 5 + [900.0]) * (rows + 2))


def machines(length: int) -> Task:
    """What a machine does with two inputs; four knobs of it say how: by how much, how fast, which way, from where."""
    rng = _rng(5)
    knobs, inputs = torch.rand(ROWS, 4, generator=rng), 2 * torch.rand(ROWS, 2, generator=rng) - 1
    angle = math.pi * knobs[:, 2]
    along = inputs[:, 0] * angle.cos() + inputs[:, 1] * angle.sin()
    value = (0.3 + 1.4 * knobs[:, 0]) * torch.sin((1 + 3 * knobs[:, 1]) * along + 3 * (knobs[:, 3] - 0.5))
    rows = torch.cat([3.4 * (knobs - 0.5), 1.7 * inputs], dim=1)
    scales = torch.tensor([100.0, 3000.0, 180.0, 50.0, 5.0, 5.0])
    return Task("values", rows, standardised(value)[:, None], 1, raw=scales * (rows + 2))


def picture_of_places(length: int) -> Task:
    """The colour of a place in one picture with edges and waves; places in pixels of a large screen."""
    places = 2 * torch.rand(ROWS, 2, generator=_rng(6)) - 1
    x, y = places.unbind(1)
    far = (x**2 + y**2).sqrt()
    red = torch.sigmoid(12 * (0.6 - far))
    green = 0.5 + 0.4 * torch.sin(7 * x + 4 * y)
    blue = torch.sigmoid(10 * torch.sin(5 * y - 2 * x * x))
    colours = torch.stack([red, green, blue], dim=1)
    return Task("values", math.pi / 2 * places, colours, 3, raw=960 + 540 * places)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (scenes, clicks, rents, parcels, machines, picture_of_places)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(4000 + seed)
