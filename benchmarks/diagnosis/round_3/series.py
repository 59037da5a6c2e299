"""More nets of sequences: pooled both ways, stacked forecasts, causal convolutions, gaps, sequences from a code."""

from __future__ import annotations

from knobs import ACTIVATIONS, Settings
from networks import Net, make_norm, start_cell
from round_2.sequences import RECURRENT
from tasks import Task
from torch import Tensor, nn

from round_3.sequences import MeanOfBoth


# ------------------------------------------------------------------------------------------- recurrent
def pooled_both_ways(s: Settings, task: Task) -> Net:
    """Both authors held this one out."""
    return Net(MeanOfBoth(s, task.inputs.shape[2]), nn.Linear(2 * s.width, task.outputs), s)


class Stacked(nn.Module):
    """Recurrent layers on top of each other; the upper one's state at each step."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.lower = RECURRENT[s.cell](features, s.width, batch_first=True)
        self.upper = RECURRENT[s.cell](s.width, s.width, batch_first=True)
        self.between, self.dropout = make_norm(s.norm, s.width), nn.Dropout(s.dropout)
        for cell in (self.lower, self.upper):
            start_cell(cell, s)

    def forward(self, x: Tensor) -> Tensor:
        below, _ = self.lower(x)
        return self.upper(self.dropout(self.between(below)))[0]


def stacked_levels(s: Settings, task: Task) -> Net:
    return Net(Stacked(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


class SequenceCode(nn.Module):
    """The last state of one recurrent layer, through a small code, is the input of each step of another one."""

    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.encoder = RECURRENT[s.cell](features, s.width, batch_first=True)
        self.code = nn.Linear(s.width, 8)
        self.decoder = RECURRENT[s.cell](8, s.width, batch_first=True)
        for cell in (self.encoder, self.decoder):
            start_cell(cell, s)

    def forward(self, x: Tensor) -> Tensor:
        code = self.code(self.encoder(x)[0][:, -1])
        return self.decoder(code[:, None].expand(-1, x.shape[1], -1))[0]


def sequence_code(s: Settings, task: Task) -> Net:
    return Net(SequenceCode(s, task.inputs.shape[2]), nn.Linear(s.width, task.outputs), s)


# ---------------------------------------------------------------------------------------- convolutions
class CausalBlock(nn.Module):
    """Two convolutions of one dilation that see no later step; with `skip` what came in is added."""

    def __init__(self, before: int, dilation: int, s: Settings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (before, s.width):
            layers += [
                nn.ConstantPad1d((2 * dilation, 0), 0.0),
                nn.Conv1d(channels, s.width, 3, dilation=dilation),
                make_norm(s.norm, s.width, 1),
                ACTIVATIONS[s.activation](),
                nn.Dropout(s.dropout),
            ]
        self.layers, self.gain = nn.Sequential(*layers), s.branch_gain
        self.skip = s.skip and before == s.width

    def forward(self, x: Tensor) -> Tensor:
        branch = self.layers(x)
        return x + self.gain * branch if self.skip else branch


class Causal(nn.Module):
    """Blocks of dilation 1, 2, 4, 8, 1, …; the features of each step. Depth counts convolutions."""

    def __init__(self, s: Settings, channels: int) -> None:
        super().__init__()
        sizes = [channels, *[s.width] * (s.depth // 2 - 1)]
        self.blocks = nn.Sequential(*(CausalBlock(size, 2 ** (index % 4), s) for index, size in enumerate(sizes)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class LastStep(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, -1]


def causal_classes(s: Settings, task: Task) -> Net:
    trunk = nn.Sequential(Causal(s, task.inputs.shape[1]), LastStep())
    return Net(trunk, nn.Linear(s.width, task.outputs), s)


# ------------------------------------------------------------------------------------------- attention
class Gaps(nn.Module):
    """torch's encoder layers over letters and their places; norm = pre | post | none."""

    def __init__(self, s: Settings, letters: int) -> None:
        super().__init__()
        self.letter, self.place = nn.Embedding(letters, s.width), nn.Embedding(s.length, s.width)
        self.layers = nn.Sequential(*(self._layer(s) for _ in range(s.depth)))
        self.norm = nn.LayerNorm(s.width) if s.norm == "pre" else nn.Identity()

    @staticmethod
    def _layer(s: Settings) -> nn.TransformerEncoderLayer:
        layer = nn.TransformerEncoderLayer(
            s.width,
            4,
            2 * s.width,
            s.dropout,
            ACTIVATIONS[s.activation](),
            batch_first=True,
            norm_first=s.norm == "pre",
        )
        if s.norm == "none":
            layer.norm1, layer.norm2 = nn.Identity(), nn.Identity()
            layer.activation_relu_or_gelu = 0  # torch's fused path would ask for the norms' weights
        return layer

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.letter(x) + self.place.weight))


def gap_filler(s: Settings, task: Task) -> Net:
    return Net(Gaps(s, task.outputs + 1), nn.Linear(s.width, task.outputs), s)
