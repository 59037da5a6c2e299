"""`probe` on networks whose profile is known: by hand, by theory, or from a slow reference."""

from __future__ import annotations

import copy
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchmetrics import MeanMetric

from isometry import probe
from isometry.diagnostics.depth import GraphDepth
from isometry.diagnostics.outputs import head_gradient
from isometry.diagnostics.profile import LayerProfile, Profile

Loss = Callable[[Any, Any], Tensor]


def rms(tensor: Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item()


def rows(profile: Profile) -> dict[str, LayerProfile]:
    return {row.name: row for row in profile.layers}


def depths(profile: Profile) -> dict[str, int]:
    return {row.name: row.depth for row in profile.layers}


def gradients(profile: Profile) -> list[float | None]:
    return [row.gradient_rms for row in profile.layers]


def scaled(factor: float, size: int = 4) -> nn.Linear:
    """z = factor · x."""
    layer = nn.Linear(size, size, bias=False)
    with torch.no_grad():
        layer.weight.copy_(factor * torch.eye(size))
    return layer


def total(outputs: Tensor, targets: Tensor) -> Tensor:
    """Its gradient is the targets."""
    return (outputs * targets).sum()


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets)


def dense(
    width: int,
    layers: int,
    activation: Callable[[], nn.Module],
    initialize: Callable[[Tensor], Any] | None = None,
    *,
    bias: bool = False,
    norm: bool = False,
) -> nn.Sequential:
    """`layers` of [Linear, BatchNorm?, φ]."""
    modules: list[nn.Module] = []
    for _ in range(layers):
        layer = nn.Linear(width, width, bias=bias)
        if initialize:
            initialize(layer.weight)
        modules += [layer, *([nn.BatchNorm1d(width)] if norm else []), activation()]
    return nn.Sequential(*modules)


def noise(samples: int, *shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(samples, *shape), torch.randn(samples, *shape)


# ------------------------------------------------------------------------------------------ known by hand
@pytest.mark.parametrize("factors", [(2.0, 0.5, 3.0), (1e-10,) * 3, (1e10, 1e10, 1e9), (0.5,) * 40])
def test_a_chain_of_scalings_has_exactly_known_sizes(factors: tuple[float, ...]) -> None:
    x, g = noise(16, 4)
    shown = probe(nn.Sequential(*map(scaled, factors)), (x, g), total)
    assert [row.name for row in shown.layers] == [str(i) for i in range(len(factors))]
    assert [row.depth for row in shown.layers] == list(range(1, len(factors) + 1))
    for i, row in enumerate(shown.layers):
        assert row.activation_rms == pytest.approx(rms(x) * math.prod(factors[: i + 1]), rel=1e-5)
        assert row.gradient_rms == pytest.approx(rms(g) * math.prod(factors[i + 1 :]), rel=1e-5)
        assert (row.shape, row.nonfinite) == ((4,), 0)
    assert (shown.times, dict(shown.unseen), shown.jacobian, shown.step) == ((), {}, None, 0)


def test_the_gain_is_the_factor_and_a_change_of_width_none() -> None:
    narrow = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        narrow.weight.fill_(100.0)
    net = nn.Sequential(*(scaled(0.5) for _ in range(4)), narrow, *(scaled(0.5, 2) for _ in range(3)))
    shown = probe(net, (torch.randn(8, 4), torch.randn(8, 2)), total)
    assert shown.backward_gain == pytest.approx(0.5, rel=1e-5)
    assert shown.forward_gain == pytest.approx(0.5, rel=1e-5)
    assert shown.fit_quality == pytest.approx(1, abs=1e-9)


def test_means_and_shapes_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(18, 1, bias=False))
    with torch.no_grad():
        net[0].weight.zero_()  # type: ignore[union-attr]
        net[0].bias.copy_(torch.tensor([1.0, -3.0]))  # type: ignore[union-attr]
    conv, head = probe(net, (torch.randn(5, 1, 3, 3), torch.ones(5, 1)), total).layers
    assert (conv.shape, head.shape) == ((2, 3, 3), (1,))
    assert (conv.activation_mean, conv.activation_rms) == pytest.approx((-1.0, math.sqrt(5)))
    assert conv.gradient_rms == pytest.approx(rms(net[2].weight))  # type: ignore[arg-type]


def test_nan_and_infinity_are_counted_where_they_arise() -> None:
    net = nn.Sequential(nn.Linear(4, 4), scaled(1.0), scaled(1.0))
    with torch.no_grad():
        net[1].bias = nn.Parameter(torch.tensor([0.0, 0.0, math.inf, 0.0]))  # type: ignore[union-attr]
    shown = rows(probe(net, noise(8, 4), total))
    assert [shown[name].nonfinite for name in "012"] == [0, 8, 32]  # 0 · ∞ is NaN: all of the next layer


def test_an_infinite_gradient_is_counted_in_the_backward_pass() -> None:
    net = nn.Sequential(scaled(1.0), scaled(1.0))
    x = torch.tensor([[0.0, 1.0, 4.0, 0.0]])
    shown = rows(probe(net, (x, x), lambda outputs, _: outputs.sqrt().sum()))  # d√x/dx at 0 is infinite
    assert shown["1"].nonfinite == 2
    assert shown["1"].gradient_rms == math.inf


# -------------------------------------------------------------------------------------- known from theory
SIGMOID_XAVIER = 0.23605


@pytest.mark.parametrize(
    ("net", "backward", "forward"),
    [
        (lambda: dense(512, 30, nn.ReLU), math.sqrt(1 / 6), math.sqrt(1 / 6)),
        (lambda: dense(512, 30, nn.ReLU, nn.init.xavier_uniform_), math.sqrt(1 / 2), math.sqrt(1 / 2)),
        (lambda: dense(512, 30, nn.ReLU, nn.init.kaiming_normal_), 1.0, 1.0),
        (lambda: dense(512, 30, nn.ReLU, bias=True), math.sqrt(1 / 6), None),
        (lambda: dense(512, 30, nn.Sigmoid, nn.init.xavier_uniform_), SIGMOID_XAVIER, 1.0),
        (lambda: dense(512, 30, nn.Tanh), math.sqrt(1 / 3), math.sqrt(1 / 3)),
        (lambda: dense(512, 30, nn.ReLU, norm=True), math.sqrt(math.pi / (math.pi - 1)), 1.0),
    ],
    ids=["ReLU default", "ReLU Xavier", "ReLU He", "ReLU default with bias", "Sigmoid Xavier", "Tanh default", "BN"],
)
def test_plain_nets_have_the_gains_of_theory(
    net: Callable[[], nn.Module], backward: float, forward: float | None
) -> None:
    shown = probe(net(), noise(512, 512), total)  # mse's gradient goes along with z where z is not small: 1.036 for He
    assert shown.backward_gain == pytest.approx(backward, rel=0.03)
    assert shown.expected_backward_gain == pytest.approx(backward, rel=0.01)
    assert shown.expected_forward_gain is not None
    if forward is not None:
        assert shown.forward_gain == pytest.approx(forward, rel=0.03)
        assert shown.expected_forward_gain == pytest.approx(forward, rel=0.03)


