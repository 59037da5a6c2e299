"""Norms against torch's own and against the formula written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isometry.layers.normalization import BatchNorm, batch_norm, group_norm, layer_norm, no_norm

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


def test_none_is_the_identity_and_leaves_biases_to_the_layers() -> None:
    x = torch.randn(3, 4)
    assert no_norm()(4)(x) is x
    assert not no_norm().replaces_bias
    assert batch_norm().replaces_bias
