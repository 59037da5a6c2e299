"""Weight parametrisations against their formulas, slow references, theory, and what must not change them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from isometry import initialize, probe
from isometry.diagnostics.layers import weight_layers
from isometry.layers.activations import Activation, gelu, identity, relu, selu, tanh
from isometry.layers.parametrizations import (
    Parametrization,
    none,
    parametrize_weights,
    scaled_weight_standardization,
    spectral_norm,
    variance_gain,
    weight_norm,
    weight_standardization,
)

SCHEMES = {
    "weight_norm": weight_norm,
    "weight_standardization": weight_standardization,
    "scaled_weight_standardization": scaled_weight_standardization,
    "spectral_norm": spectral_norm,
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 4),
    "conv1d": lambda: nn.Conv1d(3, 4, 2),
    "grouped conv2d": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 2),
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def parametrized(layer: nn.Module, scheme: Callable[[], Parametrization], seed: int = 0) -> nn.Module:
    parametrize_weights(layer, scheme(), relu(), seed)
    return layer


def weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def largest_singular_value(layer: nn.Module) -> float:
    rows = weight(layer).transpose(0, 1) if getattr(layer, "transposed", False) else weight(layer)
    return float(torch.linalg.matrix_norm(rows.detach().flatten(1), ord=2))


def originals(layer: nn.Module) -> dict[str, Tensor]:
    """What is trained in place of the weight: `original`, `0.gain` …"""
    return dict(layer.parametrizations.weight.named_parameters())  # type: ignore[union-attr]


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3)
    )


def images() -> Tensor:
    return torch.randn(5, 2, 6, 6)


# ------------------------------------------------------------------------------------- slow references
def units(shape: torch.Size, layer: nn.Module) -> list[list[tuple[int, ...]]]:
    """For each output unit the places of its weights, one by one, from the definition of the layer."""
    places: dict[int, list[tuple[int, ...]]] = {}
    for place in torch.cartesian_prod(*(torch.arange(size) for size in shape)).tolist():
        if getattr(layer, "transposed", False):  # [in, out/groups, *kernel]
            group = place[0] // (shape[0] // layer.groups)  # type: ignore[operator]
            unit = group * shape[1] + place[1]
        else:
            unit = place[0]
        places.setdefault(unit, []).append(tuple(place))
    return [places[unit] for unit in sorted(places)]


def by_loops(name: str, layer: nn.Module, values: dict[str, Tensor], vectors: tuple[Tensor, Tensor] | None) -> Tensor:
    """The weight from what is trained, unit by unit with Python's own sums, in float64."""
    values = {own: value.detach() for own, value in values.items()}
    raw = values["original1" if name == "weight_norm" else "original"]
    result = torch.zeros_like(raw)
    if name == "spectral_norm":
        assert vectors is not None
        u, v = vectors
        rows = [[raw[place] for place in unit] for unit in units(raw.shape, layer)]
        sigma = sum(u[i] * rows[i][j] * v[j] for i in range(len(rows)) for j in range(len(rows[0])))
        return raw / sigma
    for index, places in enumerate(units(raw.shape, layer)):
        row = [float(raw[place]) for place in places]
        if name == "weight_norm":
            length, mean = values["original0"].flatten()[index].item(), 0.0
        else:
            mean = sum(row) / len(row)
            length = math.sqrt(len(row))
        if name == "scaled_weight_standardization":
            length = math.sqrt(2 / (1 - 1 / math.pi)) * values["0.gain"][index].item()
        norm = math.sqrt(sum((value - mean) ** 2 for value in row))
        for place, value in zip(places, row, strict=True):
            result[place] = length * (value - mean) / norm
    return result


