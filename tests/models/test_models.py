"""Models: parameter counts of the papers, the forms of their blocks, and whether each can learn one batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isometry import initialize
from isometry.build import switch
from isometry.models.deep_cnn import DeepCNN
from isometry.models.lstm import RecurrentNet
from isometry.models.mlp import MLP
from isometry.models.resnet import ResNet

RESIDUAL: dict[str, Any] = {
    "depth": 8,
    "width": 8,
    "shortcut": "identity",
    "preactivation": False,
    "zero_gamma": False,
    "residual": "standard",
}
RECURRENT: dict[str, Any] = {
    "cell": "lstm",
    "layers": 1,
    "hidden_size": 16,
    "sequence": "rows",
    "forget_bias": None,
    "chrono": False,
    "cell_norm": "none",
}
SMALL: dict[str, tuple[Any, dict[str, Any]]] = {
    "deep_cnn": (DeepCNN, {"depth": 5, "width": 8}),
    "resnet": (ResNet, RESIDUAL),
    "plain": (ResNet, RESIDUAL | {"shortcut": "none"}),
    "lstm": (RecurrentNet, RECURRENT | {"layers": 2}),
    "gru": (RecurrentNet, RECURRENT | {"cell": "gru"}),
    "rnn": (RecurrentNet, RECURRENT | {"cell": "rnn"}),
    "mlp": (MLP, {"depth": 3, "width": 16}),
}


def build(
    name: str, init: str = "he_normal", norm: str = "batch", activation: str = "relu", **change: Any
) -> nn.Module:
    model, options = SMALL[name]
    net: nn.Module = model(
        (1, 12, 12), 4, switch("norm", norm), switch("activation", activation), **{**options, **change}
    )
    initialize(net, init, activation=activation, seed=1)
    return net


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")])
def test_resnets_have_the_papers_parameter_counts(depth: int, millions: str) -> None:
    norm, relu = switch("norm", "batch"), switch("activation", "relu")
    count = num_parameters(ResNet((3, 32, 32), 10, norm, relu, **RESIDUAL | {"depth": depth, "width": 16}))
    digits = len(millions.partition(".")[2])
    assert f"{count / 1e6:.{digits}f}" == millions


def test_the_plain_twin_has_the_same_parameters_and_another_output() -> None:
    residual, plain = build("resnet"), build("plain")
    assert num_parameters(residual) == num_parameters(plain)
    x = torch.randn(3, 1, 12, 12)
    assert not torch.allclose(residual(x), plain(x))


def test_option_a_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros() -> None:
    from isometry.layers.blocks import ResidualBlock

    block = ResidualBlock(4, 8, switch("norm", "none"), switch("activation", "identity"), 2, shortcut="identity")
    for parameter in block.parameters():
        nn.init.zeros_(parameter)  # the branch is silent: only the shortcut speaks
    x = torch.randn(2, 4, 6, 6)
    out = block(x)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 6:].any()


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 20, 100])
def test_deep_cnn_has_depth_convolutions_in_three_stages(depth: int) -> None:
    net = build("deep_cnn", depth=depth, norm="none")
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == depth
    if depth >= 3:
        assert sorted({conv.out_channels for conv in convolutions}) == [8, 16, 32]
        assert sum(conv.stride == (2, 2) for conv in convolutions) == 3


def test_deep_cnn_of_several_hundred_layers_runs() -> None:
    net = build("deep_cnn", depth=300, width=2)
    assert net(torch.randn(2, 1, 12, 12)).isfinite().all()


def test_lstm_reads_rows_in_order_and_channels_side_by_side() -> None:
    seen: list[torch.Tensor] = []
    norm, relu = switch("norm", "none"), switch("activation", "relu")
    net = RecurrentNet((3, 5, 7), 4, norm, relu, **RECURRENT)
    net.encoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, 5, 7)
    net(images)
    assert seen[0].shape == (2, 5, 21)
    assert torch.equal(seen[0][1, 4], torch.cat([images[1, channel, 4] for channel in range(3)]))


@pytest.mark.parametrize(("sequence", "steps", "features"), [("rows", 5, 21), ("pixels", 35, 3)])
def test_an_image_is_read_as_a_sequence(sequence: str, steps: int, features: int) -> None:
    images = torch.randn(2, 3, 5, 7)
    read = recurrent((3, 5, 7), sequence=sequence)._sequence(images)
    assert read.shape == (2, steps, features)
    if sequence == "pixels":
        assert torch.equal(read[1, 9], images[1, :, 1, 2])  # the tenth pixel: row 1, column 2


def test_permuted_pixels_are_the_pixels_in_one_order_that_travels_in_the_state() -> None:
    images = torch.randn(2, 1, 6, 6)
    net, again = (recurrent((1, 6, 6), sequence="permuted_pixels") for _ in range(2))
    read = net._sequence(images)
    assert torch.equal(read, again._sequence(images))
    assert torch.equal(read[:, :, 0].sort(dim=1).values, images.flatten(1).sort(dim=1).values)
    assert not torch.equal(read[:, :, 0], images.flatten(1))
    assert "order" in net.state_dict()


@pytest.mark.parametrize("cell_norm", ["none", "layer"])
@pytest.mark.parametrize(("forget_bias", "share"), [(0.0, 0.5), (1.0, 0.731), (3.0, 0.953)])
def test_forget_bias_is_what_the_forget_gate_starts_with(forget_bias: float, share: float, cell_norm: str) -> None:
    """torch adds two biases: their sum counts; σ of it is what a cell keeps in a step."""
    net = recurrent((1, 12, 12), forget_bias=forget_bias, cell_norm=cell_norm)
    for init in ("he_normal", "pytorch_default"):
        initialize(net, init, seed=0)
        assert gate_bias(net, 1).sigmoid() == pytest.approx([share] * 16, abs=1e-3)
        others = gate_bias(net, 0).any() | gate_bias(net, 2).any() | gate_bias(net, 3).any()
        assert bool(others) == (init == "pytorch_default")


def test_without_a_forget_bias_the_init_decides_and_torchs_own_start_is_torchs() -> None:
    net = recurrent((1, 12, 12))
    initialize(net, "xavier_normal", seed=0)
    assert torch.equal(gate_bias(net, 1), torch.ones(16))
    initialize(net, "pytorch_default", seed=0)
    assert 0 < gate_bias(net, 1).abs().max() <= 2 / 16**0.5  # the sum of two draws of U(±1/√hidden)


@pytest.mark.parametrize("cell_norm", ["none", "layer"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chrono_draws_memories_from_one_step_to_the_whole_sequence(cell: str, cell_norm: str) -> None:
    """Tallec & Ollivier 2018: b_f = log U(1, T-1), b_i = -b_f. A gate at σ(log τ) forgets within 1 + τ steps."""
    net = recurrent((1, 20, 20), cell=cell, chrono=True, sequence="pixels", hidden_size=2000, cell_norm=cell_norm)
    initialize(net, "he_normal", seed=0)
    times = gate_bias(net, 1).exp()
    assert times.min() >= 1
    assert times.max() <= 399 * (1 + 1e-5)
    assert times.mean() == pytest.approx(200, rel=0.05)  # uniform over 1 … 399
    assert times.std() == pytest.approx(398 / 12**0.5, rel=0.05)
    if cell == "lstm":
        assert torch.equal(gate_bias(net, 0), -gate_bias(net, 1))
    else:
        assert not gate_bias(net, 0).any()


def test_irnn_starts_with_the_identity_and_keeps_what_it_has_read() -> None:
    """Le 2015: on a sequence of zeros after the first step the state stays as it is."""
    net = recurrent((1, 9, 4), cell="irnn")
    initialize(net, "he_normal", seed=0)
    layer = net.recurrences[0]
    inputs = torch.zeros(2, 9, 16)
    inputs[:, 0] = torch.randn(2, 16)
    states = layer(inputs)[0]
    assert torch.equal(states[:, 0], states[:, -1])
    assert states.any()


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group", "rms"])
@pytest.mark.parametrize("activation", ["relu", "prelu", "silu"])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_recurrent_nets_run_in_bf16_after_every_norm(name: str, norm: str, activation: str) -> None:
    """A CPU's LSTM refuses float32 inputs under autocast, and some norms answer in float32."""
    net = build(name, norm=norm, activation=activation)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(torch.randn(6, 1, 12, 12))
    logits.float().sum().backward()
    assert logits.isfinite().all()


