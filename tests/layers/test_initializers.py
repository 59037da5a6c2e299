"""Initialisers against their closed forms: fans, moments, bounds, orthogonality, gates; and seeds by name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from isometry import initialize
from isometry.build import switch
from isometry.catalog import SWITCHES
from isometry.layers import initializers
from isometry.layers.assignment import fans, initialize_parameters

SQRT2 = math.sqrt(2)


@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"),
    [((7, 5), 5, 7), ((8, 3, 3, 3), 27, 72), ((6, 4, 1, 1), 4, 6), ((2, 3, 5), 15, 10), ((4, 2, 1, 2, 3), 12, 24)],
)
def test_fans_count_the_receptive_field(shape: tuple[int, ...], fan_in: int, fan_out: int) -> None:
    assert fans(torch.empty(shape)) == (fan_in, fan_out)


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        (nn.Conv2d(8, 12, 3, groups=4), 18, 27),  # 2 inputs and 3 outputs a group, 9 pixels
        (nn.ConvTranspose2d(8, 12, 3), 72, 108),
        (nn.ConvTranspose2d(8, 12, 3, groups=4), 18, 27),
    ],
)
def test_fans_of_grouped_and_transposed_convolutions(layer: nn.Module, fan_in: float, fan_out: float) -> None:
    record = initialize(layer, "xavier_normal", seed=0)[0]
    assert (record.fan_in, record.fan_out) == (fan_in, fan_out)


def expected_std(name: str, fan_in: int, fan_out: int) -> float:
    wanted = {
        "lecun": 1 / math.sqrt(fan_in),
        "xavier": math.sqrt(2 / (fan_in + fan_out)),
        "he": SQRT2 / math.sqrt(fan_in),
    }
    return wanted[name.partition("_")[0]]


@pytest.mark.parametrize("name", ["lecun_normal", "xavier_uniform", "xavier_normal", "he_uniform", "he_normal"])
@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [(nn.Linear(400, 300), 400, 300), (nn.Conv2d(32, 64, 3), 288, 576), (nn.Conv1d(60, 30, 5), 300, 150)],
    ids=["linear", "conv2d", "conv1d"],
)
def test_variance_scaling_has_the_moments_of_its_formula(
    name: str, layer: nn.Linear | nn.Conv1d | nn.Conv2d, fan_in: int, fan_out: int
) -> None:
    record = initialize(layer, name, activation="relu", seed=3)[0]
    assert record.std_wanted == pytest.approx(expected_std(name, fan_in, fan_out))
    weight, std, count = layer.weight.detach(), expected_std(name, fan_in, fan_out), layer.weight.numel()
    assert abs(weight.mean()) < 4 * std / math.sqrt(count)
    assert weight.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * count))
    if name.endswith("uniform"):
        assert weight.abs().max() <= math.sqrt(3) * std
        assert weight.abs().max() > 0.99 * math.sqrt(3) * std
    else:
        kurtosis = (weight / weight.std()).pow(4).mean().item()
        assert kurtosis == pytest.approx(3, abs=0.15)  # 1.8 for a uniform
    assert layer.bias is not None
    assert not layer.bias.any()


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_gain_multiplies_the_standard_deviation(gain: float) -> None:
    weights = []
    for value in (None, gain):
        layer = nn.Linear(50, 50)
        initialize_parameters(layer, initializers.xavier_normal(value, None), gain=9.9, seed=0)
        weights.append(layer.weight.detach())
    torch.testing.assert_close(weights[1], gain * weights[0])


@pytest.mark.parametrize(("fan", "connections"), [("in", 288), ("out", 576), ("average", 432), (None, 288)])
def test_fan_chooses_the_connections_that_count(fan: str | None, connections: int) -> None:
    layer = nn.Conv2d(32, 64, 3)
    record = initialize_parameters(layer, initializers.he_normal(None, fan), gain=SQRT2, seed=0)[0]
    assert record.std_wanted == pytest.approx(SQRT2 / math.sqrt(connections))
    assert record.std == pytest.approx(record.std_wanted, rel=0.03)


@pytest.mark.parametrize("shape", [(40, 40), (30, 50), (50, 30)])
def test_orthogonal_keeps_lengths(shape: tuple[int, int]) -> None:
    layer = nn.Linear(shape[1], shape[0])
    initialize(layer, "orthogonal", activation="relu", seed=1)
    values = torch.linalg.svdvals(layer.weight.detach())
    torch.testing.assert_close(values, torch.full_like(values, SQRT2), atol=1e-5, rtol=0)


def test_orthogonal_convolution_is_orthogonal_as_a_matrix() -> None:
    layer = nn.Conv2d(4, 8, 3)
    initialize(layer, "orthogonal", activation="identity", seed=1)
    rows = layer.weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [(6, 6), (4, 9)])
def test_delta_orthogonal_convolutions_keep_every_length(channels: tuple[int, int]) -> None:
    """Of a whole picture, at circular padding (with zeros a pixel at the edge is as good: the kernel is one pixel)."""
    layer = nn.Conv2d(*channels, 3, padding=1, padding_mode="circular")
    initialize(layer, "delta_orthogonal", activation="relu", seed=0)
    x = torch.randn(3, channels[0], 5, 5)
    torch.testing.assert_close(layer(x).flatten(1).norm(dim=1), SQRT2 * x.flatten(1).norm(dim=1))
    off_middle = layer.weight.detach().clone()
    off_middle[:, :, 1, 1] = 0
    assert not off_middle.any()


@pytest.mark.parametrize("name", ["dirac", "delta_orthogonal"])
@pytest.mark.parametrize("groups", [2, 8])
def test_each_group_of_a_convolution_is_a_layer_of_its_own(name: str, groups: int) -> None:
    """Depthwise ones too: every channel keeps its length, where one identity over all of them would silence most."""
    x = torch.randn(3, 8, 5, 5)
    for kind in (nn.Conv2d, nn.ConvTranspose2d):
        layer = kind(8, 8, 3, padding=1, groups=groups)
        initialize(layer, name, activation="identity", seed=0)
        torch.testing.assert_close(layer(x).flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
        by_group = layer(x).unflatten(1, (groups, -1)).flatten(2).norm(dim=2)
        torch.testing.assert_close(by_group, x.unflatten(1, (groups, -1)).flatten(2).norm(dim=2))


def test_orthogonal_convolutions_do_not_keep_every_length() -> None:
    layer = nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular")
    initialize(layer, "orthogonal", activation="identity", seed=0)
    x = torch.randn(3, 6, 5, 5)
    assert not torch.allclose(layer(x).flatten(1).norm(dim=1), x.flatten(1).norm(dim=1), rtol=0.02)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_dirac_is_the_identity(kernel: int) -> None:
    layer = nn.Conv2d(4, 4, kernel, padding=kernel // 2)
    dense = nn.Linear(4, 6)
    for each in (layer, dense):
        initialize(each, "dirac", seed=0)
    x = torch.randn(2, 4, 7, 7)
    assert torch.equal(layer(x), x)
    assert torch.equal(dense(x[:, :, 0, 0]), torch.cat([x[:, :, 0, 0], torch.zeros(2, 2)], dim=1))


@pytest.mark.parametrize(
    ("name", "std", "mean"),
    [("zeros", 0.0, 0.0), ("constant", 0.0, 0.01), ("small_normal", 0.01, 0.0), ("large_normal", 1.0, 0.0)],
)
@pytest.mark.parametrize("layer", [nn.Linear(300, 200), nn.Conv2d(20, 30, 3), nn.LSTM(60, 50), nn.GRUCell(60, 50)])
def test_the_breaking_ones_are_the_same_whatever_the_fan(name: str, std: float, mean: float, layer: nn.Module) -> None:
    for record in initialize(layer, name, seed=0):
        if "weight" in record.parameter:
            assert record.std_wanted == std
            assert record.std == pytest.approx(std, rel=0.05, abs=1e-9)
    for own, weight in layer.named_parameters():
        if "weight" in own:
            assert weight.mean().item() == pytest.approx(mean, abs=max(4 * std / math.sqrt(weight.numel()), 1e-8))


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (12, 7, 3, 3), (7, 12, 1, 1)])
@pytest.mark.parametrize("name", ["orthogonal", "delta_orthogonal", "dirac"])
def test_the_exact_ones_come_out_as_they_say(name: str, shape: tuple[int, ...]) -> None:
    """RMS for the orthogonal ones, whose mean is not exactly 0."""
    layer = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2])
    record = initialize(layer, name, activation="relu", seed=0)[0]
    weight = layer.weight.detach()
    spread = weight.std(correction=0) if name == "dirac" else weight.square().mean().sqrt()
    assert record.std_wanted == pytest.approx(float(spread), rel=1e-5)


def test_lsuv_gives_every_layer_unit_variance_on_its_batch() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.BatchNorm2d(16),
        nn.Flatten(), nn.Linear(16 * 16, 30), nn.Sigmoid(), nn.Linear(30, 5),
    )  # fmt: skip
    inputs, variances = torch.rand(50, 2, 6, 6) * 9, []
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    state = torch.get_rng_state()
    initialize(net, "lsuv", seed=0, inputs=inputs)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(buffers[name], buffer) for name, buffer in net.named_buffers())
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda _module, _inputs, z: variances.append(z.var(correction=0).item()))
    net(inputs)
    assert variances == pytest.approx([1.0] * 4, abs=1e-3)  # the paper stops at 0.1
    variances.clear()
    initialize(net, "orthogonal", seed=0)
    net(inputs)
    assert max(abs(variance - 1) for variance in variances) > 0.5  # what it had to do


def test_lsuv_scales_a_tied_weight_once() -> None:
    net = nn.Sequential(nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 5))
    net[2].weight = net[0].weight
    variances: list[float] = []
    inputs = torch.randn(100, 20) * 4
    initialize(net, "lsuv", seed=0, inputs=inputs)
    for layer in (net[0], net[4]):
        layer.register_forward_hook(lambda _module, _inputs, z: variances.append(z.var(correction=0).item()))
    net(inputs)
    assert variances == pytest.approx([1.0, 1.0], abs=1e-3)


def test_lsuv_needs_a_batch_that_varies() -> None:
    with pytest.raises(ValueError, match="batch of real inputs: none was given"):
        initialize(nn.Linear(4, 3), "lsuv")
    with pytest.raises(ValueError, match="variance of layer 0 is 0 on this batch"):
        initialize(nn.Sequential(nn.Linear(4, 3)), "lsuv", inputs=torch.zeros(5, 4))


def test_a_relu_rnn_starts_with_the_identity_over_time() -> None:
    for layer in (nn.RNN(5, 6, nonlinearity="relu"), nn.RNNCell(5, 6, nonlinearity="relu")):
        initialize(layer, "he_normal", seed=0)
        hidden = {name: value for name, value in layer.named_parameters() if "weight_hh" in name}
        assert all(torch.equal(value, torch.eye(6)) for value in hidden.values())
    initialize(layer, "large_normal", seed=0)
    assert not torch.equal(layer.weight_hh, torch.eye(6))


def test_pytorch_default_is_torchs_own() -> None:
    layer = nn.Linear(100, 80)
    initialize(layer, "pytorch_default", seed=0)
    for values in (layer.weight, layer.bias):
        assert values.abs().max() <= 0.1  # U(±1/√fan_in)
        assert values.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_are_filled_gate_by_gate(cell: type[nn.RNNBase], gates: int) -> None:
    layer = cell(60, 40)
    initialize(layer, "xavier_normal", seed=0)
    wanted = math.sqrt(2 / (60 + 40))  # the whole stacked matrix would give √(2/(60 + gates·40))
    for block in _tensor(layer.weight_ih_l0).split(40):
        assert block.std().item() == pytest.approx(wanted, rel=4 / math.sqrt(2 * 2400))
    for block in _tensor(layer.weight_hh_l0).split(40):
        torch.testing.assert_close(block @ block.T, torch.eye(40), atol=1e-5, rtol=0)
    bias = _tensor(layer.bias_ih_l0) + _tensor(layer.bias_hh_l0)  # what torch adds
    expected = torch.zeros(gates * 40)
    if cell is nn.LSTM:
        expected[40:80] = 1.0  # the forget gate, once and not twice
    assert torch.equal(bias, expected)


def test_a_layer_draws_from_its_name_whatever_its_neighbours_are() -> None:
    small = nn.ModuleDict({"a": nn.Linear(5, 5)})
    large = nn.ModuleDict({"z": nn.Linear(9, 9), "a": nn.Linear(5, 5)})
    for model in (small, large):
        initialize(model, "he_normal", seed=7)
    assert torch.equal(_tensor(small["a"].weight), _tensor(large["a"].weight))
    initialize(large, "he_normal", seed=8)
    assert not torch.equal(_tensor(small["a"].weight), _tensor(large["a"].weight))


def test_norms_start_as_the_identity_and_the_global_generator_is_untouched() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4))
    for parameter in model[1:].parameters():
        nn.init.normal_(parameter)
    before = torch.get_rng_state()
    initialize(model, "orthogonal", seed=0)
    assert torch.equal(before, torch.get_rng_state())
    for norm in model[1:]:
        assert torch.equal(_tensor(norm.weight), torch.ones(4))
        assert torch.equal(_tensor(norm.bias), torch.zeros(4))


def test_the_table_says_what_each_parameter_got() -> None:
    records = initialize(nn.Sequential(nn.Conv2d(3, 8, 3)), "he_normal", activation="relu", seed=0)
    weight, bias = records
    assert (weight.parameter, weight.fan_in, weight.fan_out) == ("0.weight", 27, 72)
    assert weight.gain == pytest.approx(SQRT2)
    assert weight.std == pytest.approx(SQRT2 / math.sqrt(27), rel=0.15)
    assert (bias.parameter, bias.std) == ("0.bias", 0)


def test_a_callable_of_the_users_is_accepted_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lab.py").write_text(
        "def mine(tensor, fan_in, fan_out, gain, generator):\n    tensor.fill_(fan_in + fan_out + gain)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    layer = nn.Linear(3, 2)
    initialize(layer, "my_lab:mine", activation="tanh")
    assert torch.equal(layer.weight, torch.full((2, 3), 6.0))


@pytest.mark.parametrize(
    ("init", "activation", "factor"),
    [
        ("pytorch_default", "relu", 1 / math.sqrt(6)),
        ("lecun_normal", "relu", 1 / SQRT2),
        ("xavier_normal", "relu", 1 / SQRT2),
        ("xavier_uniform", "relu", 1 / SQRT2),
        ("he_normal", "relu", 1.0),
        ("he_uniform", "relu", 1.0),
        ("orthogonal", "relu", 1.0),
        ("delta_orthogonal", "relu", 1.0),
        ("he_normal", "leaky_relu", 1.0),
        ("he_normal", "prelu", 1.0),
        ("xavier_normal", "sigmoid", 0.236),
        ("pytorch_default", "tanh", 1 / math.sqrt(3)),
        ("small_normal", "relu", 0.01 * math.sqrt(512 / 2)),
        ("large_normal", "relu", math.sqrt(512 / 2)),
        ("orthogonal", "identity", 1.0),
    ],
)
def test_the_gradient_falls_by_theorys_factor_a_layer(init: str, activation: str, factor: float) -> None:
    """30 dense layers, width 512, no biases: ∂L/∂z within 3 % of √χ; a piecewise linear net's activations as well."""
    backward, forward = _factors(init, activation)
    assert backward == pytest.approx(factor, rel=0.03)
    if activation in ("identity", "relu", "leaky_relu", "prelu"):  # homogeneous: what is lost down is lost up
        assert forward == pytest.approx(factor, rel=0.03)