@every_layer
@pytest.mark.parametrize("name", SCHEMES)
def test_weights_and_gradients_equal_those_of_loops_and_finite_differences(
    name: str, make: Callable[[], nn.Module]
) -> None:
    layer = parametrized(make().double(), SCHEMES[name]).eval()
    values = originals(layer)
    for value in values.values():
        nn.init.normal_(value)
    buffers = dict(layer.named_buffers())
    vectors = (buffers["parametrizations.weight.0._u"], buffers["parametrizations.weight.0._v"]) if buffers else None
    cotangent = torch.randn_like(weight(layer))
    torch.testing.assert_close(weight(layer), by_loops(name, layer, values, vectors))
    gradients = torch.autograd.grad((weight(layer) * cotangent).sum(), list(values.values()))

    def slope(value: Tensor, index: int, step: float = 1e-6) -> float:
        sums = []
        for shift in (step, -2 * step):
            value.view(-1)[index] += shift
            sums.append(float((by_loops(name, layer, values, vectors) * cotangent).sum()))
        value.view(-1)[index] += step
        return (sums[0] - sums[1]) / (2 * step)

    with torch.no_grad():
        for value, gradient in zip(values.values(), gradients, strict=True):
            for index in range(0, value.numel(), 5):
                assert gradient.flatten()[index] == pytest.approx(slope(value, index), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["weight_standardization", "scaled_weight_standardization"])
def test_units_of_a_grouped_transposed_convolution_are_standardized_one_by_one(name: str) -> None:
    layer = parametrized(nn.ConvTranspose2d(4, 6, 2, groups=2).double(), SCHEMES[name])
    torch.testing.assert_close(weight(layer), by_loops(name, layer, originals(layer), None))


def test_the_reference_tells_a_wrong_axis() -> None:
    """The control: [in, out] taken for [out, in]."""
    layer = parametrized(nn.ConvTranspose2d(4, 6, 2).double(), weight_standardization)
    wrong = parametrized(nn.Conv2d(6, 4, 2).double(), weight_standardization)
    wrong.weight = originals(layer)["original"].detach()
    assert weight(wrong).shape == weight(layer).shape
    assert not torch.allclose(weight(wrong), weight(layer), rtol=0.1)


# ------------------------------------------------------------------------------------------ properties
def test_weight_norm_starts_as_it_was_and_g_is_the_length() -> None:
    layer, x = nn.Linear(6, 4), torch.randn(3, 6)
    before = layer(x)
    parametrized(layer, weight_norm)
    torch.testing.assert_close(layer(x), before)
    values = originals(layer)
    with torch.no_grad():
        values["original1"].mul_(torch.tensor([1e-3, 1.0, 7.0, 1e3])[:, None])  # the direction's own length
        torch.testing.assert_close(layer(x), before)
        values["original0"].copy_(torch.tensor([0.5, 1.0, 2.0, 3.0])[:, None])
    torch.testing.assert_close(weight(layer).norm(dim=1), torch.tensor([0.5, 1.0, 2.0, 3.0]))
    assert not torch.allclose(layer(x), before)


@every_layer
@pytest.mark.parametrize("scheme", [weight_standardization, scaled_weight_standardization])
def test_standardized_weights_ignore_the_scale_and_the_mean_of_the_raw_ones(
    scheme: Callable[[], Parametrization], make: Callable[[], nn.Module]
) -> None:
    layer, plain = parametrized(make(), scheme), make()
    drawn = torch.randn_like(weight(plain))
    layer.weight = drawn
    expected = weight(layer).detach()
    for scale, shift in ((0.1, 0.0), (30.0, 0.0), (1.0, 3.0), (-1.0, 0.0)):
        layer.weight = scale * drawn + shift
        torch.testing.assert_close(weight(layer), math.copysign(1, scale) * expected, rtol=1e-4, atol=1e-5)
    layer.weight = drawn + 3 * torch.arange(drawn.numel()).view(drawn.shape)  # the control: another direction
    assert not torch.allclose(weight(layer), expected, rtol=0.1, atol=0.1)


def test_standardized_weights_have_mean_0_and_variance_1() -> None:
    rows = weight(parametrized(nn.Conv2d(5, 7, 3), weight_standardization)).flatten(1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(7), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows.var(1, correction=0), torch.ones(7))


