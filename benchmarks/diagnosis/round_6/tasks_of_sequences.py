"""Data of `sequences`: flares, spoken phones, squalls, rooms to walk through, stories with a question.

As in the suite's `tasks`, a task is the same every time. Kinds of their own: "phones" (a row of labels, aligned with
nothing), "densities" (the next value and how sure one can be of it), "moves" (what a walk earns).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task

ROWS = TRAIN + TEST
PHONES, SPOKEN, BANDS = 6, 4, 10
LAG, KEPT = 4, 0.9  # of the squalls
ROOMS, DOORS, WORTH = 12, 4, 0.8  # WORTH: of a reward one move later
WHO, DEEDS, WHEN, SENTENCES = 10, 8, 12, 6  # words by their role


def flares(length: int) -> Task:
    """Two flares of three colours, in the first and in the second quarter; then noise. Which ones? `[B, T, 3]`."""
    rng = _rng(1)
    first, second = torch.randint(3, (2, ROWS), generator=rng).unbind(0)
    rows = 0.3 * torch.randn(ROWS, length, 3, generator=rng)
    quarter, every = length // 4, torch.arange(ROWS)
    for number, colour in enumerate((first, second)):
        at = number * quarter + torch.randint(quarter - 2, (ROWS,), generator=rng)
        for later, size in enumerate((2.0, 1.5, 1.0)):
            rows[every, at + later, colour] += size
    return Task("classes", rows / 0.5, 3 * first + second, 9, raw=400 + 150 * rows)


def spoken(length: int) -> Task:
    """Four phones of six, one after the other, each as long as it likes: `[B, T, bands]`. Recorded as energies.

    Targets are the phones, 1 to 6 (0 is the blank); no two neighbours are alike.
    """
    rng = _rng(2)
    spectra = 1.5 * torch.randn(PHONES + 1, BANDS, generator=rng)
    steps = torch.randint(1, PHONES, (ROWS, SPOKEN), generator=rng)
    phones = steps.cumsum(dim=1) % PHONES
    spans = torch.rand(ROWS, SPOKEN, generator=rng) + 0.6
    ends = length * spans.cumsum(dim=1) / spans.sum(dim=1, keepdim=True)
    which = (torch.arange(length)[None, :, None] >= ends[:, None, :]).sum(dim=2).clamp(max=SPOKEN - 1)
    heard = spectra[phones.gather(1, which)] + 0.8 * torch.randn(ROWS, length, BANDS, generator=rng)
    return Task("phones", heard / heard.std(), phones + 1, PHONES + 1, raw=5000 + 1200 * heard)


def squalls(length: int) -> Task:
    """A wind that remembers what it was four steps ago, calm and stormy by turns; the next value, at each step.

    Inputs and targets `[B, T, 1]`, recorded in thousandths of a knot. The floor knows how stormy each step is.
    """
    rng = _rng(3)
    turns = torch.rand(ROWS, length + LAG + 20, generator=rng) < 0.06
    spread = torch.where(turns.cumsum(dim=1) % 2 == 0, 0.25, 1.0)
    shocks = torch.randn(spread.shape, generator=rng)
    wind = [*torch.randn(LAG, ROWS, generator=rng).unbind(0)]
    for step in range(LAG, spread.shape[1]):
        wind.append(KEPT * wind[-LAG] + spread[:, step] * shocks[:, step])
    rows = torch.stack(wind, dim=1)[:, -length - 1 :, None]
    scale = rows.std()
    told = (spread / scale).log() + 0.5 * shocks.square()
    rows = rows / scale
    floor = float(told[-TEST:, -length:].mean())
    return Task("densities", rows[:, :-1], rows[:, 1:], 2, floor=floor, raw=9000 + 4000 * rows[:, :-1])


def rooms(length: int) -> Task:
    """Moves between twelve rooms with four doors each, as somebody made them who did not know where they lead.

    Inputs `[B, 2, F]`: what was seen before and behind the door (in counts of a camera); targets `[B, 2 + doors]`: the
    door, the reward, and (for the score alone) what each door is worth to one who knows the house.
    """
    rng = _rng(4)
    leads = torch.randint(ROOMS, (ROOMS, DOORS), generator=rng)
    rewards = torch.zeros(ROOMS)
    rewards[:2], rewards[2:4] = 1.0, -1.0
    worth = torch.zeros(ROOMS, DOORS)
    for _ in range(100):
        worth = rewards[leads] + WORTH * worth.amax(dim=1)[leads]
    looks = torch.randn(ROOMS, 12, generator=rng)
    before, door = torch.randint(ROOMS, (ROWS,), generator=rng), torch.randint(DOORS, (ROWS,), generator=rng)
    behind = leads[before, door]
    seen = looks[torch.stack([before, behind], dim=1)] + 0.3 * torch.randn(ROWS, 2, 12, generator=rng)
    targets = torch.cat([door[:, None].float(), rewards[behind][:, None], worth[before]], dim=1)
    return Task("moves", seen, targets, DOORS, raw=120 + 40 * seen)


def stories(length: int) -> Task:
    """Six sentences of three words (who, what, when), then somebody's name: what did they do? `[B, 19]`."""
    rng = _rng(5)
    who = torch.rand(ROWS, WHO, generator=rng).argsort(dim=1)[:, :SENTENCES]
    deeds = torch.randint(DEEDS, (ROWS, SENTENCES), generator=rng)
    when = torch.randint(WHEN, (ROWS, SENTENCES), generator=rng)
    sentences = torch.stack([who, WHO + deeds, WHO + DEEDS + when], dim=2).flatten(1)
    asked = torch.randint(SENTENCES, (ROWS, 1), generator=rng)
    answers = deeds.gather(1, asked)[:, 0]
    return Task("classes", torch.cat([sentences, who.gather(1, asked)], dim=1), answers, DEEDS)


def whistles(length: int) -> Task:
    """Two of three calls (rising, falling, bent), one after the other, somewhere in a noisy spectrum `[B, T, 12]`."""
    rng = _rng(6)
    calls = torch.randint(3, (ROWS, 2), generator=rng)
    half = length // 2
    along = torch.arange(float(half)) / (half - 1)
    paths = torch.stack([along, 1 - along, 4 * (along - 0.5).square()])
    low = 4 * torch.rand(ROWS, 2, 1, generator=rng)
    pitch = (low + 7 * paths[calls]).flatten(1)[:, :, None]
    tone = torch.exp(-0.5 * (torch.arange(12.0) - pitch).square())
    heard = F.pad(2 * tone, (0, 0, 0, length - 2 * half)) + 0.6 * torch.randn(ROWS, length, 12, generator=rng)
    heard = (heard - heard.mean()) / heard.std()
    return Task("classes", heard, 3 * calls[:, 0] + calls[:, 1], 9, raw=30 * heard - math.pi * 60)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (flares, spoken, squalls, rooms, stories, whistles)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(5200 + seed)