def test_fifty_sigmoid_layers_leave_1e_minus_36_and_not_0() -> None:
    net, batch = dense(512, 50, nn.Sigmoid, nn.init.xavier_uniform_), noise(32, 512)
    shown = probe(net, batch, mse)
    first, last = shown.layers[0].gradient_rms, shown.layers[-1].gradient_rms
    assert first is not None
    assert last is not None
    assert 1e-38 < first < 1e-34
    assert math.log10(first / last) == pytest.approx(49 * math.log10(SIGMOID_XAVIER), abs=0.5)
    assert shown.fit_quality is not None
    assert shown.fit_quality > 0.999
    hidden = torch.zeros(32, 512) + first  # the control: in float32 its squares are 0
    assert hidden.square().mean() == 0


@pytest.mark.parametrize("initialize", [nn.init.eye_, lambda weight: nn.init.constant_(weight, 0.02)])
def test_theory_speaks_of_random_weights_alone(initialize: Callable[[Tensor], Any]) -> None:
    net = dense(64, 4, nn.ReLU, initialize)
    assert probe(net, noise(32, 64), mse).expected_backward_gain is None


def test_theory_keeps_silent_where_it_has_nothing_to_say() -> None:
    """A trained BatchNorm, eval mode, an unknown activation, a skip, a dropout: no expectation."""

    def expected(net: nn.Module) -> float | None:
        return probe(net, noise(64, 8), mse).expected_backward_gain

    assert expected(dense(8, 4, nn.ReLU, norm=True)) is not None
    learned = dense(8, 4, nn.ReLU, norm=True)
    learned[1].weight.data[0] = 0.9  # type: ignore[union-attr, index]
    assert expected(learned) is None
    assert expected(dense(8, 4, nn.ReLU, norm=True).eval()) is None
    assert expected(dense(8, 4, nn.Mish)) is None
    assert expected(dense(8, 4, lambda: nn.Sequential(nn.ReLU(), nn.Dropout(0.5)))) is None
    assert expected(nn.Sequential(*(Residual(nn.Linear(8, 8)) for _ in range(4)))) is None


# ----------------------------------------------------------------------------------- in-place activations
@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
def test_in_place_activations_are_as_those_out_of_place(activation: Callable[..., nn.Module]) -> None:
    plain = dense(16, 6, activation, bias=True)
    overwriting = copy.deepcopy(plain)
    for module in overwriting.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
    batch = noise(32, 16)
    shown, expected = probe(overwriting, batch, mse), probe(plain, batch, mse)
    assert expected.elasticity is not None
    assert shown == replace(expected, elasticity=None)  # which takes the outputs as they were


def test_asking_autograd_for_an_overwritten_z_gives_another_gradient() -> None:
    """The control of the test above, and why there is a hook on z."""
    layer, head = nn.Linear(16, 16), nn.Linear(16, 16)
    x, y = noise(32, 16)
    z = layer(x)
    loss = mse(head(F.relu_(z)), y)
    (naive,) = torch.autograd.grad(loss, z, retain_graph=True)
    shown = rows(probe(nn.Sequential(layer, nn.ReLU(inplace=True), head), (x, y), mse))["0"].gradient_rms
    (right,) = torch.autograd.grad(mse(head(F.relu(kept := layer(x))), y), kept)
    assert shown == pytest.approx(rms(right), rel=1e-5)
    assert rms(naive) > 1.2 * rms(right)


def test_functions_in_place_and_residual_sums_in_place() -> None:
    class Overwriting(nn.Module):
        def __init__(self, in_place: bool) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.a, self.b, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.in_place = in_place

        def forward(self, x: Tensor) -> Tensor:
            if self.in_place:
                z = F.relu_(self.a(x)).clone()
                z += self.b(z.clone())
                return self.head(z.tanh_())  # type: ignore[no-any-return]
            z = F.relu(self.a(x))
            return self.head((z + self.b(z)).tanh())  # type: ignore[no-any-return]

    batch = noise(16, 8)
    in_place, plain = (probe(Overwriting(each), batch, mse) for each in (True, False))
    assert gradients(in_place) == pytest.approx(gradients(plain), rel=1e-5)
    assert depths(in_place) == depths(plain) == {"a": 1, "b": 2, "head": 3}


class Halfway(nn.Module):
    """`between` two layers, the first with a dead unit."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b = with_dead_unit(nn.Linear(8, 8)), nn.Linear(8, 8)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x)))  # type: ignore[no-any-return]


def test_functions_in_place_are_not_taken_for_nothing() -> None:
    """z is then the same tensor with other values: no linear net, and the dead unit is seen in it."""
    batch = noise(1000, 8)
    shown = {
        name: rows(probe(Halfway(between), batch, mse))["a"]
        for name, between in {
            "module": nn.ReLU(), "module in place": nn.ReLU(inplace=True), "function in place": F.relu_,
            "dropout in place": nn.Dropout(0.5, inplace=True), "nothing": nn.Identity(),
        }.items()
    }  # fmt: skip
    assert shown["module"] == shown["module in place"]
    assert shown["module"].expected_backward is not None
    assert shown["nothing"].expected_backward == pytest.approx(math.sqrt(2) * shown["module"].expected_backward)
    assert shown["function in place"].expected_backward is None
    assert shown["dropout in place"].expected_backward is None
    assert [shown[name].dead for name in ("module", "module in place", "function in place")] == [1 / 8] * 3


# ----------------------------------------------------------------------------------------- changes nothing
class Everything(nn.Module):
    """Whatever a forward pass can change, and where it may raise."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.BatchNorm1d(8),
            nn.ReLU(), nn.Linear(8, 4),
        )  # fmt: skip
        self.net[5].eval()
        self.net[4].requires_grad_(False)
        self.metric = MeanMetric()
        self.metric.update(2.0)
        self.count = 0
        self.seen: list[float] = [0.5]
        self.cache: dict[str, Any] = {"deep": {"more": [torch.zeros(2)]}}
        self.last: Tensor | None = None
        self.plain = torch.ones(3)  # a tensor that is no buffer
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.seen.append(self.count)
        self.cache["new"] = x
        self.cache["deep"]["more"][0] += 1
        self.plain.mul_(2)
        self.metric.update(x.mean().detach())
        self.last = self.net(x)
        self.extra = 1
        if self.fails:
            raise RuntimeError("the forward pass fails")
        return self.last


def picture(model: nn.Module) -> Any:
    """All of a model and of the random state, to be compared."""
    attributes = [
        {name: copy.deepcopy(value) for name, value in vars(module).items() if not name.startswith("_")}
        for module in model.modules()
    ]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    needs = {name: p.requires_grad for name, p in model.named_parameters()}
    hooks = [
        [sorted(vars(module)[name]) for name in sorted(vars(module)) if name.endswith("_hooks")]
        for module in model.modules()
    ]
    metric = [m.metric_state | {"updates": m._update_count} for m in model.modules() if isinstance(m, MeanMetric)]
    modes = [module.training for module in model.modules()]
    return attributes, state, grads, needs, hooks, copy.deepcopy(metric), modes, torch.get_rng_state()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, nn.Module):
        return True  # compared by its own attributes
    return bool(a == b)


def fails(outputs: Tensor, targets: Tensor) -> Tensor:
    raise RuntimeError("the loss fails")


