"""Networks of the seventh round without time: pictures, graphs, tables, views.

Written as those of `networks`: torch's own layers where there are any, a trunk and a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, Op, dense_trunk, make_norm
from tasks import Task
from torch import Tensor, nn

EXITS = 3


def _gain(s: Settings) -> nn.Parameter | float:
    return nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain


def _conv(before: int, after: int, size: int, s: Settings, stride: int = 1) -> Block:
    layer = nn.Conv2d(before, after, size, stride, size // 2)
    return Block(layer, make_norm(s.norm, after, 2), s, s.skip and before == after and stride == 1)


# --------------------------------------------------------------------------------------------- pictures
class Stages(nn.Module):
    """`depth` convolutions in three stages, the later two at half the size of the one before; what each has found.

    `[B, 1, H, W]` to `[B, EXITS, C]`; `freeze` leaves them as they began.
    """

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w, each = s.width, max(s.depth // EXITS, 1)
        self.stages = nn.ModuleList()
        for index in range(EXITS):
            first = _conv(w, w, 3, s, 2) if index else _conv(1, w, 3, s)
            self.stages.append(nn.Sequential(first, *(_conv(w, w, 3, s) for _ in range(each - 1))))
        self.middle = nn.Identity() if s.op == "none" else Op(s.op, s.eps)
        self.requires_grad_(not s.freeze)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            x = self.middle(x) if index == 1 else x
            found.append(x.mean(dim=(2, 3)))
        return torch.stack(found, dim=1)


class Exits(nn.Module):
    """A classifier for each stage (Teerapittayanon et al. 2016): `[B, EXITS, C]` to logits `[B, K, EXITS]`."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.exits = nn.ModuleList(nn.Linear(features, outputs) for _ in range(EXITS))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([leave(x[:, index]) for index, leave in enumerate(self.exits)], dim=2)


def early_exits(s: Settings, task: Task) -> Net:
    return Net(Stages(s), Exits(s.width, task.outputs), s)


