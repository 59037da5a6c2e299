"""Networks of the third round: branches, gates and pictures of other sizes; crosses, flows, actors; tied layers.

Written as those of `networks`: torch's own layers, a trunk and a head. Sequences are in `sequences` and `series`.
"""

from __future__ import annotations

import torch
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, Op, dense_trunk, make_norm
from round_2.networks import branch_gains
from tasks import Task
from torch import Tensor, nn


# --------------------------------------------------------------------------------------------- pictures
def _conv(before: int, after: int, size: int, s: Settings, stride: int = 1) -> Block:
    layer = nn.Conv2d(before, after, size, stride, size // 2)
    return Block(layer, make_norm(s.norm, after, 2), s, s.skip and before == after and stride == 1)


class Branching(nn.Module):
    """Four ways through a layer, with filters of different size; their channels side by side."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.ways = nn.ModuleList([
            _conv(4 * w, w, 1, s),
            nn.Sequential(_conv(4 * w, w, 1, s), _conv(w, w, 3, s)),
            nn.Sequential(_conv(4 * w, w, 1, s), _conv(w, w, 5, s)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(4 * w, w, 1, s)),
        ])  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([way(x) for way in self.ways], dim=1)


def inception(s: Settings, task: Task) -> Net:
    layers = [_conv(1, 4 * s.width, 5, s, 4), *(Branching(s) for _ in range(s.depth))]
    if s.op != "none":
        layers.insert(1 + s.depth // 2, Op(s.op, s.eps))
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten())
    return Net(trunk, nn.Linear(36 * s.width, task.outputs), s)


class Squeezed(nn.Module):
    """A convolution whose channels are weighed by what all of the picture holds."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w, few = s.width, s.width // 4
        self.layer, self.norm = nn.Conv2d(w, w, 3, padding=1), make_norm(s.norm, w, 2)
        self.activation = ACTIVATIONS[s.activation]()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(w, few, 1), nn.ReLU(), nn.Conv2d(few, w, 1), nn.Sigmoid()
        )
        self.skip, self.gain = s.skip, branch_gains(s, 1)

    def forward(self, x: Tensor) -> Tensor:
        new = self.activation(self.norm(self.layer(x)))
        new = self.weigh(new) * new
        return x + self.gain[0] * new if self.skip else new


def squeeze(s: Settings, task: Task) -> Net:
    enter = _conv(1, s.width, 5, s, 4)
    trunk = nn.Sequential(enter, *(Squeezed(s) for _ in range(s.depth)), nn.AdaptiveAvgPool2d(3), nn.Flatten())
    return Net(trunk, nn.Linear(9 * s.width, task.outputs), s)


