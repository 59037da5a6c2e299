"""The one function that decides which parameter gets which initialiser, and tells what it did."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..randomness import derive, generator
from .initializers import Fill, Initializer, fill_identity, fill_orthogonal
from .lsuv import unit_variance_scales

NAN = math.nan


@dataclass(frozen=True)
class InitRecord:
    """What one parameter (of a recurrent layer: one gate) was given: a row of the table `initialize` returns.

    Args:
        parameter: Its path, with `[gate]` where it is one block of several.
        scheme: What filled it.
        fan_in, fan_out, gain: What the scheme was told; NaN where it was told nothing.
        std_wanted: Standard deviation that the scheme aimed at; NaN where it aimed at none.
        std: Standard deviation that came out.
    """

    parameter: str
    scheme: str
    fan_in: float
    fan_out: float
    gain: float
    std_wanted: float
    std: float


@torch.no_grad()
def initialize_parameters(
    model: nn.Module, initializer: Initializer, gain: float, seed: int, inputs: Tensor | None = None
) -> list[InitRecord]:
    """Fill every parameter of `model` in place; each draws from (seed, its name), whatever its neighbours are.

    | parameter                                    | gets                                                        |
    |----------------------------------------------|-------------------------------------------------------------|
    | weight of a convolution or dense layer       | `initializer` with the layer's fans                         |
    | input weight of a recurrent layer, per gate  | `initializer` with fans (inputs, hidden)                    |
    | hidden weight of a recurrent layer, per gate | orthogonal, gain 1: ‖h‖ neither decays nor grows (Saxe 2014);|
    |                                              | of a ReLU RNN the identity (Le 2015); or the initializer's own|
    | bias                                         | 0; LSTM forget gate 1 (Jozefowicz 2015)                     |
    | anything else (norms, embeddings …)          | its own `reset_parameters`                                  |
    | everything, under `pytorch_default`          | its own `reset_parameters`                                  |
    | what a module changes itself at the end      | its own `adjust_initialization(rng)` (Fixup, γ = 0, chrono …);|
    |                                              | it returns {path: new scheme, `{}` standing for the old one} |

    A parametrised weight is assigned, so that the parametrisation decides what becomes of it.

    Args:
        model: Any module. Parameters that no rule above names stay as they are.
        initializer: The scheme.
        gain: The activation's gain, where the scheme has none of its own.
        seed: Of the weights.
        inputs: A batch `[B, …]` on the model's device, for a scheme that uses data.

    Returns:
        One row a parameter (and gate), in registration order.

    Raises:
        ValueError: The scheme uses data and got none, or a batch that it cannot use.
    """
    if initializer.uses_data and inputs is None:
        raise ValueError(f"init={initializer.name} looks at a batch of real inputs: none was given")
    own_gain = gain if initializer.gain is None else initializer.gain
    records: list[InitRecord] = []
    for name, module in model.named_modules():
        if initializer.fill and _is_dense(module):
            records += _init_dense(name, module, initializer, own_gain, seed)
        elif initializer.fill and isinstance(module, nn.RNNBase | nn.RNNCellBase):
            records += _init_recurrent(name, module, initializer, own_gain, seed)
        elif hasattr(module, "reset_parameters"):
            records += _reset(name, module, seed)
    notes: dict[str, str] = {}  # of parameters that are changed once more
    for name, module in model.named_modules():
        if hasattr(module, "adjust_initialization"):
            own_notes = module.adjust_initialization(generator(seed, "adjust", name))
            notes |= {_path(name, own): note for own, note in own_notes.items()}
    if initializer.uses_data and inputs is not None:
        notes |= _rescale(model, inputs)
    return [_noted(record, notes.get(record.parameter), model) for record in records]


def fans(weight: Tensor) -> tuple[float, float]:
    """(fan_in, fan_out) of a weight `[out, in, *kernel]`: connections into and out of a unit, the kernel counted."""
    receptive_field = math.prod(weight.shape[2:])
    return float(weight.shape[1] * receptive_field), float(weight.shape[0] * receptive_field)


# ------------------------------------------------------------------------------------ one kind of module each
def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd | nn.Linear)


def _init_dense(name: str, module: nn.Module, initializer: Initializer, gain: float, seed: int) -> Iterator[InitRecord]:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    assert initializer.fill
    fan_in, fan_out = fans(weight)
    groups = int(getattr(module, "groups", 1))
    fan_out /= groups  # the first axis runs over all groups, the second within one
    if getattr(module, "transposed", False):  # transposed convolutions store [in, out/groups, *kernel]
        fan_in, fan_out = fan_out, fan_in
    rng = generator(seed, "init", name)
    shapes = [block.shape for block in weight.chunk(groups)]  # each group is a layer of its own
    draws = [_draw(shape, initializer.fill, fan_in, fan_out, gain, rng) for shape in shapes]
    drawn, wanted = torch.cat([block for block, _ in draws]), draws[0][1]
    _assign(module, drawn)
    yield _record(_path(name, "weight"), initializer.name, drawn, (fan_in, fan_out, gain, wanted))
    if isinstance(bias, Tensor):
        bias.zero_()
        yield _record(_path(name, "bias"), "zero", bias)


def _init_recurrent(
    name: str, module: nn.RNNBase | nn.RNNCellBase, initializer: Initializer, gain: float, seed: int
) -> Iterator[InitRecord]:
    """torch stacks the gates of a layer in one matrix: its fan_out would be wrong by the number of gates."""
    hidden = module.hidden_size
    assert initializer.fill
    for own, parameter in module.named_parameters(recurse=False):
        path, blocks = _path(name, own), parameter.split(hidden)
        if own.startswith("bias"):
            parameter.zero_()
            has_forget_gate = len(blocks) == 4  # torch's gate order is i, f, g, o
            if has_forget_gate and own.startswith("bias_ih"):  # torch adds two biases: set one of them
                blocks[1].fill_(1.0)
            yield _record(path, "zero, forget gate 1" if has_forget_gate else "zero", parameter)
            continue
        for gate, block in enumerate(blocks):
            rng = generator(seed, "init", path, gate)
            fan_in, fan_out = fans(block)
            fill, own_gain, scheme = initializer.fill, gain, initializer.name
            if own.startswith("weight_hh"):
                fill, own_gain, scheme = _for_hidden(module, initializer)
            drawn, wanted = _draw(block.shape, fill, fan_in, fan_out, own_gain, rng)
            block.copy_(drawn)
            yield _record(f"{path}[{gate}]", scheme, block, (fan_in, fan_out, own_gain, wanted))


def _for_hidden(module: nn.Module, initializer: Initializer) -> tuple[Fill, float, str]:
    """Fill, gain and name for hidden-to-hidden weights."""
    if initializer.recurrent:
        return initializer.recurrent, 1.0, initializer.name
    if getattr(module, "nonlinearity", None) == "relu":
        return fill_identity, 1.0, "identity"
    return fill_orthogonal, 1.0, "orthogonal"


def _reset(name: str, module: nn.Module, seed: int) -> Iterator[InitRecord]:
    """The module's own start. A parametrised weight, which `reset_parameters` does not reach, as torch draws it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init", name))
        module.reset_parameters()  # type: ignore[operator]
        if parametrize.is_parametrized(module, "weight"):
            torch.manual_seed(derive(seed, "init", name))
            drawn = torch.empty(module.weight.shape)  # type: ignore[arg-type]
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5))
            _assign(module, drawn)
            yield _record(_path(name, "weight"), "own", drawn)
    for own, parameter in module.named_parameters(recurse=False):
        yield _record(_path(name, own), "own", parameter)


