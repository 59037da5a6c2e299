"""Residual blocks: what each computes, written out; which start as the identity; how the gradient passes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isometry import initialize
from isometry.build import switch
from isometry.layers.blocks import FixupBlock, PreactivationBlock, ResidualBlock
from isometry.models.resnet import ResNet


def block(kind: type[nn.Module], norm: str = "none", activation: str = "relu", **options: Any) -> Any:
    options = {"shortcut": "identity", **options}
    made = kind(4, options.pop("out", 4), switch("norm", norm), switch("activation", activation), 1, **options)
    initialize(made, "he_normal", activation=activation, seed=0)
    return made


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


X = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))


def test_residual_block_is_the_formula() -> None:
    own = block(ResidualBlock)
    assert torch.equal(own(X), (conv(own.conv2, conv(own.conv1, X).relu()) + X).relu())


def test_preactivation_block_is_the_formula() -> None:
    own = block(PreactivationBlock, "batch")

    def norm(x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, training=True)

    expected = X + conv(own.conv2, norm(conv(own.conv1, norm(X).relu())).relu())
    torch.testing.assert_close(own(X), expected)


def test_fixup_block_is_the_formula() -> None:
    own = block(FixupBlock, num_blocks=9)
    for parameter in (own.conv2.weight, own.scalar_biases, own.scalar_scale):
        nn.init.normal_(parameter)
    b1, b2, b3, b4 = own.scalar_biases
    branch = conv(own.conv2, (conv(own.conv1, X + b1) + b2).relu() + b3) * own.scalar_scale + b4
    assert torch.equal(own(X), (branch + X).relu())


def test_the_shortcut_none_leaves_the_branch_alone() -> None:
    own = block(ResidualBlock, shortcut="none")
    assert torch.equal(own(X), conv(own.conv2, conv(own.conv1, X).relu()).relu())


def test_option_b_projects_where_the_shape_changes_and_there_alone() -> None:
    same, wider = block(ResidualBlock, shortcut="projection"), block(ResidualBlock, shortcut="projection", out=6)
    assert not list(same.shortcut.parameters())
    nn.init.zeros_(wider.conv2.weight)
    assert torch.equal(wider(X), conv(wider.shortcut[0], X).relu())


@pytest.mark.parametrize(
    ("kind", "norm", "options"),
    [
        (ResidualBlock, "batch", {"zero_gamma": True}),
        (ResidualBlock, "rms", {"zero_gamma": True}),
        (ResidualBlock, "none", {"rezero": True}),
        (ResidualBlock, "batch", {"rezero": True}),
        (PreactivationBlock, "batch", {"rezero": True}),
        (FixupBlock, "none", {"num_blocks": 9}),
    ],
)
def test_these_start_as_the_identity(kind: type[nn.Module], norm: str, options: dict[str, Any]) -> None:
    """On what a ReLU lets through; and the gradient comes back over the shortcut as it went in."""
    own, x = block(kind, norm, **options), X.relu().requires_grad_()
    out = own(x)
    assert torch.equal(out, x)
    upstream = torch.randn_like(X)
    (gradient,) = torch.autograd.grad(out, x, upstream)
    passed = upstream if kind is PreactivationBlock else upstream * (x > 0)
    assert torch.equal(gradient, passed)


def test_a_plain_residual_block_does_not_start_as_the_identity() -> None:
    assert not torch.allclose(block(ResidualBlock, "batch")(X.relu()), X.relu(), atol=0.1)


def test_the_preactivated_rezero_block_is_the_identity_for_any_activation() -> None:
    assert torch.equal(block(PreactivationBlock, "layer", "tanh", rezero=True)(X), X)


@pytest.mark.parametrize("kind", [ResidualBlock, PreactivationBlock])
def test_rezero_learns_its_factor_first_and_then_the_branch(kind: type[nn.Module]) -> None:
    own = block(kind, rezero=True)
    own(X).square().sum().backward()
    assert own.alpha.grad.abs() > 0
    assert not own.conv1.weight.grad.any()
    nn.init.constant_(own.alpha, 0.1)
    own(X).square().sum().backward()
    assert own.conv1.weight.grad.any()


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_fixup_scales_by_the_number_of_blocks_and_silences_branch_ends_and_head(depth: int) -> None:
    """Zhang 2019: L^(-1/(2m-2)) with m = 2 layers a branch; L = (depth-2)/2 blocks."""
    relu, none = switch("activation", "relu"), switch("norm", "none")
    options = {"width": 16, "shortcut": "identity", "preactivation": False, "zero_gamma": False, "residual": "fixup"}
    net = ResNet((1, 8, 8), 10, none, relu, depth=depth, **options)
    records = {record.parameter: record for record in initialize(net, "he_normal", seed=0)}
    blocks = (depth - 2) // 2
    conv1, conv2 = records["trunk.0.conv1.weight"], records["trunk.0.conv2.weight"]
    assert conv1.std == pytest.approx((2 / 144) ** 0.5 / blocks**0.5, rel=0.05)
    assert "Fixup" in conv1.scheme
    assert (conv2.std, conv2.scheme) == (0, "zero (Fixup)")
    assert not net.head.weight.any()
    assert net(torch.randn(2, 1, 8, 8)).abs().max() == 0


def test_zero_gamma_needs_a_gamma_and_fixup_no_norm() -> None:
    with pytest.raises(ValueError, match="zero_gamma needs a norm with a weight, got Identity"):
        block(ResidualBlock, zero_gamma=True)
    with pytest.raises(ValueError, match="fixup replaces the norm"):
        block(FixupBlock, "batch", num_blocks=3)


@pytest.mark.slow
def test_resnet_1202_builds_and_steps() -> None:
    """19.4M parameters (He 2016, table 6); one step of two images."""
    relu, batch = switch("activation", "relu"), switch("norm", "batch")
    options = {"shortcut": "identity", "preactivation": False, "zero_gamma": False, "residual": "standard"}
    net = ResNet((3, 32, 32), 10, batch, relu, depth=1202, width=16, **options)
    initialize(net, "he_normal", seed=0)
    assert f"{sum(p.numel() for p in net.parameters()) / 1e6:.1f}" == "19.4"
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    loss = F.cross_entropy(net(torch.randn(2, 3, 32, 32)), torch.tensor([0, 1]))
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert all(p.isfinite().all() for p in net.parameters())