def test_lsuv_keeps_activations_and_what_comes_of_gradients() -> None:
    """At unit variance a ReLU layer's σ_w is √2: as He, by data."""
    backward, forward = _factors("lsuv", "relu")
    assert forward == pytest.approx(1.0, abs=0.01)
    assert backward == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("init", ["zeros", "constant"])
def test_equal_weights_give_every_unit_one_gradient(init: str) -> None:
    layers = [nn.Linear(20, 20, bias=False) for _ in range(3)]
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    initialize(net, init, seed=0)
    net(torch.rand(8, 20)).sum().backward()
    gradient = layers[1].weight.grad
    assert gradient is not None
    assert torch.allclose(gradient, gradient[:1].expand_as(gradient))  # no unit ever differs from another
    assert (init == "zeros") == (not gradient.any())


def _factors(init: str, activation: str) -> tuple[float, float]:
    """Geometric mean over 30 layers: RMS(∂L/∂z) of a layer over that of the layer above; of z the other way round."""
    layers = [nn.Linear(512, 512, bias=False) for _ in range(30)]
    make = switch("activation", activation)
    net = nn.Sequential(*(module for layer in layers for module in (layer, make())))
    inputs = torch.randn(64, 512)
    initialize(net, init, activation=activation, seed=0, inputs=inputs)
    outputs: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda _module, _inputs, z: outputs.append(z) or z.retain_grad())
    net(inputs).backward(torch.randn(64, 512))
    return _slope([z.grad for z in reversed(outputs) if z.grad is not None]), _slope(outputs)


def _slope(tensors: list[Tensor]) -> float:
    sizes = [float(each.detach().double().square().mean().sqrt()) for each in tensors]
    return float((sizes[-1] / sizes[0]) ** (1 / (len(sizes) - 1)))


@pytest.mark.parametrize("name", [name for name in SWITCHES["init"] if name not in ("lsuv", "zeros")])
def test_every_scheme_fills_a_parametrised_weight_through_its_parametrisation(name: str) -> None:
    plain, normed = nn.Linear(6, 5), weight_norm(nn.Linear(6, 5))
    for layer in (plain, normed):
        initialize(layer, name, seed=0)
    torch.testing.assert_close(normed.weight, plain.weight)


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value.detach()
