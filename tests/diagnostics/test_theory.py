"""What theory predicts, against closed forms, against tables and against a quadrature of its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from isometry import probe
from isometry.diagnostics.layers import activation_name
from isometry.diagnostics.theory import batch_norm_factors, dense_factors, is_known, moments

NODES = torch.linspace(-12, 12, 48_000, dtype=torch.float64)  # an even number: 0 is no node, no kink is hit
WEIGHTS = torch.softmax(-(NODES**2) / 2, dim=0)


def fixed_point(activation: str, weight_variance: float, bias_variance: float) -> float:
    """q of a deep layer: q = σ_w² E[φ²] + σ_b²."""
    q = 1.0
    for _ in range(2000):
        q = weight_variance * moments(activation, q)[1] + bias_variance
    return q


def by_quadrature(module: nn.Module, q: float) -> tuple[float, float, float]:
    """E[φ], E[φ²], E[φ'²] with torch's own activation and autograd's own slope."""
    z = (math.sqrt(q) * NODES).requires_grad_()
    values = module(z)
    (slopes,) = torch.autograd.grad(values.sum(), z)
    first, second, slope = (
        (WEIGHTS * each).sum().item() for each in (values.detach(), values.detach() ** 2, slopes**2)
    )
    return first, second, slope


@pytest.mark.parametrize("q", [1e-8, 0.3, 1.0, 7.0])
@pytest.mark.parametrize(
    ("weight_variance", "factor"),
    [(1 / 3, math.sqrt(1 / 6)), (1.0, math.sqrt(1 / 2)), (2.0, 1.0)],
    ids=["torch's default", "Xavier", "He"],
)
def test_relu_passes_half_of_the_squares_at_every_size(weight_variance: float, factor: float, q: float) -> None:
    assert dense_factors("relu", weight_variance, 0.0, q) == pytest.approx((factor, factor), rel=1e-6)


def test_relu_s_moments_are_gauss_integrals() -> None:
    assert moments("relu", 4.0) == pytest.approx((2 / math.sqrt(2 * math.pi), 2.0, 0.5), rel=1e-4)


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.2, 1.0, -0.5])
def test_leaky_relu_lies_between_relu_and_the_identity(slope: float) -> None:
    square = (1 + slope**2) / 2
    assert moments(f"leaky_relu:{slope}", 3.0)[1:] == pytest.approx((3 * square, square), rel=1e-6)


def test_the_identity_changes_nothing() -> None:
    assert moments("identity", 5.0) == pytest.approx((0.0, 5.0, 1.0), abs=1e-9)


def test_sigmoid_under_xavier_loses_three_quarters_a_layer() -> None:
    q = fixed_point("sigmoid", 1.0, 0.0)
    assert q == pytest.approx(0.2647, abs=1e-4)
    backward, forward = dense_factors("sigmoid", 1.0, 0.0, q)
    assert backward == pytest.approx(0.2361, abs=1e-4)
    assert forward == pytest.approx(1, abs=1e-9)


def test_tanh_under_torch_s_default_dies_out_like_a_linear_net() -> None:
    assert fixed_point("tanh", 1 / 3, 0.0) == pytest.approx(0, abs=1e-30)
    assert dense_factors("tanh", 1 / 3, 0.0, 1e-8) == pytest.approx((math.sqrt(1 / 3),) * 2, rel=1e-6)


def test_tanh_is_critical_at_the_known_point() -> None:
    """Schoenholz 2017: σ_b² = 0.05 and σ_w² = 1.761 give χ = 1."""
    q = fixed_point("tanh", 1.761, 0.05)
    assert dense_factors("tanh", 1.761, 0.05, q)[0] ** 2 == pytest.approx(1, abs=1e-4)
    assert dense_factors("tanh", 1.6, 0.05, fixed_point("tanh", 1.6, 0.05))[0] < 0.995  # the control: not anywhere


@pytest.mark.parametrize(
    ("weight_variance", "factor"),
    [(1.0, 0.871), (1.3, 0.938), (1.5, 0.969), (2.0, 1.024), (2.5, 1.065), (4.0, 1.159)],
)
def test_tanh_from_order_to_chaos(weight_variance: float, factor: float) -> None:
    q = fixed_point("tanh", weight_variance, 0.05)
    backward, forward = dense_factors("tanh", weight_variance, 0.05, q)
    assert backward == pytest.approx(factor, abs=5e-4)
    assert forward == pytest.approx(1, abs=1e-9)


def test_batch_norm_with_relu_explodes_whatever_the_weights() -> None:
    assert batch_norm_factors("relu") == pytest.approx((math.sqrt(math.pi / (math.pi - 1)), 1.0), rel=1e-4)
    assert batch_norm_factors("relu")[0] == pytest.approx(1.2112, abs=1e-4)
    assert batch_norm_factors("identity") == pytest.approx((1.0, 1.0))