@pytest.mark.parametrize("scheme", [weight_standardization, scaled_weight_standardization])
@pytest.mark.parametrize("value", [0.0, 0.5, -0.1])
def test_equal_weights_give_zeros_and_finite_gradients(scheme: Callable[[], Parametrization], value: float) -> None:
    layer = parametrized(nn.Linear(512, 4), scheme)
    layer.weight = torch.full((4, 512), value)
    torch.testing.assert_close(weight(layer), torch.zeros(4, 512), rtol=0, atol=1e-4)
    (weight(layer) * torch.randn(4, 512)).sum().backward()
    for trained in originals(layer).values():
        assert trained.grad is not None
        assert trained.grad.isfinite().all()


@pytest.mark.parametrize("scheme", [weight_standardization, scaled_weight_standardization])
def test_a_unit_with_one_input_cannot_be_standardized(scheme: Callable[[], Parametrization]) -> None:
    with pytest.raises(ValueError, match=r"2 inputs .* Linear\(in_features=1, .* has 1; leave this layer out"):
        parametrized(nn.Linear(1, 4), scheme)


@every_layer
def test_the_largest_singular_value_comes_to_one_pass_by_pass(make: Callable[[], nn.Module]) -> None:
    layer = parametrized(make(), spectral_norm)
    layer.weight = 5 * torch.randn_like(weight(layer))
    for _ in range(200):
        weight(layer)
    assert largest_singular_value(layer) == pytest.approx(1, abs=1e-4)


def test_an_assigned_weight_has_singular_vectors_of_its_own_at_once() -> None:
    """torch's own keeps those of the old weight: in eval mode it divides by a σ that has nothing to do with it."""
    settled, stale = nn.Linear(64, 64), nn.utils.parametrizations.spectral_norm(nn.Linear(64, 64))
    parametrized(settled, spectral_norm)
    sizes = []
    for layer in (settled, stale):
        layer.eval().weight = torch.randn(64, 64)
        sizes.append(largest_singular_value(layer))
    assert sizes[0] == pytest.approx(1, abs=0.1)
    assert sizes[1] > 2


def test_power_iterations_run_in_train_mode_alone() -> None:
    layer = parametrized(nn.Linear(32, 32), spectral_norm)
    layer.eval()
    before = copy.deepcopy(layer.state_dict())
    assert torch.equal(weight(layer), weight(layer))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    layer.train()
    weight(layer)
    assert any(not torch.equal(before[name], value) for name, value in layer.state_dict().items())


# ---------------------------------------------------------------------------------------------- theory
@pytest.mark.parametrize(
    ("activation", "gain"),
    [(relu(), math.sqrt(2 / (1 - 1 / math.pi))), (identity(), 1.0), (selu(), 1.0), (tanh(), 1.5925), (gelu(), 1.7009)],
    ids=["relu", "identity", "selu", "tanh", "gelu"],
)
def test_the_gain_is_one_over_the_deviation_of_the_activation(activation: Activation, gain: float) -> None:
    assert variance_gain(activation) == pytest.approx(gain, abs=5e-5)