@pytest.mark.parametrize("accumulated", [False, True], ids=["no .grad", ".grad set"])
@pytest.mark.parametrize("where", ["nowhere", "forward pass", "loss", "unit batch"])
def test_nothing_is_changed_also_where_something_raises(where: str, accumulated: bool) -> None:
    model, (x, y) = Everything(), noise(16, 4)
    if accumulated:
        mse(model(x), y).backward()
        model.last = None  # a graph cannot be copied
        model.cache.pop("new")
    model.fails = where == "forward pass"
    before, identities = picture(model), [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    grads = [id(p.grad) for p in model.parameters()]

    def units() -> Iterator[tuple[Tensor, Tensor]]:
        yield x, y
        if where == "unit batch":
            raise RuntimeError("the unit batch fails")

    def look() -> Profile:
        return probe(model, (x, y), fails if where == "loss" else mse, unit_batches=units(), jacobian_samples=2)

    if where == "nowhere":
        look()
    else:
        with pytest.raises(RuntimeError, match=f"the {where} fails"):
            look()
    after = picture(model)
    for one, other in zip(before, after, strict=True):
        assert same(one, other)
    assert [id(tensor) for tensor in (*model.parameters(), *model.buffers())] == identities
    assert [id(p.grad) for p in model.parameters()] == grads


def test_the_picture_sees_a_forward_pass() -> None:
    """The control: without `probe` around it, the same pass changes attributes, buffers and the random state."""
    model, (x, _) = Everything(), noise(16, 4)
    before = picture(model)
    model(x)
    model.last = None
    model.cache.pop("new")
    after = picture(model)
    changed = [not same(one, other) for one, other in zip(before, after, strict=True)]
    assert changed == [True, True, False, False, False, True, False, True]


@pytest.mark.parametrize(
    "make", [lambda: {1}, lambda: deque([1]), lambda: np.ones(2), torch.Generator], ids=["set", "deque", "numpy", "rng"]
)
def test_attributes_of_other_kinds_are_left_too(make: Callable[[], Any]) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.held = nn.Linear(4, 4), make()

        def forward(self, x: Tensor) -> Tensor:
            if isinstance(self.held, set):
                self.held.add(2)
            elif isinstance(self.held, deque):
                self.held.append(2)
            elif isinstance(self.held, np.ndarray):
                self.held += 1
            else:
                torch.rand(1, generator=self.held)
            return self.layer(x)  # type: ignore[no-any-return]

    def content(held: Any) -> Any:
        return held.get_state().tolist() if isinstance(held, torch.Generator) else list(held)

    model = Holder()
    before, held = content(model.held), model.held
    probe(model, noise(4, 4), mse)
    assert content(model.held) == before
    assert model.held is held


def test_python_s_and_numpy_s_random_numbers_are_left_too() -> None:
    """Stochastic depth is often drawn with them."""

    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * (random.random() + np.random.rand())  # type: ignore[no-any-return]

    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr, index]
    probe(Drawing(), noise(4, 4), mse)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr, index]


def test_a_buffer_that_is_an_expanded_view_can_be_left() -> None:
    """More than one element at one place in memory: it cannot be written to, and need not be."""
    net = nn.Sequential(nn.Linear(4, 4))
    net.register_buffer("mask", torch.ones(1, 1).expand(3, 3), persistent=False)
    assert probe(net, noise(4, 4), mse).layers[0].gradient_rms
    assert torch.equal(net.get_buffer("mask"), torch.ones(3, 3))


def test_weights_that_the_forward_pass_puts_elsewhere_come_back() -> None:
    """`weight.data = …` in forward, as max-norm constraints do it."""

    class Constrained(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.1)
            return super().forward(x)

    net = Constrained(4, 4)
    before, at = net.weight.detach().clone(), net.weight.data_ptr()
    probe(net, noise(4, 4), mse)
    assert torch.equal(net.weight, before)
    assert net.weight.data_ptr() == at
    net(torch.randn(4, 4))
    assert not torch.equal(net.weight, before)  # the control


def test_optimizers_in_the_backward_pass_do_not_step() -> None:
    model = Checkpointed(False, stem=True)
    stepped = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(stepped.append)
        parameter.grad = torch.ones_like(parameter)
    probe(model, noise(16, 8), mse)
    assert stepped == []
    assert all(p.grad is not None and bool((p.grad == 1).all()) for p in model.parameters())
    mse(model(torch.randn(4, 8)), torch.randn(4, 8)).backward()
    assert len(stepped) == len(list(model.parameters()))  # the hooks are still there


def test_a_user_s_own_graph_waits_for_its_backward_pass() -> None:
    x, y = noise(16, 4)

    def gradient(look: bool) -> list[Tensor]:
        torch.manual_seed(7)
        model = Everything()
        outputs = model(x)
        if look:
            probe(model, (x, y), mse, unit_batches=[(x, y)])
        mse(outputs, y).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    with_it, without = gradient(True), gradient(False)
    assert len(with_it) == len(without) > 0
    assert all(map(torch.equal, with_it, without))


def test_users_under_no_grad_get_gradients_and_their_no_grad_back() -> None:
    net, batch = dense(8, 4, nn.ReLU), noise(8, 8)
    with torch.no_grad():
        shown = probe(net, batch, mse)
        assert not torch.is_grad_enabled()
    assert shown == probe(net, batch, mse)


def test_a_gradient_taken_inside_the_forward_pass_is_not_that_of_the_loss() -> None:
    """As gradient penalties and physics-informed nets do it: the loss is one of du/dx."""

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 8), nn.Linear(8, 1)

        def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x = x.detach().requires_grad_()
            first = self.a(x)
            second = self.b(first.tanh())
            (slope,) = torch.autograd.grad(second.sum(), x, create_graph=True)
            return slope, first, second

        def forward(self, x: Tensor) -> Tensor:
            return self.parts(x)[0]

    model, (x, y) = Slope(), noise(16, 2)
    slope, first, _ = model.parts(x)
    (expected,) = torch.autograd.grad(mse(slope, y), first)
    assert rows(probe(model, (x, y), mse))["a"].gradient_rms == pytest.approx(rms(expected), rel=1e-5)


# ------------------------------------------------------------------------- shared, parallel and looped layers
class Residual(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)  # type: ignore[no-any-return]


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))

    def forward(self, pair: Tensor) -> Tensor:
        return self.net(pair[:, 0]) - self.net(pair[:, 1])  # type: ignore[no-any-return]


def test_a_siamese_net_s_calls_stand_side_by_side() -> None:
    model, x, g = Siamese(), torch.randn(16, 2, 4), torch.randn(16, 8)
    shown = probe(model, (x, g), total)
    assert depths(shown) == {"net.0": 1, "net.0@2": 1, "net.2": 2, "net.2@2": 2}
    found = rows(shown)
    for name, side, sign in (("net.2", 0, 1.0), ("net.2@2", 1, -1.0)):
        assert found[name].activation_rms == pytest.approx(rms(model.net(x[:, side])), rel=1e-5)
        assert found[name].gradient_rms == pytest.approx(rms(sign * g), rel=1e-5)
    below = [g @ model.net[2].weight * (model.net[0](x[:, side]) > 0) for side in (0, 1)]
    assert [found[name].gradient_rms for name in ("net.0", "net.0@2")] == pytest.approx([*map(rms, below)], rel=1e-5)


def test_the_longest_path_counts() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 8)  # registered first, run last
            self.long = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
            self.short = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.long(x)[:, :4], self.short(x)[:, 4:]], dim=1))  # type: ignore[no-any-return]

    shown = probe(Branches(), noise(4, 8), mse)
    assert depths(shown) == {"long.0": 1, "long.1": 2, "long.2": 3, "short": 3, "head": 4}
    assert [row.depth for row in shown.layers] == sorted(row.depth for row in shown.layers)