def test_a_bias_counts_in_the_forward_factor_alone() -> None:
    without, with_it = dense_factors("relu", 2.0, 0.0, 4.0), dense_factors("relu", 2.0, 5.0, 4.0)
    assert with_it[0] == without[0]
    assert with_it[1] == pytest.approx(math.sqrt((2 * 2 + 5) / 4), rel=1e-6)


@pytest.mark.parametrize("q", [0.01, 1.0, 20.0])
@pytest.mark.parametrize(
    ("activation", "module"),
    [
        ("gelu", nn.GELU()),
        ("relu", nn.ReLU()),
        ("leaky_relu:0.1", nn.LeakyReLU(0.1)),
        ("tanh", nn.Tanh()),
        ("sigmoid", nn.Sigmoid()),
        ("silu", nn.SiLU()),
        ("elu", nn.ELU()),
        ("selu", nn.SELU()),
    ],
)
def test_moments_are_those_of_torch_s_own_activations(activation: str, module: nn.Module, q: float) -> None:
    assert moments(activation, q) == pytest.approx(by_quadrature(module, q), rel=2e-4, abs=1e-5)


def test_the_quadrature_tells_activations_apart() -> None:
    """The control of the test above."""
    assert moments("gelu", 1.0) != pytest.approx(by_quadrature(nn.SiLU(), 1.0), rel=1e-2)
    assert moments("leaky_relu:0.1", 1.0) != pytest.approx(by_quadrature(nn.LeakyReLU(0.11), 1.0), rel=2e-4)
    assert moments("elu", 1.0) != pytest.approx(by_quadrature(nn.ELU(1.001), 1.0), rel=2e-4)


def test_large_and_tiny_variances_overflow_nowhere() -> None:
    for name in ("silu", "elu", "selu"):
        _, square, slope = moments(name, 1e12)
        scale = 1.0507 if name == "selu" else 1.0
        assert (square / 1e12, slope) == pytest.approx((scale**2 / 2, scale**2 / 2), rel=1e-3)
        assert moments(name, 1e-12)[2] == pytest.approx({"silu": 1 / 4, "elu": 1, "selu": 2.0974}[name], rel=1e-3)


def test_selu_was_made_to_keep_mean_0_and_variance_1() -> None:
    assert moments("selu", 1.0)[:2] == pytest.approx((0, 1), abs=1e-4)


def test_what_has_no_closed_form_is_not_claimed_to() -> None:
    names = ("relu", "gelu", "leaky_relu:0.1", "gelu_tanh", "silu", "prelu", "elu", "elu:2.0", "mish")
    assert [name for name in names if is_known(name)] == ["relu", "gelu", "leaky_relu:0.1", "silu", "elu"]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.PReLU(), "leaky_relu:0.25"),
        (nn.PReLU(init=-0.5), "leaky_relu:-0.5"),
        (nn.PReLU(4), "prelu"),  # a slope for each unit
        (nn.ELU(), "elu"),
        (nn.ELU(alpha=2.0), "elu:2.0"),
        (nn.SELU(), "selu"),
        (nn.SiLU(), "silu"),
    ],
)
def test_modules_by_the_names_that_theory_has_for_them(module: nn.Module, name: str) -> None:
    assert activation_name(module) == name
    assert is_known(name) == (name not in ("prelu", "elu:2.0"))


@pytest.mark.parametrize(
    ("activation", "sigma_w"),
    [(nn.ELU, 1.0), (nn.SELU, 1.0), (nn.SELU, 0.6905), (nn.SiLU, 1.6233), (nn.PReLU, 1.372), (nn.PReLU, 1.0)],
)
def test_a_bias_free_dense_net_of_30_layers_is_as_theory_says(activation: type[nn.Module], sigma_w: float) -> None:
    shown = probe(dense(activation, sigma_w), (torch.randn(512, 512), torch.randn(512, 512)), total)
    assert shown.expected_backward_gain is not None
    assert shown.backward_gain == pytest.approx(shown.expected_backward_gain, rel=0.03)
    assert shown.forward_gain == pytest.approx(shown.expected_forward_gain, rel=0.03)


def test_a_learned_slope_is_the_one_that_theory_uses() -> None:
    net = dense(nn.PReLU, 1.0)
    for module in net:
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, 0.8)
    shown = probe(net, (torch.randn(512, 512), torch.randn(512, 512)), total)
    assert shown.expected_backward_gain == pytest.approx(math.sqrt((1 + 0.8**2) / 2), rel=0.01)
    assert shown.backward_gain == pytest.approx(shown.expected_backward_gain, rel=0.03)


def dense(activation: type[nn.Module], sigma_w: float) -> nn.Sequential:
    """30 layers of width 512 with weights of variance σ_w²/512."""
    layers = [nn.Linear(512, 512, bias=False) for _ in range(30)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=sigma_w / math.sqrt(512))
    return nn.Sequential(*(module for layer in layers for module in (layer, activation())))


def total(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Its gradient is the targets: independent of z, as theory has it."""
    return (outputs * targets).sum()
