"""Activations, each carrying its `gain`: the standard deviation σ_w = gain/√fan_in at which gradients keep their size.

With weights of variance σ_w²/fan_in and no biases, mean-field theory (Poole 2016, Schoenholz 2017) gives the factor per
layer of ∂L/∂z as √χ, χ = σ_w² E[φ'(√q z)²], z ~ N(0, 1), q the fixed point of q = σ_w² E[φ(√q z)²]. The gain is the σ_w
with χ = 1:

| activation    | gain            | why                                                                        |
|---------------|-----------------|----------------------------------------------------------------------------|
| identity      | 1               | χ = σ_w²                                                                   |
| relu          | √2              | half of the units pass (He 2015)                                           |
| leaky_relu    | √(2/(1+slope²)) | He 2015, eq. 15                                                            |
| prelu         | 1.3720          | the same at its first slope, 0.25; the slope is learned, the gain is not   |
| tanh          | 1               | q → 0, φ'(0) = 1; torch's 5/3 lets gradients grow by 1.10 a layer          |
| sigmoid       | 10.149          | solved numerically, q = 45.6; Xavier (1) shrinks gradients by 0.236 a layer |
| gelu          | 1.481           | no stable fixed point without biases: χ = 1 at unit variance, q = 1        |
| silu          | 1.6233          | as gelu: below σ_w = 2 small q dies out, large q grows without end         |
| elu           | 1               | as tanh: q → 0, φ'(0) = 1; at unit variance χ = 1 would be 1.2234          |
| selu          | 0.6905          | q → 0, where it is two slopes, 1.758 and 1.051; σ_w = 1 keeps q at 1       |
|               |                 | (Klambauer 2017) and lets gradients grow by 1.035 a layer                  |

Where q → 0 it does so slowly, and the factor is near 1 in deep layers alone: from unit inputs on, the mean over 30
layers is 0.94 for tanh, 0.92 for elu and selu. A test recomputes the numeric ones by quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Activation:
    """`activation()` makes a module; `activation.gain` is the σ_w at which its backward factor is 1."""

    make: Callable[[], nn.Module]
    gain: float

    def __call__(self) -> nn.Module:
        return self.make()


def identity() -> Activation:
    return Activation(nn.Identity, 1.0)


def sigmoid() -> Activation:
    return Activation(nn.Sigmoid, 10.149)


def tanh() -> Activation:
    return Activation(nn.Tanh, 1.0)


def relu() -> Activation:
    return Activation(nn.ReLU, math.sqrt(2))


def leaky_relu(slope: float) -> Activation:
    return Activation(lambda: nn.LeakyReLU(slope), math.sqrt(2 / (1 + slope**2)))


def prelu() -> Activation:
    """One learned slope for all units."""
    return Activation(nn.PReLU, leaky_relu(0.25).gain)


def gelu() -> Activation:
    return Activation(nn.GELU, 1.481)


def silu() -> Activation:
    return Activation(nn.SiLU, 1.6233)


def elu() -> Activation:
    return Activation(nn.ELU, 1.0)


def selu() -> Activation:
    return Activation(nn.SELU, 0.6905)