# -------------------------------------------------------------------------------------------- afterwards
def _rescale(model: nn.Module, inputs: Tensor) -> dict[str, str]:
    layers = {name: module for name, module in model.named_modules() if _is_dense(module)}
    scales = unit_variance_scales(model, layers, inputs)
    for name, scale in scales.items():
        _assign(layers[name], layers[name].weight * scale)
    return {_path(name, "weight"): f"{{}} × {scale:.3g}" for name, scale in scales.items()}


def _noted(record: InitRecord, note: str | None, model: nn.Module) -> InitRecord:
    """The row of a parameter, with what was done to it after it had been filled."""
    if note is None:
        return record
    path, _, own = record.parameter.rpartition(".")
    value = getattr(model.get_submodule(path), own)
    return replace(record, scheme=note.format(record.scheme), std_wanted=NAN, std=_std(value))


# ---------------------------------------------------------------------------------------------- one tensor
def _draw(
    shape: torch.Size, fill: Fill, fan_in: float, fan_out: float, gain: float, rng: torch.Generator
) -> tuple[Tensor, float]:
    """Drawn on the CPU in float32, whatever the parameter's device and type: the same seed gives the same weights."""
    drawn = torch.zeros(shape)
    wanted = fill(drawn, fan_in, fan_out, gain, rng)
    return drawn, NAN if wanted is None else float(wanted)


def _assign(module: nn.Module, drawn: Tensor) -> None:
    """To the weight itself, or through its parametrisation, which has to find what it keeps."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if parametrize.is_parametrized(module, "weight"):
        module.weight = drawn.to(weight)
    else:
        weight.copy_(drawn)


def _record(
    path: str, scheme: str, filled: Tensor, told: tuple[float, float, float, float] = (NAN, NAN, NAN, NAN)
) -> InitRecord:
    return InitRecord(path, scheme, *told, _std(filled))


def _std(values: Tensor) -> float:
    return float(values.float().std(correction=0))


def _path(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own
