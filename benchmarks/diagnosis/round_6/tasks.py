"""Data of `networks`: craters, meadows, rods, harvests, wines, soundings, a drum.

As in the suite's `tasks`, a task is the same every time. Kinds of their own: "found", "gaussian", "ranks", "views",
"residual", whose losses and scores are in `losses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task, standardised
from torch import Tensor

ROWS = TRAIN + TEST
STEP = 0.1  # from a point of the drum to its neighbours


def craters(length: int) -> Task:
    """Small pits and large ones in noise, `[B, 1, 24, 24]`: which of 8 x 8 cells holds a small one's centre, which of
    4 x 4 a large one's? 80 answers; recorded in metres."""
    rng = _rng(1)
    picture, answers = 0.35 * torch.randn(ROWS, 24, 24, generator=rng), []
    for cells, radius, chance in ((8, 1.2, 0.05), (4, 3.3, 0.12)):
        size = 24 / cells
        there = torch.rand(ROWS, cells, cells, generator=rng) < chance
        shift = size * torch.rand(ROWS, cells, cells, 2, generator=rng)
        corner = size * torch.stack(torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij"), dim=2)
        centre = (corner + shift).flatten(1, 2)
        row, cell = there.flatten(1).nonzero(as_tuple=True)
        away = _away(centre[row, cell])
        picture.index_add_(0, row, -torch.sigmoid(3 * (radius - away)))
        answers.append(there.flatten(1).float())
    picture = (picture - picture.mean()) / picture.std()
    return Task("found", picture[:, None], torch.cat(answers, dim=1)[:, :, None], 1, raw=1500 + 300 * picture[:, None])


def _away(centres: Tensor) -> Tensor:
    """Of each pixel of a picture from one centre: `[N, 24, 24]`."""
    place = torch.arange(24.0) + 0.5
    down, across = place[None, :, None] - centres[:, 0, None, None], place[None, None, :] - centres[:, 1, None, None]
    return (down.square() + across.square()).sqrt()


def meadows(length: int) -> Task:
    """Walls and a spring, `[B, 2, 10, 10]`: which cells does the water come to in `length` steps? Two classes."""
    rng = _rng(2)
    is_open = (torch.rand(ROWS, 1, 10, 10, generator=rng) < 0.7).float()
    spring = torch.zeros(ROWS, 100).scatter_(1, torch.randint(100, (ROWS, 2), generator=rng), 1.0).view(-1, 1, 10, 10)
    is_open = torch.maximum(is_open, spring)
    water = spring
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
    for _ in range(length):
        water = (F.conv2d(water, cross, padding=1) > 0).float() * is_open
    shown = torch.cat([is_open, spring], dim=1)
    return Task("tokens", torch.cat([2 * is_open - 1, 4 * spring], dim=1), water.flatten(1).long(), 2, raw=255 * shown)


def rods(length: int) -> Task:
    """A wave on a ring of `length` places, later: it steepens and wears out (Burgers). `[B, 1, L]`, in kelvins."""
    rng = _rng(3)
    place = 2 * math.pi * torch.arange(length) / length
    field = torch.zeros(ROWS, length)
    for speed in range(1, 4):
        size = torch.randn(ROWS, 2, 1, generator=rng) / speed
        field = field + size[:, 0] * (speed * place).sin() + size[:, 1] * (speed * place).cos()
    waves = torch.arange(length // 2 + 1)
    field = field / field.std()
    later = field
    for _ in range(100):
        slope = torch.fft.irfft(1j * waves * torch.fft.rfft(later), n=length)
        moved = torch.fft.rfft(later - 0.01 * later * slope)
        later = torch.fft.irfft(moved / (1 + 0.01 * 0.2 * waves**2), n=length)
    return Task("values", field[:, None], later[:, None] / later.std(), 1, raw=300 + 15 * field[:, None])


def harvests(length: int) -> Task:
    """Tonnes from six columns, and how sure one can be of them, which two columns tell: mean and log variance."""
    rng = _rng(4)
    columns = torch.randn(ROWS, 6, generator=rng)
    rain, heat, lime, slope, seed, wind = columns.unbind(1)
    good = torch.exp(-(rain**2)) + 0.8 * torch.sin(2 * heat) + 0.3 * lime.abs() + 0.5 * torch.tanh(slope) * seed
    spread = 0.1 + 0.5 * torch.sigmoid(2 * wind - heat)
    value = standardised(good) + spread * torch.randn(ROWS, generator=rng)
    scales = torch.tensor([250.0, 8.0, 0.7, 12.0, 40_000.0, 5.0])
    return Task("gaussian", columns, value[:, None], 2, raw=scales * (2.5 + columns))


def wines(length: int) -> Task:
    """A wine's grade from 0 to 4, from ten measured columns, some of which matter only together."""
    rng = _rng(5)
    columns = torch.randn(ROWS, 10, generator=rng)
    a, b, c, d, e, f = columns[:, :6].unbind(1)
    taste = standardised(a * b + torch.sin(2 * c) + 0.8 * d - 0.5 * e.abs() * f)
    taste = taste + 0.25 * torch.randn(ROWS, generator=rng)
    grades = torch.bucketize(taste, torch.tensor([-1.2, -0.4, 0.4, 1.2]))
    scales = torch.tensor([7.0, 0.5, 0.3, 5.0, 0.08, 30.0, 115.0, 0.01, 3.2, 10.0])
    return Task("ranks", columns, grades, 4, raw=10 * scales + 3 * scales * columns)


def soundings(length: int) -> Task:
    """One place under the sea as two instruments see it, `[B, 2, 24]`: which belong together?"""
    rng = _rng(6)
    truth = torch.randn(ROWS, 5, generator=rng)
    views = []
    for _ in range(2):
        mix, shift = torch.randn(5, 24, generator=rng), torch.randn(24, generator=rng)
        view = torch.sin(0.8 * truth @ mix + shift) + 0.2 * torch.randn(ROWS, 24, generator=rng)
        views.append(view / 0.73)
    rows = torch.stack(views, dim=1)
    return Task("views", rows, torch.zeros(ROWS), 16, raw=torch.tensor([[[1500.0], [40.0]]]) * (3 + rows))


def drum(length: int) -> Task:
    """How a square drum bends under a load: a point and its four neighbours, `[B, 5, 2]`.

    The targets are the load there, `-(u_xx + u_yy)`, what the point's frame forces it to (where it is one of the
    frame's, 0 otherwise), whether it is, and the truth, which no loss sees: `[B, 4]`.
    """
    rng = _rng(7)
    points = 2 * torch.rand(ROWS, 2, generator=rng) - 1
    on_frame = torch.rand(ROWS, generator=rng) < 0.4
    side = torch.randint(2, (ROWS,), generator=rng)
    sign = 2.0 * torch.randint(2, (ROWS,), generator=rng) - 1
    rows = torch.arange(ROWS)
    points[rows, side] = torch.where(on_frame, sign, points[rows, side])
    neighbours = STEP * torch.tensor([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    truth, load = _bent(points)
    targets = torch.stack([load, torch.where(on_frame, truth, 0.0), on_frame.float(), truth], dim=1)
    stencils = points[:, None] + neighbours
    return Task("residual", 1.7 * stencils, targets, 1, raw=500 + 250 * stencils)


def _bent(points: Tensor) -> tuple[Tensor, Tensor]:
    x, y = points.unbind(1)
    first, second = torch.sin(2 * x + 1) * torch.cos(1.5 * y), 0.5 * torch.cos(3 * y - x)
    return first + second, 6.25 * first + 10 * second


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (craters, meadows, rods, harvests, wines, soundings, drum)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(5000 + seed)
