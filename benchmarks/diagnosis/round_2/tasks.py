"""More small data, for networks of other kinds: pairs of digits, clouds, graphs, tags, tides, surfaces, regimes.

As in the suite's `tasks`, a task is the same every time. Kinds of its own: "pairs" (two views of one class, to be
brought close), "both" (a class and a value), "code" (pictures through a code that is drawn).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tasks
import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task, standardised
from torch import Tensor

ROWS = TRAIN + TEST


def like_pairs(length: int) -> Task:
    """Two digits of the same class."""
    task, rng = tasks.flat_digits(length), _rng(1)
    other = torch.arange(ROWS)
    for part in (torch.arange(TRAIN), torch.arange(TRAIN, ROWS)):
        for label in range(10):
            rows = part[task.targets[part] == label]
            other[rows] = rows[torch.randperm(len(rows), generator=rng)]
    pairs, raw = (torch.stack([each, each[other]], dim=1) for each in (task.inputs, task.raw) if each is not None)
    return Task("pairs", pairs, task.targets, 16, raw=raw)


def digits_and_slant(length: int) -> Task:
    """Which digit, and how far it leans."""
    task = tasks.flat_digits(length)
    assert task.raw is not None
    leans = standardised(slant(task.raw.view(-1, 28, 28)))
    return Task("both", task.inputs, torch.stack([task.targets.float(), leans], dim=1), 11, raw=task.raw)


def slant(pictures: Tensor) -> Tensor:
    """How far the ink moves to the right from one row to the next, by least squares; `[B, H, W]` to `[B]`."""
    ink = pictures / pictures.sum(dim=(1, 2), keepdim=True)
    place = torch.arange(float(pictures.shape[1]))
    across, down = ink.sum(dim=1), ink.sum(dim=2)
    x, y = (across * place).sum(dim=1), (down * place).sum(dim=1)
    shared = (ink * place[:, None] * place).sum(dim=(1, 2)) - x * y
    return shared / ((down * place**2).sum(dim=1) - y**2)


def drawn_pictures(length: int) -> Task:
    task = tasks.pictures(length)
    flat, raw = task.inputs.flatten(1), None if task.raw is None else task.raw.flatten(1)
    return Task("code", flat, flat, flat.shape[1], raw=raw)


def clouds(length: int) -> Task:
    """`length` points on one of six solids, turned about the upright axis; recorded in millimetres from a corner."""
    rng = _rng(2)
    a, b = 2 * math.pi * torch.rand(ROWS, length, generator=rng), 2 * torch.rand(ROWS, length, generator=rng) - 1
    one, level = torch.ones_like(a), (1 - b**2).sqrt()
    turn = torch.stack([a.cos(), a.sin()])
    box = 0.8 * torch.stack([turn[0].sign(), (2 * a).sin()])
    solids = [
        torch.stack([*(level * turn), b]),  # ball
        torch.stack([*(0.7 * turn), b]),  # tube
        torch.stack([*((1 - b) / 2 * turn), b]),  # cone
        torch.stack([*((0.8 + 0.3 * (5 * b).cos()) * turn), 0.3 * (5 * b).sin()]),  # ring
        torch.stack([*box, b]),  # two walls
        torch.stack([0.8 * (6 * b).cos(), 0.8 * (6 * b).sin(), b * one]),  # screw
    ]
    classes = torch.randint(len(solids), (ROWS,), generator=rng)
    points = torch.stack(solids).permute(2, 0, 1, 3)[torch.arange(ROWS), classes]
    angle = 2 * math.pi * torch.rand(ROWS, 1, generator=rng)
    x, y, z = points.unbind(1)
    turned = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos(), z], dim=1)
    noisy = (turned + 0.05 * torch.randn(turned.shape, generator=rng)) / 0.6
    return Task("classes", noisy, classes, len(solids), raw=2000 + 300 * noisy)


def communities(length: int) -> Task:
    """Graphs of `length` nodes in three groups: to which does a node belong? Only one node in four says so.

    Inputs `[B, N, 4 + N]`: what a node says (and noise), then its row of the adjacency matrix. Some have no neighbour.
    """
    rng = _rng(3)
    groups = torch.randint(3, (ROWS, length), generator=rng)
    together = groups[:, :, None] == groups[:, None, :]
    chance = torch.where(together, 0.5, 0.03) * (torch.rand(ROWS, length, 1, generator=rng) > 0.03)
    edges = (torch.rand(chance.shape, generator=rng) < chance).float().triu(1)
    edges = edges + edges.transpose(1, 2)
    tells = torch.rand(ROWS, length, 1, generator=rng) < 0.25
    told = torch.where(tells, F.one_hot(groups, 3).float(), 0.0)
    features = torch.cat([told, torch.ones(ROWS, length, 1)], dim=2)
    features = 2 * features + 0.2 * torch.randn(features.shape, generator=rng)
    return Task("tokens", torch.cat([features, edges], dim=2), groups, 3)


def tags(length: int) -> Task:
    """Text of 20 letters; a letter's tag (of four) depends on the last mark before it and on the first one behind."""
    rng = _rng(4)
    letters = torch.randint(2, 20, (ROWS, length), generator=rng)
    marks = torch.randint(2, letters.shape, generator=rng)
    marked = torch.rand(letters.shape, generator=rng) < 0.12
    text = torch.where(marked, marks, letters)
    before, behind = _last_mark(text), _last_mark(text.flip(1)).flip(1)
    return Task("tokens", text, 2 * before + behind, 4)


