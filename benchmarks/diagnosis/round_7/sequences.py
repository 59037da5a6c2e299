"""Nets of sequences, times and deeds: chains of tags, trees, a helm with its critic, eruptions, quasi-recurrences,
charts with gaps, sums in place of attention.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, dense_trunk, make_norm, start_cell
from tasks import Task
from torch import Tensor, nn

from round_7.tasks_of_sequences import SENSED


# -------------------------------------------------------------------------------------- chains of tags
class Along(nn.Module):
    """A dense layer on each place of a log `[B, T, F]`, then `depth` convolutions along it; `[B, W, T]`."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        w = s.width
        self.enter = nn.Linear(features, w)
        self.layers = nn.Sequential(
            *(Block(nn.Conv1d(w, w, 3, padding=1), make_norm(s.norm, w, 1), s, s.skip) for _ in range(s.depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(self.enter(x).transpose(1, 2))
        return features


class TagChain(Net):
    """How well each tag fits a place, behind each tag of the place before (Huang et al. 2015): `[B, T, K, K]`."""

    def __init__(self, trunk: nn.Module, head: nn.Module, s: Settings, tags: int) -> None:
        super().__init__(trunk, head, s)
        self.moves = nn.Parameter(torch.zeros(tags, tags))

    def forward(self, x: Tensor) -> Tensor:
        fits = super().forward(x).transpose(1, 2)
        return fits[:, :, None] + self.moves


def tag_chain(s: Settings, task: Task) -> Net:
    return TagChain(Along(s, task.inputs.shape[2]), nn.Conv1d(s.width, task.outputs, 1), s, task.outputs)


# ------------------------------------------------------------------------------------------------ trees
class Bracket(nn.Module):
    """From pairs to their parents, up to the root: a binary tree-LSTM (Tai et al. 2015), or (cell=rnn) a plain layer.

    Nodes level by level, leaves first, `[B, 2 L - 1, F]` to `[B, W]`; each first goes through `depth` dense layers.
    """

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.width, self.is_plain = s.width, s.cell == "rnn"
        parts = 1 if self.is_plain else 5
        self.node = dense_trunk([features, *[s.width] * s.depth], s)
        self.enter = nn.Linear(s.width, parts * s.width)
        start = torch.empty(parts * s.width, 2 * s.width).uniform_(-1, 1) / (2 * s.width) ** 0.5
        self.weight_hh = nn.Parameter(s.recurrent_gain * start)
        self.keep = nn.Parameter(torch.full((2 * s.width,), s.forget_bias))

    def forward(self, x: Tensor) -> Tensor:
        nodes, leaves = self.enter(self.node(x)), (x.shape[1] + 1) // 2
        sizes = [leaves >> level for level in range(leaves.bit_length())]
        state = kept = x.new_zeros(len(x), 2 * leaves, self.width)
        for level in nodes.split(sizes, dim=1):
            told = level + F.linear(_pairs(state), self.weight_hh)
            state, kept = (torch.tanh(told), kept) if self.is_plain else self._gated(told, _pairs(kept))
        return state[:, 0]

    def _gated(self, told: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        w = self.width
        enter, leave, new, keep = told.split([w, w, w, 2 * w], dim=2)
        carried = (torch.sigmoid(keep + self.keep) * kept).unflatten(2, (2, w)).sum(dim=2)
        memory = torch.sigmoid(enter) * torch.tanh(new) + carried
        return torch.sigmoid(leave) * torch.tanh(memory), memory


def _pairs(x: Tensor) -> Tensor:
    """Neighbours side by side: `[B, N, W]` to `[B, N / 2, 2 W]`."""
    return x.unflatten(1, (-1, 2)).flatten(2)


def bracket(s: Settings, task: Task) -> Net:
    return Net(Bracket(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


# ----------------------------------------------------------------------------------- a helm, a critic
class Helmsman(Net):
    """A deterministic actor, its critic, and a slow copy of both (Lillicrap et al. 2016): `[B, 2, F + A]` to
    `[B, 3 + A]`.

    Of a moment: what the critic says of the deed that was done, what the copied one says of the actor's own, what the
    copies say of the moment behind; and the actor's deed.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, critic: nn.Module, s: Settings, share: float = 0.05) -> None:
        super().__init__(trunk, head, s)
        self.critic = critic
        self.copied = copy.deepcopy(nn.ModuleList([trunk, head, critic])).requires_grad_(False)
        self.share, self.is_first = share, True

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._follow()
        before, behind = x[:, 0, :SENSED], x[:, 1, :SENSED]
        deed = torch.tanh(super().forward(before))
        trunk, head, critic = self.copied
        with torch.no_grad():
            later = critic(torch.cat([behind, torch.tanh(head(trunk(behind)))], dim=1))
        said, hoped = self.critic(x[:, 0]), critic(torch.cat([before, deed], dim=1))
        return torch.cat([said, hoped, later, deed], dim=1)

    @torch.no_grad()
    def _follow(self) -> None:
        share, self.is_first = 1.0 if self.is_first else self.share, False
        own = nn.ModuleList([self.trunk, self.head, self.critic])
        for mine, copied in zip(own.parameters(), self.copied.parameters(), strict=True):
            copied.lerp_(mine, share)


def helmsman(s: Settings, task: Task) -> Net:
    widths = [s.width] * s.depth
    critic = nn.Sequential(*dense_trunk([SENSED + task.outputs, *widths], s), nn.Linear(s.width, 1))
    return Helmsman(dense_trunk([SENSED, *widths], s), nn.Linear(s.width, task.outputs), critic, s)


# ----------------------------------------------------------------------------------------- eruptions
class Eruptions(nn.Module):
    """A gap and a mark at each step `[B, T, 2]`, a recurrence, `depth` dense layers; with `op` the gap's logarithm."""

    def __init__(self, s: Settings, marks: int) -> None:
        super().__init__()
        self.mark, self.gap = nn.Embedding(marks, s.width), nn.Linear(1, s.width)
        self.cell = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[s.cell](s.width, s.width, batch_first=True)
        start_cell(self.cell, s)
        self.dense = dense_trunk([s.width] * (s.depth + 1), s)
        self.dropout, self.op, self.eps = nn.Dropout(s.dropout), s.op, s.eps

    def forward(self, x: Tensor) -> Tensor:
        gaps, marks = x.split(1, dim=2)
        gaps = torch.log(gaps + self.eps) if self.op == "log" else gaps
        states = self.cell(self.mark(marks[:, :, 0].long()) + self.gap(gaps))[0]
        features: Tensor = self.dense(self.dropout(states))
        return features


def eruptions(s: Settings, task: Task) -> Net:
    """Weights, means and log-scales of three bells for the next gap (Shchur et al. 2020), logits of its mark."""
    return Net(Eruptions(s, task.outputs - 9), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------ quasi-recurrences
class QuasiRecurrence(nn.Module):
    """Gates by a causal convolution, then a pool over time (Bradbury et al. 2017): `[B, T, W]` to itself."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.gates = nn.Conv1d(s.width, 3 * s.width, 2)
        self.keep = nn.Parameter(torch.full((s.width, 1), s.forget_bias))

    def forward(self, x: Tensor) -> Tensor:
        new, keep, leave = self.gates(F.pad(x.transpose(1, 2), (1, 0))).chunk(3, dim=1)
        keep = torch.sigmoid(keep + self.keep)
        taken = (1 - keep) * torch.tanh(new)
        states = [torch.zeros_like(taken[:, :, 0])]
        for share, more in zip(keep.unbind(2), taken.unbind(2), strict=True):
            states.append(share * states[-1] + more)
        return (torch.sigmoid(leave) * torch.stack(states[1:], dim=2)).transpose(1, 2)


class Road(nn.Module):
    """A dense layer on each step, `depth` quasi-recurrences with a norm before each, the last state."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.layers = nn.ModuleList(QuasiRecurrence(s) for _ in range(s.depth))
        self.norms = nn.ModuleList(make_norm(s.norm, s.width) for _ in range(s.depth))
        self.dropout, self.skip = nn.Dropout(s.dropout), s.skip
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            branch = self.dropout(layer(norm(x)))
            x = x + self.gain * branch if self.skip else branch
        return x[:, -1]


def quasi_recurrent(s: Settings, task: Task) -> Net:
    trunk = Road(s, task.inputs.shape[2])
    trunk.enter.requires_grad_(not s.freeze)
    return Net(trunk, nn.Linear(s.width, task.outputs), s)


# --------------------------------------------------------------------------------------- charts with gaps
class Charts(nn.Module):
    """A cell whose state, and what was last seen, fade with the time since (GRU-D, Che et al. 2018).

    Values, which of them were taken, and hours since the last one, `[B, T, 3, F]`; behind the last step `depth` dense
    layers. `forget_bias` is added to the share of the state that is kept.
    """

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.fade, self.stale = nn.Linear(features, s.width), nn.Parameter(torch.zeros(features))
        self.cell = (nn.RNNCell if s.cell == "rnn" else nn.GRUCell)(2 * features, s.width)
        start_cell(self.cell, s)
        if s.cell != "rnn":
            nn.init.constant_(self.cell.bias_hh[s.width : 2 * s.width].detach(), s.forget_bias)
        self.dense = dense_trunk([s.width] * (s.depth + 1), s)
        self.dropout = nn.Dropout(s.dropout)

    def forward(self, x: Tensor) -> Tensor:
        values, taken, hours = x.unbind(2)
        kept = torch.exp(-self.fade(hours).relu())
        still = torch.exp(-(hours * self.stale.exp()).relu())
        state, last = x.new_zeros(len(x), self.cell.hidden_size), x.new_zeros(len(x), x.shape[3])
        for step in range(x.shape[1]):
            mask = taken[:, step]
            seen = mask * values[:, step] + (1 - mask) * still[:, step] * last
            last = mask * values[:, step] + (1 - mask) * last
            state = self.cell(torch.cat([seen, mask], dim=1), kept[:, step] * state)
        features: Tensor = self.dense(self.dropout(state))
        return features


def charts(s: Settings, task: Task) -> Net:
    return Net(Charts(s, task.inputs.shape[3]), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------ sums in place of attention
class CausalSums(nn.Module):
    """What came before, by sums over keys and values (Katharopoulos et al. 2020): `[B, T, W]` to itself.

    Features are ELU + 1 or, with `op`, ReLU; what is read is divided by their sum and `eps`.
    """

    def __init__(self, s: Settings, heads: int = 4) -> None:
        super().__init__()
        self.asks, self.leave = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)
        self.heads, self.is_cut, self.eps = heads, s.op == "divide", s.eps

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (each.unflatten(2, (self.heads, -1)) for each in self.asks(x).chunk(3, dim=2))
        query, key = (each.relu() if self.is_cut else F.elu(each) + 1 for each in (query, key))
        memory = (key[..., None] * value[..., None, :]).cumsum(dim=1)
        whole = (query * key.cumsum(dim=1)).sum(dim=3, keepdim=True) + self.eps
        read = (query[..., None, :] @ memory)[..., 0, :] / whole
        out: Tensor = self.leave(read.flatten(2))
        return out


class SumsAndDense(nn.Module):
    """Causal sums and two dense layers; norms before them (norm=pre), behind them (post) or none."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.sums, w = CausalSums(s), s.width
        self.dense = nn.Sequential(nn.Linear(w, 2 * w), ACTIVATIONS[s.activation](), nn.Linear(2 * w, w))
        self.norms = nn.ModuleList(nn.Identity() if s.norm == "none" else nn.LayerNorm(w) for _ in range(2))
        self.is_post, self.dropout = s.norm == "post", nn.Dropout(s.dropout)
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        for branch, norm in zip((self.sums, self.dense), self.norms, strict=True):
            if self.is_post:
                x = norm(x + self.gain * self.dropout(branch(x)))
            else:
                x = x + self.gain * self.dropout(branch(norm(x)))
        return x


class Cloakroom(nn.Module):
    """A dense layer on each step, `depth` layers of sums, a norm; `[B, W, T]`."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.layers = nn.Sequential(*(SumsAndDense(s) for _ in range(s.depth)))
        self.norm = nn.LayerNorm(s.width) if s.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.norm(self.layers(self.enter(x)))
        return states.transpose(1, 2)


def kernel_attention(s: Settings, task: Task) -> Net:
    """Logits `[B, K, T]`."""
    return Net(Cloakroom(s, task.inputs.shape[2]), nn.Conv1d(s.width, task.outputs, 1), s)