def test_what_enters_half_way_stands_where_it_enters() -> None:
    """The same halving chain, with and without layers that bring something else to each of its stages."""

    class Told(nn.Module):
        def __init__(self, is_told: bool) -> None:
            super().__init__()
            self.is_told = is_told
            self.stages = nn.ModuleList(scaled(0.5) for _ in range(6))
            self.sides = nn.ModuleList(scaled(1.0) for _ in range(6))

        def forward(self, x: Tensor) -> Tensor:
            start = x
            for stage, side in zip(self.stages, self.sides, strict=True):
                x = stage(x)
                if self.is_told:
                    x = x + side(start)
            return x

    told, alone = (probe(Told(is_told), noise(8, 4), total) for is_told in (True, False))
    assert [depths(told)[f"sides.{n}"] for n in range(6)] == [depths(told)[f"stages.{n}"] for n in range(6)]
    assert told.backward_gain == pytest.approx(0.5, rel=1e-5) == alone.backward_gain
    assert told.fit_quality == pytest.approx(1.0)


def test_layers_without_a_graph_hide_the_way_to_the_end() -> None:
    """Those at the start, frozen, hide nothing; those half way, as in a reentrant checkpoint, what lies before them."""
    frozen, last, x = scaled(0.5).requires_grad_(False), scaled(0.5), torch.ones(1, 4)
    at_start, half_way = GraphDepth(), GraphDepth()
    hidden = frozen(x)
    assert [at_start.of(hidden), at_start.of(last(hidden))] == [1, 2]
    assert at_start.latest() == [None, 2]
    before = last(x)
    hidden = frozen(before.detach())
    assert [half_way.of(z) for z in (before, hidden, last(hidden))] == [1, 2, 3]
    assert half_way.latest() == [None, None, None]


def test_residual_blocks_of_one_layer_count_one_each_and_grow_as_known() -> None:
    """x + x/2, five times: 1.5 a block. At z of the branch ∂L/∂z is that of the block's output."""
    net = nn.Sequential(*(Residual(scaled(0.5)) for _ in range(5)))
    shown = probe(net, noise(8, 4), total)
    assert [row.depth for row in shown.layers] == [1, 2, 3, 4, 5]
    assert shown.backward_gain == pytest.approx(1.5, rel=1e-5)
    assert shown.forward_gain == pytest.approx(1.5, rel=1e-5)
    assert probe(nn.Sequential(*(scaled(0.5) for _ in range(5))), noise(8, 4), total).backward_gain == pytest.approx(
        0.5
    )


def test_a_chain_of_600_layers_is_deeper_than_python_s_stack() -> None:
    shown = probe(nn.Sequential(*(scaled(0.9) for _ in range(600))), noise(2, 4), total)
    assert shown.layers[-1].depth == 600
    assert shown.backward_gain == pytest.approx(0.9, rel=1e-5)


