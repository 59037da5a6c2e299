"""Networks of the fourth round: pictures, tables, sets and points.

Inverted bottlenecks, shuffled groups, dilated labels of pixels, factorised tables, sets with attention, plain deep
convolutions, residual regression, patches with attention, generated weights, colours of places. Written as those of
`networks`: torch's own layers, a trunk and a head.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, Op, dense_trunk, make_norm
from tasks import Task
from torch import Tensor, nn

from round_4.tasks import CATEGORIES, SITUATION


def _gain(s: Settings) -> nn.Parameter | float:
    return nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain


def _conv(before: int, after: int, size: int, s: Settings, stride: int = 1, groups: int = 1) -> Block:
    layer = nn.Conv2d(before, after, size, stride, size // 2, groups=groups)
    return Block(layer, make_norm(s.norm, after, 2), s)


# --------------------------------------------------------------------------------------------- pictures
class Inverted(nn.Module):
    """Four times as many channels, a filter for each, and back to few without an activation."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.widen, self.filter = _conv(w, 4 * w, 1, s), _conv(4 * w, 4 * w, 3, s, groups=4 * w)
        self.narrow, self.norm = nn.Conv2d(4 * w, w, 1), make_norm(s.norm, w, 2)
        self.skip, self.gain = s.skip, _gain(s)

    def forward(self, x: Tensor) -> Tensor:
        new = self.norm(self.narrow(self.filter(self.widen(x))))
        return x + self.gain * new if self.skip else new


def bottlenecks(s: Settings, task: Task) -> Net:
    """As MobileNet's second version; `depth` blocks of three convolutions."""
    layers: list[nn.Module] = [_conv(1, s.width, 5, s, 4), *(Inverted(s) for _ in range(s.depth))]
    if s.op != "none":
        layers.insert(1 + s.depth // 2, Op(s.op, s.eps))
    trunk = nn.Sequential(*layers, _conv(s.width, 2 * s.width, 1, s), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return Net(trunk, nn.Linear(8 * s.width, task.outputs), s)


class Shuffled(nn.Module):
    """Convolutions within four groups of channels; in between, the groups exchange channels."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.enter, self.filter = _conv(w, w, 1, s, groups=4), nn.Conv2d(w, w, 3, padding=1, groups=w)
        self.leave, self.norm = nn.Conv2d(w, w, 1, groups=4), make_norm(s.norm, w, 2)
        self.shuffle, self.activation = nn.ChannelShuffle(4), ACTIVATIONS[s.activation]()
        self.skip, self.gain = s.skip, _gain(s)

    def forward(self, x: Tensor) -> Tensor:
        new = self.norm(self.leave(self.filter(self.shuffle(self.enter(x)))))
        return self.activation(x + self.gain * new if self.skip else new)


def shuffled_groups(s: Settings, task: Task) -> Net:
    layers = [_conv(1, s.width, 5, s, 4), *(Shuffled(s) for _ in range(s.depth))]
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Dropout(s.dropout))
    return Net(trunk, nn.Linear(9 * s.width, task.outputs), s)


class Dilated(nn.Module):
    """A dilated convolution; with `skip` its input is added."""

    def __init__(self, dilation: int, s: Settings) -> None:
        super().__init__()
        layer = nn.Conv2d(s.width, s.width, 3, padding=dilation, dilation=dilation)
        self.block = Block(layer, make_norm(s.norm, s.width, 2), s, s.skip)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Atrous(nn.Module):
    """Never smaller than the picture: dilations 1, 2, 4, 1, …, then three of them side by side; `[B, H W, C]`."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.enter = _conv(1, s.width, 3, s)
        self.layers = nn.Sequential(*(Dilated(2 ** (index % 3), s) for index in range(s.depth)))
        self.views = nn.ModuleList(Dilated(dilation, s) for dilation in (1, 3, 6))
        self.merge = _conv(3 * s.width, s.width, 1, s)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.enter(x))
        return self.merge(torch.cat([view(x) for view in self.views], dim=1)).flatten(2).transpose(1, 2)


def atrous(s: Settings, task: Task) -> Net:
    return Net(Atrous(s), nn.Linear(s.width, task.outputs), s)


def plain_deep(s: Settings, task: Task) -> Net:
    """As VGG: convolutions one after the other, smaller twice, and two dense layers at the end."""
    layers: list[nn.Module] = [_conv(1, s.width, 3, s, 2)]
    for index in range(1, s.depth):
        if index in (s.depth // 3, 2 * s.depth // 3):
            layers.append(nn.MaxPool2d(2))
        if s.op != "none" and index == s.depth // 2:
            layers.append(Op(s.op, s.eps))
        layers.append(_conv(s.width, s.width, 3, s))
    sizes = [9 * s.width, 4 * s.width, 4 * s.width]
    dense = [Block(nn.Linear(before, after), nn.Identity(), s) for before, after in pairwise(sizes)]
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), *dense)
    return Net(trunk, nn.Linear(4 * s.width, task.outputs), s)


