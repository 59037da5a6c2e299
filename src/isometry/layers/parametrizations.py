"""Weight reparametrisations: what a layer computes with is a function of the tensor that is trained.

A family of its own, for they combine with any norm. With v the trained weights of one unit, its inputs in a row, and V
the rows of all units, the layer computes with

| name                          | w                                     | which                                        |
|-------------------------------|---------------------------------------|----------------------------------------------|
| weight_norm                   | g · v/‖v‖                             | learns length and direction apart (Salimans  |
|                               |                                       | & Kingma 2016); g starts at ‖v‖, w as it was |
| weight_standardization        | √fan_in · (v - mean v)/‖v - mean v‖   | has mean 0 and variance 1 (Qiao 2019); z is  |
|                               |                                       | √fan_in too large, so a norm must follow     |
| scaled_weight_standardization | gain_φ · g · (v - mean v)/‖v - mean v‖| keeps variance 1 without a norm (Brock 2021);|
|                               |                                       | g starts at 1                                |
| spectral_norm                 | v/σ₁(V)                               | as a matrix lets no input grow (Miyato 2018) |

g is a learned number for each unit; gain_φ = 1/√Var φ(u), u ~ N(0, 1), is 1.7129 for ReLU. What theory says of dense
nets without biases:

- Scaled standardisation: rows of mean 0 are as blind to the mean of φ as a BatchNorm, so the backward factor is that of
  BatchNorm, √(gain_φ² E[φ'(u)²]): 1.2112 a layer for ReLU. Forward it is 1.
- Spectral norm: a square Gaussian matrix has σ₁ = 2σ_w, so σ_w becomes 1/2 and gradients of ReLU layers vanish by
  0.354 a layer; orthogonal weights have σ_w = 1, 0.707 a layer.

All go through `torch.nn.utils.parametrize`: `layer.weight` is w, `layer.weight = tensor` sets v (and weight_norm's g),
and what is trained is `layer.parametrizations.weight.original` (of weight_norm `original0`, g, and `original1`, v).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import register_parametrization

from ..randomness import derive
from .activations import Activation

_SMALLEST_SQUARES = 1e-4  # Brock's ε, on ‖v - mean v‖²: equal weights give 0 and finite gradients
_SETTLING_ITERATIONS = 15  # torch's number for new singular vectors


@dataclass(frozen=True)
class Parametrization:
    """`apply(layer, activation)` parametrizes the weight of one convolution or dense layer, in place."""

    apply: Callable[[nn.Module, Activation], object]


def parametrize_weights(
    model: nn.Module,
    parametrization: Parametrization,
    activation: Activation,
    seed: int,
    without: Iterable[nn.Module] = (),
) -> None:
    """Parametrize the weight of every convolution and dense layer of any module, in place.

    Recurrent layers stay as they are: they hand torch a list of their weights that a parametrisation does not update.

    Args:
        model: Without an optimizer yet: some parametrisations bring new parameters.
        parametrization: The scheme.
        activation: Of the model.
        seed: Of what is drawn (singular vectors), for each layer with its name.
        without: Modules to leave as they are, with all that is in them: a classifier's head, for its weights set the
            scale of the logits.
    """
    spared = {inner for module in without for inner in module.modules()}
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) and layer not in spared:
            with _seeded(derive(seed, "parametrization", name), layer.weight.device):
                parametrization.apply(layer, activation)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """What is drawn inside comes from `seed`, and the global generators are afterwards where they were."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # not torch.manual_seed, which would set the generators of all GPUs
        (torch.cuda.default_generators[device.index] if on_gpu else torch.default_generator).manual_seed(seed)
        yield


# ---------------------------------------------------------------------------------------- the schemes
def none() -> Parametrization:
    return Parametrization(lambda layer, activation: None)


def weight_norm() -> Parametrization:
    # In a transposed convolution, the units at one place of every group share a length.
    return Parametrization(lambda layer, activation: parametrizations.weight_norm(layer, dim=_unit_axis(layer)))