class Loop(nn.Module):
    """One layer, 20 times. `kept` are its states, for the manual backward pass."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def states(self, x: Tensor) -> list[Tensor]:
        if isinstance(self.cell, nn.Linear):
            states = [self.cell(x[:, 0])]
            for _ in range(19):
                states.append(self.cell(states[-1].tanh()))
            return states
        state: Any = None
        states = []
        for t in range(20):
            state = self.cell(x[:, t], state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return states

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x)[-1]


@pytest.mark.parametrize(
    "make", [lambda: nn.RNNCell(8, 8), lambda: nn.LSTMCell(8, 8), lambda: nn.GRUCell(8, 8), lambda: nn.Linear(8, 8)],
    ids=["rnn", "lstm", "gru", "linear"],
)  # fmt: skip
def test_a_loop_is_one_row_and_a_profile_over_time(make: Callable[[], nn.Module]) -> None:
    model, x, g = Loop(make()), torch.randn(6, 20, 8), torch.randn(6, 8)
    shown = probe(model, (x, g), total)
    states = model.states(x)
    manual = torch.autograd.grad((states[-1] * g).sum(), states)
    (row,), (time,) = shown.layers, shown.times
    assert (row.name, time.name, row.depth, row.shape) == ("cell", "cell", 1, (8,))
    assert time.gradient_norms == pytest.approx([each.norm().item() for each in manual], rel=1e-4)
    assert row.gradient_rms == pytest.approx(rms(torch.stack(manual)), rel=1e-4)
    assert row.activation_rms == pytest.approx(rms(torch.stack(states)), rel=1e-4)
    assert row.activation_mean == pytest.approx(torch.stack(states).mean().item(), rel=1e-3)
    assert not shown.unseen


def test_a_cell_called_twice_is_a_loop_and_a_layer_called_twice_is_not() -> None:
    class Twice(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))  # type: ignore[no-any-return]

    assert len(probe(Twice(nn.RNNCell(4, 4)), noise(4, 4), mse).times[0].gradient_norms) == 2
    assert depths(probe(Twice(nn.Linear(4, 4)), noise(4, 4), mse)) == {"layer": 1, "layer@2": 2}


# ----------------------------------------------------------------------------------------------- compiled
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo looks at it
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("way", ["torch.compile(net)", "net.compile()", "a part of it"])
def test_a_compiled_network_is_as_the_plain_one(way: str, backend: str) -> None:
    torch._dynamo.reset()
    plain, batch = dense(8, 4, nn.ReLU, bias=True, norm=True), noise(32, 8)
    expected = probe(plain, batch, mse, jacobian_samples=1)
    compiled: Any = copy.deepcopy(plain)
    if way == "torch.compile(net)":
        compiled = torch.compile(compiled, backend=backend)
    elif way == "net.compile()":
        compiled.compile(backend=backend)
    else:
        compiled[3] = torch.compile(compiled[3], backend=backend)
    torch.manual_seed(1)
    before = probe(compiled, batch, mse)
    compiled(batch[0])  # compiled now, and its running statistics have moved, which a train-mode pass does not use
    after = probe(compiled, batch, mse)
    assert before.layers == after.layers == expected.layers
    assert not after.unseen


def test_nothing_is_compiled_again_after_a_look() -> None:
    torch._dynamo.reset()
    count = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal count
        count += 1
        return graph.forward

    net = dense(8, 3, nn.ReLU, norm=True)
    compiled, batch = torch.compile(net, backend=backend), noise(16, 8)
    compiled(batch[0])
    assert count == 1
    probe(compiled, batch, mse)  # type: ignore[arg-type]
    compiled(batch[0])
    assert count == 1


# ------------------------------------------------------------------------------ frozen, foreign and unseen
def test_frozen_layers_have_activations_and_gradients_only_above_trainable_ones() -> None:
    net = dense(8, 5, nn.ReLU)
    plain = rows(probe(net, batch := noise(16, 8), mse))
    for index in (0, 2, 6):  # first, second and fourth
        net[index].requires_grad_(False)
    shown = rows(probe(net, batch, mse))
    assert [row.depth for row in shown.values()] == [1, 2, 3, 4, 5]
    assert [row.gradient_rms is None for row in shown.values()] == [True, True, False, False, False]
    for name in ("4", "6", "8"):
        assert shown[name].gradient_rms == plain[name].gradient_rms
    assert [row.activation_rms for row in shown.values()] == [row.activation_rms for row in plain.values()]


def test_without_trainable_parameters_there_are_no_gradients() -> None:
    net = dense(8, 5, nn.ReLU).requires_grad_(False)
    shown = probe(net, noise(16, 8), mse)
    assert gradients(shown) == [None] * 5
    assert [row.depth for row in shown.layers] == [1, 2, 3, 4, 5]
    assert shown.backward_gain is None
    assert shown.forward_gain is not None


def test_integer_inputs_and_nested_outputs() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head, self.other = nn.Embedding(10, 8), nn.Linear(8, 3), nn.Linear(8, 2)

        def forward(self, ids: Tensor) -> dict[str, Any]:
            mean = self.table(ids).mean(dim=1)
            return {"logits": self.head(mean), "rest": (self.other(mean), None)}

    ids, labels = torch.randint(10, (6, 5)), torch.randint(3, (6,))

    def loss(outputs: dict[str, Any], labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs["logits"], labels) + outputs["rest"][0].sum()

    model = Model()
    shown = probe(model, (ids, labels), loss)
    assert depths(shown) == {"table": 1, "head": 2, "other": 2}
    assert rows(shown)["table"].shape == (5, 8)
    assert rows(shown)["other"].gradient_rms == pytest.approx(1)
    logits = model(ids)["logits"]
    (at_head,) = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    assert rows(shown)["head"].gradient_rms == pytest.approx(rms(at_head))
    at_table = (at_head @ model.head.weight + model.other.weight.sum(0)) / 5  # the same for each of five places
    assert rows(shown)["table"].gradient_rms == pytest.approx(rms(at_table), rel=1e-5)


def test_nested_inputs() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = scaled(2.0)

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return self.layer(batch["x"])  # type: ignore[no-any-return]

    x, g = noise(4, 4)
    assert gradients(probe(Model(), ({"x": x}, g), total)) == pytest.approx([rms(g)])


def test_what_does_not_run_as_a_module_is_listed_with_the_reason() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.by_hand, self.spare, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = F.linear(self.attention(x, x, x)[0], self.by_hand.weight)
            return self.head(x)  # type: ignore[no-any-return]

    shown = probe(Model(), noise(4, 3, 8), mse)
    assert depths(shown) == {"attention": 1, "head": 2}
    assert set(shown.unseen) == {"attention.out_proj", "by_hand", "spare"}
    assert set(shown.unseen.values()) == {"it was not called as a module"}


def test_a_complex_layer_is_named_with_its_reason() -> None:
    net = nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64))
    x = torch.randn(4, 4, dtype=torch.complex64)
    shown = probe(net, (x, None), lambda outputs, _: outputs.abs().sum())
    assert dict(shown.unseen) == {"0": "its output is no tensor of numbers"}


def test_an_expert_without_tokens() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts, self.head = nn.ModuleList(nn.Linear(4, 4) for _ in range(2)), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.experts[0](x), self.experts[1](x[:0])]))  # type: ignore[no-any-return]

    model, (x, y) = Experts(), noise(8, 4)
    shown = rows(probe(model, (x, y), mse))
    z = model.experts[0](x)
    (expected,) = torch.autograd.grad(mse(model.head(z), y), z)
    assert shown["experts.0"].gradient_rms == pytest.approx(rms(expected), rel=1e-5)
    assert "head" in shown


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_teacher_without_gradients(mode: Callable[[], Any]) -> None:
    class Distilled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.teacher, self.student = dense(8, 2, nn.ReLU), dense(8, 2, nn.ReLU)

        def forward(self, x: Tensor) -> Tensor:
            with mode():
                goal = self.teacher(x)
            return self.student(x) - goal.clone()  # type: ignore[no-any-return]

    model, (x, g) = Distilled(), noise(16, 8)
    profile, alone = probe(model, (x, g), total), rows(probe(model.student, (x, g), total))
    shown = rows(profile)
    assert profile.unseen == dict.fromkeys(("teacher.0", "teacher.2"), "it ran without gradients")
    assert list(shown) == ["student.0", "student.2"]
    for index in ("0", "2"):
        assert shown[f"student.{index}"].gradient_rms == alone[index].gradient_rms


def test_a_parametrized_layer_is_seen_as_the_plain_one() -> None:
    plain, batch = dense(8, 4, nn.ReLU), noise(16, 8)
    normed = copy.deepcopy(plain)
    for index in (0, 2, 4, 6):
        torch.nn.utils.parametrizations.weight_norm(normed[index])
    expected, shown = probe(plain, batch, mse), probe(normed, batch, mse)
    assert depths(shown) == depths(expected)
    assert gradients(shown) == pytest.approx(gradients(expected), rel=1e-5)
    assert not shown.unseen
    assert shown.expected_backward_gain in (None, pytest.approx(expected.expected_backward_gain, rel=1e-5))


def test_a_layer_of_which_only_the_bias_is_parametrized_is_a_weight_layer() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    torch.nn.utils.parametrize.register_parametrization(net[0], "bias", nn.Tanh())
    assert depths(probe(net, noise(4, 4), mse)) == {"0": 1, "1": 2}


def test_spectral_norm_iterates_no_more_than_without_a_look() -> None:
    """Reading its weight in train mode is an iteration: it changes u, v and the weight itself."""
    net = nn.Sequential(*(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)) for _ in range(3)))
    batch = noise(16, 8)
    manual = copy.deepcopy(net)
    outputs = []
    for layer in manual:
        outputs.append(layer(outputs[-1] if outputs else batch[0]))
    expected = torch.autograd.grad(mse(outputs[-1], batch[1]), outputs)
    shown = probe(net, batch, mse)
    assert [row.activation_rms for row in shown.layers] == pytest.approx([*map(rms, outputs)], rel=1e-6)
    assert gradients(shown) == pytest.approx([*map(rms, expected)], rel=1e-6)
    once = copy.deepcopy(net)
    once(batch[0])
    assert all(torch.equal(a, b) for a, b in zip(once.state_dict().values(), manual.state_dict().values(), strict=True))


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None, stem: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem = nn.Linear(8, 8) if stem else nn.Identity()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)) for _ in range(3))
        self.head = nn.Linear(8, 8)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)  # type: ignore[no-any-return]


def test_checkpointed_activations_are_as_kept_ones() -> None:
    batch = noise(16, 8)
    expected = probe(Checkpointed(None, stem=True), batch, mse)
    shown = probe(Checkpointed(False, stem=True), batch, mse)
    assert gradients(shown) == pytest.approx(gradients(expected), rel=1e-5)
    assert depths(shown) == depths(expected)
    assert len(shown.layers) == 8


def test_reentrant_checkpoints_are_refused_by_torch_and_nothing_is_changed() -> None:
    """Their backward pass would add to `.grad`; the monitor, which rides on the training's own, sees them."""
    model = Checkpointed(True, stem=True)
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        probe(model, noise(16, 8), mse)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_autocast_is_respected() -> None:
    net, batch = dense(64, 6, nn.ReLU, bias=True), noise(64, 64)
    exact = probe(net, batch, mse)
    kinds: set[torch.dtype] = set()
    handle = net[0].register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = probe(net, batch, lambda outputs, targets: mse(outputs.float(), targets))
    handle.remove()
    assert kinds == {torch.bfloat16}
    assert gradients(rough) == pytest.approx(gradients(exact), rel=0.02)
    assert [row.activation_rms for row in rough.layers] == pytest.approx(
        [row.activation_rms for row in exact.layers], rel=0.02
    )
    assert gradients(rough) != pytest.approx(gradients(exact), rel=1e-6)  # the control