def test_the_gain_of_an_activation_of_ones_own() -> None:
    class Squared(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square()

    assert variance_gain(Activation(Squared, 1.0)) == pytest.approx(1 / math.sqrt(2), rel=1e-6)  # Var u² = 2


def dense(depth: int = 30, width: int = 512, activation: Activation | None = None) -> nn.Sequential:
    make = activation or relu()
    return nn.Sequential(*(module for _ in range(depth) for module in (nn.Linear(width, width, bias=False), make())))


def factors(net: nn.Module, activation: Activation) -> tuple[float | None, float | None]:
    """(backward, forward) of inputs as an activation gives them and of gradients that z knows nothing of."""
    batch = activation()(torch.randn(256, 512)).detach(), torch.randn(256, 512)
    shown = probe(net, batch, lambda outputs, targets: (outputs * targets).sum())
    return shown.backward_gain, shown.forward_gain


@pytest.mark.parametrize(
    ("activation", "backward"), [(relu(), 1.2112), (tanh(), 1.0853), (selu(), 1.0352)], ids=["relu", "tanh", "selu"]
)
def test_scaled_standardization_keeps_z_and_passes_gradients_on_as_batch_norm_does(
    activation: Activation, backward: float
) -> None:
    net = dense(activation=activation)
    parametrize_weights(net, scaled_weight_standardization(), activation, seed=0)
    assert factors(net, activation) == pytest.approx((backward, 1.0), rel=0.03)


def test_the_gain_of_another_activation_does_not_keep_z() -> None:
    """The control of the test above."""
    net = dense()
    parametrize_weights(net, scaled_weight_standardization(), identity(), seed=0)
    forward = factors(net, relu())[1]
    assert forward == pytest.approx(1 / 1.7129, rel=0.03)


@pytest.mark.parametrize(("init", "backward"), [("xavier_normal", 0.3536), ("orthogonal", 0.7071)])
def test_spectral_norm_makes_relu_nets_vanish(init: str, backward: float) -> None:
    net = dense()
    initialize(net, init)
    parametrized(net, spectral_norm)
    assert factors(net, relu())[0] == pytest.approx(backward, rel=0.05)  # σ₁ is still a little low


def test_plain_standardization_needs_a_norm() -> None:
    """σ_w² = fan_in: √(512/2) a layer."""
    net = parametrized(dense(depth=8), weight_standardization)
    assert factors(net, relu())[0] == pytest.approx(16, rel=0.05)


# ------------------------------------------------------------------------------------- who gets which
@every_scheme
def test_convolutions_and_dense_layers_get_it_and_nothing_else(scheme: Callable[[], Parametrization]) -> None:
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(2, 4, 3),
            "blocks": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
            "recurrence": nn.LSTM(4, 4),
            "cell": nn.GRUCell(4, 4),
            "embedding": nn.Embedding(4, 4),
            "head": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)),
        }
    )
    parametrize_weights(model, scheme(), relu(), 0, without=[model["head"]])
    assert {name for name, module in model.named_modules() if is_parametrized(module)} == {"conv", "blocks.0"}


def test_none_changes_nothing() -> None:
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    parametrized(net, none)
    assert list(before) == list(net.state_dict())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_scheme_of_ones_own_gets_the_layer_and_the_activation() -> None:
    seen: list[tuple[str, str]] = []
    own = Parametrization(lambda layer, act: seen.append((type(layer).__name__, type(act()).__name__)))
    parametrize_weights(small_net(), own, tanh(), 0)
    assert seen == [("Conv2d", "Tanh"), ("Conv2d", "Tanh"), ("Linear", "Tanh"), ("Linear", "Tanh")]