def weight_standardization() -> Parametrization:
    return Parametrization(lambda layer, activation: register_parametrization(layer, "weight", Standardization(layer)))


def scaled_weight_standardization() -> Parametrization:
    def apply(layer: nn.Module, activation: Activation) -> None:
        register_parametrization(layer, "weight", ScaledStandardization(layer, variance_gain(activation)))

    return Parametrization(apply)


def spectral_norm() -> Parametrization:
    def apply(layer: nn.Module, activation: Activation) -> None:
        assert isinstance(layer.weight, Tensor)
        register_parametrization(layer, "weight", SpectralNorm(layer.weight, dim=_unit_axis(layer)))

    return Parametrization(apply)


# ------------------------------------------------------------------------------- what they are made of
class Standardization(nn.Module):
    """√fan_in · (v - mean v)/‖v - mean v‖ for each unit."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer.weight, Tensor)
        self.transposed_groups = int(layer.groups) if _unit_axis(layer) else None  # type: ignore[arg-type]
        rows = self._rows(layer.weight)
        if rows[0].numel() < 2:
            raise ValueError(
                f"a standardized weight needs 2 inputs a unit or more, for one alone is its mean: {layer} has 1; "
                f"leave this layer out (`without`)"
            )
        self.units, self.length = len(rows), math.sqrt(rows[0].numel())

    def forward(self, weight: Tensor) -> Tensor:
        return self._rows(self.length * _standardized(self._rows(weight)))

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.clone()  # torch would go on with the very memory that was assigned

    def _rows(self, weight: Tensor) -> Tensor:
        """`[out, in, *kernel]`. A transposed convolution stores `[in, out/groups, *kernel]`: to it and back."""
        if self.transposed_groups is None:
            return weight
        by_group: Tensor = weight.unflatten(0, (self.transposed_groups, -1))
        return by_group.transpose(1, 2).flatten(0, 1)


class ScaledStandardization(Standardization):
    """gain_φ · g · (v - mean v)/‖v - mean v‖ for each unit.

    Args:
        layer: Whose weight it is for.
        length: gain_φ.
    """

    def __init__(self, layer: nn.Module, length: float) -> None:
        super().__init__(layer)
        assert isinstance(layer.weight, Tensor)
        self.length = length
        self.gain = nn.Parameter(layer.weight.new_ones(self.units))  # one axis, as a norm's: weight decay spares it

    def forward(self, weight: Tensor) -> Tensor:
        rows = _standardized(self._rows(weight))
        return self._rows(self.length * self.gain.view(-1, *[1] * (rows.dim() - 1)) * rows)


class SpectralNorm(_SpectralNorm):
    """torch's, which finds the singular vectors anew when a weight is assigned: those of the old one tell nothing."""

    def right_inverse(self, value: Tensor) -> Tensor:
        self._power_method(self._reshape_weight_to_matrix(value), _SETTLING_ITERATIONS)
        return value.clone()


def variance_gain(activation: Activation) -> float:
    """gain_φ = 1/√Var φ(u), u ~ N(0, 1), by quadrature: for any activation that works element by element."""
    u = torch.linspace(-10, 10, 20_000, dtype=torch.float64)
    density = torch.softmax(-u.square() / 2, dim=0)
    with torch.no_grad():
        values = activation().double()(u)
    return float(torch.rsqrt(density @ (values - density @ values).square()))


def _standardized(rows: Tensor) -> Tensor:
    """(v - mean v)/‖v - mean v‖ of `[out, in, *kernel]`."""
    inputs = tuple(range(1, rows.dim()))
    centred = rows - rows.mean(inputs, keepdim=True)
    squares = centred.square().sum(inputs, keepdim=True)
    return centred * squares.clamp(min=_SMALLEST_SQUARES).rsqrt()


def _unit_axis(layer: nn.Module) -> int:
    """The axis of a layer's weight along which its units lie."""
    return 1 if getattr(layer, "transposed", False) else 0
