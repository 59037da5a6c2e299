"""Networks of the fifth round: fields, maps, tables, bodies and laws.

Fourier operators, tied convolutions that settle, splines on edges, bodies that act on each other, columns with
attention, a net whose loss is a differential equation. Written as those of `networks`: torch's own layers, a trunk and
a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Net, Op, dense_trunk, make_norm
from tasks import Task
from torch import Tensor, nn


def _gain(s: Settings) -> nn.Parameter | float:
    return nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain


def _with_op(layers: list[nn.Module], s: Settings) -> nn.Sequential:
    """The layers, and in the middle of them what is not safe at 0."""
    if s.op != "none":
        layers.insert(len(layers) // 2 + 1, Op(s.op, s.eps))
    return nn.Sequential(*layers)


# ----------------------------------------------------------------------------------------------- fields
class Spectrum(nn.Module):
    """The lowest waves of a field `[B, L, C]`, mixed by complex weights of their own; `init_gain` scales these."""

    def __init__(self, s: Settings, waves: int = 12) -> None:
        super().__init__()
        self.waves = waves
        self.weight = nn.Parameter(s.init_gain * torch.randn(waves, s.width, s.width, 2) / math.sqrt(s.width))

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.fft.rfft(x, dim=1, norm="ortho")[:, : self.waves]
        mixed = torch.einsum("bki,kio->bko", seen, torch.view_as_complex(self.weight))
        return torch.fft.irfft(mixed, x.shape[1], dim=1, norm="ortho")


class Operator(nn.Module):
    """A Fourier layer (Li et al., 2021): mixed waves, times `branch_gain`, beside each place by itself."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.spectrum, self.place = Spectrum(s), nn.Linear(s.width, s.width)
        self.norm, self.activation = make_norm(s.norm, s.width), ACTIVATIONS[s.activation]()
        self.dropout, self.skip, self.gain = nn.Dropout(s.dropout), s.skip, _gain(s)

    def forward(self, x: Tensor) -> Tensor:
        new = self.activation(self.norm(self.gain * self.spectrum(x) + self.place(x)))
        return x + self.dropout(new) if self.skip else self.dropout(new)