def recurrent(image_shape: tuple[int, int, int], **options: Any) -> RecurrentNet:
    return RecurrentNet(image_shape, 4, switch("norm", "none"), switch("activation", "relu"), **RECURRENT | options)


def gate_bias(net: RecurrentNet, gate: int) -> torch.Tensor:
    """What torch adds to a gate of the first layer, float `[H]`."""
    parameters = dict(net.recurrences[0].named_parameters())
    biases = [value for name, value in parameters.items() if name.rpartition(".")[2].startswith("bias_")]
    size = net.head.in_features
    return sum(bias.detach() for bias in biases)[gate * size : (gate + 1) * size]


@pytest.mark.parametrize(
    "options",
    [
        {"shortcut": "projection"},
        {"preactivation": True},
        {"zero_gamma": True},
        {"residual": "rezero"},
        {"residual": "fixup"},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_each_residual_form_learns_one_batch_by_heart(options: dict[str, Any]) -> None:
    learns_one_batch_by_heart("resnet", norm="none" if "fixup" in options.values() else "batch", **options)


@pytest.mark.parametrize(
    "options", [{"cell_norm": "layer"}, {"cell": "irnn"}, {"sequence": "permuted_pixels", "chrono": True}], ids=str
)
def test_each_recurrent_form_learns_one_batch_by_heart(options: dict[str, Any]) -> None:
    learns_one_batch_by_heart("lstm", **options)


@pytest.mark.parametrize("name", list(SMALL))
def test_each_model_learns_one_batch_by_heart(name: str) -> None:
    learns_one_batch_by_heart(name)


def learns_one_batch_by_heart(name: str, norm: str = "batch", **options: Any) -> None:
    images, labels = torch.randn(16, 1, 12, 12), torch.arange(16) % 4
    net = build(name, norm=norm, **options)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    with torch.no_grad():
        assert (net(images).argmax(dim=1) == labels).all()


def test_a_wrong_depth_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"6n\+2 .* got depth=21"):
        build("resnet", depth=21)
