"""Data of `sequences` and `listeners`: demand, spelt words, whereabouts, a maze, phrases, commands.

As in the suite's `tasks`, a task is the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task

ROWS = TRAIN + TEST
SEASON = 4  # of the demand
SYMBOLS, LONGEST = 5, 4  # of the spelt words
FACTS, PEOPLE, PLACES = 8, 6, 6  # of the whereabouts
SIDE, BUTTONS, DISCOUNT = 5, 4, 0.8  # of the maze
MOTIFS = 3  # of the phrases


# -------------------------------------------------------------------------------------------- time series
def demand(length: int) -> Task:
    """Demand by the hour, each customer's own season of 4, quiet or unsteady; what is next? Recorded in MW."""
    rng = _rng(1)
    season = torch.randn(ROWS, SEASON, generator=rng)
    spread = torch.where(torch.rand(ROWS, 1, generator=rng) < 0.5, 0.1, 0.5)
    rows = season.repeat(1, math.ceil((length + 1) / SEASON))[:, : length + 1]
    rows = (rows + spread * torch.randn(rows.shape, generator=rng))[:, :, None]
    known = (0.5 * math.log(2 * math.pi * math.e) + spread.log()).mean().item()
    first = 0.5 * math.log(2 * math.pi * math.e) + 0.5 * math.log(1.13)  # the first season can only be guessed
    share = (SEASON - 1) / length
    return Task("normals", rows[:, :-1], rows[:, 1:], 2, floor=share * first + (1 - share) * known,
                raw=2500 + 700 * rows[:, :-1])  # fmt: skip


def echoes(length: int) -> Task:
    """Two microphones in a hall; what comes back of a noise, at each step? `[B, T, 2]`, recorded as 16-bit samples."""
    rng = _rng(7)
    rows = torch.randn(ROWS, length, 2, generator=rng)
    back = torch.zeros(ROWS, length)
    for channel, late, size in ((0, 3, 0.7), (1, 5, -0.6), (0, 11, 0.5), (1, 16, 0.4)):
        back[:, late:] += size * rows[:, :-late, channel]
    back = (back + 0.1 * torch.randn(back.shape, generator=rng))[:, :, None]
    return Task("values", rows, back / back.std(), 1, raw=3000 * rows)


