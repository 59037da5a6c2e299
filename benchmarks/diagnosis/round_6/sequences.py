"""Nets of sequences and of more than one part: two clocks, a pyramid, leaps over time, values, memories, convolutions
between attention.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Net, dense_trunk, make_norm, start_cell
from tasks import Task
from torch import Tensor, nn

BOTH_WAYS: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


# ------------------------------------------------------------------------------------------- two clocks
class NormedCell(nn.Module):
    """A GRU's step with norms inside (Ba et al. 2016), or (cell=rnn) a plain one: inputs and state `[B, W]`.

    `forget_bias` is added to the share of the state that is kept.
    """

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        parts = 1 if s.cell == "rnn" else 3
        self.enter = nn.Linear(before, parts * s.width)
        self.weight_hh = nn.Parameter(torch.empty(parts * s.width, s.width).uniform_(-1, 1) / s.width**0.5)
        self.norm_x, self.norm_h = make_norm(s.norm, parts * s.width), make_norm(s.norm, parts * s.width)
        self.keep, self.is_plain = nn.Parameter(torch.full((s.width,), s.forget_bias)), s.cell == "rnn"
        start_cell(self, s)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        new, old = self.norm_x(self.enter(x)), self.norm_h(F.linear(state, self.weight_hh))
        if self.is_plain:
            return torch.tanh(new + old)
        (keep_x, reset_x, new_x), (keep_h, reset_h, new_h) = new.chunk(3, dim=1), old.chunk(3, dim=1)
        keep = torch.sigmoid(keep_x + keep_h + self.keep)
        candidate = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return keep * state + (1 - keep) * candidate


class TwoClocks(nn.Module):
    """A cell that ticks at each step, and one that ticks at each fourth, of which the quick one is told."""

    def __init__(self, s: Settings, features: int, every: int = 4) -> None:
        super().__init__()
        self.quick, self.slow = NormedCell(features + s.width, s), NormedCell(s.width, s)
        self.width, self.every, self.dropout = s.width, every, nn.Dropout(s.dropout)

    def forward(self, x: Tensor) -> Tensor:
        quick = slow = x.new_zeros(len(x), self.width)
        for step, seen in enumerate(x.unbind(1)):
            quick = self.quick(torch.cat([seen, slow], dim=1), quick)
            if step % self.every == self.every - 1:
                slow = self.slow(self.dropout(quick), slow)
        return slow


def two_clocks(s: Settings, task: Task) -> Net:
    return Net(TwoClocks(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


# --------------------------------------------------------------------------------------------- pyramids
class Listener(nn.Module):
    """Dense layers on each frame; a recurrence both ways; pairs of its states go to another one (Chan et al. 2016).

    `[B, T, F]` to `[B, T / 2, 2 W]`.
    """

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.frame = dense_trunk([features, *[s.width] * s.depth], s)
        self.lower = BOTH_WAYS[s.cell](s.width, s.width, batch_first=True, bidirectional=True)
        self.upper = BOTH_WAYS[s.cell](4 * s.width, s.width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(s.dropout)
        for cell in (self.lower, self.upper):
            start_cell(cell, s)

    def forward(self, x: Tensor) -> Tensor:
        states = self.lower(self.frame(x))[0]
        pairs = states.unflatten(1, (-1, 2)).flatten(2)
        above: Tensor = self.upper(self.dropout(pairs))[0]
        return above


def listener(s: Settings, task: Task) -> Net:
    trunk = Listener(s, task.inputs.shape[2])
    trunk.frame.requires_grad_(not s.freeze)
    return Net(trunk, nn.Linear(2 * s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------------ leaps
class Leaps(nn.Module):
    """A recurrence that sees its state of one step ago and the one of four steps ago: `[B, T, W]` to itself."""

    def __init__(self, s: Settings, back: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(s.width, s.width)
        self.weight_hh = nn.Parameter(torch.empty(s.width, s.width).uniform_(-1, 1) / s.width**0.5)
        self.leap = nn.Linear(s.width, s.width, bias=False)
        self.back = back
        start_cell(self, s)

    def forward(self, x: Tensor) -> Tensor:
        states = [x.new_zeros(len(x), x.shape[2])] * self.back
        for new in self.enter(x).unbind(1):
            old = F.linear(states[-1], self.weight_hh) + self.leap(states[-self.back])
            states.append(torch.tanh(new + 0.5 * old))
        return torch.stack(states[self.back :], dim=1)


class Forecast(nn.Module):
    """A dense layer on each value, `depth` layers of leaps with (or without) norms and a skip."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.layers = nn.ModuleList(Leaps(s) for _ in range(s.depth))
        self.norms = nn.ModuleList(make_norm(s.norm, s.width) for _ in range(s.depth))
        self.dropout, self.skip = nn.Dropout(s.dropout), s.skip
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            branch = self.dropout(layer(norm(x)))
            x = x + self.gain * branch if self.skip else branch
        return x


