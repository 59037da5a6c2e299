"""Data of `networks`: shocks of a fluid, floods, yields, charges, grades, a membrane.

As in the suite's `tasks`, a task is the same every time. Kinds of their own: "spread" (a mean and how sure it is),
"grades" (in order) and "law" (a differential equation and its solution).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task, standardised

ROWS = TRAIN + TEST
LEFT_ALONE = -100  # what cross-entropy passes over
MODES = ((1, 1, 1.0), (2, 1, -0.8), (1, 3, 0.5))  # of the membrane: across, down, how much
LEVELS = (-0.9, -0.3, 0.3, 0.9)  # between five grades


def shocks(length: int) -> Task:
    """Burgers' equation on a ring of `length` places: a smooth start `[B, L]` and what it is later, `[B, L, 1]`."""
    rng = _rng(1)
    place = 2 * math.pi * torch.arange(length) / length
    sizes, phases = torch.randn(ROWS, 4, 1, generator=rng), 2 * math.pi * torch.rand(ROWS, 4, 1, generator=rng)
    waves = torch.arange(1, 5)[:, None]
    start = standardised((sizes / waves.sqrt() * torch.sin(waves * place + phases)).sum(dim=1))
    state, gap, time = start, 2 * math.pi / length, 0.01
    for _ in range(80):
        after = state.roll(-1, dims=1)
        speed = torch.maximum(state.abs(), after.abs())
        flow = 0.25 * (state**2 + after**2) - (0.5 * speed + 0.05 / gap) * (after - state)
        state = state - time / gap * (flow - flow.roll(1, dims=1))
    return Task("values", start, standardised(state)[:, :, None], 1, raw=101_300 + 800 * start)


def floods(length: int) -> Task:
    """A map of walls and of where water comes in, `[B, 2, H, W]`: which of the open cells get wet?"""
    rng, size = _rng(2), 8
    is_open = (torch.rand(ROWS, 1, size, size, generator=rng) < 0.62).float()
    spring = torch.zeros_like(is_open)
    spring[:, :, :, 0] = is_open[:, :, :, 0] * (torch.rand(ROWS, 1, size, generator=rng) < 0.5)
    wet = spring
    for _ in range(40):
        beside = torch.maximum(F.max_pool2d(wet, (3, 1), 1, (1, 0)), F.max_pool2d(wet, (1, 3), 1, (0, 1)))
        wet = is_open * beside
    labels = torch.where(is_open > 0, wet, LEFT_ALONE).long().flatten(1)
    shown = torch.cat([2 * is_open - 1.2, 4 * spring - 0.2], dim=1)
    return Task("tokens", shown, labels, 2, raw=50 * shown + 130)


def yields(length: int) -> Task:
    """A harvest from five columns, in units of their own; one of them says how far it may be from its mean."""
    rng = _rng(3)
    columns = torch.randn(ROWS, 5, generator=rng)
    a, b, c, d, e = columns.unbind(1)
    mean = standardised(torch.sin(2.5 * a) + 0.6 * b**2 + torch.tanh(2 * c) * d)
    spread = torch.exp(-1.5 + 0.7 * torch.tanh(1.5 * e))
    value = mean + spread * torch.randn(ROWS, generator=rng)
    floor = (spread.log() + 0.5 * math.log(2 * math.pi * math.e)).mean().item()
    scales, shifts = torch.tensor([8.0, 300.0, 1.5, 40.0, 2.0]), torch.tensor([15.0, 700.0, 6.5, 120.0, 5.0])
    return Task("spread", columns, value[:, None], 2, floor=floor, raw=shifts + scales * columns)


def charges(length: int) -> Task:
    """`length` bodies with a charge and a place `[B, N, 3]`: which way is each drawn by the others, `[B, N, 2]`?

    In one row of fifty two bodies are at one place. Recorded in coulombs' billionths and millimetres.
    """
    rng = _rng(4)
    charge, place = torch.randn(ROWS, length, generator=rng), 1.5 * torch.randn(ROWS, length, 2, generator=rng)
    place[::50, 1] = place[::50, 0]
    apart = place[:, None] - place[:, :, None]
    strength = charge[:, None] / (apart.square().sum(dim=3) + 0.3) ** 1.5
    drawn = (strength[..., None] * apart).sum(dim=2)
    rows = torch.cat([charge[..., None], place / 1.5], dim=2)
    raw = torch.tensor([80.0, 400.0, 400.0]) * (rows + torch.tensor([0.0, 3.0, 3.0]))
    return Task("values", rows, (drawn / drawn.std()).clamp(-4, 4), 2, raw=raw)


def grades(length: int) -> Task:
    """One of five grades in order, from eight columns; told as whether it is above each of the four levels."""
    rng = _rng(5)
    columns = torch.randn(ROWS, 8, generator=rng)
    a, b, c, d, e = columns[:, :5].unbind(1)
    worth = standardised(a * b + torch.sin(2 * c) + 0.7 * d + 0.5 * e.abs()) + 0.15 * torch.randn(ROWS, generator=rng)
    above = (worth[:, None] > torch.tensor(LEVELS)).float()
    scales = torch.tensor([12.0, 4_000.0, 0.5, 30.0, 900.0, 2.0, 60.0, 1.0])
    return Task("grades", columns, above, len(LEVELS), raw=scales * (columns + 3))


def membrane(length: int) -> Task:
    """Places of a square `[B, 2]`: the load on a membrane that is held at the border, and how far it gives way."""
    places = 2 * torch.rand(ROWS, 2, generator=_rng(6)) - 1
    load, moved = torch.zeros(ROWS), torch.zeros(ROWS)
    for across, down, size in MODES:
        shape = size * torch.sin(across * math.pi * (places[:, 0] + 1) / 2)
        shape = shape * torch.sin(down * math.pi * (places[:, 1] + 1) / 2)
        load, moved = load + shape, moved + shape / ((across**2 + down**2) * math.pi**2 / 4)
    return Task("law", places, torch.stack([load, moved], dim=1), 1)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (shocks, floods, yields, charges, grades, membrane)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(5000 + seed)
