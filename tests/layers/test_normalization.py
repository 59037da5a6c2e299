"""Norms against torch's own and against the formula written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isometry.diagnostics.layers import weight_layers
from isometry.layers.normalization import BatchNorm, batch_norm, group_norm, layer_norm, no_norm, rms_norm

SHAPES = [(6, 8), (6, 8, 5), (6, 8, 4, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_equals_torchs_for_every_number_of_axes(shape: tuple[int, ...]) -> None:
    reference = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](8)
    ours, x = batch_norm()(8), torch.randn(shape)
    assert torch.equal(ours(x), reference(x))
    assert torch.equal(ours.eval()(x), reference.eval()(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm_equals_the_formula(shape: tuple[int, ...]) -> None:
    x, axes = torch.randn(shape) * 3 + 1, tuple(range(1, len(shape)))
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
    torch.testing.assert_close(layer_norm()(8)(x), (x - mean) / (variance + 1e-5).sqrt())


def test_layer_norm_of_features_equals_torchs() -> None:
    x = torch.randn(5, 8)
    torch.testing.assert_close(layer_norm()(8)(x), nn.LayerNorm(8)(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_group_norm_equals_layer_norm_of_each_group(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    parts = [layer_norm()(2)(part) for part in x.split(2, dim=1)]
    torch.testing.assert_close(group_norm(4)(8)(x), torch.cat(parts, dim=1))


def test_group_norm_refuses_groups_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="3 groups, 8 channels"):
        group_norm(3)(8)


def test_batch_norm_refuses_a_vector() -> None:
    with pytest.raises(ValueError, match=r"\[B, C, \.\.\.\]"):
        BatchNorm(4)(torch.randn(4))


@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm_equals_the_formula(shape: tuple[int, ...]) -> None:
    x, axes, norm = torch.randn(shape) * 3 + 1, tuple(range(1, len(shape))), rms_norm()(8)
    nn.init.normal_(norm.weight)  # type: ignore[arg-type]
    weight = norm.weight.view(1, 8, *[1] * (len(shape) - 2))  # type: ignore[union-attr, operator]
    torch.testing.assert_close(norm(x), x / (x.square().mean(axes, keepdim=True) + 1e-5).sqrt() * weight)


def test_rms_norm_of_features_equals_torchs() -> None:
    x = torch.randn(5, 8)
    torch.testing.assert_close(rms_norm()(8)(x), nn.RMSNorm(8, eps=1e-5)(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm_ignores_the_size_of_a_sample_but_not_its_mean(shape: tuple[int, ...]) -> None:
    x, norm = torch.randn(shape), rms_norm()(8)
    factors = torch.logspace(0, 4, len(x)).view(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(norm(factors * x), norm(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(norm(x + 1), norm(x), atol=0.1)
    torch.testing.assert_close(layer_norm()(8)(x + 1), layer_norm()(8)(x), rtol=1e-4, atol=1e-4)


def test_rms_norm_survives_zeros_and_keeps_its_gradient_finite() -> None:
    x = torch.zeros(2, 8, requires_grad=True)
    rms_norm()(8)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_rms_norm_has_one_weight_a_channel_no_bias_and_is_no_weight_layer() -> None:
    norm = rms_norm()(8)
    assert {name: tuple(parameter.shape) for name, parameter in norm.named_parameters()} == {"weight": (8,)}
    assert not rms_norm().replaces_bias
    assert [name for name, _ in weight_layers(nn.Sequential(nn.Linear(4, 8), norm, nn.Conv1d(8, 8, 1)))] == ["0", "2"]


def test_none_is_the_identity_and_leaves_biases_to_the_layers() -> None:
    x = torch.randn(3, 4)
    assert no_norm()(4)(x) is x
    assert not no_norm().replaces_bias
    assert batch_norm().replaces_bias
