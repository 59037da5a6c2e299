"""Initialisers, and the one function that decides which parameter gets which.

An initialiser fills a tensor, given its fans: `fill(tensor, fan_in, fan_out, gain, generator)`. The named schemes are
variance scaling, written once: Var(w) = gain² / fan, fan the number of inputs, or the mean of inputs and outputs.

| name      | fan                          | gain              | keeps                                      |
|-----------|------------------------------|-------------------|--------------------------------------------|
| xavier_*  | (fan_in+fan_out)/2           | 1                 | a compromise of both (Glorot & Bengio 2010) |
| he_*      | fan_in                       | the activation's  | forward variance (He 2015)                 |
| orthogonal| all singular values = gain   | the activation's  | lengths exactly (Saxe 2014)                |
| pytorch_default | fan_in                 | √(1/3)            | nothing: 0.408 per ReLU layer              |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..randomness import derive, generator

Fill = Callable[[Tensor, float, float, float, torch.Generator], None]


@dataclass(frozen=True)
class Initializer:
    """How weights are filled. `fill` is None for torch's own `reset_parameters`.

    Args:
        fill: `(tensor [out, in, *kernel], fan_in, fan_out, gain, generator) -> None`, in place.
        gain: Fixed gain; None takes the activation's.
    """

    fill: Fill | None
    gain: float | None = None


@dataclass(frozen=True)
class InitRecord:
    """What one parameter was given: a row of the table `initialize` returns. NaN where nothing is drawn."""

    parameter: str
    scheme: str
    fan_in: float
    fan_out: float
    gain: float
    std: float


# ----------------------------------------------------------------------------------------- the schemes
def pytorch_default() -> Initializer:
    return Initializer(None)


def xavier_uniform(gain: float | None) -> Initializer:
    return Initializer(_variance_scaling("average", _uniform), 1.0 if gain is None else gain)


def xavier_normal(gain: float | None) -> Initializer:
    return Initializer(_variance_scaling("average", _normal), 1.0 if gain is None else gain)


def he_uniform(gain: float | None) -> Initializer:
    return Initializer(_variance_scaling("in", _uniform), gain)


def he_normal(gain: float | None) -> Initializer:
    return Initializer(_variance_scaling("in", _normal), gain)


def orthogonal(gain: float | None) -> Initializer:
    return Initializer(_orthogonal, gain)


def _variance_scaling(fan: str, draw: Callable[[Tensor, float, torch.Generator], None]) -> Fill:
    def fill(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> None:
        draw(tensor, gain / math.sqrt(fan_in if fan == "in" else (fan_in + fan_out) / 2), rng)

    return fill


def _normal(tensor: Tensor, std: float, rng: torch.Generator) -> None:
    tensor.normal_(0.0, std, generator=rng)


def _uniform(tensor: Tensor, std: float, rng: torch.Generator) -> None:
    bound = math.sqrt(3) * std  # U(±a) has variance a²/3
    tensor.uniform_(-bound, bound, generator=rng)


def _orthogonal(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> None:
    nn.init.orthogonal_(tensor, gain, generator=rng)


# -------------------------------------------------------------------------------------- who gets which
@torch.no_grad()
def initialize_parameters(model: nn.Module, initializer: Initializer, gain: float, seed: int) -> list[InitRecord]:
    """Fill every parameter of `model` in place; each draws from (seed, its name), whatever its neighbours are.

    | parameter                                  | gets                                                       |
    |--------------------------------------------|------------------------------------------------------------|
    | weight of a convolution or dense layer     | `initializer` with the layer's fans                        |
    | input weight of a recurrent layer, per gate | `initializer` with fans (inputs, hidden)                   |
    | hidden weight of a recurrent layer, per gate| orthogonal, gain 1: ‖h‖ neither decays nor grows (Saxe 2014)|
    | bias                                       | 0; LSTM forget gate 1 (Jozefowicz 2015)                    |
    | anything else (norms, embeddings …)        | its own `reset_parameters`                                 |
    | everything, under `pytorch_default`        | its own `reset_parameters`                                 |

    Args:
        model: Any module. Parameters that no rule above names stay as they are.
        initializer: The scheme.
        gain: The activation's gain, where the scheme has none of its own.
        seed: Of the weights.

    Returns:
        One row a parameter (and gate), in registration order.
    """
    own_gain = gain if initializer.gain is None else initializer.gain
    records: list[InitRecord] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and initializer.fill:
            records += _init_dense(name, module, initializer.fill, own_gain, seed)
        elif isinstance(module, nn.RNNBase) and initializer.fill:
            records += _init_recurrent(name, module, initializer.fill, own_gain, seed)
        elif hasattr(module, "reset_parameters"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(seed, "init", name))
                module.reset_parameters()
            records += [_record(f"{name}.{own}", "own", p) for own, p in module.named_parameters(recurse=False)]
    return records


def fans(weight: Tensor) -> tuple[float, float]:
    """(fan_in, fan_out) of a weight `[out, in, *kernel]`: connections into and out of a unit, the kernel counted."""
    receptive_field = math.prod(weight.shape[2:])
    return float(weight.shape[1] * receptive_field), float(weight.shape[0] * receptive_field)


def _init_dense(name: str, module: nn.Module, fill: Fill, gain: float, seed: int) -> Iterator[InitRecord]:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    fan_in, fan_out = fans(weight)
    fan_out /= getattr(module, "groups", 1)  # the first axis runs over all groups, the second within one
    if getattr(module, "transposed", False):  # transposed convolutions store [in, out/groups, *kernel]
        fan_in, fan_out = fan_out, fan_in
    _fill(weight, fill, fan_in, fan_out, gain, generator(seed, "init", name))
    yield _record(f"{name}.weight", "scheme", weight, fan_in, fan_out, gain)
    if isinstance(bias, Tensor):
        bias.zero_()
        yield _record(f"{name}.bias", "zero", bias)


def _init_recurrent(name: str, module: nn.RNNBase, fill: Fill, gain: float, seed: int) -> Iterator[InitRecord]:
    """torch stacks the gates of a layer in one matrix: its fan_out would be wrong by the number of gates."""
    hidden = module.hidden_size
    for own, parameter in module.named_parameters(recurse=False):
        full_name = f"{name}.{own}"
        if own.startswith("bias"):
            parameter.zero_()
            if isinstance(module, nn.LSTM) and own.startswith("bias_ih"):  # torch adds two biases: set one of them
                parameter[hidden : 2 * hidden] = 1.0  # gate order i, f, g, o
            yield _record(full_name, "zero, forget gate 1" if isinstance(module, nn.LSTM) else "zero", parameter)
            continue
        for gate, block in enumerate(parameter.split(hidden)):
            rng = generator(seed, "init", full_name, gate)
            fan_in, fan_out = fans(block)
            if own.startswith("weight_hh"):
                _fill(block, _orthogonal, fan_in, fan_out, 1.0, rng)
                yield _record(f"{full_name}[{gate}]", "orthogonal", block, fan_in, fan_out, 1.0)
            else:
                _fill(block, fill, fan_in, fan_out, gain, rng)
                yield _record(f"{full_name}[{gate}]", "scheme", block, fan_in, fan_out, gain)


def _fill(tensor: Tensor, fill: Fill, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> None:
    """Draw on the CPU in float32, whatever the parameter's device and type: the same seed gives the same weights."""
    drawn = torch.zeros(tensor.shape)
    fill(drawn, fan_in, fan_out, gain, rng)
    tensor.copy_(drawn)


def _record(
    name: str, scheme: str, filled: Tensor, fan_in: float = math.nan, fan_out: float = math.nan, gain: float = math.nan
) -> InitRecord:
    return InitRecord(name, scheme, fan_in, fan_out, gain, float(filled.float().std(correction=0)))
