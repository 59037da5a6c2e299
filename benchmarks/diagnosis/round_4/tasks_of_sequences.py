"""Data of `sequences`: texts with facts, bursts, bearings, walks, lights, films.

As in the suite's `tasks`, a task is the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task, standardised
from torch import Tensor

ROWS = TRAIN + TEST
FACTS, VALUES, FILLERS = 2, 4, 4  # of the texts with facts: letters are values, then questions, then fillers
LEFT_ALONE = -100  # what cross-entropy passes over
LETTERS, LAG, SURE = 12, 3, 0.9  # of the rounds


# ------------------------------------------------------------------------------------------------ texts
def facts(length: int) -> Task:
    """Two facts to begin with; behind each later question stands the fact it asks for. Which letter is next?"""
    rng = _rng(1)
    known = torch.randint(VALUES, (ROWS, FACTS), generator=rng)
    letters = VALUES + FACTS + FILLERS
    text, entropy = [*known.unbind(1)], [torch.full((ROWS,), math.log(VALUES))] * (FACTS - 1)
    for _ in range(length + 1 - FACTS):
        before = text[-1]
        is_question = (before >= VALUES) & (before < VALUES + FACTS)
        answer = known.gather(1, (before - VALUES).clamp(0, FACTS - 1)[:, None])[:, 0]
        drawn = torch.randint(VALUES, letters, (ROWS,), generator=rng)  # a question or a filler
        text.append(torch.where(is_question, answer, drawn))
        entropy.append(torch.where(is_question, 0.0, math.log(FACTS + FILLERS)))
    rows = torch.stack(text, dim=1)
    return Task("tokens", rows[:, :-1], rows[:, 1:], letters, floor=float(torch.stack(entropy).mean()))


def late_questions(length: int) -> Task:
    """The same facts, nothing but fillers, and questions only in the last third; the answers alone are asked for."""
    rng = _rng(9)
    known = torch.randint(VALUES, (ROWS, FACTS), generator=rng)
    rows = torch.randint(VALUES + FACTS, VALUES + FACTS + FILLERS, (ROWS, length), generator=rng)
    rows[:, :FACTS] = known
    targets = torch.full(rows.shape, LEFT_ALONE)
    for place in range(length - length // 3, length, 2):
        fact = torch.randint(FACTS, (ROWS,), generator=rng)
        rows[:, place], targets[:, place] = VALUES + fact, known[torch.arange(ROWS), fact]
    return Task("tokens", rows, targets, VALUES + FACTS + FILLERS)


def rounds(length: int) -> Task:
    """A song whose voice is answered three letters later by another letter of its own, nine times in ten."""
    rng = _rng(2)
    answer = torch.randperm(LETTERS, generator=rng)
    text = torch.randint(LETTERS, (ROWS, LAG), generator=rng)
    for _ in range(length + 1 - LAG):
        any_letter = torch.randint(LETTERS, (ROWS,), generator=rng)
        is_sure = torch.rand(ROWS, generator=rng) < SURE
        text = torch.cat([text, torch.where(is_sure, answer[text[:, -LAG]], any_letter)[:, None]], dim=1)
    right, wrong = SURE + (1 - SURE) / LETTERS, (1 - SURE) / LETTERS
    told = -right * math.log(right) - (LETTERS - 1) * wrong * math.log(wrong)
    floor = ((LAG - 1) * math.log(LETTERS) + (length + 1 - LAG) * told) / length
    return Task("tokens", text[:, :-1], text[:, 1:], LETTERS, floor=floor)


# ---------------------------------------------------------------------------------------------- signals
def bursts(length: int) -> Task:
    """Three sensors; somewhere one of them swells, or another one fades: six classes. Recorded in thousandths."""
    rng = _rng(3)
    classes = torch.randint(6, (ROWS,), generator=rng)
    at = torch.randint(length - 8, (ROWS, 1), generator=rng)
    since = torch.arange(length) - at
    ramp = ((since >= 0) & (since < 8)) * (since + 1) / 8
    fade = ((since >= 0) & (since < 8)) * (8 - since) / 8
    shape = torch.where((classes < 3)[:, None], ramp, fade)
    rows = 0.4 * torch.randn(ROWS, length, 3, generator=rng)
    rows[torch.arange(ROWS), :, classes % 3] += 2.5 * shape
    return Task("classes", rows / 0.6, classes, 6, raw=1000 + 400 * rows)


def knocks(length: int) -> Task:
    """Bursts in the first quarter of a record of three channels; the rest of it is noise."""
    rng = _rng(10)
    classes = torch.randint(6, (ROWS,), generator=rng)
    since = torch.arange(length) - torch.randint(length // 4 - 7, (ROWS, 1), generator=rng)
    rise, fall = (since + 1) / 8, (8 - since) / 8
    shape = ((since >= 0) & (since < 8)) * torch.where((classes < 3)[:, None], rise, fall)
    rows = 0.3 * torch.randn(ROWS, 3, length, generator=rng)
    rows[torch.arange(ROWS), classes % 3] += 2.5 * shape
    return Task("classes", rows / 0.5, classes, 6, raw=1000 + 400 * rows)


def bearings(length: int) -> Task:
    """A machine's shaking: none, or one of four damages that ring it at a rhythm of their own. Recorded in volts."""
    rng = _rng(4)
    classes = torch.randint(5, (ROWS,), generator=rng)
    gaps = torch.tensor([1e9, 7.0, 11.0, 17.0, 25.0])[classes, None]
    time = torch.arange(float(length))
    since = (time + gaps * torch.rand(ROWS, 1, generator=rng)) % gaps
    size = 0.8 + 0.4 * torch.rand(ROWS, 1, generator=rng)
    ringing = size * torch.exp(-since / 3) * torch.cos(1.7 * since) * (classes > 0)[:, None]
    phase = 2 * math.pi * torch.rand(ROWS, 1, generator=rng)
    turning = 0.5 * torch.sin(2 * math.pi * time / 40 + phase)
    rows = (ringing + turning + 0.25 * torch.randn(ROWS, length, generator=rng))[:, None] / 0.55
    return Task("classes", rows, classes, 5, raw=30 + 20 * rows)


