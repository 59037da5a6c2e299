"""More networks for plain modules: gates and experts, mixers, convolutions of other makes, sets, graphs, codes.

Written as those of `networks`: torch's own layers, a trunk and a head. Sequences are in `sequences`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, Op, dense_trunk, make_norm
from tasks import Task
from torch import Tensor, nn

Gains = nn.Parameter | tuple[float, ...]


def branch_gains(s: Settings, count: int) -> Gains:
    """What the branches of a residual layer are multiplied by."""
    return nn.Parameter(torch.zeros(count)) if s.rezero else (s.branch_gain,) * count


# ------------------------------------------------------------------------------------------------ dense
class Highway(nn.Module):
    """Each unit is carried on as it was, or made anew, as a gate says; at the start it is mostly carried."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.layer, self.gate = nn.Linear(s.width, s.width), nn.Linear(s.width, s.width)
        self.norm, self.activation = make_norm(s.norm, s.width), ACTIVATIONS[s.activation]()
        self.carry = s.forget_bias

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x) - self.carry)
        return gate * self.activation(self.norm(self.layer(x))) + (1 - gate) * x


def highway(s: Settings, task: Task) -> Net:
    enter = nn.Linear(task.inputs.shape[1], s.width)
    return Net(nn.Sequential(enter, *(Highway(s) for _ in range(s.depth))), nn.Linear(s.width, task.outputs), s)


class Maxout(nn.Module):
    """The larger of two linear units."""

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(before, 2 * s.width), make_norm(s.norm, s.width)
        self.skip = s.skip and before == s.width

    def forward(self, x: Tensor) -> Tensor:
        new = self.norm(self.layer(x).unflatten(1, (2, -1)).amax(dim=1))
        return x + new if self.skip else new


def maxout(s: Settings, task: Task) -> Net:
    sizes = [task.inputs.shape[1], *[s.width] * (s.depth - 1)]
    return Net(nn.Sequential(*(Maxout(size, s) for size in sizes)), nn.Linear(s.width, task.outputs), s)


class Experts(nn.Module):
    """Four dense nets, and a gate that weighs them for each row."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        sizes = [features, *[s.width] * s.depth]
        self.experts = nn.ModuleList(dense_trunk(sizes, s) for _ in range(4))
        self.gate = nn.Linear(features, 4)

    def forward(self, x: Tensor) -> Tensor:
        told = torch.stack([expert(x) for expert in self.experts], dim=1)
        return (torch.softmax(self.gate(x), dim=1)[:, :, None] * told).sum(dim=1)


def experts(s: Settings, task: Task) -> Net:
    return Net(Experts(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Wave(nn.Module):
    """A dense layer whose activation is a sine."""

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        self.layer, self.norm, self.sine = nn.Linear(before, s.width), make_norm(s.norm, s.width), Sine()
        self.skip = s.skip and before == s.width

    def forward(self, x: Tensor) -> Tensor:
        new = self.sine(self.norm(self.layer(x)))
        return x + new if self.skip else new


def sine_net(s: Settings, task: Task) -> Net:
    """A map from places to values; its weights have the variance 2/n, as He's."""
    sizes = [task.inputs.shape[1], *[s.width] * (s.depth - 1)]
    layers: list[nn.Module] = [Wave(size, s) for size in sizes]
    if s.op != "none":
        layers.insert(s.depth // 2, Op(s.op, s.eps))
    return Net(nn.Sequential(*layers), nn.Linear(s.width, task.outputs), s)


class Siamese(nn.Module):
    """Both views of a pair through one trunk."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.shared = dense_trunk([features, *[s.width] * s.depth], s)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def siamese(s: Settings, task: Task) -> Net:
    return Net(Siamese(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


def shared_trunk(s: Settings, task: Task) -> Net:
    """One trunk for two tasks."""
    trunk = dense_trunk([task.inputs.shape[1], *[s.width] * s.depth], s)
    return Net(trunk, nn.Linear(s.width, task.outputs), s)


class Variational(Net):
    """Mean and log-variance of a code, a sample of it, the picture; side by side `[B, pixels + 2·code]`."""

    def __init__(self, s: Settings, pixels: int, code: int = 8) -> None:
        half = [s.width] * (s.depth // 2)
        trunk = nn.Sequential(*dense_trunk([pixels, *half], s), nn.Linear(s.width, 2 * code))
        super().__init__(trunk, nn.Linear(s.width, pixels), s)
        self.decode = dense_trunk([code, *half], s)

    def forward(self, x: Tensor) -> Tensor:
        mean, log_variance = self.trunk(x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        pictures = self.head(self.decode(code.detach() if self.s.detach else code))
        if self.s.head == "sigmoid":
            pictures = torch.sigmoid(pictures)
        return torch.cat([pictures, mean, log_variance], dim=1)


def variational(s: Settings, task: Task) -> Net:
    return Variational(s, task.outputs)


# --------------------------------------------------------------------------------------------- pictures
class Mixing(nn.Module):
    """A mixer's layer: across the patches, then within each."""

    def __init__(self, s: Settings, patches: int) -> None:
        super().__init__()
        self.across, self.within = (_two_layers(size, s) for size in (patches, s.width))
        self.norm1, self.norm2 = make_norm(s.norm, s.width), make_norm(s.norm, s.width)
        self.gains, self.skip = branch_gains(s, 2), s.skip

    def forward(self, x: Tensor) -> Tensor:
        across = self.gains[0] * self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + across if self.skip else across
        within = self.gains[1] * self.within(self.norm2(x))
        return x + within if self.skip else within


def _two_layers(size: int, s: Settings) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, 2 * size), ACTIVATIONS[s.activation](), nn.Dropout(s.dropout), nn.Linear(2 * size, size)
    )


