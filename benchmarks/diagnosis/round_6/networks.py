"""Networks of the sixth round: pictures, tables, fields, sets of views, physical laws.

Written as those of `networks`: torch's own layers where there are any, a trunk and a head.
"""

from __future__ import annotations

import torch
from knobs import ACTIVATIONS, Settings
from networks import Block, Net, Op, dense_trunk, make_norm
from tasks import Task
from torch import Tensor, nn


def _gain(s: Settings) -> nn.Parameter | float:
    return nn.Parameter(torch.zeros(())) if s.rezero else s.branch_gain


# --------------------------------------------------------------------------------------------- pictures
def _conv(before: int, after: int, size: int, s: Settings, stride: int = 1) -> Block:
    layer = nn.Conv2d(before, after, size, stride, size // 2)
    return Block(layer, make_norm(s.norm, after, 2), s, s.skip and before == after and stride == 1)


class Lateral(nn.Module):
    """Up in two levels, then down again, where each level's features are added; a row for each cell of both.

    Pictures `[B, 1, 24, 24]` to `[B, 64 + 16, C]`: as feature pyramids for detection (Lin et al. 2017) have it.
    """

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w, each = s.width, max(s.depth // 2, 1)
        self.fine = nn.Sequential(_conv(1, w, 3, s, 3), *(_conv(w, w, 3, s) for _ in range(each)))
        self.middle = nn.Identity() if s.op == "none" else Op(s.op, s.eps)
        self.coarse = nn.Sequential(_conv(w, 2 * w, 3, s, 2), *(_conv(2 * w, 2 * w, 3, s) for _ in range(each)))
        self.across_fine, self.across_coarse = nn.Conv2d(w, w, 1), nn.Conv2d(2 * w, w, 1)
        self.smooth_fine, self.smooth_coarse = _conv(w, w, 3, s), _conv(w, w, 3, s)
        self.grow = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.middle(self.fine(x))
        top = self.across_coarse(self.coarse(fine))
        levels = self.smooth_fine(self.across_fine(fine) + self.grow(top)), self.smooth_coarse(top)
        return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)


def lateral_pyramid(s: Settings, task: Task) -> Net:
    return Net(Lateral(s), nn.Linear(s.width, task.outputs), s)


class Cellular(nn.Module):
    """One rule for all cells of a field, applied `depth` times: `[B, C, H, W]` to `[B, H W, C]`.

    As Mordvintsev et al.'s growing automata (2020), which add what the rule says to what there was; the field itself
    is shown to the rule every time.
    """

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        w = s.width
        self.enter = nn.Conv2d(features, w, 1)
        self.look, self.change = nn.Conv2d(w + features, 2 * w, 3, padding=1), nn.Conv2d(2 * w, w, 1)
        self.norm, self.activation = make_norm(s.norm, 2 * w, 2), ACTIVATIONS[s.activation]()
        self.dropout, self.gain, self.steps, self.skip = nn.Dropout(s.dropout), _gain(s), s.depth, s.skip

    def forward(self, x: Tensor) -> Tensor:
        state = self.enter(x)
        for _ in range(self.steps):
            seen = self.dropout(self.activation(self.norm(self.look(torch.cat([state, x], dim=1)))))
            new = self.change(seen)
            state = state + self.gain * new if self.skip else self.activation(self.gain * new)
        return state.flatten(2).transpose(1, 2)


def cellular(s: Settings, task: Task) -> Net:
    return Net(Cellular(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)


# ----------------------------------------------------------------------------------------------- fields
class Spectral(nn.Module):
    """The lowest waves of a field through a matrix each, and each point through one of its own; `[B, C, L]`.

    As a Fourier neural operator's layer (Li et al. 2021), whose waves start at 1 / C.
    """

    WAVES = 10

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.waves = nn.Parameter(s.branch_gain * s.init_gain / w * torch.randn(self.WAVES, w, w, 2))
        self.point, self.norm = nn.Conv1d(w, w, 1), make_norm(s.norm, w, 1)
        self.activation, self.dropout, self.skip = ACTIVATIONS[s.activation](), nn.Dropout(s.dropout), s.skip

    def forward(self, x: Tensor) -> Tensor:
        found = torch.fft.rfft(x.float())[:, :, : self.WAVES]
        turned = torch.einsum("bik,kio->bok", found, torch.view_as_complex(self.waves))
        new = torch.fft.irfft(turned, n=x.shape[2]) + self.point(x)
        new = self.dropout(self.activation(self.norm(new)))
        return x + new if self.skip else new


def spectral_operator(s: Settings, task: Task) -> Net:
    """A field up to `width` channels, `depth` layers, a field again; `freeze` leaves all but the head as it began."""
    layers: list[nn.Module] = [nn.Conv1d(task.inputs.shape[1], s.width, 1), *(Spectral(s) for _ in range(s.depth))]
    if s.op != "none":
        layers.insert(1 + s.depth // 2, Op(s.op, s.eps))
    return Net(nn.Sequential(*layers).requires_grad_(not s.freeze), nn.Conv1d(s.width, task.outputs, 1), s)


# ----------------------------------------------------------------------------------------------- tables
class Splines(nn.Module):
    """A curve of its own from each input to each output, made of bumps on a grid from -2 to 2, beside a plain layer.

    As Kolmogorov-Arnold networks (Liu et al. 2024), with radial bumps in the place of splines.
    """

    BUMPS = 8

    def __init__(self, before: int, after: int, norm: str, s: Settings) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, self.BUMPS))
        self.norm, self.activation = make_norm(norm, before), ACTIVATIONS[s.activation]()
        self.plain, self.curves = nn.Linear(before, after), nn.Linear(self.BUMPS * before, after)
        self.dropout, self.gain, self.skip = nn.Dropout(s.dropout), _gain(s), s.skip and before == after

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm(x)
        bumps = torch.exp(-((seen[:, :, None] - self.grid) / 0.57).square()).flatten(1)
        new = self.gain * self.curves(bumps) + self.plain(self.activation(seen))
        return x + self.dropout(new) if self.skip else self.dropout(new)


def splines(s: Settings, task: Task) -> Net:
    layers: list[nn.Module] = [Splines(task.inputs.shape[1], s.width, "none", s)]
    layers += [Splines(s.width, s.width, s.norm, s) for _ in range(s.depth - 1)]
    if s.op != "none":
        layers.insert(1 + s.depth // 2, Op(s.op, s.eps))
    return Net(nn.Sequential(*layers), nn.Linear(s.width, task.outputs), s)


class Columns(nn.Module):
    """Each column of a table as a token, a token of the row before them, layers of attention; the row's token.

    As the FT-Transformer (Gorishniy et al. 2021), with gated dense layers: `[B, columns]` to `[B, C]`.
    """

    def __init__(self, s: Settings, columns: int) -> None:
        super().__init__()
        w = s.width
        self.weight, self.bias = (nn.Parameter(0.5 * torch.randn(columns, w)) for _ in range(2))
        self.row = nn.Parameter(0.1 * torch.randn(1, 1, w))
        self.layers = nn.Sequential(*(AmongColumns(s) for _ in range(s.depth)))
        self.norm = nn.LayerNorm(w) if s.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.weight + self.bias
        return self.norm(self.layers(torch.cat([self.row.expand(len(x), -1, -1), tokens], dim=1))[:, 0])


class AmongColumns(nn.Module):
    """Attention, and a dense layer whose one half lets the other one through; norms before, behind, or none."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        w = s.width
        self.place, self.gain, self.dropout = s.norm, _gain(s), nn.Dropout(s.dropout)
        self.attention = nn.MultiheadAttention(w, 4, dropout=s.dropout, batch_first=True)
        self.enter, self.leave, self.activation = nn.Linear(w, 4 * w), nn.Linear(2 * w, w), ACTIVATIONS[s.activation]()
        self.norm1, self.norm2 = (nn.Identity() if s.norm == "none" else nn.LayerNorm(w) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "post":
            x = self.norm1(x + self.gain * self._attend(x))
            return self.norm2(x + self.gain * self._gated(x))
        x = x + self.gain * self._attend(self.norm1(x))
        return x + self.gain * self._gated(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        return self.dropout(self.attention(x, x, x, need_weights=False)[0])

    def _gated(self, x: Tensor) -> Tensor:
        gate, through = self.enter(x).chunk(2, dim=2)
        return self.dropout(self.leave(self.activation(gate) * through))


def column_tokens(s: Settings, task: Task) -> Net:
    return Net(Columns(s, task.inputs.shape[1]), nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------- views, physical laws
class TwoViews(nn.Module):
    """What one instrument and what another one saw, through a dense net each: `[B, 2, F]` to `[B, 2, C]`."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        sizes = [features, *[s.width] * s.depth]
        self.first, self.second = dense_trunk(sizes, s), dense_trunk(sizes, s)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.first(x[:, 0]), self.second(x[:, 1])], dim=1)


def told_apart(s: Settings, task: Task) -> Net:
    return Net(TwoViews(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


def lawful(s: Settings, task: Task) -> Net:
    """A dense net at a point and its neighbours, `[B, P, 2]`, whose values a law ties: `[B, P, 1]`."""
    return Net(dense_trunk([task.inputs.shape[2], *[s.width] * s.depth], s), nn.Linear(s.width, task.outputs), s)