class Field(nn.Module):
    """A field `[B, L]` on a ring, and where each of its places is."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.enter = nn.Linear(3, s.width)
        self.layers = _with_op([Operator(s) for _ in range(s.depth)], s)

    def forward(self, x: Tensor) -> Tensor:
        place = (2 * math.pi * torch.arange(x.shape[1]) / x.shape[1]).expand_as(x)
        return self.layers(self.enter(torch.stack([x, place.sin(), place.cos()], dim=2)))


def field_operator(s: Settings, task: Task) -> Net:
    return Net(Field(s), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------------- maps
class Settling(nn.Module):
    """One convolution `depth` times over, the map `[B, C, H, W]` shown to it each time; `[B, H W, C]`.

    As deep equilibrium nets (Bai et al., 2019), with the gradient through each round; `recurrent_gain` scales it.
    """

    def __init__(self, s: Settings, channels: int) -> None:
        super().__init__()
        self.enter, self.again = nn.Conv2d(channels, s.width, 3, padding=1), nn.Conv2d(s.width, s.width, 3, padding=1)
        self.norm, self.activation = make_norm(s.norm, s.width, 2), ACTIVATIONS[s.activation]()
        self.dropout, self.rounds, self.skip = nn.Dropout(s.dropout), s.depth, s.skip
        self.gain, self.recurrent_gain = _gain(s), s.recurrent_gain

    def forward(self, x: Tensor) -> Tensor:
        shown = self.enter(x)
        state = self.activation(shown)
        for _ in range(self.rounds):
            new = self.activation(self.norm(self.recurrent_gain * self.again(state) + shown))
            state = state + self.gain * new if self.skip else new
        return self.dropout(state).flatten(2).transpose(1, 2)


def settling(s: Settings, task: Task) -> Net:
    return Net(Settling(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)


# ----------------------------------------------------------------------------------------------- tables
class Splines(nn.Module):
    """A curve for each input of each unit (Liu et al., 2024): ten bells from -3 to 3 and, with `skip`, a SiLU."""

    def __init__(self, before: int, after: int, norm: str, s: Settings) -> None:
        super().__init__()
        self.norm, self.curves = make_norm(norm, before), nn.Linear(10 * before, after)
        self.plain = nn.Linear(before, after) if s.skip else None
        self.register_buffer("centres", torch.linspace(-3, 3, 10))
        self.activation, self.dropout, self.gain = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout), _gain(s)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        bells = torch.exp(-(1.5 * (x[:, :, None] - self.centres)).square())
        new = self.gain * self.curves(self.dropout(bells.flatten(1)))
        return new if self.plain is None else new + self.plain(self.activation(x))


def splines(s: Settings, task: Task) -> Net:
    """The first layer takes the columns `[B, D]` as they are."""
    layers: list[nn.Module] = [Splines(task.inputs.shape[1], s.width, "none", s)]
    layers += [Splines(s.width, s.width, s.norm, s) for _ in range(s.depth - 1)]
    return Net(_with_op(layers, s), nn.Linear(s.width, task.outputs), s)


class Looking(nn.Module):
    """Attention and two dense layers, a norm before each (`pre`), behind them (`post`) or none."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.place, self.gain, self.dropout = s.norm, _gain(s), nn.Dropout(s.dropout)
        self.look, self.leave = nn.Linear(w, 3 * w), nn.Linear(w, w)
        self.dense = nn.Sequential(nn.Linear(w, 2 * w), ACTIVATIONS[s.activation](), nn.Linear(2 * w, w))
        self.norms = nn.ModuleList(nn.Identity() if s.norm == "none" else nn.LayerNorm(w) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for norm, branch in zip(self.norms, (self._seen, self.dense), strict=True):
            if self.place == "post":
                x = norm(x + self.gain * self.dropout(branch(x)))
            else:
                x = x + self.gain * self.dropout(branch(norm(x)))
        return x

    def _seen(self, x: Tensor) -> Tensor:
        asked = self.look(x).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        return self.leave(F.scaled_dot_product_attention(*asked.unbind(0)).transpose(1, 2).flatten(2))


class Columns(nn.Module):
    """A token for each column of `[B, D]`, its number times a vector, and one of the whole, which comes out.

    As FT-Transformer (Gorishniy et al., 2021).
    """

    def __init__(self, s: Settings, columns: int) -> None:
        super().__init__()
        self.scale, self.start = (nn.Parameter(s.init_gain * 0.5 * torch.randn(columns, s.width)) for _ in range(2))
        self.whole = nn.Parameter(s.init_gain * 0.5 * torch.randn(1, 1, s.width))
        self.layers = _with_op([Looking(s) for _ in range(s.depth)], s)
        self.norm = nn.LayerNorm(s.width) if s.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.scale + self.start
        return self.norm(self.layers(torch.cat([self.whole.expand(len(x), -1, -1), tokens], dim=1))[:, 0])


def columns(s: Settings, task: Task) -> Net:
    return Net(Columns(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)


# ----------------------------------------------------------------------------------------------- bodies
class Acting(nn.Module):
    """What each body does to each other one, summed up and times `branch_gain`; then each by itself."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.pair = dense_trunk([2 * w + 3, w, w], _inner(s))
        self.norm, self.alone = make_norm(s.norm, 2 * w), nn.Linear(2 * w, w)
        self.activation, self.dropout = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout)
        self.skip, self.gain = s.skip, _gain(s)

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        count = x.shape[1]
        ours, theirs = x[:, :, None].expand(-1, -1, count, -1), x[:, None].expand(-1, count, -1, -1)
        done = self.pair(torch.cat([ours, theirs, apart], dim=3))
        others = 1 - torch.eye(count)[:, :, None]
        both = torch.cat([x, self.gain * (others * done).sum(dim=2)], dim=2)
        new = self.dropout(self.activation(self.alone(self.norm(both))))
        return x + new if self.skip else new


def _inner(s: Settings) -> Settings:
    """Of the two layers for a pair: nothing but layers."""
    return Settings(activation=s.activation)


class Bodies(nn.Module):
    """Bodies `[B, N, 3]` whose last two numbers are their place; a pair sees how it lies, and that by its square.

    As interaction networks (Battaglia et al., 2016); the square is kept from 0 by `eps`.
    """

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter, self.eps = nn.Linear(features, s.width), s.eps
        self.layers = nn.ModuleList(Acting(s) for _ in range(s.depth))

    def forward(self, x: Tensor) -> Tensor:
        place = x[:, :, -2:]
        apart = place[:, :, None] - place[:, None] + torch.eye(x.shape[1])[:, :, None]
        square = apart.square().sum(dim=3, keepdim=True) + self.eps
        apart, x = torch.cat([apart / square, square.log()], dim=3), self.enter(x)
        for layer in self.layers:
            x = layer(x, apart)
        return x


def bodies(s: Settings, task: Task) -> Net:
    return Net(Bodies(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------------- laws
class Law(Net):
    """How far a place `[B, 2]` of a membrane gives way, 0 at the border, and the load that would do it: `[B, 2]`.

    The load is what differences of second order say (as physics-informed nets, Raissi et al., 2019).
    """

    STEP = 0.05

    def forward(self, x: Tensor) -> Tensor:
        step = self.STEP * torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        places = (x + step[:, None]).flatten(0, 1)
        border = (1 - places.square()).prod(dim=1, keepdim=True)
        moved = (border * super().forward(places)).view(5, len(x))
        return torch.stack([moved[0], (4 * moved[0] - moved[1:].sum(dim=0)) / self.STEP**2], dim=1)


def law(s: Settings, task: Task) -> Net:
    trunk = dense_trunk([task.inputs.shape[1], *[s.width] * s.depth], s)
    return Law(trunk, nn.Linear(s.width, task.outputs), s)
