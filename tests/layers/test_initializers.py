"""Initialisers against their closed forms: fans, moments, bounds, orthogonality, gates; and seeds by name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from isometry import initialize
from isometry.layers.initializers import fans

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
    return {"xavier": math.sqrt(2 / (fan_in + fan_out)), "he": SQRT2 / math.sqrt(fan_in)}[name.partition("_")[0]]


@pytest.mark.parametrize("name", ["xavier_uniform", "xavier_normal", "he_uniform", "he_normal"])
@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [(nn.Linear(400, 300), 400, 300), (nn.Conv2d(32, 64, 3), 288, 576), (nn.Conv1d(60, 30, 5), 300, 150)],
    ids=["linear", "conv2d", "conv1d"],
)
def test_variance_scaling_has_the_moments_of_its_formula(
    name: str, layer: nn.Linear | nn.Conv1d | nn.Conv2d, fan_in: int, fan_out: int
) -> None:
    initialize(layer, name, activation="relu", seed=3)
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
    from isometry.layers import initializers

    weights = []
    for value in (None, gain):
        layer = nn.Linear(50, 50)
        initializers.initialize_parameters(layer, initializers.xavier_normal(value), gain=9.9, seed=0)
        weights.append(layer.weight.detach())
    torch.testing.assert_close(weights[1], gain * weights[0])


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


def test_relu_nets_keep_or_lose_their_gradient_as_theory_says() -> None:
    """30 dense ReLU layers, width 512, no biases: ∂L/∂z falls by 0.7071 a layer under Xavier and by 1 under He."""
    factors = {name: _backward_factor(name) for name in ("xavier_normal", "he_normal")}
    assert factors["xavier_normal"] == pytest.approx(1 / SQRT2, rel=0.03)
    assert factors["he_normal"] == pytest.approx(1.0, rel=0.03)


def _backward_factor(init: str) -> float:
    """Geometric mean over 30 layers of RMS(∂L/∂z) of a layer over that of the layer above."""
    layers = [nn.Linear(512, 512, bias=False) for _ in range(30)]
    net = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))
    initialize(net, init, activation="relu", seed=0)
    outputs: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda _module, _inputs, z: outputs.append(z) or z.retain_grad())
    net(torch.randn(64, 512)).backward(torch.randn(64, 512))
    sizes = [float(z.grad.double().pow(2).mean().sqrt()) for z in outputs if z.grad is not None]
    return float((sizes[0] / sizes[-1]) ** (1 / 29))


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value.detach()