def _last_mark(text: Tensor) -> Tensor:
    state, states = torch.zeros(len(text), dtype=torch.long), []
    for letter in text.unbind(1):
        state = torch.where(letter < 2, letter, state)
        states.append(state)
    return torch.stack(states, dim=1)


def reversals(length: int) -> Task:
    """A word of 12 letters backwards. Inputs: the word, then the answer one step late, from a sign of its own."""
    words = torch.randint(12, (ROWS, length), generator=_rng(5))
    answers = words.flip(1)
    late = torch.cat([torch.full((ROWS, 1), 12), answers[:, :-1]], dim=1)
    return Task("tokens", torch.cat([words, late], dim=1), answers, 12)


def tides(length: int) -> Task:
    """The next value of two swings of any speed and size, at each step; recorded as centimetres of water."""
    rng = _rng(6)
    speed = 0.15 + 0.6 * torch.rand(ROWS, 2, 1, generator=rng)
    phase = 2 * math.pi * torch.rand(ROWS, 2, 1, generator=rng)
    size = 0.5 + torch.rand(ROWS, 2, 1, generator=rng)
    swings = (size * torch.sin(speed * torch.arange(length + 1) + phase)).sum(dim=1, keepdim=True)
    noisy = swings + 0.1 * torch.randn(swings.shape, generator=rng)
    return Task("values", noisy[:, :, :-1], noisy[:, :, 1:], 1, raw=450 + 80 * noisy[:, :, :-1])


def surface(length: int) -> Task:
    """The height of a point of the plane; recorded in metres east and north of a far origin."""
    places = 2 * torch.rand(ROWS, 2, generator=_rng(7)) - 1
    x, y = places.unbind(1)
    height = torch.sin(3 * x + 1) * torch.cos(4 * y) + 0.5 * torch.sin(5 * x * y) + 0.5 * x
    return Task("values", 1.7 * places, standardised(height)[:, None], 1, raw=20_000 + 5_000 * places)


def regimes(length: int) -> Task:
    """A value from ten columns by one of four rules; the first two columns tell which."""
    rng = _rng(8)
    columns, rules = torch.randn(ROWS, 10, generator=rng), torch.randn(4, 10, generator=rng)
    which = 2 * (columns[:, 0] > 0).long() + (columns[:, 1] > 0).long()
    value = (columns * rules[which]).sum(dim=1) + 0.1 * torch.randn(ROWS, generator=rng)
    sizes = 10.0 ** torch.arange(-2, 3).repeat(2)
    return Task("values", columns, standardised(value)[:, None], 1, raw=sizes * (columns + 3))


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each
    for each in (
        like_pairs, digits_and_slant, drawn_pictures, clouds, communities, tags, reversals, tides, surface, regimes,
    )
}  # fmt: skip


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(2000 + seed)