# ----------------------------------------------------------------------------------- dead and saturated units
def stream(size: int, *shape: int, batches: int) -> list[tuple[Tensor, Tensor]]:
    return [noise(size, *shape) for _ in range(batches)]


def with_dead_unit(layer: nn.Linear | nn.Conv2d, unit: int = 2, bias: float = -1e3) -> Any:
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias[unit] = bias
    return layer


def dead(net: nn.Module, batches: list[tuple[Tensor, Tensor]], loss: Loss | None = None) -> list[float | None]:
    shown = probe(net, batches[0], loss or (lambda outputs, _: outputs.square().mean()), unit_batches=batches[1:])
    return [row.dead for row in shown.layers]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), F.relu])
def test_a_unit_is_dead_after_a_thousand_silent_samples_and_not_before(activation: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = with_dead_unit(nn.Linear(4, 8)), nn.Linear(8, 4)
            self.activation = activation

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.activation(self.a(x)))  # type: ignore[no-any-return]

    batches = stream(100, 4, batches=12)
    assert dead(Net(), batches[:1]) == [None, None]
    assert dead(Net(), batches[:9]) == [None, None]  # 900 samples
    assert dead(Net(), batches[:10]) == [1 / 8, None]
    assert dead(Net(), stream(1000, 4, batches=1)) == [1 / 8, None]


def test_a_unit_that_fires_in_a_later_batch_lives() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(4).repeat(2, 1))  # type: ignore[union-attr]
        net[0].bias.fill_(0.5)  # type: ignore[union-attr]
        net[0].bias[5] = -1e3  # type: ignore[union-attr, index]
    first, last = stream(100, 4, batches=2)
    first[0][:, 0] = -9  # units 0 and 4 are silent in the first batch
    middle = [first] * 10
    assert dead(net, [first, *middle]) == [3 / 8, None]
    assert dead(net, [first, *middle[:5], last, *middle]) == [1 / 8, None]
    net[0].bias.data[5] = 0.5  # type: ignore[union-attr, index]
    assert dead(net, [first, last]) == [0.0, None]  # no unit is left: known at once


def test_all_alive_is_known_from_one_batch() -> None:
    assert dead(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), stream(64, 4, batches=1)) == [0.0, None]


@pytest.mark.parametrize("functional", [False, True])
def test_of_a_convolution_the_channels_are_units(functional: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = with_dead_unit(nn.Conv2d(1, 8, 3)), nn.Conv2d(8, 4, 3)
            self.norm, self.activation = nn.BatchNorm2d(4), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            z = self.a(x)
            return self.norm(self.b(F.relu(z) if functional else self.activation(z)))  # type: ignore[no-any-return]

    assert dead(Net(), stream(500, 1, 6, 6, batches=2))[0] == 1 / 8


@pytest.mark.parametrize(
    ("activation", "bias"), [(nn.LeakyReLU(), -1e3), (nn.ELU(), -1e3), (nn.GELU(), -2.0), (nn.SiLU(), -9.0)]
)
def test_activations_that_are_never_exactly_zero_have_no_dead_units(activation: nn.Module, bias: float) -> None:
    net = nn.Sequential(with_dead_unit(nn.Linear(4, 8), bias=bias), activation, nn.Linear(8, 4))
    assert dead(net, stream(500, 4, batches=3)) == [0.0, None]


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh])
def test_saturating_activations_do_not_die(activation: Callable[[], nn.Module]) -> None:
    assert dead(dense(4, 3, activation), stream(500, 4, batches=3)) == [None, None, None]


def test_branches_side_by_side_do_not_take_the_input_for_each_other_s_units() -> None:
    """As queries, keys and values do: all read x, and a feature of x that is always zero is nobody's dead unit."""

    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.q(x) + self.k(x) + self.v(x)  # type: ignore[no-any-return]

    batches = stream(1000, 4, batches=1)
    batches[0][0][:, 1] = 0
    assert dead(Parallel(), batches) == [None, None, None]


def test_the_saturated_share_by_hand() -> None:
    """Sigmoid: y(1-y) < 1/80 beyond |z| = 4.369; tanh: 1-y² < 1/20 beyond |z| = 2.179."""
    edge = {nn.Sigmoid: math.log((1 + math.sqrt(0.95)) / (1 - math.sqrt(0.95))), nn.Tanh: math.atanh(math.sqrt(0.95))}
    for activation, z in edge.items():
        x = torch.tensor([[0.0, z - 0.01, z + 0.01, -z - 0.01], [1.0, -z + 0.01, 50.0, -50.0]])
        shown = probe(nn.Sequential(scaled(1.0), activation(), scaled(1.0)), (x, x), total)
        assert [row.saturated for row in shown.layers] == [4 / 8, None]
    relu = probe(nn.Sequential(scaled(1.0), nn.ReLU(), scaled(1.0)), (x, x), total)
    assert relu.layers[0].saturated is None


class Called(nn.Module):
    """Two layers and between them an activation that is called as a function."""

    def __init__(self, function: Callable[[Tensor], Tensor], first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.function = first, second, function

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("function", "module"),
    [
        (torch.sigmoid, nn.Sigmoid()),
        (torch.tanh, nn.Tanh()),
        (F.relu, nn.ReLU()),
        (F.gelu, nn.GELU()),
        (F.silu, nn.SiLU()),
        (F.elu, nn.ELU()),
        (F.leaky_relu, nn.LeakyReLU()),
        (F.softplus, nn.Softplus()),
    ],
)
def test_an_activation_that_is_called_as_a_function_is_seen_as_the_module(
    function: Callable[[Tensor], Tensor], module: nn.Module
) -> None:
    first, second, batch = nn.Linear(4, 8), nn.Linear(8, 3), (5 * torch.randn(64, 4), torch.randn(64, 3))
    called = probe(Called(function, first, second), batch, mse).layers
    plain = probe(nn.Sequential(first, module, second), batch, mse).layers
    assert [row.activation for row in called] == [row.activation for row in plain] == [called[0].activation, None]
    assert called[0].activation is not None
    assert (called[0].saturated, called[0].dead) == (plain[0].saturated, plain[0].dead)


def test_between_a_function_and_the_next_layer_there_may_be_another_shape_and_nothing_else() -> None:
    conv, head = nn.Conv2d(1, 2, 3), nn.Linear(32, 4)
    batch = 20 * torch.randn(16, 1, 6, 6), torch.randn(16, 4)
    flat = Called(lambda z: torch.tanh(z).flatten(1), conv, head)
    shown = probe(flat, batch, mse).layers[0]
    assert shown.activation == "tanh"
    assert shown.saturated == pytest.approx(float((1 - torch.tanh(conv(batch[0])) ** 2 < 0.05).float().mean()))
    pooled = Called(lambda z: F.max_pool2d(torch.tanh(z), 2).flatten(1), conv, nn.Linear(8, 4))
    assert probe(pooled, batch, mse).layers[0].activation is None
    doubled = Called(lambda z: 2 * torch.tanh(z), nn.Linear(4, 8), nn.Linear(8, 3))
    assert probe(doubled, (torch.randn(16, 4), torch.randn(16, 3)), mse).layers[0].activation is None