class Patches(nn.Module):
    """Sixteen squares of 7 by 7 pixels, mixed; their mean."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.enter = nn.Linear(49, s.width)
        self.layers = nn.Sequential(*(Mixing(s, 16) for _ in range(s.depth)))
        self.norm = make_norm(s.norm, s.width)

    def forward(self, x: Tensor) -> Tensor:
        squares = x.unfold(2, 7, 7).unfold(3, 7, 7).flatten(1, 3).flatten(2)
        return self.norm(self.layers(self.enter(squares))).mean(dim=1)


def mixer(s: Settings, task: Task) -> Net:
    return Net(Patches(s), nn.Linear(s.width, task.outputs), s)


def separable(s: Settings, task: Task) -> Net:
    """Each block: a filter for each channel by itself, then their mixture in each pixel."""
    w = s.width
    blocks: list[nn.Module] = [Block(nn.Conv2d(1, w, 5, 4, 2), make_norm(s.norm, w, 2), s)]
    for _ in range(s.depth // 2):
        blocks.append(Block(nn.Conv2d(w, w, 3, padding=1, groups=w), make_norm(s.norm, w, 2), s, s.skip))
        blocks.append(Block(nn.Conv2d(w, w, 1), make_norm(s.norm, w, 2), s, s.skip))
    return Net(nn.Sequential(*blocks, nn.Flatten()), nn.Linear(49 * w, task.outputs), s)


class Grow(nn.Module):
    """A convolution whose channels are appended to what was there."""

    def __init__(self, before: int, growth: int, s: Settings) -> None:
        super().__init__()
        self.norm, self.activation = make_norm(s.norm, before, 2), ACTIVATIONS[s.activation]()
        self.layer = nn.Conv2d(before, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(self.activation(self.norm(x)))], dim=1)


def densenet(s: Settings, task: Task) -> Net:
    channels = [s.width * (2 + index) for index in range(s.depth)]
    layers = [Grow(before, s.width, s) for before in channels[:-1]]
    middle = len(layers) // 2
    trunk = nn.Sequential(
        nn.Conv2d(1, channels[0], 5, 2, 2), *layers[:middle], nn.AvgPool2d(2), *layers[middle:],
        make_norm(s.norm, channels[-1], 2), ACTIVATIONS[s.activation](), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
    )  # fmt: skip
    return Net(trunk, nn.Linear(16 * channels[-1], task.outputs), s)


# --------------------------------------------------------------------------------------- sets and graphs
class Largest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=2)


def point_set(s: Settings, task: Task) -> Net:
    """Each point by itself through the same layers; the largest of each feature over all points; a dense layer."""
    channels = [task.inputs.shape[1], *[s.width] * (s.depth - 1)]
    points = [
        Block(nn.Conv1d(before, after, 1), make_norm(s.norm, after, 1), s, s.skip and before == after)
        for before, after in pairwise(channels)
    ]
    together = Block(nn.Linear(s.width, s.width), make_norm("none", s.width), s)
    return Net(nn.Sequential(*points, Largest(), together), nn.Linear(s.width, task.outputs), s)


class Messages(nn.Module):
    """What a node knows, and the mean of what its neighbours know."""

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(before, s.width), nn.Linear(before, s.width)
        self.norm, self.activation = make_norm(s.norm, s.width), ACTIVATIONS[s.activation]()
        self.dropout, self.skip = nn.Dropout(s.dropout), s.skip and before == s.width

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        new = self.dropout(self.activation(self.norm(self.own(x) + self.others(neighbours @ x))))
        return x + new if self.skip else new


class Graph(nn.Module):
    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        sizes = [features, *[s.width] * (s.depth - 1)]
        self.layers = nn.ModuleList(Messages(size, s) for size in sizes)
        self.features, self.eps = features, s.eps

    def forward(self, x: Tensor) -> Tensor:
        x, edges = x[:, :, : self.features], (x[:, :, self.features :] > 0.5).float()
        neighbours = edges / (edges.sum(dim=2, keepdim=True) + self.eps)
        for layer in self.layers:
            x = layer(x, neighbours)
        return x


def graph(s: Settings, task: Task) -> Net:
    features = task.inputs.shape[2] - task.inputs.shape[1]
    return Net(Graph(s, features), nn.Linear(s.width, task.outputs), s)