def forecast(s: Settings, task: Task) -> Net:
    return Net(Forecast(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


# ----------------------------------------------------------------------------------------------- values
class Valued(Net):
    """What each door is worth, before a move and (by a slow copy, Mnih et al. 2015) behind it: `[B, 2, doors]`."""

    def __init__(self, trunk: nn.Module, head: nn.Module, s: Settings, share: float = 0.05) -> None:
        super().__init__(trunk, head, s)
        self.copied = copy.deepcopy(nn.Sequential(trunk, head)).requires_grad_(False)
        self.share, self.is_first = share, True

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._follow()
        with torch.no_grad():
            behind = self.copied(x[:, 1])
        return torch.stack([super().forward(x[:, 0]), behind], dim=1)

    @torch.no_grad()
    def _follow(self) -> None:
        share, self.is_first = 1.0 if self.is_first else self.share, False
        own = [*self.trunk.parameters(), *self.head.parameters()]
        for mine, copied in zip(own, self.copied.parameters(), strict=True):
            copied.lerp_(mine, share)


def doors(s: Settings, task: Task) -> Net:
    sizes = [task.inputs.shape[2], *[s.width] * s.depth]
    return Valued(dense_trunk(sizes, s), nn.Linear(s.width, task.outputs), s)


# --------------------------------------------------------------------------------------------- memories
class Memory(nn.Module):
    """Sentences as sums of their words' vectors, read `depth` times by what is asked (Sukhbaatar et al. 2015).

    Words `[B, 3 M + 1]` to `[B, W]`; behind each reading a dense layer.
    """

    def __init__(self, s: Settings, words: int = 30) -> None:
        super().__init__()
        self.key, self.value = nn.Embedding(words, s.width), nn.Embedding(words, s.width)
        for table in (self.key, self.value):
            table.weight.data.mul_(s.init_gain)
        self.mixes = nn.ModuleList(nn.Linear(s.width, s.width) for _ in range(s.depth))
        self.norms = nn.ModuleList(make_norm(s.norm, s.width) for _ in range(s.depth))
        self.activation, self.dropout = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout)
        self.skip, self.gain = s.skip, nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        sentences, asked = x[:, :-1].unflatten(1, (-1, 3)), self.key(x[:, -1])
        keys, values = self.key(sentences).sum(dim=2), self.value(sentences).sum(dim=2)
        for mix, norm in zip(self.mixes, self.norms, strict=True):
            fit = (keys @ asked[:, :, None])[:, :, 0] / asked.shape[1] ** 0.5
            read = (torch.softmax(fit, dim=1)[:, :, None] * values).sum(dim=1)
            branch = self.dropout(self.activation(mix(norm(asked + read))))
            asked = asked + self.gain * branch if self.skip else branch
        said: Tensor = asked
        return said


def memory(s: Settings, task: Task) -> Net:
    return Net(Memory(s), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------- convolutions between attention
class Conformer(nn.Module):
    """Half a dense layer, attention, a gated convolution over time, half a dense layer (Gulati et al. 2020).

    Norms before each of the four (norm=pre), or none: `[B, T, W]` to itself.
    """

    def __init__(self, s: Settings, heads: int = 4) -> None:
        super().__init__()
        w, act = s.width, ACTIVATIONS[s.activation]
        self.norms = nn.ModuleList(nn.LayerNorm(w) if s.norm == "pre" else nn.Identity() for _ in range(4))
        self.dense1, self.dense2 = (nn.Sequential(nn.Linear(w, 2 * w), act(), nn.Linear(2 * w, w)) for _ in range(2))
        self.attention = nn.MultiheadAttention(w, heads, dropout=s.dropout, batch_first=True)
        self.enter, self.leave = nn.Linear(w, 2 * w), nn.Linear(w, w)
        self.along = nn.Conv1d(w, w, 5, padding=2, groups=w)
        self.activation, self.dropout = act(), nn.Dropout(s.dropout)
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.gain * self.dropout(self.dense1(self.norms[0](x)))
        seen = self.norms[1](x)
        x = x + self.gain * self.attention(seen, seen, seen, need_weights=False)[0]
        gated = F.glu(self.enter(self.norms[2](x)), dim=2)
        along = self.leave(self.activation(self.along(gated.transpose(1, 2)).transpose(1, 2)))
        x = x + self.gain * self.dropout(along)
        out: Tensor = x + 0.5 * self.gain * self.dropout(self.dense2(self.norms[3](x)))
        return out


class Ear(nn.Module):
    """Frames with their places, `depth` conformers, the mean over time."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter, self.place = nn.Linear(features, s.width), nn.Embedding(s.length, s.width)
        self.layers = nn.Sequential(*(Conformer(s) for _ in range(s.depth)))
        self.norm = nn.LayerNorm(s.width) if s.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.norm(self.layers(self.enter(x) + self.place.weight))
        return states.mean(dim=1)


def conformer(s: Settings, task: Task) -> Net:
    return Net(Ear(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)