# ------------------------------------------------------------------------------------------------ jacobian
@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0, 1e-12, 1e12])
@pytest.mark.parametrize("shape", [(64, 64), (16, 64), (64, 16)])
def test_an_orthogonal_map_s_mean_squared_singular_value(scale: float, shape: tuple[int, int]) -> None:
    layer = nn.Linear(shape[1], shape[0], bias=False)
    nn.init.orthogonal_(layer.weight, gain=scale)
    batch = torch.randn(32, shape[1]), torch.randn(32, shape[0])
    found = probe(nn.Sequential(layer), batch, mse, jacobian_samples=16).jacobian
    assert found == pytest.approx(scale**2, rel=0.05)  # the sampling error is below 0.016


def test_the_jacobian_of_a_relu_net_by_hand() -> None:
    """All of J of each sample, against the estimate."""
    net, (x, y) = dense(16, 3, nn.ReLU, nn.init.kaiming_normal_), noise(32, 16)
    whole = torch.stack([torch.autograd.functional.jacobian(net, sample[None])[0, :, 0] for sample in x])
    exact = whole.double().square().sum(dim=(1, 2)).mean().item() / 16
    assert probe(net, (x, y), mse, jacobian_samples=200).jacobian == pytest.approx(exact, rel=0.05)


def test_the_jacobian_is_only_there_where_asked_for() -> None:
    assert probe(nn.Sequential(scaled(1.0)), noise(4, 4), mse).jacobian is None
    frozen = nn.Sequential(scaled(2.0)).requires_grad_(False)
    assert probe(frozen, noise(64, 4), mse, jacobian_samples=64).jacobian == pytest.approx(4, rel=0.1)


# ------------------------------------------------------------------------------------- what the rules look at
CLASSES, SAMPLES = 10, 64


def with_zero_head(activation: nn.Module | None = None, classes: int = CLASSES) -> nn.Sequential:
    """All logits are 0 at first: the loss is that of a guess."""
    head = nn.Linear(16, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), head, *([activation] if activation else []))


def labelled(classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """As many of each class as of any other."""
    return torch.randn(SAMPLES * classes // 2, 8), torch.arange(SAMPLES * classes // 2) % classes


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(
    ("activation", "ratio"),
    [
        (None, lambda classes: 1.0),
        (nn.Softmax(dim=-1), lambda classes: 1 / classes),  # equal numbers: cross-entropy sees a guess, too
        (nn.Sigmoid(), lambda classes: 1 / 4),
    ],
    ids=["logits", "softmax", "sigmoid"],
)
def test_the_gradient_at_the_head_of_a_guess(
    activation: nn.Module | None, ratio: Callable[[int], float], classes: int
) -> None:
    shown = probe(with_zero_head(activation, classes), labelled(classes), F.cross_entropy)
    head = rows(shown)["2"]
    assert shown.loss == pytest.approx(math.log(classes), rel=1e-6)
    assert head_gradient(head) == pytest.approx(ratio(classes), rel=1e-4)
    assert head.unit_sum == pytest.approx(0, abs=1e-5)  # also through equal sigmoids of a softmax
    assert head.unit_zeros == 0.0


def test_the_gradient_of_a_guess_at_each_pixel() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, CLASSES, 1))
    nn.init.zeros_(net[2].weight)
    nn.init.zeros_(net[2].bias)  # type: ignore[arg-type]
    batch = torch.randn(8, 3, 5, 5), torch.randint(CLASSES, (8, 5, 5))
    head = rows(probe(net, batch, F.cross_entropy))["2"]
    assert head_gradient(head) == pytest.approx(1.0, rel=1e-5)
    assert head.unit_sum == pytest.approx(0, abs=1e-5)


def test_the_sum_at_the_head_is_0_behind_a_softmax_alone() -> None:
    x, labels = labelled()
    plain = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, CLASSES))

    def unit_sum(loss: Loss) -> float:
        head = rows(probe(plain, (x, labels), loss))["2"]
        assert head.unit_sum is not None
        return head.unit_sum

    assert unit_sum(F.cross_entropy) == pytest.approx(0, abs=1e-5)
    assert unit_sum(lambda z, y: F.nll_loss(z.log_softmax(-1), y)) == pytest.approx(0, abs=1e-5)
    assert unit_sum(lambda z, y: mse(z, F.one_hot(y, CLASSES).float())) > 0.1
    assert unit_sum(lambda z, y: F.cross_entropy(z.relu(), y)) > 0.1


def test_a_relu_on_the_head_leaves_zeros() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, CLASSES), nn.ReLU())
    head = rows(probe(net, labelled(), F.cross_entropy))["2"]
    assert head.unit_zeros == pytest.approx(0.5, abs=0.15)
    assert head.activation == "relu"
    assert rows(probe(net[:3], labelled(), F.cross_entropy))["2"].unit_zeros == 0.0


def test_only_the_layer_next_to_the_loss_has_a_sum_and_zeros() -> None:
    shown = rows(probe(with_zero_head(), labelled(), F.cross_entropy))
    assert (shown["0"].unit_sum, shown["0"].unit_zeros) == (None, None)
    single = rows(probe(nn.Sequential(nn.Linear(8, 1)), noise(8, 8), lambda z, y: z.square().mean()))["0"]
    assert (single.unit_sum, single.unit_zeros) == (None, 0.0)


def test_equal_units_have_no_spread_and_random_ones_do() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Conv1d(1, 8, 3, padding=1), nn.Flatten(), nn.Linear(128, 1))
    nn.init.constant_(net[0].weight, 0.1)
    nn.init.zeros_(net[2].weight)

    class Reshaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net[2:](self.net[:2](x)[:, None])  # type: ignore[no-any-return, index]

    shown = rows(probe(Reshaped(), (torch.randn(4, 8), torch.randn(4, 1)), mse))
    assert shown["net.0"].weight_spread == pytest.approx(0, abs=1e-6)
    assert shown["net.2"].weight_spread == 0.0
    assert shown["net.4"].weight_spread is None  # one unit
    assert rows(probe(nn.Sequential(nn.Linear(8, 16)), noise(4, 8), lambda z, y: z.sum()))["0"].weight_spread > 0.8  # type: ignore[operator]


def test_units_with_a_weight_of_their_own_in_any_parameter_are_not_equal() -> None:
    """States that all fall alike at first and turn each at its own speed, as in S4; an LSTM's by what comes back."""

    class Modes(nn.Module):
        def __init__(self, angle: float) -> None:
            super().__init__()
            self.decay = nn.Parameter(torch.full((4, 6), 0.3))
            self.angle = nn.Parameter(angle * torch.randn(4, 6) + 0.1)

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.decay * self.angle.cos()).sum(dim=1)

    for angle, least, most in ((1.0, 0.5, 1.5), (0.0, 0.0, 1e-6)):
        shown = rows(probe(nn.Sequential(Modes(angle), nn.Linear(4, 4)), noise(8, 4), mse))
        assert least <= shown["0"].weight_spread <= most  # type: ignore[operator]
    cell = nn.LSTM(4, 4, batch_first=True)
    nn.init.constant_(cell.weight_ih_l0, 0.1)
    net = nn.Sequential(cell, Last(), nn.Linear(4, 4))
    assert rows(probe(net, (torch.randn(8, 3, 4), torch.randn(8, 4)), mse))["0"].weight_spread > 0.5  # type: ignore[operator]
    nn.init.constant_(cell.weight_hh_l0, 0.1)
    assert rows(probe(net, (torch.randn(8, 3, 4), torch.randn(8, 4)), mse))["0"].weight_spread < 1e-6  # type: ignore[operator]


