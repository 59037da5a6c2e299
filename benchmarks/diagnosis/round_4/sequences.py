"""Nets of sequences and of more than one part: gates by hand, pooled attention, residual signals, films, two players.

Several of them chain unlike parts, as people do: convolutions in front of a recurrence, attention behind one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Net, Op, make_norm, start_cell
from round_2.sequences import RECURRENT
from tasks import Task
from torch import Tensor, nn


# ------------------------------------------------------------------------------------- recurrent, by hand
class MinimalGate(nn.Module):
    """One gate says how much of the state is kept, and how much of it the new one sees; or (cell=rnn) no gate.

    `weight_hh` has the gate's rows first, then the candidate's.
    """

    def __init__(self, s: Settings) -> None:
        super().__init__()
        parts = 1 if s.cell == "rnn" else 2
        self.enter = nn.Linear(s.width, parts * s.width)
        self.weight_hh = nn.Parameter(torch.empty(parts * s.width, s.width).uniform_(-1, 1) / s.width**0.5)
        self.keep = nn.Parameter(torch.full((s.width,), s.forget_bias))
        self.is_plain, self.width = s.cell == "rnn", s.width
        start_cell(self, s)

    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(len(x), self.width), []
        for new in self.enter(x).unbind(1):
            state = torch.tanh(new + F.linear(state, self.weight_hh)) if self.is_plain else self._gated(new, state)
            states.append(state)
        return torch.stack(states, dim=1)

    def _gated(self, new: Tensor, state: Tensor) -> Tensor:
        for_gate, for_candidate = self.weight_hh.split(self.width)
        gate, candidate = new.split(self.width, dim=1)
        keep = torch.sigmoid(gate + F.linear(state, for_gate) + self.keep)
        candidate = torch.tanh(candidate + F.linear((1 - keep) * state, for_candidate))
        return keep * state + (1 - keep) * candidate


class GatedText(nn.Module):
    """Letters as vectors, `depth` layers of gates, the state of each step."""

    def __init__(self, s: Settings, letters: int) -> None:
        super().__init__()
        self.letter = nn.Embedding(letters, s.width)
        self.layers = nn.ModuleList(MinimalGate(s) for _ in range(s.depth))
        self.norm, self.dropout = make_norm(s.norm, s.width), nn.Dropout(s.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.letter(x)
        for layer in self.layers:
            x = layer(self.dropout(x))
        return self.norm(x)


def minimal_gate(s: Settings, task: Task) -> Net:
    return Net(GatedText(s, task.outputs), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------- attention
class PooledAttention(nn.Module):
    """A recurrent layer; a small net says how much each of its states counts in their mean."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.cell = RECURRENT[s.cell](features, s.width, s.depth, batch_first=True)
        self.look, self.weigh = nn.Linear(s.width, s.width), nn.Linear(s.width, 1, bias=False)
        self.tanh, self.norm, self.dropout = nn.Tanh(), make_norm(s.norm, s.width), nn.Dropout(s.dropout)
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x)
        share = torch.softmax(self.weigh(self.tanh(self.look(states))), dim=1)
        return self.dropout(self.norm((share * states).sum(dim=1)))


def attention_pool(s: Settings, task: Task) -> Net:
    return Net(PooledAttention(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


class RootMean(nn.Module):
    """RMSNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-6)


def turned(x: Tensor) -> Tensor:
    """Pairs of numbers turned by an angle that grows with the place: rotary positions for `[B, H, T, D]`."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * 100.0 ** (-torch.arange(half) / half)
    a, b = x.split(half, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


class Ahead(nn.Module):
    """Attention to what came before, then a gated dense layer; norms before both (norm=pre) or none."""

    def __init__(self, s: Settings, heads: int = 4) -> None:
        super().__init__()
        w = s.width
        self.norm1, self.norm2 = (RootMean(w) if s.norm == "pre" else nn.Identity() for _ in range(2))
        self.query, self.key, self.value, self.leave = (nn.Linear(w, w, bias=False) for _ in range(4))
        self.gate, self.up, self.down = nn.Linear(w, 2 * w), nn.Linear(w, 2 * w), nn.Linear(2 * w, w)
        self.activation, self.dropout = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout)
        self.heads = heads
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gain * self.dropout(self._attend(self.norm1(x)))
        x2 = self.norm2(x)
        return x + self.gain * self.dropout(self.down(self.activation(self.gate(x2)) * self.up(x2)))

    def _attend(self, x: Tensor) -> Tensor:
        parts = (layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key))
        query, key = (turned(part) for part in parts)
        value = self.value(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        seen = F.scaled_dot_product_attention(query.to(value), key.to(value), value, is_causal=True)
        return self.leave(seen.transpose(1, 2).flatten(2))


class LettersAhead(nn.Module):
    def __init__(self, s: Settings, letters: int) -> None:
        super().__init__()
        self.letter = nn.Embedding(letters, s.width)
        self.layers = nn.Sequential(*(Ahead(s) for _ in range(s.depth)))
        self.norm = RootMean(s.width) if s.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.letter(x)))


def letters_ahead(s: Settings, task: Task) -> Net:
    """A decoder-only transformer."""
    return Net(LettersAhead(s, task.outputs), nn.Linear(s.width, task.outputs, bias=False), s)


