"""Attention with relative places and a convolution in each layer, for sound: a Conformer (Gulati et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from knobs import ACTIVATIONS, Settings
from networks import Net, Op, make_norm
from tasks import Task
from torch import Tensor, nn

HEADS = 4


class Near(nn.Module):
    """Attention whose logits have a learned share for each distance (Raffel et al. 2019)."""

    index: Tensor

    def __init__(self, s: Settings, frames: int) -> None:
        super().__init__()
        self.project, self.leave = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)
        self.distance = nn.Parameter(torch.zeros(HEADS, 2 * frames - 1))
        places = torch.arange(frames)
        self.register_buffer("index", places[:, None] - places + frames - 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in self.project(x).chunk(3, dim=2))
        query, key, value = parts
        logits = query @ key.transpose(2, 3) / query.shape[3] ** 0.5 + self.distance[:, self.index]
        return self.leave((torch.softmax(logits, dim=3) @ value).transpose(1, 2).flatten(2))


class Convolved(nn.Module):
    """A gate, a convolution of each channel by itself, a norm of it, and a dense layer."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        norm = {"none": "none", "batch": "batch"}.get(s.norm, "layer")
        self.enter, self.leave = nn.Linear(s.width, 2 * s.width), nn.Linear(s.width, s.width)
        self.each, self.norm = nn.Conv1d(s.width, s.width, 5, padding=2, groups=s.width), make_norm(norm, s.width, 1)
        self.activation = ACTIVATIONS[s.activation]()

    def forward(self, x: Tensor) -> Tensor:
        gated = F.glu(self.enter(x), dim=2).transpose(1, 2)
        return self.leave(self.activation(self.norm(self.each(gated))).transpose(1, 2))


class ListeningLayer(nn.Module):
    """Attention, convolution, dense layers; the layer norms in front (layer, batch), behind (post) or none."""

    def __init__(self, s: Settings, frames: int) -> None:
        super().__init__()
        w = s.width
        dense = nn.Sequential(nn.Linear(w, 2 * w), ACTIVATIONS[s.activation](), nn.Linear(2 * w, w))
        self.branches = nn.ModuleList([Near(s, frames), Convolved(s), dense])
        self.norms = nn.ModuleList(nn.Identity() if s.norm == "none" else nn.LayerNorm(w) for _ in self.branches)
        self.is_behind, self.dropout = s.norm == "post", nn.Dropout(s.dropout)
        self.gain = nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        for branch, norm in zip(self.branches, self.norms, strict=True):
            if self.is_behind:
                x = norm(x + self.gain * self.dropout(branch(x)))
            else:
                x = x + self.gain * self.dropout(branch(norm(x)))
        return x


class Listener(nn.Module):
    """Spectra `[B, T, F]`, two frames at a time; layers; the mean over time. With `op` on the spectra first."""

    def __init__(self, s: Settings, task: Task) -> None:
        super().__init__()
        frames, features = task.inputs.shape[1:]
        self.op = nn.Identity() if s.op == "none" else Op(s.op, s.eps)
        self.enter = nn.Linear(2 * features, s.width)
        self.layers = nn.Sequential(*(ListeningLayer(s, frames // 2) for _ in range(s.depth)))
        self.norm = nn.Identity() if s.norm in ("none", "post") else nn.LayerNorm(s.width)

    def forward(self, x: Tensor) -> Tensor:
        pairs = self.op(x).unflatten(1, (-1, 2)).flatten(2)
        return self.norm(self.layers(self.enter(pairs))).mean(dim=1)


def listener(s: Settings, task: Task) -> Net:
    return Net(Listener(s, task), nn.Linear(s.width, task.outputs), s)