class Last(nn.Module):
    """The last step of a recurrent layer."""

    def forward(self, made: tuple[Tensor, object]) -> Tensor:
        return made[0][:, -1]


def test_a_table_s_rows_are_no_units() -> None:
    table = nn.Embedding(10, 4)
    nn.init.zeros_(table.weight)
    net = nn.Sequential(table, nn.Flatten(), nn.Linear(12, 4))
    shown = probe(net, (torch.randint(10, (8, 3)), torch.randn(8, 4)), mse)
    assert rows(shown)["0"].weight_spread is None
    assert (shown.input_mean, shown.input_std, shown.input_largest) == (None, None, None)


@pytest.mark.parametrize("way", ["detach", "no_grad"])
def test_a_trunk_whose_output_is_detached_is_told_from_one_that_runs_without_gradients(way: str) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad() if way == "no_grad" else torch.enable_grad():
                z = self.trunk(x)
            return self.head(z.detach())  # type: ignore[no-any-return]

    profile = probe(Cut(), noise(16, 8), mse)
    shown = rows(profile)
    assert shown["head"].gradient_rms
    if way == "detach":
        assert [shown[name].detached for name in ("trunk.0", "trunk.2", "head")] == [True, True, False]
        assert [shown[name].gradient_rms for name in ("trunk.0", "trunk.2")] == [None, None]
    else:
        assert list(shown) == ["head"]
        assert profile.unseen == dict.fromkeys(("trunk.0", "trunk.2"), "it ran without gradients")


def test_frozen_layers_are_not_detached() -> None:
    net = dense(8, 4, nn.ReLU)
    net[0].requires_grad_(False)
    assert [row.detached for row in probe(net, noise(16, 8), mse).layers] == [False] * 4


def test_the_inputs_of_the_first_layer_by_hand() -> None:
    x = torch.tensor([[-1.0, 3.0], [-5.0, -1.0]])
    shown = probe(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), (x, x), mse)
    assert (shown.input_mean, shown.input_std, shown.input_largest) == pytest.approx((-1.0, math.sqrt(8), 5.0))
    shifted = probe(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), (x, x), mse)
    assert (shifted.input_mean, shifted.input_std) == pytest.approx((0.0, 1.0), abs=1e-4)  # what the layer itself gets


def test_the_numbers_beside_indices_are_inputs_too() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kinds, self.hidden = nn.Embedding(4, 2), nn.Linear(2, 2)
            self.numbers, self.head = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.hidden(self.kinds(x[:, 0].long()))  # numbers, and not of the batch
            return self.head(hidden + self.numbers(x[:, 1:]))  # type: ignore[no-any-return]

    x = torch.tensor([[0.0, -1.0, 3.0], [3.0, -5.0, -1.0]])
    shown = probe(Table(), (x, x[:, 1:]), mse)
    assert (shown.input_mean, shown.input_std, shown.input_largest) == pytest.approx((-1.0, math.sqrt(8), 5.0))
    words = probe(nn.Sequential(nn.Embedding(4, 2), nn.Linear(2, 2)), (x[:, 0].long(), x[:, 1:]), mse)
    assert words.input_mean is None


def test_batch_norm_says_over_how_many_samples_while_it_trains() -> None:
    net = dense(8, 3, nn.ReLU, norm=True)
    assert probe(net, noise(6, 8), mse).batch_norm_samples == 6
    assert probe(net.eval(), noise(6, 8), mse).batch_norm_samples is None
    assert probe(dense(8, 3, nn.ReLU), noise(6, 8), mse).batch_norm_samples is None
    net[1].train()
    assert probe(net, noise(6, 8), mse).batch_norm_samples == 6
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 4))
    assert probe(images, (torch.randn(5, 1, 6, 6), torch.randn(5, 4)), mse).batch_norm_samples == 5


def test_kinds_samples_and_activations_are_named() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU(), nn.Flatten(), nn.Linear(32, 4), nn.Tanh(), nn.Linear(4, 4))
    shown = probe(net, (torch.randn(5, 1, 6, 6), torch.randn(5, 4)), mse).layers
    assert [(row.kind, row.samples, row.activation) for row in shown] == [
        ("Conv2d", 5, "leakyrelu"), ("Linear", 5, "tanh"), ("Linear", 5, None),
    ]  # fmt: skip


def test_gradients_that_are_nearly_lost_are_counted_in_float16_alone() -> None:
    net, (x, y) = nn.Sequential(scaled(1.0), scaled(1.0)), noise(16, 4)
    tiny = 1e-7 * y.sign()
    half = probe(net.half(), (x.half(), tiny.half()), total)
    assert [row.underflow for row in half.layers] == [1.0, 1.0]
    assert [row.underflow for row in probe(net, (x.half(), y.sign().half()), total).layers] == [0.0, 0.0]
    assert [row.underflow for row in probe(net.float(), (x, tiny), total).layers] == [None, None]


def test_the_loss_of_the_pass_is_kept() -> None:
    x, y = noise(16, 4)
    assert probe(nn.Sequential(scaled(2.0)), (x, y), mse).loss == pytest.approx(float(mse(2 * x, y)), rel=1e-6)


@pytest.mark.parametrize("power", [1.0, 2.0, 6.0])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_elasticity_of_a_power_of_the_outputs_is_the_power(power: float, scale: float) -> None:
    net, batch = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 8)), noise(16, 8)
    shown = probe(net, batch, lambda z, _: scale * z.abs().pow(power).mean())
    assert shown.elasticity == pytest.approx(power, rel=1e-4)


def test_the_elasticity_is_0_at_the_best_size_and_unknown_of_a_loss_of_0() -> None:
    x, y = noise(16, 4)
    size = float((x * y).sum() / x.square().sum())  # of the least squares
    for factor, expected in ((1.0, 0.0), (0.0, 0.0), (1e3, 2.0)):
        shown = probe(nn.Sequential(scaled(factor * size)), (x, y), mse)
        assert shown.elasticity == pytest.approx(expected, abs=0.01)
    assert probe(nn.Sequential(scaled(1.0)), (x, x), mse).elasticity is None


# ------------------------------------------------------------------------------------ outputs that are the same for all
@pytest.mark.parametrize("activation", [nn.Identity, partial(nn.ReLU, inplace=True)])
def test_the_spread_of_the_outputs_over_samples(activation: Callable[..., nn.Module]) -> None:
    net, (x, y) = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 8), activation()), noise(16, 8)
    z = net[2](net[1](net[0](x)))[:8].detach()
    shown = rows(probe(net, (x, y), mse))
    assert shown["2"].sample_spread == pytest.approx(rms(z - z.mean(dim=0)) / rms(z), rel=1e-5)
    assert shown["0"].sample_spread is None  # known of the layer next to the loss alone
    nn.init.zeros_(net[0].weight)
    assert rows(probe(net, (x, y), mse))["2"].sample_spread < 1e-6  # type: ignore[operator]


def test_a_net_that_also_looks_ahead_without_gradients_is_seen_once() -> None:
    class Bootstrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.copy = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                ahead = self.net(x) + self.copy(x)
            value = self.net(x)
            with torch.no_grad():
                later = self.copy(x)
            return value - ahead - later  # type: ignore[no-any-return]

    profile = probe(Bootstrapped(), noise(16, 8), mse)
    assert [row.name for row in profile.layers] == ["net"]
    assert profile.layers[0].sample_spread is not None  # it is the last one of those that learn
    assert profile.unseen == {"copy": "it ran without gradients"}
