"""Nets of sequences and of several parts: normed gates, spelling aloud, bootstrapped values, two clocks, states.

Each is written as in the paper that is named, at a size of seconds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Net, Op, dense_trunk, make_norm, start_cell
from round_2.sequences import RECURRENT
from tasks import Task
from torch import Tensor, nn

from round_5.tasks_of_sequences import BUTTONS


# ------------------------------------------------------------------------------- densities of what is next
class NormedGates(nn.Module):
    """A GRU with a layer norm inside the cell, on what comes from the state (Ba et al. 2016); cell=rnn: no gates."""

    def __init__(self, features: int, s: Settings) -> None:
        super().__init__()
        self.is_plain, self.width = s.cell == "rnn", s.width
        parts = 1 if self.is_plain else 3
        self.enter = nn.Linear(features, parts * s.width)
        self.weight_hh = nn.Parameter(torch.empty(parts * s.width, s.width).uniform_(-1, 1) / s.width**0.5)
        self.norm = make_norm(s.norm, parts * s.width)
        self.keep = nn.Parameter(torch.full((s.width,), s.forget_bias))

    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(len(x), self.width), []
        for new in self.enter(x).unbind(1):
            again = self.norm(F.linear(state, self.weight_hh))
            state = torch.tanh(new + again) if self.is_plain else self._gated(new, again, state)
            states.append(state)
        return torch.stack(states, dim=1)

    def _gated(self, new: Tensor, again: Tensor, state: Tensor) -> Tensor:
        (keep, reset, candidate), (keep2, reset2, candidate2) = new.chunk(3, dim=1), again.chunk(3, dim=1)
        keep = torch.sigmoid(keep + keep2 + self.keep)
        candidate = torch.tanh(candidate + torch.sigmoid(reset + reset2) * candidate2)
        return keep * state + (1 - keep) * candidate


class Forecaster(nn.Module):
    """`depth` layers of normed gates over a series `[B, T, F]`, with `skip` each added to its input."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(NormedGates(s.width if index else features, s) for index in range(s.depth))
        self.dropout, self.skip = nn.Dropout(s.dropout), s.skip
        for layer in self.layers:
            start_cell(layer, s)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            made = layer(x)
            x = x + made if self.skip and made.shape == x.shape else made
        return self.dropout(x)


def forecaster(s: Settings, task: Task) -> Net:
    """DeepAR (Salinas et al. 2017): mean and log of the spread of the next value, `[B, T, 2]`."""
    return Net(Forecaster(s, task.inputs.shape[2]), nn.Linear(s.width, 2), s)


# ---------------------------------------------------------------------------------------- spelling aloud
class Hearing(nn.Module):
    """Convolutions over frames `[B, T, F]`, the first of stride 2; two stacked recurrent layers in both directions."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(s.depth):
            layers.append(nn.Conv1d(s.width if index else features, s.width, 5, 1 if index else 2, 2))
            layers += [make_norm(s.norm, s.width, 1), ACTIVATIONS[s.activation]()]
            if s.op != "none" and index == 0:
                layers.append(Op(s.op, s.eps))
        self.ear = nn.Sequential(*layers)
        self.cell = RECURRENT[s.cell](s.width, s.width, 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(s.dropout)
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(self.dropout(self.ear(x.transpose(1, 2)).transpose(1, 2)))[0]


def hearing(s: Settings, task: Task) -> Net:
    """Deep Speech 2 (Amodei et al. 2015) in small: a class or the blank (0) at each second frame."""
    return Net(Hearing(s, task.inputs.shape[2]), nn.Linear(2 * s.width, task.outputs), s)


# ----------------------------------------------------------------------------------- bootstrapped values
class Bootstrapped(Net):
    """Values of each button here, and what a slow copy says of the state behind: `[B, 2, F]` to `[B, 2, A]`.

    The slow copy follows by a share of `branch_gain` each step (Mnih et al. 2015, in the smooth form of Lillicrap
    et al.); a value of the state and an advantage of each button make the values (Wang et al. 2016).
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, slow: nn.ModuleList, s: Settings) -> None:
        super().__init__(trunk, head, s)
        self.slow, self.is_copied = slow.requires_grad_(False), False

    def forward(self, x: Tensor) -> Tensor:
        here, behind = x.unbind(1)
        if self.training:
            self._follow(self.s.branch_gain if self.is_copied else 1.0)
            self.is_copied = True
        with torch.no_grad():
            later = self.slow[1](self.slow[0](behind))
        return torch.stack([_duel(super().forward(here)), _duel(later).detach()], dim=1)

    @torch.no_grad()
    def _follow(self, share: float) -> None:
        fast = [*self.trunk.parameters(), *self.head.parameters()]
        for slow, parameter in zip(self.slow.parameters(), fast, strict=True):
            slow.lerp_(parameter, share)