# ---------------------------------------------------------------------------------------------- signals
class Residual(nn.Module):
    """Two convolutions and a shortcut, which is a convolution of its own where sizes differ; activation behind."""

    def __init__(self, before: int, after: int, s: Settings, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(before, after, 5, stride, 2), nn.Conv1d(after, after, 5, 1, 2)
        self.norm1, self.norm2 = make_norm(s.norm, after, 1), make_norm(s.norm, after, 1)
        is_same = before == after and stride == 1
        self.shortcut = nn.Identity() if is_same or not s.skip else nn.Conv1d(before, after, 1, stride)
        self.activation1, self.activation2 = ACTIVATIONS[s.activation](), ACTIVATIONS[s.activation]()
        self.dropout, self.skip = nn.Dropout(s.dropout), s.skip
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm2(self.second(self.dropout(self.activation1(self.norm1(self.first(x))))))
        return self.activation2(self.shortcut(x) + self.gain * branch if self.skip else branch)


def signal_resnet(s: Settings, task: Task) -> Net:
    """A stem and three stages of residual blocks, each half as long and twice as wide. Depth counts blocks."""
    w, stages = s.width, 3
    blocks: list[nn.Module] = [
        nn.Conv1d(task.inputs.shape[1], w, 7, 2, 3), make_norm(s.norm, w, 1), ACTIVATIONS[s.activation]()
    ]  # fmt: skip
    before = w
    for stage in range(stages):
        after = w * 2**stage
        if s.op != "none" and stage == 1:
            blocks.append(Op(s.op, s.eps))
        for block in range(s.depth // stages):
            blocks.append(Residual(before, after, s, 2 if stage and not block else 1))
            before = after
    return Net(nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten()), nn.Linear(before, task.outputs), s)


class ConvThenCell(nn.Module):
    """Convolutions over a signal, two of them of stride 2; a recurrence over their features, its last state."""

    def __init__(self, s: Settings, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, before in enumerate([channels, *[s.width] * (s.depth - 1)]):
            layer = nn.Conv1d(before, s.width, 5, 2 if index < 2 else 1, 2)
            layers += [layer, make_norm(s.norm, s.width, 1), ACTIVATIONS[s.activation]()]
            if s.op != "none" and index == 0:
                layers.append(Op(s.op, s.eps))
        self.features = nn.Sequential(*layers)
        self.cell = RECURRENT[s.cell](s.width, s.width, batch_first=True)
        self.dropout = nn.Dropout(s.dropout)
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(self.dropout(self.features(x).transpose(1, 2)))[0][:, -1]


def conv_then_cell(s: Settings, task: Task) -> Net:
    return Net(ConvThenCell(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------------ films
class Frames(nn.Module):
    """Each picture of a film through the same convolutions and a dense layer; a recurrence over the pictures."""

    def __init__(self, s: Settings, size: int, channels: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(s.depth):
            layer = nn.Conv2d(channels if index else 1, channels, 3, 2 if index == 0 else 1, 1)
            layers += [layer, make_norm(s.norm, channels, 2), ACTIVATIONS[s.activation]()]
        pixels = channels * ((size + 1) // 2) ** 2
        layers += [nn.Flatten(), nn.Linear(pixels, s.width), ACTIVATIONS[s.activation]()]
        self.eye, self.dropout = nn.Sequential(*layers), nn.Dropout(s.dropout)
        self.cell = RECURRENT[s.cell](s.width, s.width, batch_first=True)
        self.freeze = s.freeze
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.eye(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.cell(self.dropout(seen))[0][:, -1]


def frames(s: Settings, task: Task) -> Net:
    trunk = Frames(s, task.inputs.shape[-1])
    trunk.eye.requires_grad_(not s.freeze)
    return Net(trunk, nn.Linear(s.width, task.outputs), s)


class FilmCell(nn.Module):
    """A convolutional LSTM over the pictures of a film: `[B, T, C, H, W]`."""

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        self.enter = nn.Conv2d(before, 4 * s.width, 3, padding=1)
        self.again = nn.Conv2d(s.width, 4 * s.width, 3, padding=1, bias=False)
        self.again.weight.data.mul_(s.recurrent_gain)  # for init=default; any other one starts it afresh
        self.norm, self.forget_bias = make_norm(s.norm, 4 * s.width, 2), s.forget_bias

    def forward(self, x: Tensor) -> Tensor:
        state = cell = x.new_zeros(len(x), self.again.in_channels, *x.shape[-2:])
        states = []
        for picture in x.unbind(1):
            gates = self.norm(self.enter(picture) + self.again(state))
            enter, forget, new, leave = gates.chunk(4, dim=1)
            cell = torch.sigmoid(forget + self.forget_bias) * cell + torch.sigmoid(enter) * torch.tanh(new)
            state = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(state)
        return torch.stack(states, dim=1)


class EachPicture(nn.Module):
    """A convolution of size 1 on each picture."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def conv_lstm(s: Settings, task: Task) -> Net:
    cells = [FilmCell(1 if index == 0 else s.width, s) for index in range(s.depth)]
    return Net(nn.Sequential(*cells), EachPicture(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------ two players
class Player(nn.Module):
    """Dense layers on what is seen, a recurrence over the steps; the state of each step."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(s.depth):
            layers += [nn.Linear(s.width if index else features, s.width), make_norm(s.norm, s.width)]
            layers.append(ACTIVATIONS[s.activation]())
        self.look = nn.Sequential(*layers)
        self.cell = RECURRENT[s.cell](s.width, s.width, batch_first=True)
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(self.look(x))[0]


def player(s: Settings, task: Task) -> Net:
    return Net(Player(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)