@every_scheme
def test_what_is_drawn_is_derived_from_the_seed_and_the_name(scheme: Callable[[], Parametrization]) -> None:
    plain = small_net()
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = parametrized(copy.deepcopy(plain), scheme, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(456)
    again, other = (parametrized(copy.deepcopy(plain), scheme, seed=seed) for seed in (1, 2))
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    differ = not all(map(torch.equal, first.state_dict().values(), other.state_dict().values()))
    assert differ == (scheme is spectral_norm)


def test_equal_layers_draw_apart() -> None:
    layer = nn.Linear(32, 32)
    net = parametrized(nn.Sequential(layer, copy.deepcopy(layer)), spectral_norm)
    one, other = (value for name, value in net.state_dict().items() if name.endswith("_u"))
    assert not torch.equal(one, other)


@every_scheme
@every_layer
def test_an_assigned_weight_is_the_one_a_fresh_layer_would_have(
    scheme: Callable[[], Parametrization], make: Callable[[], nn.Module]
) -> None:
    layer, fresh = parametrized(make(), scheme), make()
    with torch.no_grad():
        fresh.weight.normal_()  # type: ignore[operator]
    drawn = weight(fresh).detach().clone()
    layer.weight = drawn.clone()
    parametrized(fresh, scheme)
    for _ in range(100 if scheme is spectral_norm else 1):  # its vectors start elsewhere
        weight(layer), weight(fresh)
    torch.testing.assert_close(weight(layer), weight(fresh), rtol=1e-3, atol=1e-4)
    if scheme is weight_norm:
        torch.testing.assert_close(weight(layer), drawn)


@pytest.mark.parametrize("scheme", [weight_standardization, scaled_weight_standardization, spectral_norm])
def test_what_was_assigned_is_not_the_memory_that_is_trained(scheme: Callable[[], Parametrization]) -> None:
    layer, drawn = parametrized(nn.Linear(6, 4), scheme).eval(), torch.randn(4, 6)
    layer.weight = drawn
    expected = weight(layer).detach()
    drawn.normal_()
    assert torch.equal(weight(layer), expected)


@every_scheme
def test_an_initializer_reaches_it(scheme: Callable[[], Parametrization]) -> None:
    drawn, plain = parametrized(nn.Linear(64, 64), scheme), nn.Linear(64, 64)
    initialize(drawn, "xavier_normal", seed=5)
    initialize(plain, "xavier_normal", seed=5)
    cosine = torch.cosine_similarity(weight(drawn).flatten(), weight(plain).flatten(), dim=0)
    assert cosine.item() > 0.98  # standardized rows lose their mean


@pytest.mark.parametrize("name", SCHEMES)
def test_numbers_of_a_unit_and_weights_by_their_axes(name: str) -> None:
    """Weight decay goes to what has two axes or more; weight_norm's g has as many as the weight, as torch makes it."""
    axes = {own: value.dim() for own, value in originals(parametrized(nn.Conv2d(2, 3, 3), SCHEMES[name])).items()}
    expected = {
        "weight_norm": {"original0": 4, "original1": 4},
        "scaled_weight_standardization": {"original": 4, "0.gain": 1},
    }
    assert axes == expected.get(name, {"original": 4})


# ------------------------------------------------------------------------------------ saved and watched
def trained(scheme: Callable[[], Parametrization]) -> nn.Sequential:
    net = small_net()
    parametrize_weights(net, scheme(), relu(), 0, without=[net[-1]])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        net(images()).square().mean().backward()
        assert all(parameter.grad is not None for parameter in net.parameters())
        optimizer.step()
    return net


@every_scheme
def test_a_saved_net_computes_the_same_when_loaded(scheme: Callable[[], Parametrization]) -> None:
    net, x = trained(scheme).eval(), images()
    other = small_net().eval()
    parametrize_weights(other, scheme(), relu(), 99, without=[other[-1]])
    assert not torch.allclose(other(x), net(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


@every_scheme
def test_a_copy_is_equal_and_independent(scheme: Callable[[], Parametrization]) -> None:
    net, x = trained(scheme).eval(), images()
    twin = copy.deepcopy(net)
    expected = net(x)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.normal_()
    assert torch.equal(net(x), expected)
    assert not torch.allclose(twin(x), expected)


@every_scheme
def test_a_net_computes_the_same_in_both_modes(scheme: Callable[[], Parametrization]) -> None:
    """Only spectral_norm knows modes, and its pass in eval mode is the one after the last iteration."""
    net, x = trained(scheme), images()
    outputs = net(x)
    torch.testing.assert_close(net.eval()(x), outputs)


@every_scheme
@pytest.mark.parametrize("training", [True, False])
def test_a_probe_sees_plain_paths_and_leaves_every_bit(scheme: Callable[[], Parametrization], training: bool) -> None:
    net = trained(scheme).train(training)
    before = copy.deepcopy(net.state_dict())
    batch = images(), torch.randn(5, 3)
    shown = probe(net, batch, nn.functional.mse_loss, unit_batches=[batch] * 2, jacobian_samples=2)
    assert [row.name for row in shown.layers] == ["0", "2", "4", "5"]
    assert [name for name, _ in weight_layers(net)] == ["0", "2", "4", "5"]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not shown.unseen
