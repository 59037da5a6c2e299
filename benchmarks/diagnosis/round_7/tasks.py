"""Data of `networks`: tiles, villages, mosaics, pumps, mushrooms, seals, gulls.

As in the suite's `tasks`, a task is the same every time. Kinds of their own: "exits", "quantised", "survival",
"angles", "redundant", whose losses and scores are in `losses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task, standardised

ROWS = TRAIN + TEST
MOTIFS, TILE = 8, 5  # of the mosaics; a tile's side in pixels


def tiles(length: int) -> Task:
    """Striped tiles under dirt, `[B, 1, 16, 16]`: four directions, two distances of the stripes. Grey values."""
    rng = _rng(1)
    classes = torch.randint(8, (ROWS,), generator=rng)
    angle = math.pi / 4 * (classes % 4) + 0.12 * torch.randn(ROWS, generator=rng)
    speed = torch.where(classes < 4, 1.0, 1.5) * (1 + 0.08 * torch.randn(ROWS, generator=rng))
    phase = 2 * math.pi * torch.rand(ROWS, generator=rng)
    down, across = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    angle, speed, phase = (each[:, None, None] for each in (angle, speed, phase))
    stripes = torch.sin(speed * (across * angle.cos() + down * angle.sin()) + phase)
    contrast = 0.5 + torch.rand(ROWS, 1, 1, generator=rng)
    picture = standardised(contrast * stripes + 0.5 * torch.randn(stripes.shape, generator=rng))[:, None]
    return Task("exits", picture, classes, 8, raw=130 + 40 * picture)


def villages(length: int) -> Task:
    """Twelve villages on roads: each wears the colour of the richest one at most one road away (it may be itself).

    `[B, 12, 12 + 5]`: the roads, what a village owns, and its own colour (of four) as somebody measured it.
    """
    rng = _rng(2)
    roads = (torch.rand(ROWS, 12, 12, generator=rng) < 0.15).float().triu(1)
    roads = roads + roads.transpose(1, 2) + torch.eye(12)
    owned = torch.randn(ROWS, 12, generator=rng)
    colours = torch.randint(4, (ROWS, 12), generator=rng)
    richest = torch.where(roads > 0, owned[:, None, :], -torch.inf).argmax(dim=2)
    worn = colours.gather(1, richest)
    dyes = 2 * F.one_hot(colours, 4) - 0.5 + 0.2 * torch.randn(ROWS, 12, 4, generator=rng)
    seen = torch.cat([owned[:, :, None], dyes], dim=2)
    recorded = torch.cat([30_000 + 9_000 * seen[:, :, :1], 60 + 50 * seen[:, :, 1:]], dim=2)
    return Task("tokens", torch.cat([roads, seen], dim=2), worn, 4, raw=torch.cat([roads, recorded], dim=2))


def mosaics(length: int) -> Task:
    """Nine tiles, each with one of eight motifs, `[B, 1, 15, 15]` from 0 to 1; to be laid again."""
    rng = _rng(3)
    motifs = (torch.rand(MOTIFS, TILE, TILE, generator=rng) < 0.5).float()
    laid = motifs[torch.randint(MOTIFS, (ROWS, 3, 3), generator=rng)]
    faded = 0.7 + 0.3 * torch.rand(ROWS, 3, 3, 1, 1, generator=rng)
    picture = (faded * laid).permute(0, 1, 3, 2, 4).reshape(ROWS, 1, 3 * TILE, 3 * TILE)
    picture = (picture + 0.08 * torch.randn(picture.shape, generator=rng)).clamp(0, 1)
    return Task("quantised", picture, picture, 1, raw=255 * picture)


def pumps(length: int) -> Task:
    """How long pumps last, from seven columns; a third are still running. Targets `[B, 3]`: days, whether it failed,
    and (for the score alone) the logarithm of the true hazard."""
    rng = _rng(4)
    columns = torch.randn(ROWS, 7, generator=rng)
    heat, load, age, sand, oil = columns[:, :5].unbind(1)
    hazard = 2 * standardised(torch.sin(1.5 * heat) + load * age + 0.7 * sand.square() - 0.8 * oil)
    fails = 800 * torch.rand(ROWS, generator=rng).log().neg() * torch.exp(-hazard)
    ends = 3_000 * torch.rand(ROWS, generator=rng)
    targets = torch.stack([torch.minimum(fails, ends), (fails <= ends).float(), hazard], dim=1)
    scales = torch.tensor([15.0, 200.0, 4.0, 0.3, 50.0, 1_500.0, 9.0])
    return Task("survival", columns, targets, 1, raw=scales * (4 + columns))


def mushrooms(length: int) -> Task:
    """Five kinds of mushroom by a key with two questions, and two more behind each answer; eight columns."""
    rng = _rng(5)
    columns = torch.randn(ROWS, 8, generator=rng)
    answers = (columns > torch.tensor([0.0, 0.3, -0.3, 0.4, -0.2, 0.0, 0.0, 0.0])).long()
    first = torch.where(answers[:, 1] > 0, 4 * answers[:, 3], 1 + answers[:, 3])
    second = torch.where(answers[:, 2] > 0, 2 + answers[:, 4], 3 * answers[:, 4])
    kinds = torch.where(answers[:, 0] > 0, first, second)
    guessed = torch.randint(5, (ROWS,), generator=rng)
    kinds = torch.where(torch.rand(ROWS, generator=rng) < 0.03, guessed, kinds)
    scales = torch.tensor([30.0, 8.0, 55.0, 2.0, 12.0, 90.0, 5.0, 20.0])
    return Task("classes", columns, kinds, 5, raw=scales * (3 + columns))


def seals(length: int) -> Task:
    """Wax seals of 24 houses, moved and worn, `[B, 1, 16, 16]`: whose is it? One plate in 16 is empty."""
    rng = _rng(6)
    stamps = F.interpolate(torch.randn(24, 1, 5, 5, generator=rng), size=16, mode="bicubic")
    stamps = stamps / stamps.flatten(1).std(dim=1).view(-1, 1, 1, 1)
    houses = torch.randint(24, (ROWS,), generator=rng)
    moved = torch.randint(-2, 3, (ROWS, 2), generator=rng).tolist()
    pressed = torch.stack([stamps[h].roll(m, (1, 2)) for h, m in zip(houses.tolist(), moved, strict=True)])
    depth = 0.6 + 0.8 * torch.rand(ROWS, 1, 1, 1, generator=rng)
    picture = depth * pressed + 0.5 * torch.randn(pressed.shape, generator=rng)
    picture = picture / picture.std() * (torch.rand(ROWS, 1, 1, 1, generator=rng) > 0.06)
    return Task("angles", picture, houses, 24, raw=128 + 45 * picture)


def gulls(length: int) -> Task:
    """A call of a gull on two recorders, `[B, 2, 32]`: what the wind adds is louder, and each recorder's own.

    Targets are what the bird did, four numbers, which no loss sees.
    """
    rng = _rng(7)
    call = 2 * torch.rand(ROWS, 4, generator=rng) - 1
    mix, wind = torch.randn(4, 32, generator=rng), torch.randn(10, 32, generator=rng)
    shift = torch.randn(32, generator=rng)
    rows = [torch.sin(1.2 * call @ mix + shift) + 0.4 * torch.randn(ROWS, 10, generator=rng) @ wind for _ in range(2)]
    rows = standardised(torch.stack(rows, dim=1))
    return Task("redundant", rows, call, 8, raw=900 + 400 * rows)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (tiles, villages, mosaics, pumps, mushrooms, seals, gulls)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(7000 + seed)
