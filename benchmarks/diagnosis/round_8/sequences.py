"""Nets of films, sounds, texts, spikes and deeds: convolutions of space and of time in turn, masks over learnt
filters, places in a text, leaky cells that fire, a rider who learns through the laws of motion.
"""

from __future__ import annotations

from typing import Any

import torch
from knobs import Settings
from networks import Block, Net, dense_trunk, make_norm, start_cell
from round_2.sequences import RECURRENT
from tasks import Task
from torch import Tensor, nn

from round_8.tasks_of_sequences import DIGITS, NAMES, PUSH, WORDS, moved


# ------------------------------------------------------------------------------- space and time in turn
class SpaceThenTime(nn.Module):
    """A convolution of each picture, then one over time at each place (Tran et al. 2018): `[B, T, W, H, H]`."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.space = Block(nn.Conv2d(w, w, 3, padding=1), make_norm(s.norm, w, 2), s)
        self.time = Block(nn.Conv1d(w, w, 3, padding=1), make_norm(s.norm, w, 1), s)
        self.skip, self.gain = s.skip, nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain

    def forward(self, x: Tensor) -> Tensor:
        clips, steps, width, high, wide = x.shape
        seen = self.space(x.flatten(0, 1)).unflatten(0, (clips, steps))
        in_time = self.time(seen.permute(0, 3, 4, 2, 1).flatten(0, 2))
        branch = in_time.view(clips, high, wide, width, steps).permute(0, 4, 3, 1, 2)
        return x + self.gain * branch if self.skip else branch


class Clips(nn.Module):
    """A convolution of stride 2, `depth` pairs of convolutions; the mean over places and time."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.enter = Block(nn.Conv2d(1, s.width, 3, 2, 1), make_norm(s.norm, s.width, 2), s)
        self.layers = nn.Sequential(*(SpaceThenTime(s) for _ in range(s.depth)))

    def forward(self, x: Tensor) -> Tensor:
        pictures = self.enter(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        features: Tensor = self.layers(pictures)
        return features.mean(dim=(1, 3, 4))


def film_classes(s: Settings, task: Task) -> Net:
    return Net(Clips(s), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------- masks over learnt filters
class Voices(Net):
    """Learnt filters, a mask of them for each voice, and back to sound (Luo & Mesgarani 2019): `[B, 1, N]` to
    `[B, 2, N]`.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, s: Settings) -> None:
        super().__init__(trunk, head, s)
        self.encode, self.decode = nn.Conv1d(1, s.width, 16, 8), nn.ConvTranspose1d(s.width, 1, 16, 8)

    def forward(self, x: Tensor) -> Tensor:
        codes = self.encode(x).relu()
        masks = torch.sigmoid(super().forward(codes)).chunk(2, dim=1)
        return torch.cat([self.decode(mask * codes) for mask in masks], dim=1)


def voices(s: Settings, task: Task) -> Net:
    """`depth` dilated convolutions over the filters' frames, between norms or not."""
    w = s.width
    layers = [nn.Conv1d(w, w, 3, padding=2 ** (index % 3), dilation=2 ** (index % 3)) for index in range(s.depth)]
    trunk = nn.Sequential(
        make_norm(s.norm, w, 1), *(Block(layer, make_norm(s.norm, w, 1), s, s.skip) for layer in layers)
    )
    return Voices(trunk, nn.Conv1d(w, 2 * w, 1), s)


# ------------------------------------------------------------------------------------- places in a text
class Spans(nn.Module):
    """A text read both ways; at each place, its state, what is asked, and both multiplied (Seo et al. 2017), through
    `depth` dense layers. A question and a text, `[B, 1 + T]`, to `[B, T, W]`.
    """

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.token, self.ask = nn.Embedding(NAMES + DIGITS + WORDS, s.width), nn.Linear(s.width, 2 * s.width)
        self.cell = RECURRENT[s.cell](s.width, s.width, batch_first=True, bidirectional=True)
        start_cell(self.cell, s)
        self.dense = dense_trunk([6 * s.width, *[s.width] * s.depth], s)
        self.dropout = nn.Dropout(s.dropout)

    def forward(self, x: Tensor) -> Tensor:
        vectors = self.token(x)
        states = self.dropout(self.cell(vectors[:, 1:])[0])
        asked = self.ask(vectors[:, :1]).expand_as(states)
        features: Tensor = self.dense(torch.cat([states, asked, states * asked], dim=2))
        return features


def span_reader(s: Settings, task: Task) -> Net:
    """Logits of the first and the last place, `[B, T, 2]`."""
    trunk = Spans(s)
    trunk.token.requires_grad_(not s.freeze)
    return Net(trunk, nn.Linear(s.width, task.outputs), s)


# ----------------------------------------------------------------------------------- cells that fire
class Fire(torch.autograd.Function):
    """1 where the potential is above its threshold; backwards, a fast sigmoid's slope (Zenke & Ganguli 2018)."""

    @staticmethod
    def forward(ctx: Any, above: Tensor) -> Tensor:
        ctx.save_for_backward(above)
        return (above > 0).to(above)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        return grad / (1 + 4 * above.abs()).square()


class Leaky(nn.Module):
    """Leaky cells that fire at 1 and are set back by 1: spikes `[B, T, F]` to `[B, T, W]`; norms step by step."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(features, s.width), make_norm(s.norm, s.width)
        self.leak = nn.Parameter(torch.full((s.width,), s.forget_bias))

    def forward(self, x: Tensor) -> Tensor:
        kept, potential, spikes = torch.sigmoid(self.leak), 0.0, []
        for current in self.layer(x).unbind(1):
            potential = kept * potential + self.norm(current)
            spikes.append(Fire.apply(potential - 1))
            potential = potential - spikes[-1]
        return torch.stack(spikes, dim=1)


class Firing(nn.Module):
    """`depth` layers of leaky cells; a trace of the last one's spikes, which fades as fast, at the end."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        sizes = [features, *[s.width] * (s.depth - 1)]
        self.layers = nn.Sequential(*(Leaky(s, size) for size in sizes))
        self.leak = nn.Parameter(torch.full((s.width,), s.forget_bias))
        self.dropout = nn.Dropout(s.dropout)

    def forward(self, x: Tensor) -> Tensor:
        kept, trace = torch.sigmoid(self.leak), 0.0
        for spikes in self.layers(x).unbind(1):
            trace = kept * trace + 0.2 * spikes
        return self.dropout(trace)


def spiking(s: Settings, task: Task) -> Net:
    return Net(Firing(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------- through the laws of motion
class Rider(Net):
    """Pushes by what is felt, step by step; the loss goes back through the motion: `[B, 4]` to `[B, T, 4 + 1]`."""

    def forward(self, x: Tensor) -> Tensor:
        steps = []
        for _ in range(self.s.length):
            push = PUSH * torch.tanh(super().forward(x).float())
            x = moved(x, push)
            steps.append(torch.cat([x, push], dim=1))
        return torch.stack(steps, dim=1)


def rider(s: Settings, task: Task) -> Net:
    return Rider(dense_trunk([4, *[s.width] * s.depth], s), nn.Linear(s.width, 1), s)