class Looks(nn.Module):
    """Attention with the norms before its two branches, behind them, or without any."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.place, self.gain, self.dropout = s.norm, _gain(s), nn.Dropout(s.dropout)
        self.asks, self.leave = nn.Linear(w, 3 * w), nn.Linear(w, w)
        self.dense = nn.Sequential(nn.Linear(w, 2 * w), ACTIVATIONS[s.activation](), nn.Linear(2 * w, w))
        self.norm1, self.norm2 = (nn.Identity() if s.norm == "none" else nn.LayerNorm(w) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "post":
            x = self.norm1(x + self.gain * self._attend(x))
            return self.norm2(x + self.gain * self.dropout(self.dense(x)))
        x = x + self.gain * self._attend(self.norm1(x))
        return x + self.gain * self.dropout(self.dense(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        heads = self.asks(x).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*heads.unbind(0))
        return self.dropout(self.leave(seen.transpose(1, 2).flatten(2)))


class PatchesOfPicture(nn.Module):
    """Sixteen patches with their places and a token of the whole, which is what comes out."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, s.width, 7, 7)
        self.whole = nn.Parameter(0.02 * torch.randn(1, 1, s.width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 17, s.width))
        self.layers = nn.Sequential(*(Looks(s) for _ in range(s.depth)))
        self.norm = nn.LayerNorm(s.width) if s.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.whole.expand(len(x), -1, -1), patches], dim=1) + self.place
        return self.norm(self.layers(tokens)[:, 0])


def patch_attention(s: Settings, task: Task) -> Net:
    return Net(PatchesOfPicture(s), nn.Linear(s.width, task.outputs), s)


# ----------------------------------------------------------------------------------------------- tables
class Factors(nn.Module):
    """A vector for each category, one for each number: their products by pairs, and all of them through a dense net."""

    def __init__(self, s: Settings, numbers: int) -> None:
        super().__init__()
        self.vectors = nn.ModuleList(nn.Embedding(size, 8) for size in CATEGORIES)
        for vectors in self.vectors:
            nn.init.normal_(vectors.weight, std=0.3 * s.init_gain)
        self.numbers = nn.Parameter(0.3 * s.init_gain * torch.randn(numbers, 8))
        self.dense = dense_trunk([8 * len(CATEGORIES) + numbers, *[s.width] * s.depth], s)

    def forward(self, x: Tensor) -> Tensor:
        count = len(CATEGORIES)
        known = zip(self.vectors, CATEGORIES, x[:, :count].long().unbind(1), strict=True)
        found = [vectors(column.clamp(0, size - 1)) for vectors, size, column in known]
        of_numbers = x[:, count:, None] * self.numbers
        fields = torch.cat([torch.stack(found, dim=1), of_numbers], dim=1)
        pairs = 0.5 * (fields.sum(dim=1).square() - fields.square().sum(dim=1))
        return torch.cat([pairs, fields.sum(dim=1), self.dense(torch.cat([*found, x[:, count:]], dim=1))], dim=1)


def factors(s: Settings, task: Task) -> Net:
    numbers = task.inputs.shape[1] - len(CATEGORIES)
    return Net(Factors(s, numbers), nn.Linear(16 + s.width, task.outputs), s)


