"""The networks of the suite's plain modules: dense, recurrent, texts, attention, convolutions; a trunk and a head each.

They are written as anybody writes them, from torch's own layers; `modules.build` makes one and starts it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from knobs import ACTIVATIONS, Settings
from tasks import Task
from torch import Tensor, nn


class Op(nn.Module):
    """An operation in the middle of a network that is not safe at 0: a logarithm, a division."""

    def __init__(self, name: str, eps: float) -> None:
        super().__init__()
        self.name, self.eps = name, eps

    def forward(self, x: Tensor) -> Tensor:
        positive = x.relu()
        if self.name == "log":
            return torch.log(positive + self.eps)
        return x / (positive.amax(dim=0) + self.eps)  # each unit by its largest value in the batch


class Block(nn.Module):
    """A weight layer, its norm and activation; with `skip` the input is added to what they make."""

    def __init__(self, layer: nn.Module, norm: nn.Module, s: Settings, skip: bool = False) -> None:
        super().__init__()
        self.layer, self.norm, self.activation = layer, norm, ACTIVATIONS[s.activation]()
        self.dropout = nn.Dropout(s.dropout)
        self.skip = skip
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        branch = self.dropout(self.activation(self.norm(self.layer(x))))
        return x + self.gain * branch if self.skip else branch


class Net(nn.Module):
    """A trunk and a head; what the head makes may go through a function that the loss does not expect."""

    def __init__(self, trunk: nn.Module, head: nn.Module, s: Settings) -> None:
        super().__init__()
        self.trunk, self.head, self.s = trunk, head, s

    def forward(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        outputs = self.head(features.detach() if self.s.detach else features)
        match self.s.head:
            case "softmax":
                return torch.softmax(outputs, dim=1)
            case "sigmoid":
                return torch.sigmoid(outputs)
            case "relu":
                return torch.relu(outputs)
        return outputs


def make_norm(name: str, width: int, images: int = 0) -> nn.Module:
    """For features, or for channels of signals (images=1) and images (images=2)."""
    if name == "batch":
        return (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)[images](width)
    if name == "layer":
        return nn.GroupNorm(1, width) if images else nn.LayerNorm(width)
    return nn.GroupNorm(4, width) if name == "group" else nn.Identity()


# ------------------------------------------------------------------------------------------------ dense
def dense_trunk(sizes: list[int], s: Settings) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(sizes)):
        if s.op != "none" and index == len(sizes) // 2:
            blocks.append(Op(s.op, s.eps))
        skip = s.skip and before == after
        blocks.append(Block(nn.Linear(before, after), make_norm(s.norm, after), s, skip))
    return nn.Sequential(*blocks)


def dense(s: Settings, task: Task) -> Net:
    sizes = [task.inputs.shape[1], *[s.width] * s.depth]
    return Net(dense_trunk(sizes, s), nn.Linear(s.width, task.outputs), s)


def pyramid(s: Settings, task: Task) -> Net:
    """No two layers of one width."""
    sizes = [task.inputs.shape[1], *(s.width - 3 * index for index in range(s.depth))]
    return Net(dense_trunk(sizes, s), nn.Linear(sizes[-1], task.outputs), s)


def autoencoder(s: Settings, task: Task) -> Net:
    """Dense: half of the layers down to a code of 16 numbers, half of them up again."""
    half = s.depth // 2
    sizes = [task.inputs[0].numel(), *[s.width] * half, 16, *[s.width] * half]
    head = nn.Sequential(nn.Linear(s.width, task.outputs), nn.Unflatten(1, task.inputs.shape[1:]))
    return Net(nn.Sequential(nn.Flatten(), *dense_trunk(sizes, s)), head, s)


class Towers(nn.Module):
    """Two inputs through one tower each; the features of both side by side."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        sizes = [features, *[s.width] * s.depth]
        self.left, self.right = dense_trunk(sizes, s), dense_trunk(sizes, s)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x[:, 0]), self.right(x[:, 1])], dim=1)


class Heads(nn.Module):
    """One head a tower; logits `[B, K, 2]`."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, outputs), nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.first(x), self.second(x)], dim=2)


def two_towers(s: Settings, task: Task) -> Net:
    return Net(Towers(s, task.inputs.shape[2]), Heads(2 * s.width, task.outputs), s)


def generator(s: Settings, task: Task) -> Net:
    return Net(dense_trunk([4, *[s.width] * s.depth], s), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------- sequences, texts
class Recurrent(nn.Module):
    """torch's recurrent layers; the last state, or with `every_step` all of them."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        kinds = {"rnn": nn.RNN, "irnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        options = {"nonlinearity": "relu"} if s.cell == "irnn" else {}
        self.embed = nn.Embedding(features, s.width) if s.every_step else nn.Identity()
        self.cell = kinds[s.cell](s.width if s.every_step else features, s.width, s.depth, batch_first=True, **options)
        self.every_step = s.every_step
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(self.embed(x))
        return states if self.every_step else states[:, -1]


@torch.no_grad()
def start_cell(cell: nn.Module, s: Settings) -> None:
    """Hidden weights and forget biases: `named_parameters` of a layer or of a cell."""
    for name, parameter in cell.named_parameters():
        if "weight_hh" in name:
            if s.cell == "irnn":
                nn.init.eye_(parameter)
            elif s.init == "orthogonal":
                for gate in parameter.split(parameter.shape[1]):
                    nn.init.orthogonal_(gate)
            parameter.mul_(s.recurrent_gain)
        if "bias" in name and s.cell in ("lstm", "irnn"):
            parameter.zero_()
            if "bias_ih" in name and s.cell == "lstm":
                parameter[s.width : 2 * s.width] = s.forget_bias


