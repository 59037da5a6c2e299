"""Networks of sequences: two directions and their mean, stacked cells, a sketcher, gaps in texts, tones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, make_norm, start_cell
from round_2.sequences import RECURRENT
from tasks import Task
from torch import Tensor, nn


# ------------------------------------------------------------------------------------------- recurrent
class MeanOfBoth(nn.Module):
    """A recurrent layer in each direction; the mean of all their states."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.cell = RECURRENT[s.cell](features, s.width, s.depth, batch_first=True, bidirectional=True)
        self.norm, self.dropout = make_norm(s.norm, 2 * s.width), nn.Dropout(s.dropout)
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.cell(x)[0].mean(dim=1)))


def mean_of_both(s: Settings, task: Task) -> Net:
    return Net(MeanOfBoth(s, task.inputs.shape[2]), nn.Linear(2 * s.width, task.outputs), s)


class Stacked(nn.Module):
    """Layers of cells on top of each other; the last state of the last one, and a dense layer."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(
            RECURRENT[s.cell](before, s.width, batch_first=True) for before in [features, *[s.width] * (s.depth - 1)]
        )
        self.between = nn.Dropout(s.dropout)
        self.together = Block(nn.Linear(s.width, s.width), nn.Identity(), s)
        for cell in self.cells:
            start_cell(cell, s)

    def forward(self, x: Tensor) -> Tensor:
        for cell in self.cells:
            x = self.between(cell(x)[0])
        return self.together(x[:, -1])


def stacked(s: Settings, task: Task) -> Net:
    return Net(Stacked(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


class Sketcher(nn.Module):
    """Reads a curve into a code of a few numbers, and draws it again from the code."""

    def __init__(self, s: Settings, features: int, code: int = 10) -> None:
        super().__init__()
        self.read, self.draw = (RECURRENT[s.cell](size, s.width, batch_first=True) for size in (features, code))
        self.code = nn.Linear(s.width, code)
        for cell in (self.read, self.draw):
            start_cell(cell, s)

    def forward(self, x: Tensor) -> Tensor:
        code = self.code(self.read(x)[0][:, -1])
        return self.draw(code[:, None].expand(-1, x.shape[1], -1))[0]


def sketcher(s: Settings, task: Task) -> Net:
    return Net(Sketcher(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------- attention
class Looking(nn.Module):
    """Each place looks at all of them, four ways; then a dense layer in each place."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.asks, self.leave = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)
        self.widen, self.narrow = nn.Linear(s.width, 2 * s.width), nn.Linear(2 * s.width, s.width)
        self.norm1, self.norm2 = make_norm(s.norm, s.width), make_norm(s.norm, s.width)
        self.activation, self.dropout, self.gain = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout), s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.asks(self.norm1(x)).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.gain * self.dropout(self.leave(seen))
        return x + self.gain * self.dropout(self.narrow(self.activation(self.widen(self.norm2(x)))))


class Gaps(nn.Module):
    def __init__(self, s: Settings, tokens: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(tokens, s.width), nn.Parameter(0.1 * torch.randn(s.length, s.width))
        self.layers, self.norm = nn.Sequential(*(Looking(s) for _ in range(s.depth))), make_norm(s.norm, s.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.token(x) + self.place))


def gaps(s: Settings, task: Task) -> Net:
    """A text in which some tokens are hidden; their sign is the last of the alphabet."""
    return Net(Gaps(s, task.outputs + 1), nn.Linear(s.width, task.outputs), s)


# ---------------------------------------------------------------------------------------- convolutions
def tones(s: Settings, task: Task) -> Net:
    """Convolutions that halve a signal twice, then some of one size; all that is left to a dense layer."""
    w = s.width
    steps = [(1, w, 2), (w, w, 2), *[(w, w, 1)] * (s.depth - 2)]
    blocks = [
        Block(nn.Conv1d(before, after, 5, stride, 2), make_norm(s.norm, after, 1), s, s.skip and before == after
              and stride == 1)
        for before, after, stride in steps
    ]  # fmt: skip
    return Net(nn.Sequential(*blocks, nn.Flatten()), nn.Linear(w * s.length // 4, task.outputs), s)
