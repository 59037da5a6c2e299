"""Data of `sequences`: boreholes, cups, helms, geysers, tolls, wards, cloakrooms.

As in the suite's `tasks`, a task is the same every time. Kinds of their own: "strata" (a chain of tags), "deeds" (what
a deed earns), "eruptions" (when the next event is, and of which mark), "sums", "risks" (several yes or no), "coats" (a
class at some of the steps).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task
from torch import Tensor

ROWS = TRAIN + TEST
ROCKS = 5
TEAMS = 4
SENSED, DEEDS, WORTH = 3, 2, 0.7  # what is sensed at the helm, and done; WORTH: of what is earned one moment later
VENTS, SPREAD = 3, 0.25  # SPREAD: of a log gap
RISKS, TAKEN = 3, 0.4  # TAKEN: share of the values of a chart that were taken
TICKETS, COATS = 6, 6
ELSEWHERE = -100  # no coat is asked for


def boreholes(length: int) -> Task:
    """Four gauges down a borehole `[B, T, 4]`, in units of their own; which rock is it, at each depth?

    The first rock is always soil or clay; some rocks never lie below some others.
    """
    rng = _rng(1)
    looks = 1.2 * torch.randn(ROCKS, 4, generator=rng)
    below = torch.eye(ROCKS).roll(1, 1) + 0.5 * torch.eye(ROCKS).roll(2, 1)
    moves = 0.8 * torch.eye(ROCKS) + 0.2 * below / below.sum(dim=1, keepdim=True)
    rock = [torch.randint(2, (ROWS,), generator=rng)]
    for _ in range(length - 1):
        rock.append(torch.multinomial(moves[rock[-1]], 1, generator=rng)[:, 0])
    rocks = torch.stack(rock, dim=1)
    read = looks[rocks] + torch.randn(ROWS, length, 4, generator=rng)
    units, zeros = torch.tensor([40.0, 250.0, 300.0, 20.0]), torch.tensor([75.0, 2400.0, 400.0, 90.0])
    return Task("strata", read / read.std(), rocks, ROCKS, raw=zeros + units * read)


def cups(length: int) -> Task:
    """A knock-out cup of `length` players; on dry ground the stronger one wins, on wet ground the weaker one.

    Nodes level by level, players first, `[B, 2 L - 1, F]`: ground, strength (recorded as points of a league), team.
    Which team wins the cup?
    """
    rng = _rng(2)
    strength = torch.randn(ROWS, length, generator=rng)
    team = torch.randint(TEAMS, (ROWS, length), generator=rng)
    players = torch.cat([torch.zeros(ROWS, length, 1), strength[..., None], F.one_hot(team, TEAMS).float()], dim=2)
    is_wet = torch.rand(ROWS, length - 1, generator=rng) < 0.2
    games = F.pad((1 - 2.0 * is_wet)[..., None], (0, 1 + TEAMS))
    for wet in is_wet.split([length >> level for level in range(1, length.bit_length())], dim=1):
        (left, right), teams = strength.unflatten(1, (-1, 2)).unbind(2), team.unflatten(1, (-1, 2))
        wins = (left < right) ^ wet
        strength = torch.where(wins, right, left)
        team = teams.gather(2, wins.long()[..., None])[..., 0]
    nodes = torch.cat([players, games], dim=1)
    return Task("classes", nodes, team[:, 0], TEAMS, raw=_in_points(nodes, length))


def _in_points(nodes: Tensor, players: int) -> Tensor:
    """Strengths around 1500, as leagues of chess write them."""
    nodes = nodes.clone()
    nodes[:, :players, 1] = 1500 + 200 * nodes[:, :players, 1]
    return nodes


def helms(length: int) -> Task:
    """Moments at a helm: course, drift and list, two deeds (rudder, sheet) from -1 to 1, and the moment behind.

    Inputs `[B, 2, F + A]` (recorded in tenths of a degree); targets `[B, 1 + A]`: what was earned (how little is off
    course, and how little is done) and, for the score alone, the best deed, as a linear regulator of Riccati finds it.
    """
    rng = _rng(3)
    drifts = torch.tensor([[0.8, 0.3, 0.0], [0.0, 0.7, 0.3], [-0.2, 0.0, 0.6]])
    pushes = torch.tensor([[0.9, 0.0], [0.3, 0.7], [0.0, 0.8]])
    before = torch.randn(ROWS, SENSED, generator=rng)
    done = 2 * torch.rand(ROWS, DEEDS, generator=rng) - 1
    behind = before @ drifts.T + done @ pushes.T + 0.1 * torch.randn(ROWS, SENSED, generator=rng)
    earned = -(behind.square().sum(dim=1) + 0.5 * done.square().sum(dim=1))
    best = (-before @ _regulator(drifts, pushes).T).clamp(-1, 1)
    moments = torch.stack([torch.cat([before, done], dim=1), F.pad(behind, (0, DEEDS))], dim=1)
    units = torch.tensor([300.0] * SENSED + [1.0] * DEEDS)
    return Task("deeds", moments, torch.cat([earned[:, None], best], dim=1), DEEDS, raw=units * moments)


def _regulator(drifts: Tensor, pushes: Tensor) -> Tensor:
    """The matrix that, times a state, is taken off: of a discounted cost of the next state, and half of the deed's."""
    cost, gain = torch.zeros(SENSED, SENSED), torch.zeros(DEEDS, SENSED)
    for _ in range(100):
        later = torch.eye(SENSED) + WORTH * cost
        gain = torch.linalg.solve(0.5 * torch.eye(DEEDS) + pushes.T @ later @ pushes, pushes.T @ later @ drifts)
        closed = drifts - pushes @ gain
        cost = closed.T @ later @ closed + 0.5 * gain.T @ gain
    return gain


