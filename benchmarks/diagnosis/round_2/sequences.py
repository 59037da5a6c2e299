"""More networks of sequences: a tagger of both directions, a translator, gated convolutions, linear recurrence."""

from __future__ import annotations

import torch
from knobs import ACTIVATIONS, Settings
from networks import Net, make_norm, start_cell
from tasks import Task
from torch import Tensor, nn

RECURRENT: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


# ------------------------------------------------------------------------------------------- recurrent
class BothWays(nn.Module):
    """Letters as vectors, a recurrent layer in each direction; both states of each step."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.letter = nn.Embedding(20, s.width)
        self.cell = RECURRENT[s.cell](s.width, s.width, s.depth, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(s.dropout)
        start_cell(self.cell, s)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.cell(self.letter(x))[0])


def tagger(s: Settings, task: Task) -> Net:
    return Net(BothWays(s), nn.Linear(2 * s.width, task.outputs), s)


class Translator(nn.Module):
    """An encoder, and a decoder that is told the answer so far and looks back at the encoder's states."""

    def __init__(self, s: Settings, letters: int) -> None:
        super().__init__()
        self.word, self.answer = nn.Embedding(letters, s.width), nn.Embedding(letters, s.width)
        self.encoder, self.decoder = (RECURRENT[s.cell](s.width, s.width, batch_first=True) for _ in range(2))
        self.query, self.join = nn.Linear(s.width, s.width), nn.Linear(2 * s.width, s.width)
        self.activation = nn.Tanh()
        for cell in (self.encoder, self.decoder):
            start_cell(cell, s)

    def forward(self, x: Tensor) -> Tensor:
        word, answer = x.chunk(2, dim=1)
        read, state = self.encoder(self.word(word))
        written, _ = self.decoder(self.answer(answer), state)
        seen = torch.softmax(self.query(written) @ read.transpose(1, 2), dim=2) @ read
        return self.activation(self.join(torch.cat([written, seen], dim=2)))


def translator(s: Settings, task: Task) -> Net:
    return Net(Translator(s, task.outputs + 1), nn.Linear(s.width, task.outputs), s)


class Decay(nn.Module):
    """Each unit keeps a share of its own past and takes in the new; then a dense layer, added to what came in."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(s.width, s.width), nn.Linear(s.width, s.width)
        self.keep = nn.Parameter(s.forget_bias + torch.randn(s.width))
        self.norm, self.activation = make_norm(s.norm, s.width), ACTIVATIONS[s.activation]()
        self.gain = s.recurrent_gain

    def forward(self, x: Tensor) -> Tensor:
        share = torch.sigmoid(self.keep)
        state, states = torch.zeros_like(x[:, 0]), []
        for new in (self.enter(x) * (1 - share)).unbind(1):
            state = self.gain * share * state + new
            states.append(state)
        return x + self.leave(self.activation(self.norm(torch.stack(states, dim=1))))


class Decays(nn.Module):
    def __init__(self, s: Settings, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, s.width)
        self.layers = nn.Sequential(*(Decay(s) for _ in range(s.depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.enter(x))[:, -1]


def linear_recurrence(s: Settings, task: Task) -> Net:
    trunk = Decays(s, task.inputs.shape[2]).requires_grad_(not s.freeze)
    return Net(trunk, nn.Linear(s.width, task.outputs), s)


# ---------------------------------------------------------------------------------------- convolutions
class Gated(nn.Module):
    """A causal convolution and its gate; what they make is added to the signal and told to the end as well."""

    def __init__(self, s: Settings, dilation: int) -> None:
        super().__init__()
        self.pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        self.filter, self.gate = (nn.Conv1d(s.width, s.width, 3, dilation=dilation) for _ in range(2))
        self.tanh, self.sigmoid = nn.Tanh(), nn.Sigmoid()
        self.norm, self.leave = make_norm(s.norm, s.width, 1), nn.Conv1d(s.width, s.width, 1)
        self.dropout = nn.Dropout(s.dropout)

    def forward(self, x: Tensor) -> Tensor:
        padded = self.pad(self.norm(x))
        return self.leave(self.dropout(self.tanh(self.filter(padded)) * self.sigmoid(self.gate(padded))))


class Waves(nn.Module):
    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, s.width, 1)
        self.layers = nn.ModuleList(Gated(s, 2 ** (index % 4)) for index in range(s.depth))
        self.activation, self.skip = ACTIVATIONS[s.activation](), s.skip

    def forward(self, x: Tensor) -> Tensor:
        x, told = self.enter(x), torch.zeros(())
        for layer in self.layers:
            new = layer(x)
            x, told = (x + new, told + new) if self.skip else (new, new)
        return self.activation(told)


def gated_waves(s: Settings, task: Task) -> Net:
    return Net(Waves(s), nn.Conv1d(s.width, task.outputs, 1), s)