# ------------------------------------------------------------------------------------------------ sounds
def spelt(length: int) -> Task:
    """Two to four of five symbols one after another, at any speed: frames `[B, T, 8]`, recorded in decibels.

    Targets `[B, 4]` are the symbols from 1, then 0.
    """
    rng = _rng(2)
    sounds = 1.5 * torch.randn(SYMBOLS + 1, 8, generator=rng)
    sounds[0] = 0.0
    count = torch.randint(2, LONGEST + 1, (ROWS, 1), generator=rng)
    targets = torch.randint(1, SYMBOLS + 1, (ROWS, LONGEST), generator=rng)
    targets = torch.where(torch.arange(LONGEST) < count, targets, 0)
    slot = length // LONGEST
    since = torch.arange(length) % slot
    begin = torch.randint(slot // 3, (ROWS, LONGEST), generator=rng).repeat_interleave(slot, dim=1)
    lasts = torch.randint(slot // 3, slot - slot // 3, (ROWS, LONGEST), generator=rng).repeat_interleave(slot, dim=1)
    is_heard = (since >= begin) & (since < begin + lasts)
    frames = sounds[torch.where(is_heard, targets.repeat_interleave(slot, dim=1), 0)]
    frames = frames + 0.4 * torch.randn(frames.shape, generator=rng)
    return Task("spelling", frames / 0.9, targets, SYMBOLS + 1, raw=-45 + 12 * frames)


def commands(length: int) -> Task:
    """One of eight words, anywhere in a noisy record: a tone that rises or falls, twice. Power spectra `[B, T, 12]`.

    Recorded as power, with frames of silence that are exactly 0; the inputs are their logarithms.
    """
    rng = _rng(3)
    classes = torch.randint(8, (ROWS,), generator=rng)
    part = length // 3
    begin = torch.randint(length - 2 * part, (ROWS, 1), generator=rng)
    since = torch.arange(length) - begin
    second = (since >= part).long()
    kind = torch.where(second == 0, (classes[:, None] // 2) % 4, 2 + classes[:, None] % 2)
    along = (since % part) / part
    pitch = torch.where(kind % 2 == 0, 2 + 7 * along, 9 - 7 * along) + torch.where(kind < 2, 0.0, 1.0)
    is_heard = (since >= 0) & (since < 2 * part)
    bands = torch.arange(12.0)
    tone = torch.exp(-((bands - pitch[..., None]) ** 2) / 1.5) * is_heard[..., None]
    power = 30 * tone + torch.empty(ROWS, length, 12).exponential_(generator=rng)
    silence = torch.rand(ROWS, length, 1, generator=rng) < 0.05
    power = torch.where(silence, 0.0, power)
    told = torch.log(power + 0.01)
    return Task("classes", (told - told.mean()) / told.std(), classes, 8, raw=power)


def phrases(length: int) -> Task:
    """Phrases of six steps, each one of three motifs; the first and the third-last make the class: `[B, P, 6, 2]`."""
    rng = _rng(4)
    which = torch.randint(MOTIFS, (ROWS, length), generator=rng)
    angle = torch.linspace(0, math.pi, 6)
    motifs = torch.stack([angle.sin(), (2 * angle).sin(), angle.cos()])
    motifs = torch.stack([motifs, motifs.roll(1, 0)], dim=2)
    rows = motifs[which] + 0.5 * torch.randn(ROWS, length, 6, 2, generator=rng)
    rows = (rows - rows.mean()) / rows.std()
    return Task("classes", rows, MOTIFS * which[:, 0] + which[:, -3], MOTIFS**2, raw=512 + 200 * rows)


# ----------------------------------------------------------------------------------- facts, and a maze
def whereabouts(length: int) -> Task:
    """Eight facts of who went where; where is he now? Tokens `[B, 9, 2]`, the last row is the question."""
    rng = _rng(5)
    who, where = (torch.randint(each, (ROWS, FACTS), generator=rng) for each in (PEOPLE, PLACES))
    asked = who[torch.arange(ROWS), torch.randint(FACTS, (ROWS,), generator=rng)]
    last = ((who == asked[:, None]) * torch.arange(1, FACTS + 1)).argmax(dim=1)
    rows = torch.stack([who, where], dim=2)
    question = torch.stack([asked, torch.zeros_like(asked)], dim=1)[:, None]
    return Task("classes", torch.cat([rows, question], dim=1), where[torch.arange(ROWS), last], PLACES)


def parcels_by_weight(length: int) -> Task:
    """Parcels `[B, N, 2]` of a weight and a size, recorded in grams and millimetres; which is heaviest, next, …?"""
    rng = _rng(8)
    rows = torch.rand(ROWS, length, 2, generator=rng)
    order = rows[..., 0].argsort(dim=1, descending=True)
    return Task("tokens", (rows - 0.5) / 0.29, order, length, raw=500 + torch.tensor([20_000.0, 900.0]) * rows)


def maze(length: int) -> Task:
    """A step somewhere on a floor of 5 × 5, one exit: what was seen before and behind it, `[B, 2, 10]`.

    Targets `[B, 9]`: which of four buttons it was, its reward, and the true values of all four, for the score alone.
    """
    rng = _rng(6)
    moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
    place = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"), dim=2).flatten(0, 1)
    after = (place[:, None] + moves).clamp(0, SIDE - 1)
    after = after[..., 0] * SIDE + after[..., 1]
    after[SIDE * SIDE // 2] = torch.randint(SIDE * SIDE, (BUTTONS,), generator=rng)  # who is out comes in elsewhere
    reward = torch.where(torch.arange(SIDE * SIDE) == SIDE * SIDE // 2, 1.0, 0.0)[:, None].repeat(1, BUTTONS)
    reward = reward - 0.1 * (after == torch.arange(SIDE * SIDE)[:, None])  # a wall hurts
    values = torch.zeros(SIDE * SIDE, BUTTONS)
    for _ in range(100):
        values = reward + DISCOUNT * values.amax(dim=1)[after]
    state = torch.randint(SIDE * SIDE, (ROWS,), generator=rng)
    button = torch.randint(BUTTONS, (ROWS,), generator=rng)
    looks = F.one_hot(place, SIDE).flatten(1).float()
    seen = torch.stack([looks[state], looks[after[state, button]]], dim=1)
    seen = (seen + 0.05 * torch.randn(seen.shape, generator=rng) - 0.2) / 0.4
    made = [F.one_hot(button, BUTTONS).float(), reward[state, button][:, None], values[state]]
    return Task("bootstrap", seen, torch.cat(made, dim=1), BUTTONS, raw=120 + 100 * seen)


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each for each in (demand, echoes, spelt, commands, phrases, whereabouts, parcels_by_weight, maze)
}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(5200 + seed)
