"""A recurrent net that reads an image as a sequence: row by row, or pixel by pixel.

| sequence        | T    | features | on 28×28 digits                                                              |
|-----------------|------|----------|------------------------------------------------------------------------------|
| rows            | H    | C·W      | 28 steps                                                                     |
| pixels          | H·W  | C        | 784 steps (Le 2015); the first hundred are black                             |
| permuted_pixels | H·W  | C        | the same in one random order: neighbours in the picture lie far apart in time |

A dense encoder (where norm and activation have their place, so that they are switches here too), stacked recurrent
layers with a norm after each, and a dense head on the last state. The gates keep their sigmoid and tanh.

What a cell remembers is a matter of how it starts. At bias 0 an LSTM's forget gate is σ(0) = ½: of the cell state 4e-9
are left after 28 steps; at 1, which every init but torch's own gives, it is 1.6e-4 (`forget_bias`). `chrono` (Tallec
& Ollivier 2018) draws the bias from log U(1, T-1), so that memories last from one step to the whole sequence. The ReLU
net `irnn` starts with the identity (Le 2015), and `cell_norm` "layer" normalises inside the cell (Ba 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..layers.activations import Activation
from ..layers.normalization import Norm
from ..layers.recurrent import LayerNormGRUCell, LayerNormLSTMCell, LayerNormRNNCell, Unrolled
from ..randomness import permutation

CELLS: dict[str, Callable[[int, int], nn.Module]] = {
    "lstm": partial(nn.LSTM, batch_first=True),
    "gru": partial(nn.GRU, batch_first=True),
    "rnn": partial(nn.RNN, batch_first=True),
    "irnn": partial(nn.RNN, batch_first=True, nonlinearity="relu"),
}
NORMALISED_CELLS: dict[str, Callable[[int, int], nn.RNNCellBase]] = {
    "lstm": LayerNormLSTMCell,
    "gru": LayerNormGRUCell,
    "rnn": LayerNormRNNCell,
    "irnn": partial(LayerNormRNNCell, nonlinearity="relu"),
}


class RecurrentNet(nn.Module):
    """Args:
    image_shape: (C, H, W) of the images.
    num_classes: K.
    norm: Makes the norm after the encoder and after each recurrent layer, over features.
    activation: Makes the activation of the encoder.
    cell: "lstm", "gru", "rnn" (tanh) or "irnn" (ReLU).
    layers: Stacked recurrent layers.
    hidden_size: Units of the encoder and of each layer.
    sequence: "rows", "pixels" or "permuted_pixels".
    forget_bias: Of an LSTM's forget gate at the start; None: what its initialiser gives.
    chrono: Whether biases are drawn for memories up to the length of the sequence (lstm and gru).
    cell_norm: "none", or "layer" for layer normalisation within the cell.
    """

    order: Tensor | None

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        norm: Norm,
        activation: Activation,
        *,
        cell: str,
        layers: int,
        hidden_size: int,
        sequence: str,
        forget_bias: float | None,
        chrono: bool,
        cell_norm: str,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.by_rows = sequence == "rows"
        self.time_steps = height if self.by_rows else height * width
        order = permutation(height * width, 0, "permuted pixels") if sequence == "permuted_pixels" else None
        self.register_buffer("order", order)
        self.cell, self.forget_bias, self.chrono = cell, forget_bias, chrono
        self.encoder = nn.Linear(
            channels * width if self.by_rows else channels, hidden_size, bias=not norm.replaces_bias
        )
        self.encoder_norm = norm(hidden_size)
        self.encoder_activation = activation()
        self.recurrences = nn.ModuleList(_recurrence(cell, cell_norm, hidden_size) for _ in range(layers))
        self.norms = nn.ModuleList(norm(hidden_size) for _ in range(layers))
        self.head = nn.Linear(hidden_size, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, K]`."""
        encoded = self.encoder(self._sequence(images))
        states = self.encoder_activation(_over_features(self.encoder_norm, encoded))
        for recurrence, norm in zip(self.recurrences, self.norms, strict=True):
            # Norms answer in float32 under bf16 autocast, and a CPU's LSTM takes no float32 there.
            states = _over_features(norm, recurrence(states.to(encoded.dtype))[0])
        logits: Tensor = self.head(states[:, -1])
        return logits

    def _sequence(self, images: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, T, F]`."""
        if self.by_rows:
            return images.permute(0, 2, 1, 3).flatten(2)
        pixels = images.flatten(2).transpose(1, 2)
        return pixels if self.order is None else pixels[:, self.order]

    def adjust_initialization(self, rng: torch.Generator) -> dict[str, str]:
        """The gates' biases."""
        changed: dict[str, str] = {}
        for path, layer in self.recurrences.named_modules(prefix="recurrences"):
            if self.chrono and hasattr(layer, "hidden_size"):
                # Tallec & Ollivier 2018: what is kept is not written over.
                keep = torch.empty(layer.hidden_size).uniform_(1, max(self.time_steps - 1, 1), generator=rng).log()
                gates = {1: keep, 0: -keep} if self.cell == "lstm" else {1: keep}
                changed |= _set_gate_biases(path, layer, gates, "chrono")
            elif self.forget_bias is not None and hasattr(layer, "hidden_size"):
                gates = {1: torch.tensor(self.forget_bias)}
                changed |= _set_gate_biases(path, layer, gates, f"zero, forget gate {self.forget_bias:g}")
        return changed


def _recurrence(cell: str, cell_norm: str, size: int) -> nn.Module:
    """`[B, T, F] -> (states [B, T, H], …)`."""
    return Unrolled(NORMALISED_CELLS[cell](size, size)) if cell_norm == "layer" else CELLS[cell](size, size)


def _set_gate_biases(path: str, layer: nn.Module, gates: dict[int, Tensor], note: str) -> dict[str, str]:
    """Gates by their place in torch's order (i, f, g, o; r, z, n). torch adds two biases: one is set, one is 0."""
    changed = {}
    for name, parameter in layer.named_parameters(recurse=False):
        if name.startswith("bias"):
            for gate, values in gates.items():
                block = parameter.split(layer.hidden_size)[gate]
                block.copy_(values if name.startswith("bias_ih") else torch.zeros(()))
            changed[f"{path}.{name}"] = note
    return changed


def _over_features(norm: nn.Module, states: Tensor) -> Tensor:
    """Apply a channels-second norm to `[B, T, F]`, each time step a sample of its own."""
    if isinstance(norm, nn.Identity):
        return states
    batch, time, features = states.shape
    normed: Tensor = norm(states.reshape(batch * time, features))
    return normed.view(batch, time, features)
