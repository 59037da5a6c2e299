"""Every gain is the σ_w at which theory's backward factor is 1, recomputed by quadrature over a fine grid."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from isometry.build import switch
from isometry.layers.activations import elu, leaky_relu, prelu, selu, silu

# Gauss-Hermite nodes are too few for a steep sigmoid; an even number, so that no kink is a node.
NODES = torch.linspace(-12, 12, 40_000, dtype=torch.float64)
WEIGHTS = torch.softmax(-(NODES**2) / 2, dim=0)


def mean_over_gaussian(function: Callable[[torch.Tensor], torch.Tensor], variance: float) -> float:
    return float((WEIGHTS * function(math.sqrt(variance) * NODES)).sum())


def slope_squared(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    module = switch("activation", name)().double()

    def squared(z: torch.Tensor) -> torch.Tensor:
        z = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(module(z).sum(), z)
        return slope**2

    return squared


def backward_factor(name: str, gain: float, variance: float) -> float:
    return gain * math.sqrt(mean_over_gaussian(slope_squared(name), variance))


def fixed_point(name: str, gain: float) -> float:
    module, q = switch("activation", name)().double(), 1.0
    for _ in range(500):
        q = gain**2 * mean_over_gaussian(lambda z: module(z).detach() ** 2, q)
    return q


@pytest.mark.parametrize("name", ["identity", "relu", "leaky_relu", "prelu"])
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


@pytest.mark.parametrize(("name", "tolerance"), [("gelu", 1e-3), ("silu", 1e-4)])
def test_gains_without_a_stable_fixed_point_keep_gradients_at_unit_variance(name: str, tolerance: float) -> None:
    gain = switch("activation", name).gain
    assert backward_factor(name, gain, 1.0) == pytest.approx(1, abs=tolerance)
    module = switch("activation", name)()
    small, large = (gain**2 * mean_over_gaussian(lambda z: module(z) ** 2, q) / q for q in (0.1, 10.0))
    assert small < 1 < large  # q dies out or grows without end


def at_fixed_point(name: str, variance: float) -> tuple[float, float]:
    """(σ_w whose fixed point is `variance`, its backward factor)."""
    module = switch("activation", name)()
    sigma_w = math.sqrt(variance / mean_over_gaussian(lambda z: module(z) ** 2, variance))
    return sigma_w, backward_factor(name, sigma_w, variance)


@pytest.mark.parametrize("name", ["elu", "selu"])
def test_elu_and_selu_are_critical_as_the_variance_dies_out_and_chaotic_at_every_larger_gain(name: str) -> None:
    gain = switch("activation", name).gain
    assert at_fixed_point(name, 1e-9) == pytest.approx((gain, 1.0), abs=1e-4)
    assert fixed_point(name, 0.9 * gain) < 1e-9
    last = gain
    for variance in (0.01, 0.1, 1.0, 10.0, 100.0):
        sigma_w, factor = at_fixed_point(name, variance)
        assert sigma_w > last
        assert factor > 1.0004
        last = sigma_w


def test_selu_keeps_unit_variance_at_one_and_lets_gradients_grow() -> None:
    """Klambauer 2017; and the slopes that the table names."""
    assert at_fixed_point("selu", 1.0) == pytest.approx((1.0, 1.035), abs=5e-4)
    below, above = torch.tensor([-1e-9, 1e-9], dtype=torch.float64)
    assert float(selu()()(below) / below) == pytest.approx(1.758, abs=5e-4)
    assert float(selu()()(above) / above) == pytest.approx(1.051, abs=5e-4)


def test_the_numbers_of_the_table() -> None:
    assert [each().gain for each in (prelu, silu, elu, selu)] == pytest.approx([1.3720, 1.6233, 1, 0.6905], abs=5e-5)
    assert 1 / backward_factor("elu", 1.0, 1.0) == pytest.approx(1.2234, abs=1e-4)


@pytest.mark.parametrize(("name", "mean_factor"), [("tanh", 0.94), ("elu", 0.92), ("selu", 0.92)])
def test_a_dying_variance_costs_gradient_on_its_way(name: str, mean_factor: float) -> None:
    """30 layers, the first z of which has the variance gain², as of unit inputs."""
    module, gain = switch("activation", name)(), switch("activation", name).gain
    q, logs = gain**2, []
    for _ in range(29):
        logs.append(math.log(backward_factor(name, gain, q)))
        q = gain**2 * mean_over_gaussian(lambda z: module(z).detach() ** 2, q)
    assert math.exp(sum(logs) / 29) == pytest.approx(mean_factor, abs=0.006)


def test_prelu_learns_one_slope_from_a_quarter_on() -> None:
    (slope,) = prelu()().parameters()
    assert slope.tolist() == [0.25]


def test_leaky_slope_enters_the_gain() -> None:
    assert leaky_relu(1.0).gain == 1.0
    assert leaky_relu(0.0).gain == math.sqrt(2)
