"""What theory predicts for a layer of a dense net whose weights are independent and random: closed forms, no torch.

Mean field (Poole 2016, Schoenholz 2017): z_l is N(0, q) over units, z_{l+1} = W φ(z_l) + b, and σ_w² = fan · Var(w):

    forward    RMS z_{l+1} / RMS z_l           = √((σ_w² E[φ(√q u)²] + σ_b²) / q)         u is N(0, 1)
    backward   RMS ∂L/∂z_l / RMS ∂L/∂z_{l+1}   = √(σ_w² E[φ'(√q u)²])

With a fresh BatchNorm (weight 1, bias 0) between z and φ, φ sees u itself, and the backward pass is divided by the
standard deviation of z (Yang 2019):

    backward   √(E[φ'(u)²] / Var φ(u))         ReLU: √(π/(π-1)) = 1.2112, whatever the weights

They speak of wide layers, large batches and a straight chain. Convolutions with padding, skips, attention and shared
weights have no closed form here. ReLU under Xavier gives 0.7071, under He 1, under torch's default 0.408.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_U = np.linspace(-10.0, 10.0, 2000)  # an even number: no node is 0, where SELU has two slopes
_DENSITY = np.exp(-(_U**2) / 2)
_WEIGHTS = _DENSITY / _DENSITY.sum()
_erf = np.vectorize(math.erf)


def _sigmoid(z: Array) -> tuple[Array, Array]:
    value = 0.5 * (1 + np.tanh(z / 2))
    return value, value * (1 - value)


def _tanh(z: Array) -> tuple[Array, Array]:
    value = np.tanh(z)
    return value, 1 - value**2


def _gelu(z: Array) -> tuple[Array, Array]:
    cdf = 0.5 * (1 + _erf(z / math.sqrt(2)))
    return z * cdf, cdf + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _silu(z: Array) -> tuple[Array, Array]:
    share, slope = _sigmoid(z)
    return z * share, share + z * slope


def _elu(z: Array) -> tuple[Array, Array]:
    below = np.exp(np.minimum(z, 0.0))  # above 0 it could overflow
    return np.where(z > 0, z, below - 1), np.where(z > 0, 1.0, below)


def _selu(z: Array) -> tuple[Array, Array]:
    """Klambauer 2017: the scale and the depth below 0 at which mean 0 and variance 1 are kept."""
    scale, depth = 1.0507009873554805, 1.6732632423543772
    value, slope = _elu(z)
    factor = np.where(z > 0, scale, scale * depth)
    return factor * value, factor * slope


# Name of torch's module in lower case -> slope for z < 0 of a rectifier, or (φ, φ') of a smooth curve.
_RECTIFIERS = {"identity": 1.0, "relu": 0.0}
_CURVES: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "sigmoid": _sigmoid, "tanh": _tanh, "gelu": _gelu, "silu": _silu, "elu": _elu, "selu": _selu,
}  # fmt: skip


def moments(activation: str, q: float) -> tuple[float, float, float]:
    """E[φ(√q u)], E[φ(√q u)²] and E[φ'(√q u)²] for u ~ N(0, 1).

    Args:
        activation: `identity`, `relu`, `leaky_relu:SLOPE`, `sigmoid`, `tanh`, `gelu`, `silu`, `elu` or `selu`.
        q: Variance of the pre-activation.
    """
    if activation in _CURVES:
        value, derivative = _CURVES[activation](math.sqrt(q) * _U)
        return float(_WEIGHTS @ value), float(_WEIGHTS @ value**2), float(_WEIGHTS @ derivative**2)
    slope = float(activation.partition(":")[2]) if ":" in activation else _RECTIFIERS[activation]
    passed = (1 + slope**2) / 2  # of the square: half of it as it is, half by the slope
    return (1 - slope) * math.sqrt(q / (2 * math.pi)), passed * q, passed


def is_known(activation: str) -> bool:
    """Whether `moments` has its curve."""
    return activation in _CURVES or activation in _RECTIFIERS or activation.startswith("leaky_relu:")


def dense_factors(activation: str, weight_variance: float, bias_variance: float, q: float) -> tuple[float, float]:
    """(backward, forward) factor from one layer to the next in a dense net without norm.

    Args:
        activation: See `moments`.
        weight_variance: σ_w² = fan · mean(w²) of the next layer.
        bias_variance: mean(b²) of the next layer.
        q: mean(z²) of this layer.
    """
    _, square, slope = moments(activation, q)
    return math.sqrt(weight_variance * slope), math.sqrt((weight_variance * square + bias_variance) / q)


def batch_norm_factors(activation: str) -> tuple[float, float]:
    """(backward, forward) factor from one layer to the next with a fresh BatchNorm after each, equal σ_w everywhere."""
    mean, square, slope = moments(activation, q=1.0)
    return math.sqrt(slope / (square - mean**2)), 1.0
