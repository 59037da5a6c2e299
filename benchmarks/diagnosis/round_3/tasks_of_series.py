"""Data of `series`: gestures, tanks, heart beats, forms with gaps, contours.

As in the suite's `tasks`, a task is the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tasks import TEST, TRAIN, Task
from torch import Tensor

ROWS = TRAIN + TEST
LETTERS, FORMS = 16, 8  # of the forms; the letter behind the last one stands for a gap
GAP, LEFT_ALONE = LETTERS, -100  # what cross-entropy passes over


def gestures(length: int) -> Task:
    """The path of a pen, one of six figures, at any speed and from any place of it; recorded in pixels of a screen."""
    rng = _rng(1)
    figures = torch.tensor([[1, 1], [1, 2], [2, 1], [1, 3], [3, 1], [2, 3]])
    classes = torch.randint(len(figures), (ROWS,), generator=rng)
    phase = 2 * math.pi * torch.rand(ROWS, 1, generator=rng)
    turns = 0.8 + 0.6 * torch.rand(ROWS, 1, generator=rng)
    angle = phase + 2 * math.pi * turns * torch.arange(length) / length
    across, down = figures[classes, :1], figures[classes, 1:]
    path = 1.4 * torch.stack([torch.cos(across * angle), torch.sin(down * angle)], dim=2)
    noisy = path + 0.1 * torch.randn(path.shape, generator=rng)
    return Task("classes", noisy, classes, len(figures), raw=500 + 150 * noisy)


def tank(length: int) -> Task:
    """The level of a leaking tank, step by step, from what is poured in or out; recorded as litres."""
    rng = _rng(2)
    poured = torch.randn(ROWS, length, generator=rng) * (torch.rand(ROWS, length, generator=rng) < 0.3)
    levels = leaky_sum(poured, 0.97)
    inputs = torch.stack([poured / 0.55, 0.3 * torch.randn(ROWS, length, generator=rng)], dim=2)  # and the weather
    return Task("values", inputs, (levels / levels.std())[:, :, None], 1, raw=2000 + 700 * inputs)


def leaky_sum(values: Tensor, kept: float) -> Tensor:
    level, levels = torch.zeros(len(values)), []
    for new in values.unbind(1):
        level = kept * level + new
        levels.append(level)
    return torch.stack(levels, dim=1)


def beats(length: int) -> Task:
    """A heart: slow, quick, beating in pairs, uneven, or with every third beat left out; in thousandths of a volt."""
    rng = _rng(3)
    classes = torch.randint(5, (ROWS,), generator=rng)
    number = torch.arange(length)
    gaps = torch.tensor([10.0, 5.0, 7.0, 7.0, 7.0])[classes, None].expand(ROWS, length).clone()
    gaps = torch.where((classes == 2)[:, None], torch.where(number % 2 == 0, 4.0, 10.0), gaps)
    uneven = 3 + 8 * torch.rand(ROWS, length, generator=rng)
    gaps = torch.where((classes == 3)[:, None], uneven, gaps)
    times = 10 * torch.rand(ROWS, 1, generator=rng) - 20 + gaps.cumsum(dim=1)
    is_there = ~((classes == 4)[:, None] & (number % 3 == 0))
    away = number[None, :, None] - times[:, None, :]
    wave = (is_there[:, None, :] * (torch.exp(-(away**2)) - 0.3 * torch.exp(-((away - 2.5) ** 2) / 2))).sum(dim=2)
    noisy = (wave + 0.1 * torch.randn(wave.shape, generator=rng))[:, None] * 3
    return Task("classes", noisy, classes, 5, raw=1200 + 250 * noisy)


def forms(length: int) -> Task:
    """Rows of letters after one of eight forms, a tenth of them slips; what stood in the gaps? (Of the rest: -100.)"""
    rng = _rng(4)
    table = torch.randint(LETTERS, (FORMS, length), generator=rng)
    letters = table[torch.randint(FORMS, (ROWS,), generator=rng)]
    slips = torch.rand(letters.shape, generator=rng) < 0.1
    letters = torch.where(slips, torch.randint(LETTERS, letters.shape, generator=rng), letters)
    gaps = torch.rand(letters.shape, generator=rng) < 0.2
    right, wrong = 0.9 + 0.1 / LETTERS, 0.1 / LETTERS
    floor = -right * math.log(right) - (LETTERS - 1) * wrong * math.log(wrong)
    targets = torch.where(gaps, letters, LEFT_ALONE)
    return Task("tokens", torch.where(gaps, GAP, letters), targets, LETTERS, floor=floor)


def contours(length: int) -> Task:
    """A swing with a slope, to be drawn again from a code of the whole; recorded as hertz of a voice."""
    rng = _rng(5)
    speed = 0.1 + 0.25 * torch.rand(ROWS, 1, generator=rng)
    phase = 2 * math.pi * torch.rand(ROWS, 1, generator=rng)
    slope = torch.randn(ROWS, 1, generator=rng)
    time = torch.arange(float(length))
    lines = torch.sin(speed * time + phase) + 0.7 * slope * (2 * time / length - 1)
    lines = (lines + 0.05 * torch.randn(lines.shape, generator=rng))[:, :, None]
    return Task("values", lines, lines, 1, raw=220 + 60 * lines)


TASKS: dict[str, Callable[[int], Task]] = {each.__name__: each for each in (gestures, tank, beats, forms, contours)}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(3100 + seed)