def walks(length: int) -> Task:
    """How far somebody walked, from the shaking of a pocket: quick, slow and standing by turns. In thousandths of g."""
    rng = _rng(5)
    part = torch.rand(ROWS, 4, generator=rng) * (torch.rand(ROWS, 4, generator=rng) < 0.75)
    speed = part.repeat_interleave(math.ceil(length / 4), dim=1)[:, :length]
    phase = 2 * math.pi * torch.rand(ROWS, 1, generator=rng) + (1.5 * speed).cumsum(dim=1)
    size = speed.sqrt()
    clean = torch.stack([size * phase.sin(), 0.5 * size * (2 * phase).cos(), 0.3 * size * phase.cos()], dim=1)
    rows = (clean + 0.1 * torch.randn(clean.shape, generator=rng)) / 0.35
    return Task("values", rows, standardised(speed.sum(dim=1))[:, None], 1, raw=1000 + 250 * rows)


def lights(length: int) -> Task:
    """Three lights, one at a time: which of four buttons is right depends on this one and on the one before.

    Inputs `[B, T, 3]`, recorded in lux; targets are the rewards of the buttons, `[B, T, 4]`.
    """
    rng = _rng(6)
    right = torch.randint(4, (3, 3), generator=rng)
    which = torch.randint(3, (ROWS, length + 1), generator=rng)
    seen = F.one_hot(which[:, 1:], 3) + 0.15 * torch.randn(ROWS, length, 3, generator=rng)
    rewards = F.one_hot(right[which[:, :-1], which[:, 1:]], 4).float()
    rewards[:, 0] = 0.25  # nobody knows what was before
    return Task("rewards", 2 * seen - 0.7, rewards, 4, raw=300 + 900 * seen)


# ------------------------------------------------------------------------------------------------ films
def curtain(length: int) -> Task:
    """A ball that rolls one of eight ways, behind a curtain at half time: `[B, T, 1, 12, 12]`, raw 0 to 255."""
    rng = _rng(7)
    classes = torch.randint(8, (ROWS,), generator=rng)
    seen = length // 2
    film = 0.15 * torch.randn(ROWS, length, 12, 12, generator=rng)
    film[:, :seen] += _ball(12, seen, classes * math.pi / 4, 1.1, 3.0, rng)
    return Task("classes", film[:, :, None] / 0.25, classes, 8, raw=(60 + 150 * film[:, :, None]).clamp(0, 255))


def clouds_moving(length: int) -> Task:
    """Two clouds in the same wind, seen from above; what is the next picture, at each step? `[B, T, 1, 8, 8]`."""
    rng = _rng(8)
    wind = 2 * math.pi * torch.rand(ROWS, generator=rng)
    film = sum(_ball(8, length + 1, wind, 0.8, 8.0, rng) for _ in range(2))
    film = (film + 0.05 * torch.randn(ROWS, length + 1, 8, 8, generator=rng))[:, :, None]
    film = (film - film.mean()) / film.std()
    return Task("values", film[:, :-1], film[:, 1:], 1, raw=40 + 25 * film[:, :-1])


def _ball(size: int, frames: int, angle: Tensor, speed: float, spread: float, rng: torch.Generator) -> Tensor:
    """Frames `[B, T, H, W]` of a round spot that leaves on one side and comes back on the other one."""
    start = size / 2 - 0.5 + spread * (torch.rand(ROWS, 2, 1, generator=rng) - 0.5)
    way = speed * torch.stack([angle.cos(), angle.sin()], dim=1)[:, :, None] * torch.arange(frames)
    place = torch.arange(float(size))
    away = (place - (start + way)[..., None] + size / 2) % size - size / 2
    across, down = torch.exp(-(away**2) / 2).unbind(1)
    return across[:, :, :, None] * down[:, :, None, :]


TASKS: dict[str, Callable[[int], Task]] = {
    each.__name__: each
    for each in (
        facts, late_questions, rounds, bursts, knocks, bearings, walks, lights, curtain, clouds_moving,
    )
}  # fmt: skip


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(4200 + seed)