def _duel(outputs: Tensor) -> Tensor:
    return outputs[:, :1] + outputs[:, 1:] - outputs[:, 1:].mean(dim=1, keepdim=True)


def bootstrapped(s: Settings, task: Task) -> Net:
    sizes = [task.inputs.shape[2], *[s.width] * s.depth]
    pairs = [(dense_trunk(sizes, s), nn.Linear(s.width, 1 + BUTTONS)) for _ in range(2)]
    return Bootstrapped(*pairs[0], nn.ModuleList(pairs[1]), s)


# -------------------------------------------------------------------------------------------- two clocks
class TwoClocks(nn.Module):
    """A recurrence over the steps of each phrase; dense layers; a slow one over the phrases `[B, P, T, F]`."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.fast = RECURRENT[s.cell](features, s.width, batch_first=True)
        self.between = dense_trunk([s.width] * (s.depth + 1), s)
        self.slow = RECURRENT[s.cell](s.width, s.width, batch_first=True)
        self.dropout = nn.Dropout(s.dropout)
        for cell in (self.fast, self.slow):
            start_cell(cell, s)
            if s.cell == "gru":  # the share of the old state that is kept
                dict(cell.named_parameters())["bias_hh_l0"].data[s.width : 2 * s.width] = s.forget_bias

    def forward(self, x: Tensor) -> Tensor:
        phrases = self.fast(x.flatten(0, 1))[0][:, -1]
        phrases = self.dropout(self.between(phrases)).unflatten(0, x.shape[:2])
        return self.slow(phrases)[0][:, -1]


def two_clocks(s: Settings, task: Task) -> Net:
    """A hierarchical recurrent encoder (Sordoni et al. 2015)."""
    return Net(TwoClocks(s, task.inputs.shape[3]), nn.Linear(s.width, task.outputs), s)


# --------------------------------------------------------------------------------------------- states
class Modes(nn.Module):
    """Each channel through damped oscillations of its own: S4D (Gu et al. 2022), as a convolution over all of time.

    A mode falls by exp(-exp(-`forget_bias`)) a step at first.
    """

    def __init__(self, s: Settings, modes: int = 16) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.full((s.width, modes), -s.forget_bias))
        self.angle = nn.Parameter(torch.pi * torch.rand(s.width, modes))
        self.read = nn.Parameter(torch.randn(2, s.width, modes) * s.recurrent_gain / modes)
        self.past = nn.Parameter(torch.ones(s.width))

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        time = torch.arange(float(steps))
        size, angle = torch.exp(-self.decay.exp()[..., None] * time), self.angle[..., None] * time
        kernel = (size * (self.read[0, ..., None] * angle.cos() + self.read[1, ..., None] * angle.sin())).sum(dim=1)
        signal = torch.fft.rfft(x, 2 * steps, dim=1) * torch.fft.rfft(kernel, 2 * steps, dim=1).T
        return torch.fft.irfft(signal, 2 * steps, dim=1)[:, :steps] + self.past * x


class StateSpaces(nn.Module):
    """Series `[B, T, F]`; layers of modes, activation and a gated dense layer, each with a norm in front and a skip."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.norms = nn.ModuleList(make_norm(s.norm, s.width) for _ in range(s.depth))
        self.modes = nn.ModuleList(Modes(s) for _ in range(s.depth))
        self.mixes = nn.ModuleList(nn.Linear(s.width, 2 * s.width) for _ in range(s.depth))
        self.activation, self.dropout, self.skip = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout), s.skip
        self.gains = nn.ParameterList(torch.tensor(0.0 if s.rezero else s.branch_gain) for _ in range(s.depth))
        self.gains.requires_grad_(s.rezero)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for norm, modes, mix, gain in zip(self.norms, self.modes, self.mixes, self.gains, strict=True):
            branch = gain * F.glu(mix(self.dropout(self.activation(modes(norm(x))))), dim=2)
            x = x + branch if self.skip else branch
        return x


def state_spaces(s: Settings, task: Task) -> Net:
    return Net(StateSpaces(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)
