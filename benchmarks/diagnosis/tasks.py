"""Small data for the suite: bundled digits, and synthetic tables, sequences, texts and points.

`modules.task_of(name, length)` is the same every time; what differs from seed to seed is the order of the batches.
Where the data can be broken (scale, labels, bad batches), it is done here, on the way from a table to a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from knobs import Settings
from torch import Tensor

from isometry import build
from isometry.data.sources import ImageSet
from isometry.overrides import read

TRAIN, TEST = 4000, 1000


@dataclass(frozen=True)
class Task:
    """Args:
    kind: "classes", "values" (regression), "pixels" (images from 0 to 1), "tokens" (a class at each step), "points";
        others have their loss and score in `losses_former`.
    inputs, targets: Training rows first, then TEST rows of the held-aside set.
    outputs: Classes, or values of a row.
    floor: Entropy of the targets given all there is to know, where that is not 0.
    raw: The inputs as they were recorded, where the standardised ones are not.
    """

    kind: str
    inputs: Tensor
    targets: Tensor
    outputs: int
    floor: float = 0.0
    raw: Tensor | None = None


@lru_cache(maxsize=1)
def images() -> ImageSet:
    return build.image_set(read([]))


def _digit_pixels() -> tuple[Tensor, Tensor]:
    data = images()
    pixels = torch.cat([data.train_images[:TRAIN], data.test_images[:TEST]]).float() / 255
    return pixels, torch.cat([data.train_labels[:TRAIN], data.test_labels[:TEST]]).long()


def digits(length: int) -> Task:
    pixels, labels = _digit_pixels()
    return Task("classes", (pixels - 0.1307) / 0.3081, labels, 10, raw=255 * pixels)


def flat_digits(length: int) -> Task:
    task = digits(length)
    return Task("classes", task.inputs.flatten(1), task.targets, 10, raw=(255 * _digit_pixels()[0]).flatten(1))


def digit_pairs(length: int) -> Task:
    """Two digits at once, one for each head."""
    task = flat_digits(length)
    other = torch.cat([torch.arange(TRAIN).flip(0), TRAIN + torch.arange(TEST).flip(0)])
    targets = torch.stack([task.targets, task.targets[other]], dim=1)
    return Task("classes", torch.stack([task.inputs, task.inputs[other]], dim=1), targets, 10)


def pictures(length: int) -> Task:
    """Digits at half their size, to be drawn again."""
    pixels = F.avg_pool2d(_digit_pixels()[0], 2)
    return Task("pixels", pixels, pixels, pixels[0].numel(), raw=255 * pixels)


def noisy_pictures(length: int) -> Task:
    clean = F.pad(pictures(length).inputs, (1, 1, 1, 1))
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=_rng(1))
    return Task("pixels", noisy, clean, clean[0].numel(), raw=255 * noisy)


def table(length: int) -> Task:
    """A price from eight columns of very different size: years, income, rooms, distances, …"""
    rng = _rng(2)
    columns = torch.randn(TRAIN + TEST, 8, generator=rng)
    a, b, c, d, e = columns[:, :5].unbind(1)
    value = torch.sin(2 * a) + b * c + 0.5 * d**2 + 0.7 * e + 0.1 * torch.randn(len(a), generator=rng)
    scales = torch.tensor([12.0, 25_000.0, 1.5, 900.0, 0.02, 40.0, 3.0, 150.0])
    shifts = torch.tensor([45.0, 60_000.0, 5.0, 2_000.0, 0.05, 100.0, 10.0, 700.0])
    return Task("values", columns, standardised(value)[:, None], 1, raw=shifts + scales * columns)


def recall(length: int) -> Task:
    """Which of four signs stood first? All after it is noise."""
    rng = _rng(3)
    signs = torch.randint(4, (TRAIN + TEST,), generator=rng)
    noise = 0.1 * torch.randn(TRAIN + TEST, length, 4, generator=rng)
    noise[:, 0] = F.one_hot(signs, 4).float()
    return Task("classes", noise, signs, 4)


def waves(length: int) -> Task:
    """Two channels of a noisy oscillation; its frequency is the class."""
    rng = _rng(4)
    classes = torch.randint(6, (TRAIN + TEST,), generator=rng)
    phase = 2 * math.pi * torch.rand(TRAIN + TEST, 1, generator=rng)
    time = torch.arange(length) / length
    angle = 2 * math.pi * (2.0 + 1.5 * classes[:, None]) * time + phase
    clean = torch.stack([angle.sin(), angle.cos()], dim=1)
    return Task("classes", clean + 0.5 * torch.randn(clean.shape, generator=rng), classes, 6)


def waves_in_time(length: int) -> Task:
    task = waves(length)
    return Task("classes", task.inputs.transpose(1, 2).contiguous(), task.targets, 6)


def chain(length: int) -> Task:
    """Text of a Markov chain over 16 letters: which letter is next?"""
    rng = _rng(5)
    moves = torch.softmax(2.5 * torch.randn(16, 16, generator=rng), dim=1)
    text = torch.randint(16, (TRAIN + TEST, 1), generator=rng)
    for _ in range(length):
        text = torch.cat([text, torch.multinomial(moves[text[:, -1]], 1, generator=rng)], dim=1)
    floor = float(-moves[text[:, :-1]].gather(2, text[:, 1:, None]).log().mean())
    return Task("tokens", text[:, :-1], text[:, 1:], 16, floor=floor)


def majority(length: int) -> Task:
    """Which of the first four of 24 tokens stands most often in a row of tokens?"""
    rng = _rng(6)
    tokens = torch.randint(24, (TRAIN + TEST, length), generator=rng)
    classes = torch.randint(4, (TRAIN + TEST,), generator=rng)
    marked = torch.rand(tokens.shape, generator=rng) < 0.2
    return Task("classes", torch.where(marked, classes[:, None], tokens), classes, 4)


def texts(length: int) -> Task:
    """Rows of 40 words out of 2,000, most of them rare; each of five topics prefers a few of its own."""
    rng = _rng(7)
    common = 1 / torch.arange(1, 2001)
    topics = torch.randint(5, (TRAIN + TEST,), generator=rng)
    words = torch.multinomial(common, 40 * (TRAIN + TEST), replacement=True, generator=rng).view(-1, 40)
    own = 20 + 30 * topics[:, None] + torch.randint(30, words.shape, generator=rng)
    return Task("classes", torch.where(torch.rand(words.shape, generator=rng) < 0.15, own, words), topics, 5)


def ring(length: int) -> Task:
    """Points of the plane: three heaps of unequal spread, for a generator to imitate."""
    rng = _rng(8)
    centres = torch.tensor([[1.5, 0.0], [-1.0, 1.2], [-0.5, -1.5]])
    points = centres[torch.randint(3, (TRAIN + TEST,), generator=rng)]
    points = points + 0.3 * torch.randn(points.shape, generator=rng)
    return Task("points", points, points, 2)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each
    for each in (
        digits, flat_digits, digit_pairs, pictures, noisy_pictures, table, recall, waves, waves_in_time, chain,
        majority, texts, ring,
    )
}  # fmt: skip


def prepare(task: Task, s: Settings) -> Task:
    """The task as the module of these settings meets it, in training and afterwards."""
    inputs = task.raw if s.raw and task.raw is not None else task.inputs
    if inputs.is_floating_point():
        inputs = inputs * s.input_scale + s.input_shift
    targets = 200_000 + 80_000 * task.targets if s.raw_targets else task.targets
    return Task(task.kind, inputs, targets, task.outputs, task.floor)


class Batches:
    """Training batches in an order of their own for each seed, with the damage that was asked for."""

    def __init__(self, task: Task, s: Settings, seed: int) -> None:
        self.inputs, self.targets = task.inputs[:TRAIN], task.targets[:TRAIN]
        if s.labels == "shuffled":
            self.targets = self.targets[torch.randperm(TRAIN, generator=_rng(9))]
        self.s, self.rng = s, _rng(seed)

    def __len__(self) -> int:
        return self.s.steps * self.s.accumulate

    def __iter__(self) -> Iterator[list[Tensor]]:
        order = torch.empty(0, dtype=torch.long)
        for number in range(len(self)):
            if len(order) < self.s.batch:
                order = torch.randperm(TRAIN, generator=self.rng)
            chosen, order = order[: self.s.batch], order[self.s.batch :]
            batch = [self.inputs[chosen], self.targets[chosen]]
            is_bad = self.s.bad != "none" and number % self.s.every == self.s.every - 1
            yield self._damaged(*batch) if is_bad else batch

    def _damaged(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        match self.s.bad:
            case "inputs":
                inputs = 1000 * torch.randn(inputs.shape, generator=self.rng)
            case "labels":
                targets = 1000 * targets
            case "nan":
                inputs = inputs.clone()
                inputs[3].view(-1)[0] = torch.nan
        return [inputs, targets]


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


def standardised(values: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std()
