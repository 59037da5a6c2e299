"""Initialisers: how one weight is drawn. Which weight gets which, `assignment.py` decides.

An initialiser fills a tensor, given its fans: `fill(tensor, fan_in, fan_out, gain, generator)`. Most are variance
scaling, written once: Var(w) = gain² / fan. A named scheme is three numbers of it:

| name             | gain             | fan     | drawn   | keeps                                                    |
|------------------|------------------|---------|---------|----------------------------------------------------------|
| lecun_normal     | 1                | in      | normal  | variance up through linear units and SELU (LeCun 1998)   |
| xavier_*         | 1                | average | *       | a compromise of up and down (Glorot & Bengio 2010)       |
| he_*             | the activation's | in      | *       | lengths on average (He 2015)                             |
| pytorch_default  | √(1/3)           | in      | uniform | nothing: 0.408 per ReLU layer; biases are drawn, too     |

The others are exact, or look at data, or break things on purpose:

| name             | weight                                                                                           |
|------------------|--------------------------------------------------------------------------------------------------|
| orthogonal       | gain × a matrix with orthonormal rows or columns: keeps every length (Saxe 2014)                 |
| delta_orthogonal | the same in the kernel's middle pixel, 0 around it: keeps every length in convolutions, too       |
|                  | (Xiao 2018)                                                                                      |
| lsuv             | orthogonal, then divided by the deviation of the layer's output on a real batch (Mishkin 2016)   |
| dirac            | the identity, as far as the shape allows                                                         |
| zeros constant   | all units alike: they get one gradient and stay alike                                            |
| small_normal     | std 0.01 whatever the fan: signals vanish. large_normal: std 1, they explode                     |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Fill = Callable[[Tensor, float, float, float, torch.Generator], float | None]
"""`(tensor [out, in, *kernel], fan_in, fan_out, gain, generator) -> std aimed at, or None`; fills in place."""


@dataclass(frozen=True)
class Initializer:
    """How weights are filled.

    Args:
        name: For the table of what each parameter got.
        fill: Fills one weight; None for torch's own `reset_parameters`.
        gain: Fixed gain; None takes the activation's.
        recurrent: Fills hidden-to-hidden weights; None: what `assignment.py` gives a cell of that kind.
        uses_data: Whether each layer is rescaled on a batch afterwards (`lsuv.py`).
    """

    name: str
    fill: Fill | None
    gain: float | None = None
    recurrent: Fill | None = None
    uses_data: bool = False


# ----------------------------------------------------------------------------------- variance scaling
def pytorch_default() -> Initializer:
    return Initializer("pytorch_default", None)


def lecun_normal(gain: float | None, fan: str | None) -> Initializer:
    return Initializer("lecun_normal", _variance_scaling(fan or "in", _normal), gain or 1.0)


def xavier_uniform(gain: float | None, fan: str | None) -> Initializer:
    return Initializer("xavier_uniform", _variance_scaling(fan or "average", _uniform), gain or 1.0)


def xavier_normal(gain: float | None, fan: str | None) -> Initializer:
    return Initializer("xavier_normal", _variance_scaling(fan or "average", _normal), gain or 1.0)


def he_uniform(gain: float | None, fan: str | None) -> Initializer:
    return Initializer("he_uniform", _variance_scaling(fan or "in", _uniform), gain)


def he_normal(gain: float | None, fan: str | None) -> Initializer:
    return Initializer("he_normal", _variance_scaling(fan or "in", _normal), gain)


def _variance_scaling(fan: str, draw: Callable[[Tensor, float, torch.Generator], None]) -> Fill:
    def fill(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> float:
        std = gain / math.sqrt({"in": fan_in, "out": fan_out, "average": (fan_in + fan_out) / 2}[fan])
        draw(tensor, std, rng)
        return std

    return fill


def _normal(tensor: Tensor, std: float, rng: torch.Generator) -> None:
    tensor.normal_(0.0, std, generator=rng)


def _uniform(tensor: Tensor, std: float, rng: torch.Generator) -> None:
    bound = math.sqrt(3) * std  # U(±a) has variance a²/3
    tensor.uniform_(-bound, bound, generator=rng)


# ------------------------------------------------------------------------------------------ exact ones
def orthogonal(gain: float | None) -> Initializer:
    return Initializer("orthogonal", fill_orthogonal, gain)


def delta_orthogonal(gain: float | None) -> Initializer:
    return Initializer("delta_orthogonal", _fill_delta_orthogonal, gain)


def lsuv() -> Initializer:
    return Initializer("lsuv", fill_orthogonal, 1.0, uses_data=True)


def dirac() -> Initializer:
    return Initializer("dirac", fill_identity, 1.0, recurrent=fill_identity)


def fill_orthogonal(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> float:
    """A kernel counts as the matrix `[out, in · pixels]`."""
    nn.init.orthogonal_(tensor, gain, generator=rng)
    rows = len(tensor)
    return gain * math.sqrt(min(rows, tensor.numel() // rows) / tensor.numel())


def _fill_delta_orthogonal(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> float:
    matrix = torch.empty(tensor.shape[:2])
    nn.init.orthogonal_(matrix, gain, generator=rng)
    tensor.zero_()
    _middle(tensor).copy_(matrix)
    return gain * math.sqrt(min(matrix.shape) / tensor.numel())


def fill_identity(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> float:
    """`gain` on the diagonal of `[out, in]`, of a kernel on that of its middle; the std of all elements."""
    tensor.zero_()
    _middle(tensor).fill_diagonal_(gain)
    share = min(tensor.shape[:2]) / tensor.numel()  # of ones
    return gain * math.sqrt(share * (1 - share))


def _middle(kernel: Tensor) -> Tensor:
    """The view `[out, in]` of a kernel's middle pixel; of a dense layer all of it."""
    for size in kernel.shape[2:]:
        kernel = kernel.select(2, size // 2)
    return kernel


# ---------------------------------------------------------------------------- to break things on purpose
def zeros() -> Initializer:
    return _everywhere("zeros", _fill_with(0.0))


def constant(value: float) -> Initializer:
    return _everywhere("constant", _fill_with(value))


def small_normal(std: float) -> Initializer:
    return _everywhere("small_normal", _fill_normal(std))


def large_normal(std: float) -> Initializer:
    return _everywhere("large_normal", _fill_normal(std))


def _everywhere(name: str, fill: Fill) -> Initializer:
    """Hidden-to-hidden weights as well: a recurrent net must break, too."""
    return Initializer(name, fill, 1.0, recurrent=fill)


def _fill_with(value: float) -> Fill:
    def fill(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> float:
        tensor.fill_(value)
        return 0.0

    return fill


def _fill_normal(std: float) -> Fill:
    def fill(tensor: Tensor, fan_in: float, fan_out: float, gain: float, rng: torch.Generator) -> float:
        _normal(tensor, std, rng)
        return std

    return fill
