"""Small data of the third round: triplets, small and large pictures, places, prices, ratings, visits, arms, petals.

As in the suite's `tasks`, a task is the same every time. Kinds of its own: "triplets" (like, like, unlike), "absolute"
(values, by their distance), "labels" (any number of them), "counts" (how often), "rewards" (of each arm), "density"
(points whose density is wanted), "hidden" (tokens, most of which are not asked for).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tasks
import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task, standardised

ROWS = TRAIN + TEST
UNASKED = -100  # as torch's cross-entropy has it


# --------------------------------------------------------------------------------------------- pictures
def digit_triplets(length: int) -> Task:
    """A digit, another one of its class, and one of another class; at half their size."""
    task, rng = tasks.pictures(length), _rng(1)
    labels = tasks.digits(length).targets
    like, unlike = torch.arange(ROWS), torch.arange(ROWS)
    for part in (torch.arange(TRAIN), torch.arange(TRAIN, ROWS)):
        for label in range(10):
            rows, others = part[labels[part] == label], part[labels[part] != label]
            like[rows] = rows[torch.randperm(len(rows), generator=rng)]
            unlike[rows] = others[torch.randint(len(others), (len(rows),), generator=rng)]
    pixels = torch.stack([task.inputs, task.inputs[like], task.inputs[unlike]], dim=1)
    return Task("triplets", (pixels - 0.13) / 0.27, labels, 16, raw=255 * pixels)


def small_and_large(length: int) -> Task:
    """Digits of 7 by 7 pixels, to be drawn with 14 by 14; their distance counts, not its square."""
    large = tasks.pictures(length).inputs
    small = F.avg_pool2d(large, 2)
    return Task("absolute", (small - 0.13) / 0.24, (large - 0.13) / 0.27, 1, raw=255 * small)


def places(length: int) -> Task:
    """Where in a noisy picture of 16 by 16 pixels are the cross and the square? A map of each, bright where it is."""
    rng = _rng(2)
    at = torch.randint(2, 14, (ROWS, 2, 2), generator=rng)
    signs = torch.tensor([[[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[1, 1, 1], [1, 0, 1], [1, 1, 1]]]).float()
    pictures, maps = torch.zeros(ROWS, 2, 16, 16), torch.zeros(ROWS, 2, 16, 16)
    maps[torch.arange(ROWS)[:, None], torch.arange(2), at[:, :, 0], at[:, :, 1]] = 1.0
    pictures = F.conv2d(maps, signs[:, None], padding=1, groups=2).sum(dim=1, keepdim=True)
    pixels = pictures + 0.1 * torch.randn(pictures.shape, generator=rng)
    line = torch.exp(-0.5 * torch.arange(-3.0, 4.0) ** 2)
    spread = (line[:, None] * line).expand(2, 1, 7, 7)
    return Task("values", pixels / 0.3, F.conv2d(maps, spread, padding=3, groups=2), 2, raw=200 * pixels + 300)


# ----------------------------------------------------------------------------------------------- tables
def products(length: int) -> Task:
    """A value from products of two and three out of eight columns, recorded in units of their own."""
    rng = _rng(3)
    columns = torch.randn(ROWS, 8, generator=rng)
    a, b, c, d, e, f = columns[:, :6].unbind(1)
    value = a * b + 0.7 * c * d + 0.5 * a * e * f + 0.6 * f + 0.1 * torch.randn(ROWS, generator=rng)
    sizes = torch.tensor([3.0, 400.0, 0.1, 50.0, 8_000.0, 0.5, 20.0, 1.0])
    return Task("values", columns, standardised(value)[:, None], 1, raw=sizes * (columns + 4))


def ratings(length: int) -> Task:
    """How 40 readers like 30 books: three tastes of each, a habit of each."""
    rng = _rng(4)
    reader, book = torch.randint(40, (ROWS,), generator=rng), torch.randint(30, (ROWS,), generator=rng)
    taste, manner = torch.randn(40, 3, generator=rng), torch.randn(30, 3, generator=rng)
    kindness, fame = torch.randn(40, generator=rng), torch.randn(30, generator=rng)
    value = (taste[reader] * manner[book]).sum(dim=1) + 0.7 * kindness[reader] + 0.7 * fame[book]
    noisy = value + 0.2 * torch.randn(ROWS, generator=rng)
    return Task("values", torch.stack([reader, book], dim=1), standardised(noisy)[:, None], 1)


def visits(length: int) -> Task:
    """How often somebody comes, from six columns; mostly rarely. The floor is the loss at the true rates."""
    rng = _rng(5)
    columns = torch.randn(ROWS, 6, generator=rng)
    a, b, c, d = columns[:, :4].unbind(1)
    log_rate = -0.5 + 1.2 * a + torch.sin(2 * b) - 0.6 * c * d.clamp(-1, 1)
    log_rate = log_rate.clamp(-4, 3)
    counts = torch.poisson(log_rate.exp(), generator=rng)
    floor = (log_rate.exp() - counts * log_rate).mean().item()
    sizes = torch.tensor([12.0, 300.0, 5.0, 70.0, 1.0, 2_000.0])
    return Task("counts", columns, counts[:, None], 1, floor=floor, raw=sizes * (columns + 3))


def arms(length: int) -> Task:
    """Five arms whose rewards depend on what is seen; only one can be pulled."""
    rng = _rng(6)
    seen, rules = torch.randn(ROWS, 6, generator=rng), torch.randn(2, 6, 5, generator=rng)
    rewards = torch.tanh(0.6 * seen @ rules[0]) + 0.5 * torch.sin(seen @ rules[1])
    sizes = torch.tensor([40.0, 1.0, 900.0, 7.0, 0.2, 150.0])
    return Task("rewards", seen, rewards, 5, raw=sizes * (seen + 3))


# ----------------------------------------------------------------------------------------------- points
def petals(length: int) -> Task:
    """Points in five long heaps about a centre; the floor is the entropy of their distribution, in nats."""
    rng = _rng(7)
    angle = 2 * math.pi * torch.arange(5) / 5
    out, along = torch.stack([angle.cos(), angle.sin()], dim=1), torch.stack([-angle.sin(), angle.cos()], dim=1)
    which = torch.randint(5, (ROWS,), generator=rng)
    far, wide = torch.randn(2, ROWS, 1, generator=rng)
    points = (1.4 + 0.4 * far) * out[which] + 0.12 * wide * along[which]
    r, t = points @ out.T, points @ along.T
    log_each = -0.5 * ((r - 1.4) / 0.4) ** 2 - 0.5 * (t / 0.12) ** 2 - math.log(2 * math.pi * 0.4 * 0.12)
    floor = -(log_each.logsumexp(dim=1) - math.log(5)).mean().item()
    return Task("density", points, points, 2, floor=floor)


def swirl(length: int) -> Task:
    """A point of a spiral with some noise, and how much of it (0 to 1): which noise was it?"""
    rng = _rng(8)
    turn, time = 3 * math.pi * torch.rand(ROWS, 1, generator=rng), torch.rand(ROWS, 1, generator=rng)
    clean = (0.3 + turn / 6) * torch.cat([turn.cos(), turn.sin()], dim=1)
    noise, share = torch.randn(ROWS, 2, generator=rng), 0.5 * math.pi * time
    noisy = torch.cat([share.cos() * clean + share.sin() * noise, time], dim=1)
    return Task("values", noisy, noise, 2, raw=torch.tensor([300.0, 300.0, 1.0]) * noisy)


def spirals(length: int) -> Task:
    """Three arms of a spiral; recorded in pixels."""
    rng = _rng(9)
    classes, far = torch.randint(3, (ROWS,), generator=rng), torch.rand(ROWS, generator=rng).sqrt()
    angle = 2 * math.pi * (classes / 3 + 0.7 * far) + 0.15 * torch.randn(ROWS, generator=rng)
    points = 1.7 * far[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    return Task("classes", points, classes, 3, raw=500 + 250 * points)


# -------------------------------------------------------------------------------------------- sequences
def first_of_two(length: int) -> Task:
    """Two of three signs in a row of noise, once each: which ones, and which of them came first?"""
    rng = _rng(10)
    orders = torch.tensor([(a, b) for a in range(3) for b in range(3) if a != b])
    classes = torch.randint(len(orders), (ROWS,), generator=rng)
    at = torch.rand(ROWS, length, generator=rng).topk(2, dim=1).indices.sort(dim=1).values
    rows = 0.1 * torch.randn(ROWS, length, 3, generator=rng)
    rows[torch.arange(ROWS)[:, None], at, orders[classes]] += 1.0
    return Task("classes", rows, classes, len(orders))


def marked(length: int) -> Task:
    """One number of a series, in its first quarter, has a mark: how large is it?"""
    rng = _rng(11)
    series, at = torch.randn(ROWS, length, generator=rng), torch.randint(max(length // 4, 1), (ROWS, 1), generator=rng)
    mark = torch.zeros(ROWS, length).scatter(1, at, 2.0)
    rows = torch.stack([series, mark], dim=2)
    return Task("values", rows, series.gather(1, at), 1, raw=torch.tensor([1500.0, 1.0]) * rows + 4000)


def curves(length: int) -> Task:
    """A curve in the plane from two waves of each coordinate, to be drawn again; recorded in tenths of millimetres."""
    rng = _rng(12)
    time = 2 * math.pi * torch.arange(length) / length
    waves = torch.stack([time.cos(), time.sin(), 0.5 * (2 * time).cos()], dim=0)
    points = (torch.randn(ROWS, 2, 3, generator=rng) @ waves).transpose(1, 2).contiguous()
    return Task("values", points, points, 2, raw=1000 + 300 * points)


def dialects(length: int) -> Task:
    """Texts of one of six dialects with four tokens each; one token in five is hidden: it was one of the four."""
    rng = _rng(13)
    dialect = torch.randint(6, (ROWS, 1), generator=rng)
    tokens = 4 * dialect + torch.randint(4, (ROWS, length), generator=rng)
    hidden = torch.rand(tokens.shape, generator=rng) < 0.2
    hidden[:, 0] = True  # at least one
    asked = torch.where(hidden, tokens, UNASKED)
    return Task("hidden", torch.where(hidden, 24, tokens), asked, 24, floor=math.log(4))


def chords(length: int) -> Task:
    """Any of six tones at once, in noise: which ones? Recorded as a microphone's counts."""
    rng = _rng(14)
    sounds = (torch.rand(ROWS, 6, generator=rng) < 0.4).float()
    phase = 2 * math.pi * torch.rand(ROWS, 6, 1, generator=rng)
    speed = 2 * math.pi * torch.arange(2, 14, 2)[:, None] * torch.arange(length) / length
    signal = (sounds[:, :, None] * torch.sin(speed + phase)).sum(dim=1, keepdim=True)
    signal = signal + 0.2 * torch.randn(signal.shape, generator=rng)
    return Task("labels", signal, sounds, 6, raw=2000 * signal)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each
    for each in (
        digit_triplets, small_and_large, places, products, ratings, visits, arms, petals, swirl, spirals, first_of_two,
        marked, curves, dialects, chords,
    )
}  # fmt: skip


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(3000 + seed)
