"""Every gain is the σ_w at which theory's backward factor is 1, recomputed by quadrature over a fine grid."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from isometry.build import switch
from isometry.layers.activations import leaky_relu

NODES = torch.linspace(-12, 12, 40_001, dtype=torch.float64)  # Gauss-Hermite nodes are too few for a steep sigmoid
WEIGHTS = torch.softmax(-(NODES**2) / 2, dim=0)


def mean_over_gaussian(function: Callable[[torch.Tensor], torch.Tensor], variance: float) -> float:
    return float((WEIGHTS * function(math.sqrt(variance) * NODES)).sum())


def slope_squared(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    module = switch("activation", name)()

    def squared(z: torch.Tensor) -> torch.Tensor:
        z = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(module(z).sum(), z)
        return slope**2

    return squared


def backward_factor(name: str, gain: float, variance: float) -> float:
    return gain * math.sqrt(mean_over_gaussian(slope_squared(name), variance))


def fixed_point(name: str, gain: float) -> float:
    module, q = switch("activation", name)(), 1.0
    for _ in range(500):
        q = gain**2 * mean_over_gaussian(lambda z: module(z).detach() ** 2, q)
    return q


@pytest.mark.parametrize("name", ["identity", "relu", "leaky_relu"])
@pytest.mark.parametrize("variance", [0.1, 1.0, 10.0])
def test_piecewise_linear_gains_hold_at_every_scale(name: str, variance: float) -> None:
    assert backward_factor(name, switch("activation", name).gain, variance) == pytest.approx(1, abs=1e-3)


def test_sigmoid_gain_is_critical_at_its_own_fixed_point() -> None:
    gain = switch("activation", "sigmoid").gain
    q = fixed_point("sigmoid", gain)
    assert q == pytest.approx(45.6, abs=0.1)
    assert backward_factor("sigmoid", gain, q) == pytest.approx(1, abs=1e-4)


def test_tanh_gain_is_critical_as_the_variance_dies_out() -> None:
    assert switch("activation", "tanh").gain == 1
    assert backward_factor("tanh", 1.0, 1e-6) == pytest.approx(1, abs=1e-5)
    q = fixed_point("tanh", 5 / 3)  # torch's gain, for comparison
    assert backward_factor("tanh", 5 / 3, q) == pytest.approx(1.10, abs=0.01)


def test_gelu_gain_keeps_gradients_at_unit_variance() -> None:
    assert backward_factor("gelu", switch("activation", "gelu").gain, 1.0) == pytest.approx(1, abs=1e-3)


def test_leaky_slope_enters_the_gain() -> None:
    assert leaky_relu(1.0).gain == 1.0
    assert leaky_relu(0.0).gain == math.sqrt(2)
