"""A recurrent net that reads an image row by row: T = H time steps of C·W features.

A dense row encoder (where norm and activation have their place, so that they are switches here too), stacked recurrent
layers with a norm after each, and a dense head on the last state. The gates keep their sigmoid and tanh.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..layers.activations import Activation
from ..layers.normalization import Norm

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class RecurrentNet(nn.Module):
    """Args:
    image_shape: (C, H, W) of the images.
    num_classes: K.
    norm: Makes the norm after the encoder and after each recurrent layer, over features.
    activation: Makes the activation of the encoder.
    cell: "lstm", "gru" or "rnn" (tanh).
    layers: Stacked recurrent layers.
    hidden_size: Units of the encoder and of each layer.
    """

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
    ) -> None:
        super().__init__()
        channels, _, width = image_shape
        self.encoder = nn.Linear(channels * width, hidden_size, bias=not norm.replaces_bias)
        self.encoder_norm = norm(hidden_size)
        self.encoder_activation = activation()
        self.recurrences = nn.ModuleList(CELLS[cell](hidden_size, hidden_size, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(norm(hidden_size) for _ in range(layers))
        self.head = nn.Linear(hidden_size, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, H, W] -> [B, K]`."""
        rows = images.permute(0, 2, 1, 3).flatten(2)  # [B, T=H, C·W]
        states = self.encoder_activation(_over_features(self.encoder_norm, self.encoder(rows)))
        for recurrence, norm in zip(self.recurrences, self.norms, strict=True):
            states = _over_features(norm, recurrence(states)[0])
        logits: Tensor = self.head(states[:, -1])
        return logits


def _over_features(norm: nn.Module, states: Tensor) -> Tensor:
    """Apply a channels-second norm to `[B, T, F]`, each time step a sample of its own."""
    if isinstance(norm, nn.Identity):
        return states
    batch, time, features = states.shape
    normed: Tensor = norm(states.reshape(batch * time, features))
    return normed.view(batch, time, features)