class Wide(nn.Module):
    """A large filter for each channel by itself, a norm, and a dense layer of four times the width in each pixel."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.filter, self.norm = nn.Conv2d(w, w, 7, padding=3, groups=w), make_norm(s.norm, w, 2)
        self.widen, self.narrow = nn.Conv2d(w, 4 * w, 1), nn.Conv2d(4 * w, w, 1)
        self.activation, self.dropout = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout)
        self.skip, self.gain = s.skip, branch_gains(s, 1)

    def forward(self, x: Tensor) -> Tensor:
        new = self.narrow(self.dropout(self.activation(self.widen(self.norm(self.filter(x))))))
        return x + self.gain[0] * new if self.skip else new


def convnext(s: Settings, task: Task) -> Net:
    layers = [nn.Conv2d(1, s.width, 4, 4), *(Wide(s) for _ in range(s.depth)), make_norm(s.norm, s.width, 2)]
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten())
    return Net(trunk, nn.Linear(9 * s.width, task.outputs), s)


class Views(nn.Module):
    """Each picture of a triplet through the same convolutions."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        layers = [_conv(1, w, 3, s, 2), _conv(w, 2 * w, 3, s, 2), *(_conv(2 * w, 2 * w, 3, s) for _ in range(s.depth))]
        self.shared = nn.Sequential(*layers, nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def triplets(s: Settings, task: Task) -> Net:
    return Net(Views(s), nn.Linear(32 * s.width, task.outputs), s)


def enlarger(s: Settings, task: Task) -> Net:
    """Convolutions on the small picture, four values for each of its pixels."""
    trunk = nn.Sequential(_conv(1, s.width, 3, s), *(_conv(s.width, s.width, 3, s) for _ in range(s.depth - 1)))
    return Net(trunk, nn.Sequential(nn.Conv2d(s.width, 4, 3, padding=1), nn.PixelShuffle(2)), s)


class Hourglass(nn.Module):
    """Down to a quarter of the size and up again."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.down = nn.Sequential(_conv(1, w, 3, s), _conv(w, 2 * w, 3, s, 2), _conv(2 * w, 4 * w, 3, s, 2))
        self.middle = nn.Sequential(*(_conv(4 * w, 4 * w, 3, s) for _ in range(s.depth)))
        self.up1, self.up2 = (
            Block(nn.ConvTranspose2d(before, after, 4, 2, 1), make_norm(s.norm, after, 2), s)
            for before, after in ((4 * w, 2 * w), (2 * w, w))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.up2(self.up1(self.middle(self.down(x))))


def heat_maps(s: Settings, task: Task) -> Net:
    return Net(Hourglass(s), nn.Conv2d(s.width, 2, 1), s)


# ----------------------------------------------------------------------------------------------- tables
class Crosses(nn.Module):
    """Products of ever more columns, layer by layer; beside them a dense net."""

    def __init__(self, s: Settings, columns: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(columns, columns) for _ in range(s.depth))
        self.norms = nn.ModuleList(make_norm(s.norm, columns) for _ in range(s.depth))
        self.dense = dense_trunk([columns, s.width, s.width], s)

    def forward(self, x: Tensor) -> Tensor:
        crossed = x
        for layer, norm in zip(self.layers, self.norms, strict=True):
            crossed = norm(crossed + x * layer(crossed))
        return torch.cat([crossed, self.dense(x)], dim=1)


def crosses(s: Settings, task: Task) -> Net:
    columns = task.inputs.shape[1]
    return Net(Crosses(s, columns), nn.Linear(columns + s.width, task.outputs), s)


class Tastes(nn.Module):
    """A vector for each reader and each book; both and their product through a dense net."""

    def __init__(self, s: Settings, readers: int, books: int) -> None:
        super().__init__()
        self.reader, self.book = nn.Embedding(readers, 16), nn.Embedding(books, 16)
        self.dense = dense_trunk([48, *[s.width] * s.depth], s)

    def forward(self, x: Tensor) -> Tensor:
        reader, book = self.reader(x[:, 0]), self.book(x[:, 1])
        return self.dense(torch.cat([reader, book, reader * book], dim=1))


def recommender(s: Settings, task: Task) -> Net:
    return Net(Tastes(s, 40, 30), nn.Linear(s.width, task.outputs), s)


class GatedUnits(nn.Module):
    """Linear units, each let through as far as a gate of its own says."""

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        self.layer, self.gate, self.sigmoid = nn.Linear(before, s.width), nn.Linear(before, s.width), nn.Sigmoid()
        self.norm, self.dropout = make_norm(s.norm, s.width), nn.Dropout(s.dropout)
        self.skip = s.skip and before == s.width

    def forward(self, x: Tensor) -> Tensor:
        new = self.dropout(self.norm(self.layer(x)) * self.sigmoid(self.gate(x)))
        return x + new if self.skip else new


def gated_units(s: Settings, task: Task) -> Net:
    sizes = [task.inputs.shape[1], *[s.width] * (s.depth - 1)]
    layers: list[nn.Module] = [GatedUnits(size, s) for size in sizes]
    if s.op != "none":
        layers.insert(s.depth // 2, Op(s.op, s.eps))
    return Net(nn.Sequential(*layers), nn.Linear(s.width, task.outputs), s)


class ActorAndCritic(nn.Module):
    """Two nets that see the same."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        sizes = [features, *[s.width] * s.depth]
        self.actor, self.critic = dense_trunk(sizes, s), dense_trunk(sizes, s)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.actor(x), self.critic(x)], dim=1)


class ChoiceAndValue(nn.Module):
    """A logit for each arm from the one, what is to be expected from the other; `[B, arms + 1]`."""

    def __init__(self, features: int, arms: int, gain: float) -> None:
        super().__init__()
        self.choice, self.value = nn.Linear(features, arms), nn.Linear(features, 1)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.gain * self.choice(x[:, 0]), self.value(x[:, 1])], dim=1)


