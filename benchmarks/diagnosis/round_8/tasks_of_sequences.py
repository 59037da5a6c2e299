"""Data of `sequences`: puppets, duets, ledgers, crickets, unicycles.

As in the suite's `tasks`, a task is the same every time. Kinds of their own: "voices" (two signals of which the sum was
heard), "spans" (from where to where in a text), "rides" (what a trip costs; nobody shows how to go).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tasks import TEST, TRAIN, Task
from torch import Tensor

ROWS = TRAIN + TEST
SIDE, MOVES = 12, 6
SAMPLES = 128
NAMES, DIGITS, WORDS = 8, 10, 6  # tokens of a ledger, in this order
GROUPS, EARS = 4, 5  # EARS: of a group
SWAY, TICK, PUSH = 5.0, 0.05, 8.0  # how fast a unicycle falls; seconds of a step; the strongest push


def puppets(length: int) -> Task:
    """Clips of a lit hand in the dark `[B, T, 1, 12, 12]`: it goes right, left, down, up, or round, one way or another.

    Recorded in grey values.
    """
    rng = _rng(1)
    moves = torch.randint(MOVES, (ROWS,), generator=rng)
    start = 3 + 6 * torch.rand(ROWS, 2, generator=rng)
    turn = 2 * math.pi * torch.rand(ROWS, generator=rng)
    steps = torch.arange(length) - (length - 1) / 2
    ways = torch.tensor([[0.0, 0.7], [0.0, -0.7], [0.7, 0.0], [-0.7, 0.0], [0.0, 0.0], [0.0, 0.0]])[moves]
    line = ways[:, None, :] * steps[:, None]
    angle = turn[:, None] + 0.8 * steps * (2.0 * (moves == 4) - 1)[:, None]
    circle = 2 * torch.stack([angle.sin(), angle.cos()], dim=2)
    path = start[:, None, :] + torch.where((moves >= 4)[:, None, None], circle, line)
    grid = torch.arange(SIDE)
    rows, columns = (torch.exp(-0.6 * (path[..., each, None] - grid).square()) for each in range(2))
    light = rows[..., :, None] * columns[..., None, :] + 0.15 * torch.randn(ROWS, length, SIDE, SIDE, generator=rng)
    light = light[:, :, None]
    return Task("classes", (light - light.mean()) / light.std(), moves, MOVES, raw=60 + 150 * light)


def duets(length: int) -> Task:
    """A low voice with overtones and a high one that slides, at once `[B, 1, N]`; targets are both, `[B, 2, N]`.

    In some duets one of them rests. Recorded in steps of 16 bits.
    """
    rng = _rng(2)
    time = torch.arange(SAMPLES) / SAMPLES
    draw = torch.rand(ROWS, 6, 1, generator=rng)
    low = 2 * math.pi * ((3 + 4 * draw[:, 0]) * time + draw[:, 1])
    low = low.sin() + 0.6 * (2 * low).sin() + 0.4 * (3 * low).sin()
    high = torch.sin(2 * math.pi * ((14 + 8 * draw[:, 2]) * time + 6 * draw[:, 3] * time.square() + draw[:, 4]))
    high = high * (1 + 0.5 * torch.sin(2 * math.pi * (2 * time + draw[:, 5])))
    voices = torch.stack([low, high], dim=1) * (0.6 + 0.8 * torch.rand(ROWS, 2, 1, generator=rng))
    rests = torch.rand(ROWS, generator=rng) < 0.03
    voices[rests, torch.randint(2, (int(rests.sum()),), generator=rng)] = 0
    heard = voices.sum(dim=1, keepdim=True) + 0.02 * torch.randn(ROWS, 1, SAMPLES, generator=rng)
    return Task("voices", heard, voices, 2, raw=5_000 * heard)


def ledgers(length: int) -> Task:
    """A name, and a page of words, names and amounts `[B, 1 + T]`; targets `[B, 2]`: where that name's amount begins
    and where it ends (its last digit). Amounts have one to three digits.
    """
    rng = _rng(3)
    pages = NAMES + DIGITS + torch.randint(WORDS, (ROWS, length), generator=rng)
    digits = NAMES + torch.randint(DIGITS, (ROWS, length), generator=rng)
    order = torch.rand(ROWS, NAMES, generator=rng).argsort(dim=1)
    sizes = torch.randint(1, 4, (ROWS, NAMES), generator=rng)
    gaps = torch.randint(3, (ROWS, NAMES), generator=rng)
    entries = length // 6
    names_at = (sizes + 1 + gaps).cumsum(dim=1) - sizes - 1
    every, places = torch.arange(ROWS), torch.arange(length)
    for entry in range(entries):
        at, size = names_at[:, entry], sizes[:, entry]
        pages[every, at] = order[:, entry]
        inside = (places > at[:, None]) & (places <= (at + size)[:, None])
        pages = torch.where(inside, digits, pages)
    asked = torch.randint(entries, (ROWS,), generator=rng)
    start = names_at[every, asked] + 1
    spans = torch.stack([start, start + sizes[every, asked] - 1], dim=1)
    return Task("spans", torch.cat([order[every, asked][:, None], pages], dim=1), spans, 2)


def crickets(length: int) -> Task:
    """Clicks at 20 ears `[B, T, 20]`: a cricket chirps in the first third, on the left or the right; another one in the
    last third, in one of three trees. Recorded in microvolts.
    """
    rng = _rng(4)
    sides, trees = torch.randint(2, (ROWS,), generator=rng), torch.randint(3, (ROWS,), generator=rng)
    third = length // 3
    rates = torch.full((ROWS, length, GROUPS, EARS), 0.06)
    every = torch.arange(ROWS)
    rates[every, :third, sides] = 0.4
    rates[every, -third:, 1 + trees] = 0.4
    clicks = (torch.rand(ROWS, length, GROUPS * EARS, generator=rng) < rates.flatten(2)).float()
    return Task("classes", clicks, 3 * sides + trees, 6, raw=250 * clicks)


def unicycles(length: int) -> Task:
    """Where riders start, `[B, 4]`: lean, its rate, place, speed. Targets `[B, 2]`: what the ride costs that a linear
    regulator makes, and what it costs not to push at all.
    """
    rng = _rng(5)
    starts = torch.tensor([0.15, 0.15, 0.5, 0.2]) * torch.randn(ROWS, 4, generator=rng)
    gain = _regulator()
    costs = []
    for share in (1.0, 0.0):
        state, cost = starts, torch.zeros(ROWS)
        for _ in range(length):
            push = share * PUSH * torch.tanh(-(state @ gain.T) / PUSH)
            state = moved(state, push)
            cost = cost + ride_cost(state, push) / length
        costs.append(cost)
    return Task("rides", starts, torch.stack(costs, dim=1), 1)


def moved(state: Tensor, push: Tensor) -> Tensor:
    """One step later: a push `[B, 1]` drives the wheel, and turns the rider the other way."""
    lean, rate, place, speed = state.unbind(1)
    pushed = push[:, 0]
    turning = SWAY * torch.sin(lean) - pushed * torch.cos(lean)
    rate, speed = rate + TICK * turning, speed + TICK * pushed
    return torch.stack([lean + TICK * rate, rate, place + TICK * speed, speed], dim=1)


def ride_cost(state: Tensor, push: Tensor) -> Tensor:
    """Of one step `[B]`."""
    return 4 * (1 - torch.cos(state[:, 0])) + 0.2 * state[:, 2].square() + 0.01 * push[:, 0].square()


def _regulator() -> Tensor:
    """The matrix of Riccati of small leans, `[1, 4]`."""
    drift, drive = torch.eye(4), torch.zeros(4, 1)
    drift[1, 0] = TICK * SWAY
    drift[0] = drift[0] + TICK * drift[1]
    drift[2, 3] = TICK
    drive[1], drive[3] = -TICK, TICK
    drive[0], drive[2] = TICK * drive[1], TICK * drive[3]
    worth = torch.diag(torch.tensor([2.0, 0.0, 0.2, 0.0]))
    cost, gain = worth, torch.zeros(1, 4)
    for _ in range(500):
        gain = torch.linalg.solve(0.01 * torch.eye(1) + drive.T @ cost @ drive, drive.T @ cost @ drift)
        cost = worth + drift.T @ cost @ (drift - drive @ gain)
    return gain


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (puppets, duets, ledgers, crickets, unicycles)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(8800 + seed)