def geysers(length: int) -> Task:
    """Eruptions of three geysers, `[B, T, (full quarters of hours since the last one, which)]`; recorded in seconds.

    Which one is next depends on the last one and on the gap before it; the next gap, on the last two. Targets are the
    logarithm of the next gap, and the next geyser.
    """
    rng = _rng(4)
    means = 1.2 * torch.randn(VENTS, VENTS, generator=rng)
    moves = torch.softmax(2 * torch.randn(2, VENTS, VENTS, generator=rng), dim=2)
    vents, gaps = [torch.randint(VENTS, (ROWS,), generator=rng)], [torch.randn(ROWS, generator=rng)]
    told = torch.zeros(())
    for _ in range(length + 10):
        chance = moves[(gaps[-1] > 0).long(), vents[-1]]
        vents.append(torch.multinomial(chance, 1, generator=rng)[:, 0])
        means_now = means[vents[-3] if len(vents) > 2 else vents[-2], vents[-2]]
        gaps.append(means_now + SPREAD * torch.randn(ROWS, generator=rng))
        told = told - (chance * chance.log()).sum(dim=1).mean() / (length + 10)
    marks, logs = torch.stack(vents, dim=1)[:, -length - 1 :], torch.stack(gaps, dim=1)[:, -length - 1 :]
    hours = (4 * logs.exp()).floor() / 4
    rows = torch.stack([hours, marks.float()], dim=2)[:, :-1]
    floor = float(told) + math.log(SPREAD) + 0.5
    targets = torch.stack([logs, marks.float()], dim=2)[:, 1:]
    return Task("eruptions", rows, targets, 9 + VENTS, floor=floor, raw=rows * torch.tensor([3600.0, 1.0]))


def tolls(length: int) -> Task:
    """What a driver pays on a road of `length` signs, `[B, T, (toll, is it for this car?)]`: two count, one in each
    half (the adding problem of Hochreiter & Schmidhuber 1997). Recorded in cents.
    """
    rng = _rng(5)
    prices = torch.rand(ROWS, length, generator=rng)
    half, every = length // 2, torch.arange(ROWS)
    counts = torch.zeros(ROWS, length)
    counts[every, torch.randint(half, (ROWS,), generator=rng)] = 1
    counts[every, half + torch.randint(half, (ROWS,), generator=rng)] = 1
    paid = (prices * counts).sum(dim=1, keepdim=True)
    rows = torch.stack([2 * prices - 1, counts], dim=2)
    raw = torch.stack([2000 * prices, counts], dim=2)
    return Task("sums", rows, (paid - paid.mean()) / paid.std(), 1, raw=raw)


def wards(length: int) -> Task:
    """Charts of patients: five values, taken now and then at uneven hours, `[B, T, (value, taken, since), 5]`.

    Three risks: fever in the first third, a pressure that is falling at the end, both a fast pulse and fever. Values
    are recorded in units of their own, and times in minutes.
    """
    rng = _rng(6)
    gaps = -torch.rand(ROWS, length, generator=rng).log()
    level = [torch.randn(ROWS, 5, generator=rng)]
    for gap in gaps.unbind(1)[1:]:
        share = torch.exp(-0.2 * gap)[:, None]
        level.append(share * level[-1] + (1 - share.square()).sqrt() * torch.randn(ROWS, 5, generator=rng))
    levels = torch.stack(level, dim=1)
    early, late = levels[:, : length // 3].mean(dim=1), levels[:, -3:].mean(dim=1)
    fever, falls, fast = early[:, 0] > 0.3, late[:, 1] < -0.4, (late[:, 2] > 0) & (early[:, 0] > 0)
    taken = (torch.rand(levels.shape, generator=rng) < TAKEN).float()
    since = [torch.zeros(ROWS, 5)]
    for mask, gap in zip(taken.unbind(1), gaps.unbind(1)[1:], strict=False):
        since.append(gap[:, None] + (1 - mask) * since[-1])
    hours = torch.stack(since, dim=1)
    units = torch.tensor([0.8, 15.0, 18.0, 5.0, 40.0])
    zeros = torch.tensor([37.0, 120.0, 80.0, 95.0, 140.0])
    charts = torch.stack([taken * levels, taken, hours], dim=2)
    raw = torch.stack([taken * (zeros + units * levels), taken, 60 * hours], dim=2)
    return Task("risks", charts, torch.stack([fever, falls, fast], dim=1).float(), RISKS, raw=raw)


def cloakrooms(length: int) -> Task:
    """Coats are left for smudged tickets, then tickets come back, `[B, T, tickets + coats]`: which coat is it for?

    The first TICKETS steps leave one coat each; targets `[B, T]` are a coat, or ELSEWHERE at these steps.
    """
    rng = _rng(7)
    tickets = torch.rand(ROWS, TICKETS, generator=rng).argsort(dim=1)
    coats = torch.randint(COATS, (ROWS, TICKETS), generator=rng)
    back = torch.randint(TICKETS, (ROWS, length - TICKETS), generator=rng)
    shown = torch.cat([tickets, tickets.gather(1, back)], dim=1)
    prints = F.one_hot(shown, TICKETS) + 0.15 * torch.randn(ROWS, length, TICKETS, generator=rng)
    hung = F.pad(F.one_hot(coats, COATS).float(), (0, 0, 0, length - TICKETS))
    rows = 2 * torch.cat([prints, hung], dim=2)
    targets = F.pad(coats.gather(1, back), (TICKETS, 0), value=ELSEWHERE)
    return Task("coats", rows, targets, COATS, raw=100 * rows)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (boreholes, cups, helms, geysers, tolls, wards, cloakrooms)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(7700 + seed)