def actor(s: Settings, task: Task) -> Net:
    return Net(ActorAndCritic(s, task.inputs.shape[1]), ChoiceAndValue(s.width, task.outputs, s.head_gain), s)


# ---------------------------------------------------------------------------------- flows, noise, depth
class Coupling(nn.Module):
    """One half of a point is moved and stretched as the other half says; then they change places."""

    def __init__(self, half: int, s: Settings) -> None:
        super().__init__()
        self.says = nn.Sequential(
            nn.Linear(half, s.width), make_norm(s.norm, s.width), ACTIVATIONS[s.activation](),
            nn.Linear(s.width, 2 * half),
        )  # fmt: skip
        self.tanh = nn.Tanh()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The new point, and the logarithm of how much volume grew."""
        still, moved = x.chunk(2, dim=1)
        stretch, move = self.says(still).chunk(2, dim=1)
        stretch = self.tanh(stretch)
        return torch.cat([moved * stretch.exp() + move, still], dim=1), stretch.sum(dim=1)

    def back(self, y: Tensor) -> Tensor:
        changed, still = y.chunk(2, dim=1)
        stretch, move = self.says(still).chunk(2, dim=1)
        return torch.cat([still, (changed - move) * (-self.tanh(stretch)).exp()], dim=1)


class Couplings(nn.Module):
    """From data to noise; the point and the volume side by side, `[B, D + 1]`."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Coupling(features // 2, s) for _ in range(s.depth))

    def forward(self, x: Tensor) -> Tensor:
        volume = torch.zeros(len(x))
        for layer in self.layers:
            x, grown = layer(x)
            volume = volume + grown
        return torch.cat([x, volume[:, None]], dim=1)


class Stretch(nn.Module):
    """Each number moved and stretched by itself."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.stretch, self.move = nn.Parameter(torch.zeros(features)), nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        point, volume = x[:, :-1] * self.stretch.exp() + self.move, x[:, -1:] + self.stretch.sum()
        return torch.cat([point, volume], dim=1)


def flow(s: Settings, task: Task) -> Net:
    features = task.inputs.shape[1]
    return Net(Couplings(s, features), Stretch(features), s)


class Timed(nn.Module):
    """A dense layer that is told the time."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.layer, self.time, self.leave = (nn.Linear(s.width, s.width) for _ in range(3))
        self.norm, self.activation = make_norm(s.norm, s.width), ACTIVATIONS[s.activation]()
        self.skip, self.gain = s.skip, branch_gains(s, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        new = self.leave(self.activation(self.layer(self.norm(x)) + self.time(time)))
        return x + self.gain[0] * new if self.skip else new


class TimedLayers(nn.Module):
    """A point and its time; the time as waves of several lengths."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.layers = nn.ModuleList(Timed(s) for _ in range(s.depth))
        self.activation = ACTIVATIONS[s.activation]()
        self.register_buffer("speeds", 2.0 ** torch.linspace(0, 4, s.width // 2))

    def forward(self, x: Tensor) -> Tensor:
        angles = x[:, -1:] * self.speeds
        time, state = torch.cat([angles.sin(), angles.cos()], dim=1), self.enter(x[:, :-1])
        for layer in self.layers:
            state = layer(state, time)
        return self.activation(state)


def denoiser(s: Settings, task: Task) -> Net:
    return Net(TimedLayers(s, task.inputs.shape[1] - 1), nn.Linear(s.width, task.outputs), s)


class Euler(nn.Module):
    """The same two layers over and over: `depth` steps of a differential equation."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.norm, self.activation = make_norm(s.norm, s.width), ACTIVATIONS[s.activation]()
        self.layer, self.leave = nn.Linear(s.width, s.width), nn.Linear(s.width, s.width)
        self.steps, self.gain, self.skip = s.depth, s.branch_gain, s.skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for _ in range(self.steps):
            new = self.gain * self.leave(self.activation(self.layer(self.norm(x))))
            x = x + new if self.skip else new
        return x


def euler(s: Settings, task: Task) -> Net:
    return Net(Euler(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)