class TwoLayers(nn.Module):
    """A norm and two dense layers; with `skip` what came in is added."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.norm, self.first, self.second = make_norm(s.norm, s.width), *(_square(s) for _ in range(2))
        self.activation, self.dropout = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout)
        self.skip, self.gain = s.skip, _gain(s)

    def forward(self, x: Tensor) -> Tensor:
        new = self.second(self.dropout(self.activation(self.first(self.norm(x)))))
        return x + self.gain * new if self.skip else self.activation(new)


def _square(s: Settings) -> nn.Linear:
    return nn.Linear(s.width, s.width)


def quantiles(s: Settings, task: Task) -> Net:
    """`depth` blocks of two layers; three quantiles of each row's target."""
    layers: list[nn.Module] = [nn.Linear(task.inputs.shape[1], s.width), *(TwoLayers(s) for _ in range(s.depth))]
    if s.op != "none":
        layers.insert(1 + s.depth // 2, Op(s.op, s.eps))
    return Net(nn.Sequential(*layers, ACTIVATIONS[s.activation]()), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------- sets and points
class Weighed(nn.Module):
    """Each item by itself, the mean of all by learnt weights, and a dense net on that."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        each = s.depth // 2
        self.items = dense_trunk([features, *[s.width] * each], s)
        self.weigh = nn.Sequential(nn.Linear(s.width, s.width), nn.Tanh(), nn.Linear(s.width, 1))
        self.set = dense_trunk([s.width] * (s.depth - each + 1), s)

    def forward(self, x: Tensor) -> Tensor:
        items = self.items(x)
        return self.set((torch.softmax(self.weigh(items), dim=1) * items).sum(dim=1))


def weighed_set(s: Settings, task: Task) -> Net:
    return Net(Weighed(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


class Generated(nn.Module):
    """A small net whose layers another net makes for each row, from what tells the situation.

    A made weight is divided by the root of how many there are for a unit; `branch_gain` is what it is multiplied by.
    """

    SIZE = 16

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.situation = dense_trunk([SITUATION, s.width, s.width], s)
        sizes = [features, *[self.SIZE] * s.depth]
        self.makers = nn.ModuleList(nn.Linear(s.width, (before + 1) * self.SIZE) for before in sizes[:-1])
        self.norms = nn.ModuleList(make_norm(s.norm, self.SIZE) for _ in sizes[1:])
        self.activation, self.gain, self.skip = ACTIVATIONS[s.activation](), s.branch_gain, s.skip

    def forward(self, x: Tensor) -> Tensor:
        situation, x = self.situation(x[:, :SITUATION]), x[:, SITUATION:]
        for maker, norm in zip(self.makers, self.norms, strict=True):
            made = self.gain * maker(situation).unflatten(1, (self.SIZE, -1))
            weight, bias = made[:, :, 1:] / math.sqrt(x.shape[1]), made[:, :, 0]
            new = self.activation(norm(torch.einsum("boi,bi->bo", weight, x) + bias))
            x = x + new if self.skip and x.shape == new.shape else new
        return x


def generated_weights(s: Settings, task: Task) -> Net:
    return Net(Generated(s, task.inputs.shape[1] - SITUATION), nn.Linear(Generated.SIZE, task.outputs), s)


class Waves(nn.Module):
    """A place as sines and cosines of it, each twice as fast as the one before."""

    def __init__(self, speeds: int) -> None:
        super().__init__()
        self.register_buffer("speeds", 2.0 ** torch.arange(speeds))

    def forward(self, x: Tensor) -> Tensor:
        angles = (x[:, :, None] * self.speeds).flatten(1)
        return torch.cat([x, angles.sin(), angles.cos()], dim=1)


class Rays(nn.Module):
    """A dense net on waves of the place, which its middle layer gets once more."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.waves, half = Waves(4), s.depth // 2
        size = 9 * features
        self.first = dense_trunk([size, *[s.width] * half], s)
        self.second = dense_trunk([s.width + size, *[s.width] * (s.depth - half)], s)

    def forward(self, x: Tensor) -> Tensor:
        waves = self.waves(x)
        return self.second(torch.cat([self.first(waves), waves], dim=1))


def rays(s: Settings, task: Task) -> Net:
    return Net(Rays(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)