def recurrent(s: Settings, task: Task) -> Net:
    features = task.outputs if s.every_step else task.inputs.shape[2]
    return Net(Recurrent(s, features), nn.Linear(s.width, task.outputs), s)


class CellLoop(nn.Module):
    """A cell in a loop over time that somebody wrote by hand."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.encode = nn.Linear(features, s.width)
        self.cell = (nn.RNNCell if s.cell == "rnn" else nn.GRUCell)(s.width, s.width)
        start_cell(self.cell, s)
        if s.cell == "gru":  # the share of the old state that is kept
            nn.init.constant_(self.cell.bias_hh[s.width : 2 * s.width].detach(), s.forget_bias)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.cell.hidden_size)
        for features in self.encode(x).unbind(1):
            state = self.cell(features, state)
        return state


def cell_loop(s: Settings, task: Task) -> Net:
    return Net(CellLoop(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


def bag(s: Settings, task: Task) -> Net:
    """Mean of the words' vectors, dense layers on top."""
    words = nn.EmbeddingBag(2000, s.width)
    return Net(nn.Sequential(words, *dense_trunk([s.width] * (s.depth + 1), s)), nn.Linear(s.width, task.outputs), s)


class Attention(nn.Module):
    """A transformer's layer, with the norms before its two branches, behind them, or without any."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.place, self.gain = s.norm, s.branch_gain
        ahead = torch.ones(s.length, s.length, dtype=torch.bool).triu(1) if s.every_step else None
        self.register_buffer("ahead", ahead)
        self.attention = nn.MultiheadAttention(s.width, 4, batch_first=True, dropout=s.dropout)
        self.dense = nn.Sequential(
            nn.Linear(s.width, 2 * s.width), ACTIVATIONS[s.activation](), nn.Linear(2 * s.width, s.width)
        )
        self.norm1, self.norm2 = (nn.Identity() if s.norm == "none" else nn.LayerNorm(s.width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "post":
            x = self.norm1(x + self.gain * self._attend(x))
            return self.norm2(x + self.gain * self.dense(x))
        x = x + self.gain * self._attend(self.norm1(x))
        return x + self.gain * self.dense(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, attn_mask=self.ahead, need_weights=False)[0]


class Tokens(nn.Module):
    """Tokens and their places as vectors, layers of attention, the mean over all places (or each place)."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(24, s.width), nn.Embedding(s.length, s.width)
        self.layers = nn.Sequential(*(Attention(s) for _ in range(s.depth)))
        self.norm = nn.LayerNorm(s.width) if s.norm == "pre" else nn.Identity()
        self.every_step = s.every_step

    def forward(self, x: Tensor) -> Tensor:
        states = self.norm(self.layers(self.token(x) + self.place.weight))
        return states if self.every_step else states.mean(dim=1)


def transformer(s: Settings, task: Task) -> Net:
    return Net(Tokens(s), nn.Linear(s.width, task.outputs), s)


# ---------------------------------------------------------------------------------------- convolutions
def signal_net(s: Settings, task: Task) -> Net:
    """Dilated convolutions over a signal, mean over time."""
    channels = [task.inputs.shape[1], *[s.width] * s.depth]
    blocks: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(channels)):
        if s.op != "none" and index == s.depth // 2:
            blocks.append(Op(s.op, s.eps))
        dilation = 2 ** (index % 3)
        layer = nn.Conv1d(before, after, 3, padding=dilation, dilation=dilation)
        blocks.append(Block(layer, make_norm(s.norm, after, 1), s, s.skip and before == after))
    trunk = nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return Net(trunk, nn.Linear(s.width, task.outputs), s)


def _conv(before: int, after: int, s: Settings, stride: int = 1) -> Block:
    return Block(nn.Conv2d(before, after, 3, stride, 1), make_norm(s.norm, after, 2), s, s.skip and before == after)


def image_net(s: Settings, task: Task) -> Net:
    """A small plain CNN on digits."""
    w = s.width
    stages = [_conv(1, w, s, 2), _conv(w, 2 * w, s, 2), *(_conv(2 * w, 2 * w, s) for _ in range(s.depth - 2))]
    return Net(nn.Sequential(*stages, nn.AdaptiveAvgPool2d(4), nn.Flatten()), nn.Linear(32 * w, task.outputs), s)


class UNet(nn.Module):
    """Down twice, up twice, each level's features carried across."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w, extra = s.width, max(s.depth - 6, 0)
        self.enter, self.down1, self.down2 = _conv(1, w, s), _conv(w, 2 * w, s, 2), _conv(2 * w, 4 * w, s, 2)
        self.middle = nn.Sequential(*(_conv(4 * w, 4 * w, s) for _ in range(1 + extra)))
        self.up1, self.up2 = _conv(6 * w, 2 * w, s), _conv(3 * w, w, s)
        self.grow = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        top = self.enter(x)
        below = self.down1(top)
        up = self.up1(torch.cat([self.grow(self.middle(self.down2(below))), below], dim=1))
        return self.up2(torch.cat([self.grow(up), top], dim=1))


def unet(s: Settings, task: Task) -> Net:
    return Net(UNet(s), nn.Conv2d(s.width, 1, 1), s)
