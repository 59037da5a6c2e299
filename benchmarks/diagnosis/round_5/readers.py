"""Nets that read: a memory of facts, asked several times; numbers, to be pointed at."""

from __future__ import annotations

import torch
from knobs import ACTIVATIONS, Settings
from networks import Net, make_norm, start_cell
from round_2.sequences import RECURRENT
from tasks import Task
from torch import Tensor, nn

from round_5.tasks_of_sequences import FACTS, PEOPLE, PLACES


# ------------------------------------------------------------------------------------------ memory reads
class Reads(nn.Module):
    """A question reads a memory of facts `depth` times; each reading goes through a dense layer.

    Tokens `[B, FACTS + 1, 2]` of who and where, the last row asks. `init_gain` is the scale of the vectors, too.
    """

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.who, self.where, self.order = nn.Embedding(PEOPLE, w), nn.Embedding(PLACES, w), nn.Embedding(FACTS, w)
        self.told, self.question = nn.Embedding(PLACES, w), nn.Embedding(PEOPLE, w)
        for table in (self.who, self.where, self.order, self.told, self.question):
            table.weight.data.mul_(s.init_gain)
        self.hops = nn.ModuleList(nn.Linear(2 * w, w) for _ in range(s.depth))
        self.norms = nn.ModuleList(make_norm(s.norm, w) for _ in range(s.depth))
        self.activation, self.dropout = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout)
        self.skip = s.skip
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        who, where = x[:, :-1].unbind(2)
        keys, values = self.who(who) + self.where(where) + self.order.weight, self.told(where)
        asks = self.question(x[:, -1, 0])
        for hop, norm in zip(self.hops, self.norms, strict=True):
            share = torch.softmax(torch.einsum("bfw,bw->bf", keys, asks) / keys.shape[2] ** 0.5, dim=1)
            read = torch.einsum("bf,bfw->bw", share, values)
            new = self.gain * self.activation(hop(self.dropout(torch.cat([asks, read], dim=1))))
            asks = norm(asks + new if self.skip else new)
        return asks


def reads(s: Settings, task: Task) -> Net:
    """An end-to-end memory network (Sukhbaatar et al. 2015)."""
    return Net(Reads(s), nn.Linear(s.width, task.outputs), s)


# ---------------------------------------------------------------------------------------------- pointers
class Pointing(nn.Module):
    """A recurrence over items `[B, N, F]`; another one points at an item each step, and reads what it points at.

    Makes `[B, N, 2 w]`: what is looked for at each step, and what the items are called.
    """

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(s.depth):
            layers += [nn.Linear(s.width if index else features, s.width), make_norm(s.norm, s.width)]
            layers.append(ACTIVATIONS[s.activation]())
        self.look = nn.Sequential(*layers)
        self.reader = RECURRENT[s.cell](s.width, s.width, batch_first=True)
        self.writer = (nn.RNNCell if s.cell == "rnn" else nn.GRUCell)(s.width, s.width)
        self.query, self.name = nn.Linear(s.width, s.width), nn.Linear(s.width, s.width)
        self.dropout = nn.Dropout(s.dropout)
        for cell in (self.reader, self.writer):
            start_cell(cell, s)

    def forward(self, x: Tensor) -> Tensor:
        items = self.look(x)
        read, last = self.reader(self.dropout(items))
        names, state, seen, asked = self.name(read), last[0], items.mean(dim=1), []
        for _ in range(x.shape[1]):
            state = self.writer(seen, state)
            asked.append(self.query(state))
            share = torch.softmax((names @ asked[-1][..., None]).squeeze(2) / names.shape[2] ** 0.5, dim=1)
            seen = (share[..., None] * items).sum(dim=1)
        return torch.cat([torch.stack(asked, dim=1), names], dim=2)


class Points(nn.Module):
    """How well each item fits what is looked for: logits `[B, N, N]`, by a sum of tanh (Bahdanau et al. 2014)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.asked, self.named = nn.Linear(width, width), nn.Linear(width, width)
        self.tanh, self.fits = nn.Tanh(), nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        asked, names = x.chunk(2, dim=2)
        return self.fits(self.tanh(self.asked(asked)[:, :, None] + self.named(names)[:, None])).squeeze(3)


def pointers(s: Settings, task: Task) -> Net:
    """A pointer network (Vinyals et al. 2015)."""
    return Net(Pointing(s, task.inputs.shape[2]), Points(s.width), s)
