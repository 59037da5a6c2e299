"""Networks of the eighth round without time: pictures, sets, tables.

Written as those of `networks`: torch's own layers where there are any, a trunk and a head.
"""

from __future__ import annotations

import torch
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, Op, dense_trunk, make_norm
from tasks import Task
from torch import Tensor, nn

from round_8.tasks import bent

TURNS = 8  # of a Sinkhorn normalisation
BELLS = 4


def _conv(before: int, after: int, s: Settings, stride: int = 1) -> Block:
    layer = nn.Conv2d(before, after, 3, stride, 1)
    return Block(layer, make_norm(s.norm, after, 2), s, s.skip and before == after and stride == 1)


# -------------------------------------------------------------------------------------- point by point
class Masked(nn.Conv2d):
    """A convolution of 3 x 3 that sees what is above and to the left alone, and with `own` the point itself."""

    def __init__(self, before: int, after: int, own: bool) -> None:
        super().__init__(before, after, 3, padding=1)
        seen = torch.tensor([[1.0, 1, 1], [1, own, 0], [0, 0, 0]])
        self.register_buffer("seen", seen)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.seen, self.bias)


class PointNorm(nn.LayerNorm):
    """Over the channels of each point: nothing is told of points to come."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, 3)).movedim(3, 1)


class PointByPoint(nn.Module):
    """`depth` masked convolutions (PixelCNN): `[B, 1, H, W]` to `[B, C, H, W]`."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(s.depth):
            norm = PointNorm(s.width) if s.norm == "layer" else make_norm(s.norm, s.width, 2)
            layers.append(Block(Masked(s.width if index else 1, s.width, index > 0), norm, s, s.skip and index > 0))
        if s.op != "none":
            layers.insert(s.depth // 2, Op(s.op, s.eps))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def masked_convolutions(s: Settings, task: Task) -> Net:
    return Net(PointByPoint(s), nn.Conv2d(s.width, task.outputs, 1), s)


# ---------------------------------------------------------------------------------------- registration
class Registration(Net):
    """A picture to 4 x 4 control points (Rueckert et al. 1999) that bend it: `[B, 1 + 2, H, W]`, picture and bends."""

    def __init__(self, s: Settings) -> None:
        w = s.width
        down = [_conv(1, w, s), _conv(w, 2 * w, s, 2), _conv(2 * w, 2 * w, s, 2)]
        flat = [_conv(2 * w, 2 * w, s) for _ in range(s.depth - 3)]
        if s.op != "none":
            flat.insert(len(flat) // 2, Op(s.op, s.eps))
        super().__init__(nn.Sequential(*down, *flat), nn.Conv2d(2 * w, 2, 3, padding=1), s)

    def forward(self, x: Tensor) -> Tensor:
        bends = super().forward(x).float()
        spread = nn.functional.interpolate(bends, size=x.shape[2:], mode="bicubic", align_corners=True)
        return torch.cat([bent(x, bends), spread], dim=1)


def registration(s: Settings, task: Task) -> Net:
    return Registration(s)


# ------------------------------------------------------------------------------------------------- sets
class Together(nn.Module):
    """A layer for each member of a set that hears the set's mean: `[B, N, C]`."""

    def __init__(self, before: int, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.own, self.mean = nn.Linear(before, w), nn.Linear(before, w, bias=False)
        self.norm, self.activation = make_norm(s.norm, w), ACTIVATIONS[s.activation]()
        self.dropout, self.gain = nn.Dropout(s.dropout), nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain
        self.skip = s.skip and before == w

    def forward(self, x: Tensor) -> Tensor:
        told = (self.own(x) - self.mean(x.mean(dim=1, keepdim=True))) / 2**0.5
        new = self.dropout(self.activation(self.norm(told)))
        return x + self.gain * new if self.skip else new


class TwoSets(nn.Module):
    """Each of two sets by layers of its own: `[B, 2, N, F]` to `[B, 2, N, C]`."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        sizes = [features, *[s.width] * s.depth]
        self.left, self.right = (nn.Sequential(*(Together(each, s) for each in sizes[:-1])) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.left(x[:, 0]), self.right(x[:, 1])], dim=1)


class Assignment(Net):
    """A plan of who belongs to whom, its rows and columns made even in turn (Mena et al. 2018): logs `[B, N, N]`."""

    def forward(self, x: Tensor) -> Tensor:
        told = self.trunk(x)
        left, right = self.head(told.detach() if self.s.detach else told).float().unbind(1)
        if self.s.head == "relu":
            left, right = left.relu(), right.relu()
        plan = left @ right.transpose(1, 2) / left.shape[2] ** 0.5
        for _ in range(TURNS):
            plan = plan.log_softmax(dim=1).log_softmax(dim=2)
        return plan.exp() if self.s.head == "softmax" else plan


def assignment(s: Settings, task: Task) -> Net:
    return Assignment(TwoSets(s, task.inputs.shape[3]), nn.Linear(s.width, 16), s)


# ------------------------------------------------------------------------------------------------ tables
def mixture_density(s: Settings, task: Task) -> Net:
    """Rows of a table to weights, means and log widths of a few bells (Bishop 1994): `[B, 3 K]`."""
    return Net(dense_trunk([task.inputs.shape[1], *[s.width] * s.depth], s), nn.Linear(s.width, 3 * BELLS), s)


# ---------------------------------------------------------------------------------------------- capsules
def squash(x: Tensor, eps: float) -> Tensor:
    """Vectors in the last dimension, none longer than 1."""
    length = x.norm(dim=-1, keepdim=True)
    return x * length / (1 + length.square()) * (length / (length + eps) if eps else length / length)


class Routing(nn.Module):
    """Capsules `[B, N, D]` vote for K others, and votes that agree count more (Sabour et al. 2017): `[B, K]`."""

    ROUNDS = 3

    def __init__(self, s: Settings, capsules: int, outputs: int, size: int = 8) -> None:
        super().__init__()
        self.votes = nn.Conv1d(capsules * size, capsules * outputs * size, 1, groups=capsules, bias=False)
        self.shape, self.s = (capsules, outputs, size), s

    def forward(self, x: Tensor) -> Tensor:
        votes = self.s.branch_gain * self.votes(x.flatten(1)[:, :, None]).view(-1, *self.shape)
        likes = votes.new_zeros(votes.shape[:3])
        for turn in range(self.ROUNDS):
            told = squash((likes.softmax(dim=2)[..., None] * votes).sum(dim=1), self.s.eps)
            if turn < self.ROUNDS - 1:
                likes = likes + (votes * told[:, None]).sum(dim=3)
        return told.norm(dim=2)


class Primary(nn.Module):
    """Convolutions, and their channels at 4 x 4 points as capsules of eight: `[B, 1, H, W]` to `[B, N, 8]`."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        layers = [_conv(1, w, s, 2), _conv(w, w, s, 2), *(_conv(w, w, s) for _ in range(s.depth - 2))]
        self.layers, self.tell, self.s = nn.Sequential(*layers), nn.Conv2d(w, 16, 1), s
        self.requires_grad_(not s.freeze)

    def forward(self, x: Tensor) -> Tensor:
        told = self.tell(self.layers(x)).unflatten(1, (-1, 8)).movedim(2, 4)
        return squash(told.flatten(1, 3).float(), self.s.eps)


def capsules(s: Settings, task: Task) -> Net:
    return Net(Primary(s), Routing(s, 2 * 4 * 4, task.outputs), s)