class Quantised(Net):
    """A picture's tiles by the nearest of a book's codes, and a picture again (van den Oord et al. 2017).

    `[B, 1, H, W]` to `[B, H W + 1]`: pixels, and how far the book and the encoder are apart.
    """

    CODES, CODE, SIDE = 32, 8, 5

    def __init__(self, s: Settings) -> None:
        w, half = s.width, max(s.depth // 2, 1)
        enter = Block(nn.Conv2d(1, w, self.SIDE, self.SIDE), make_norm(s.norm, w, 2), s)
        encode = [enter, *(_conv(w, w, 3, s) for _ in range(half - 1)), nn.Conv2d(w, self.CODE, 1)]
        super().__init__(nn.Sequential(*encode), nn.Conv2d(w, self.SIDE**2, 1), s)
        self.book = nn.Parameter(s.branch_gain * torch.randn(self.CODES, self.CODE))
        self.decode = nn.Sequential(_conv(self.CODE, w, 1, s), *(_conv(w, w, 3, s) for _ in range(half - 1)))

    def forward(self, x: Tensor) -> Tensor:
        told = self.trunk(x).permute(0, 2, 3, 1)
        near = self.book[torch.cdist(told.detach().flatten(0, 2).float(), self.book.detach()).argmin(dim=1)]
        near = near.view(told.shape)
        apart = (near - told.detach()).square() + 0.25 * (near.detach() - told).square()
        taken = near.detach() if self.s.detach else told + (near - told).detach()
        logits = F.pixel_shuffle(self.head(self.decode(taken.permute(0, 3, 1, 2))), self.SIDE)
        pixels = torch.sigmoid(logits) if self.s.head == "sigmoid" else logits
        return torch.cat([pixels.flatten(1), apart.mean(dim=(1, 2, 3))[:, None]], dim=1)


def quantised(s: Settings, task: Task) -> Net:
    return Quantised(s)


class Cosine(nn.Linear):
    """Cosines between the features and a vector for each class, all of length 1."""

    def __init__(self, features: int, outputs: int, eps: float) -> None:
        super().__init__(features, outputs, bias=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        length = x.float().norm(dim=1, keepdim=True)
        return F.linear(x / (length + self.eps), F.normalize(self.weight))


def margins(s: Settings, task: Task) -> Net:
    """Convolutions, a dense layer, and classes as directions (Deng et al. 2019)."""
    w = s.width
    layers: list[nn.Module] = [_conv(1, w, 3, s, 2), _conv(w, 2 * w, 3, s, 2)]
    layers += [_conv(2 * w, 2 * w, 3, s) for _ in range(s.depth - 2)]
    layers += [nn.Flatten(), nn.Dropout(s.dropout), nn.Linear(32 * w, 32)]
    return Net(nn.Sequential(*layers), Cosine(32, task.outputs, s.eps), s)


# ----------------------------------------------------------------------------------------------- graphs
class Attending(nn.Module):
    """What a node's neighbours know, weighed by how it likes each of them (Brody et al. 2022): `[B, N, C]`."""

    HEADS = 4

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.asks, self.tells, self.likes = nn.Linear(before, w), nn.Linear(before, w), nn.Linear(w, self.HEADS)
        self.norm, self.activation = make_norm(s.norm, w), ACTIVATIONS[s.activation]()
        self.dropout, self.gain, self.skip = nn.Dropout(s.dropout), _gain(s), s.skip and before == w

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        told = self.tells(x)
        both = F.leaky_relu(self.asks(x)[:, :, None] + told[:, None], 0.2)
        likes = self.likes(both).masked_fill(~edges[..., None], -1e4).softmax(dim=2)
        heads = told.unflatten(2, (self.HEADS, -1))
        new = torch.einsum("bijh,bjhc->bihc", self.dropout(likes), heads).flatten(2)
        new = self.activation(self.norm(new))
        return x + self.gain * new if self.skip else new


class Roads(nn.Module):
    """`depth` layers of attention among neighbours; `[B, N, N + F]` holds the edges, then the features."""

    def __init__(self, s: Settings, nodes: int, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.layers = nn.ModuleList(Attending(s.width, s) for _ in range(s.depth))
        self.nodes = nodes

    def forward(self, x: Tensor) -> Tensor:
        edges, x = x[:, :, : self.nodes] > 0.5, self.enter(x[:, :, self.nodes :])
        for layer in self.layers:
            x = layer(x, edges)
        return x


def graph_attention(s: Settings, task: Task) -> Net:
    nodes, columns = task.inputs.shape[1:]
    return Net(Roads(s, nodes, columns - nodes), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------------ tables
def hazards(s: Settings, task: Task) -> Net:
    """Rows of a table to one logarithm of a risk each (Katzman et al. 2018)."""
    return Net(dense_trunk([task.inputs.shape[1], *[s.width] * s.depth], s), nn.Linear(s.width, task.outputs), s)


class Trees(nn.Module):
    """`width` trees with a soft question at each fork; how likely a row comes to each leaf: `[B, width 2^depth]`.

    As Frosst and Hinton's (2017), many at once; `branch_gain` is how sharp the questions are.
    """

    def __init__(self, s: Settings, columns: int) -> None:
        super().__init__()
        self.ask, self.dropout = nn.Linear(columns, s.width * (2**s.depth - 1)), nn.Dropout(s.dropout)
        self.norm, self.gain = make_norm(s.norm, columns), s.branch_gain
        self.trees, self.depth = s.width, s.depth

    def forward(self, x: Tensor) -> Tensor:
        left = torch.sigmoid(self.gain * self.ask(self.norm(x))).unflatten(1, (self.trees, -1))
        likely, first = torch.ones_like(left[:, :, :1]), 0
        for level in range(self.depth):
            here = left[:, :, first : first + 2**level]
            likely = torch.stack([likely * here, likely * (1 - here)], dim=3).flatten(2)
            first += 2**level
        return self.dropout(likely.flatten(1))


def soft_trees(s: Settings, task: Task) -> Net:
    return Net(Trees(s, task.inputs.shape[1]), nn.Linear(s.width * 2**s.depth, task.outputs), s)


# ------------------------------------------------------------------------------------------------- views
def without_redundancy(s: Settings, task: Task) -> Net:
    """One dense net for both views, `[B, 2, F]` to `[B, 2, C]` (Zbontar et al. 2021)."""
    return Net(Both(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


class Both(nn.Module):
    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.net = dense_trunk([features, *[s.width] * s.depth], s)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(0, 1)).unflatten(0, (-1, 2))
