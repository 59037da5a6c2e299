"""Layer-normalised recurrent cells: torch's own without the norm, the paper's formula with it, and what LN is for."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isometry import probe
from isometry.layers.recurrent import LayerNormGRUCell, LayerNormLSTMCell, LayerNormRNNCell, Unrolled

OURS: dict[str, Callable[..., nn.RNNCellBase]] = {
    "lstm": LayerNormLSTMCell,
    "gru": LayerNormGRUCell,
    "rnn": LayerNormRNNCell,
    "rnn_relu": partial(LayerNormRNNCell, nonlinearity="relu"),
}
TORCH_CELLS: dict[str, Callable[..., nn.RNNCellBase]] = {
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
    "rnn": nn.RNNCell,
    "rnn_relu": partial(nn.RNNCell, nonlinearity="relu"),
}
TORCH_LAYERS: dict[str, Callable[..., nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
}
KINDS = pytest.mark.parametrize("kind", list(OURS))
SIZES = pytest.mark.parametrize(("features", "hidden", "batch"), [(3, 4, 5), (7, 2, 1), (1, 16, 3), (1, 1, 1)])


# ------------------------------------------------------------------------------------ without the norm
@KINDS
@SIZES
@pytest.mark.parametrize("with_state", [True, False])
def test_without_the_norm_a_cell_is_torchs(kind: str, features: int, hidden: int, batch: int, with_state: bool) -> None:
    theirs = TORCH_CELLS[kind](features, hidden).double()
    ours = OURS[kind](features, hidden, norm=nn.Identity).double()
    ours.load_state_dict(theirs.state_dict())
    x, state = noise(batch, features), (noise(batch, hidden), noise(batch, hidden))
    given: list[Any] = [] if not with_state else [state if kind == "lstm" else state[0]]
    leaves = [x, *state[: (2 if kind == "lstm" else 1) * with_state]]
    agree(*(outputs_and_gradients(cell, cell(x, *given), leaves) for cell in (ours, theirs)))


@KINDS
@SIZES
@pytest.mark.parametrize("steps", [1, 6])
def test_without_the_norm_a_cell_over_time_is_torchs_layer(
    kind: str, features: int, hidden: int, batch: int, steps: int
) -> None:
    theirs = TORCH_LAYERS[kind](features, hidden, batch_first=True).double()
    ours = Unrolled(OURS[kind](features, hidden, norm=nn.Identity).double())
    ours.load_state_dict({f"cell.{name.removesuffix('_l0')}": p for name, p in theirs.state_dict().items()})
    x = noise(batch, steps, features)
    agree(*(outputs_and_gradients(layer, layer(x), [x]) for layer in (ours, theirs)))


@KINDS
def test_the_loop_runs_torchs_cells_too(kind: str) -> None:
    theirs = TORCH_LAYERS[kind](3, 4, batch_first=True).double()
    ours = Unrolled(TORCH_CELLS[kind](3, 4).double())
    ours.load_state_dict({f"cell.{name.removesuffix('_l0')}": p for name, p in theirs.state_dict().items()})
    x = noise(2, 5, 3)
    agree(*(outputs_and_gradients(layer, layer(x), [x]) for layer in (ours, theirs)))


# --------------------------------------------------------------------------------------- with the norm
@KINDS
@pytest.mark.parametrize(("features", "hidden", "steps"), [(3, 4, 5), (1, 6, 2), (5, 2, 9)])
def test_with_the_norm_a_cell_is_the_papers_formula(kind: str, features: int, hidden: int, steps: int) -> None:
    layer = Unrolled(OURS[kind](features, hidden).double())
    with torch.no_grad():
        for parameter in layer.parameters():  # the gains and the bias of LN(c) are not at 1 and 0
            parameter.normal_()
    x = noise(2, steps, features)
    expected = torch.stack([PAPER[kind](layer.cell, sequence) for sequence in x])
    agree(outputs_and_gradients(layer, layer(x)[0], [x]), outputs_and_gradients(layer, expected, [x]))


def ln(a: Tensor, gain: Tensor) -> Tensor:
    """The paper's equation 3 with its g, for one sample."""
    mu = sum(a) / len(a)
    sigma = torch.sqrt(sum((a_i - mu) ** 2 for a_i in a) / len(a) + 1e-5)
    return torch.stack([g_i * (a_i - mu) / sigma for g_i, a_i in zip(gain, a, strict=True)])


def paper_lstm(cell: Any, sequence: Tensor) -> Tensor:
    size, states = cell.hidden_size, []
    h, c = torch.zeros(size).double(), torch.zeros(size).double()
    for x in sequence:
        from_input = ln(cell.weight_ih @ x, cell.norm_ih.weight)
        from_state = ln(cell.weight_hh @ h, cell.norm_hh.weight)
        gates = from_input + from_state + cell.bias_ih + cell.bias_hh
        i, f, g, o = (gates[k * size : (k + 1) * size] for k in range(4))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(ln(c, cell.norm_cell.weight) + cell.norm_cell.bias)
        states.append(h)
    return torch.stack(states)


def paper_gru(cell: Any, sequence: Tensor) -> Tensor:
    size, states = cell.hidden_size, []
    h = torch.zeros(size).double()
    w, u = cell.weight_ih, cell.weight_hh
    for x in sequence:
        gates = ln(w[: 2 * size] @ x, cell.norm_ih.weight) + ln(u[: 2 * size] @ h, cell.norm_hh.weight)
        gates = gates + cell.bias_ih[: 2 * size] + cell.bias_hh[: 2 * size]
        r, z = torch.sigmoid(gates[:size]), torch.sigmoid(gates[size:])
        from_input = ln(w[2 * size :] @ x, cell.norm_in.weight) + cell.bias_ih[2 * size :]
        from_state = ln(u[2 * size :] @ h, cell.norm_hn.weight) + cell.bias_hh[2 * size :]
        h = (1 - z) * torch.tanh(from_input + r * from_state) + z * h
        states.append(h)
    return torch.stack(states)


def paper_rnn(cell: Any, sequence: Tensor, phi: Callable[[Tensor], Tensor] = torch.tanh) -> Tensor:
    states, h = [], torch.zeros(cell.hidden_size).double()
    for x in sequence:
        from_input = ln(cell.weight_ih @ x, cell.norm_ih.weight)
        from_state = ln(cell.weight_hh @ h, cell.norm_hh.weight)
        h = phi(from_input + from_state + cell.bias_ih + cell.bias_hh)
        states.append(h)
    return torch.stack(states)


PAPER: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "lstm": paper_lstm,
    "gru": paper_gru,
    "rnn": paper_rnn,
    "rnn_relu": partial(paper_rnn, phi=torch.relu),
}


@KINDS
@pytest.mark.parametrize("weight", ["weight_ih", "weight_hh"])
@pytest.mark.parametrize(("eps", "tolerance"), [(1e-5, 0.02), (1e-30, 1e-9)])
def test_the_size_of_a_weight_matrix_changes_nothing_but_its_own_gradient(
    kind: str, weight: str, eps: float, tolerance: float
) -> None:
    x, readout = noise(4, 12, 5), noise(4, 16)
    make = partial(OURS[kind], 5, 16, norm=partial(nn.LayerNorm, eps=eps))
    (states, *gradients), (scaled_states, *scaled_gradients) = with_weight_times_ten(make, weight, x, readout)
    torch.testing.assert_close(scaled_states, states, rtol=0, atol=tolerance)
    torch.testing.assert_close(scaled_gradients[0], gradients[0], rtol=0, atol=tolerance * float(gradients[0].norm()))
    torch.testing.assert_close(
        10 * scaled_gradients[1], gradients[1], rtol=0, atol=tolerance * float(gradients[1].norm())
    )


@KINDS
@pytest.mark.parametrize("weight", ["weight_ih", "weight_hh"])
def test_without_the_norm_the_size_of_a_weight_matrix_matters(kind: str, weight: str) -> None:
    make = partial(OURS[kind], 5, 16, norm=nn.Identity)
    (states, *_), (scaled_states, *_) = with_weight_times_ten(make, weight, noise(4, 12, 5), noise(4, 16))
    assert (scaled_states - states).abs().max() > 0.3


def with_weight_times_ten(
    make: Callable[[], nn.RNNCellBase], weight: str, x: Tensor, readout: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """(states, gradient of the inputs, gradient of the weight) as it is, and with the weight ten times as large."""
    layer = Unrolled(make().double())
    tensor = getattr(layer.cell, weight)
    found = []
    for factor in (1, 10):
        with torch.no_grad():
            tensor.mul_(factor)
        states = layer(x)[0]
        found.append((states.detach(), *torch.autograd.grad((states[:, -1] * readout).sum(), [x, tensor])))
    return found[0], found[1]


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_through_200_steps_states_and_gradients_stay_finite(kind: str, size: float) -> None:
    layer, x = over_200_steps(OURS[kind](8, 32), size)
    states = layer(x)[0]
    (gradient,) = torch.autograd.grad(states[:, -1].square().sum(), x)
    assert gradient.isfinite().all()
    assert gradient[:, -1].norm() > 0
    assert states.abs().max() <= 1


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_the_state_of_a_relu_cell_is_bounded_by_its_width_alone(size: float) -> None:
    """|LN(a)| <= √(H-1), reached where all other elements are equal; there are two LNs, and biases up to 1/√H."""
    layer, x = over_200_steps(OURS["rnn_relu"](8, 32), size)
    states = layer(x)[0]
    (gradient,) = torch.autograd.grad(states[:, -1].sum(), x)
    assert gradient.isfinite().all()
    assert states.max() <= 2 * math.sqrt(31) + 2 / math.sqrt(32)
    plain, _ = over_200_steps(OURS["rnn_relu"](8, 32, norm=nn.Identity), 100.0)
    assert plain(x)[0].isinf().any()


def over_200_steps(cell: nn.RNNCellBase, size: float) -> tuple[Unrolled, Tensor]:
    """The cell with its recurrent weight `size` times an orthogonal one, and inputs for it."""
    with torch.no_grad():
        for gate in cell.weight_hh.split(cell.hidden_size):
            nn.init.orthogonal_(gate, size)
    return Unrolled(cell), torch.randn(4, 200, 8, requires_grad=True)


def test_the_gradient_on_its_way_to_a_zero_input_is_multiplied_by_316() -> None:
    """x = h = 0 and no bias: LN' = (1 - mean) / √1e-5 and φ' = 1."""
    cell = LayerNormRNNCell(3, 6).double()
    with torch.no_grad():
        cell.bias_ih.zero_()
        cell.bias_hh.zero_()
    x, g = torch.zeros(1, 3, requires_grad=True, dtype=torch.float64), noise(1, 6).detach()
    output = cell(x)
    (gradient,) = torch.autograd.grad((output * g).sum(), x)
    assert not output.any()
    torch.testing.assert_close(gradient, (g - g.mean()) @ cell.weight_ih.detach() * 10**2.5)


# ------------------------------------------------------------------------------------------ parameters
@KINDS
def test_a_reset_draws_as_torchs_cell_and_leaves_the_gains_at_1(kind: str) -> None:
    ours, theirs = OURS[kind](5, 9), TORCH_CELLS[kind](5, 9)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(7.0)
    drawn_next = []
    for cell in (ours, theirs):
        torch.manual_seed(3)
        cell.reset_parameters()
        drawn_next.append(float(torch.rand(1)))
    assert drawn_next[0] == drawn_next[1]  # nothing was drawn for the norms
    for name, parameter in ours.named_parameters():
        owner, _, own = name.rpartition(".")
        if not owner:
            assert torch.equal(parameter, theirs.get_parameter(own))
        else:
            assert torch.equal(parameter, torch.full_like(parameter, {"weight": 1.0, "bias": 0.0}[own]))


@pytest.mark.parametrize(("kind", "norms"), [("lstm", {16, 4}), ("gru", {8, 4}), ("rnn", {4})])
def test_no_bias_is_there_twice(kind: str, norms: set[int]) -> None:
    cell = OURS[kind](3, 4)
    made = {name: norm for name, norm in cell.named_children() if isinstance(norm, nn.LayerNorm)}
    assert {norm.weight.numel() for norm in made.values()} == norms
    assert [name for name, norm in made.items() if norm.bias is not None] == ["norm_cell"] * (kind == "lstm")
    assert {name for name, _ in cell.named_parameters(recurse=False)} == {
        "weight_ih", "weight_hh", "bias_ih", "bias_hh",
    }  # fmt: skip


def test_the_forget_gate_is_the_second_block_of_bias_ih() -> None:
    """All gates shut but a forget gate wide open: c' = c."""
    cell = LayerNormLSTMCell(3, 4, norm=nn.Identity)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.bias_ih[0:4], cell.bias_ih[4:8] = -100, 100
    c = torch.randn(2, 4)
    assert torch.equal(cell(torch.randn(2, 3), (torch.randn(2, 4), c))[1], c)


@KINDS
def test_copies_pickles_and_state_dicts_give_the_same_outputs(kind: str) -> None:
    layer, x = Unrolled(OURS[kind](3, 4)), torch.randn(2, 5, 3)
    fresh = Unrolled(OURS[kind](3, 4))
    expected = layer(x)[0]
    assert not torch.equal(fresh(x)[0], expected)
    fresh.load_state_dict(layer.state_dict())
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh):
        assert torch.equal(same(x)[0], expected)


# ------------------------------------------------------------------------------------------- the probe
class Net(nn.Module):
    """Rows of an image, a layer over time, a head on the last state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layer, self.head = nn.Linear(6, 8), layer, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.encoder(x))[0][:, -1])
        return logits


@KINDS
@pytest.mark.parametrize("steps", [1, 5, 28])
def test_the_probe_shows_the_gradient_over_time(kind: str, steps: int) -> None:
    layer = Unrolled(OURS[kind](8, 8))
    net, x, y = Net(layer), torch.randn(10, steps, 6), torch.randint(3, (10,))
    shown = probe(net, (x, y), nn.functional.cross_entropy)
    states: list[Tensor] = []
    handle = layer.cell.register_forward_hook(lambda _module, _inputs, output: states.append(hidden_state(output)))
    loss = nn.functional.cross_entropy(net(x), y)
    handle.remove()
    expected = [float(gradient.norm()) for gradient in torch.autograd.grad(loss, states)]
    (time,) = shown.times
    assert time.name == "layer.cell"
    assert len(time.gradient_norms) == steps
    assert time.gradient_norms == pytest.approx(expected, rel=1e-4)
    assert [(row.name, row.shape) for row in shown.layers][1] == ("layer.cell", (8,))
    assert not shown.unseen


@KINDS
def test_the_probe_shows_without_the_norm_what_it_shows_of_torchs_layer(kind: str) -> None:
    theirs = Net(TORCH_LAYERS[kind](8, 8, batch_first=True))
    ours = Net(Unrolled(OURS[kind](8, 8, norm=nn.Identity)))
    ours.load_state_dict(
        {name.replace("layer.", "layer.cell.").removesuffix("_l0"): p for name, p in theirs.state_dict().items()}
    )
    batch = torch.randn(10, 28, 6), torch.randint(3, (10,))
    (shown,), (expected,) = (probe(net, batch, nn.functional.cross_entropy).times for net in (ours, theirs))
    assert shown.gradient_norms == pytest.approx(expected.gradient_norms, rel=1e-3)


# ---------------------------------------------------------------------------------------------- errors
def test_a_nonlinearity_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match='nonlinearity must be "tanh" or "relu": got \'gelu\''):
        LayerNormRNNCell(3, 4, nonlinearity="gelu")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 0, 3), (2, 5, 4), (2, 5, 1, 3)])
def test_what_is_no_sequence_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Unrolled needs \[B, T, 3\] with T >= 1: got \["):
        Unrolled(LayerNormGRUCell(3, 4))(torch.randn(shape))


# --------------------------------------------------------------------------------------------- helpers
def noise(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def hidden_state(output: Any) -> Tensor:
    state = output[0] if isinstance(output, tuple) else output
    assert isinstance(state, Tensor)
    return state


def flat(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else [tensor for part in outputs for tensor in flat(part)]


def outputs_and_gradients(module: nn.Module, outputs: Any, leaves: list[Tensor]) -> dict[str, Tensor]:
    """All a module computes, and the gradient of a fixed random functional of it for every leaf and parameter."""
    found = flat(outputs)
    rng = torch.Generator().manual_seed(5)
    loss = sum((torch.randn(each.shape, generator=rng, dtype=each.dtype) * each).sum() for each in found)
    named = [(name.removeprefix("cell.").removesuffix("_l0"), p) for name, p in module.named_parameters()]
    gradients = torch.autograd.grad(torch.as_tensor(loss), [*leaves, *(p for _, p in named)])
    names = [*(f"leaf {index}" for index in range(len(leaves))), *(name for name, _ in named)]
    results = {f"output {index}": each.detach() for index, each in enumerate(found)}
    return results | dict(zip(names, gradients, strict=True))


def agree(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-9, atol=1e-11, msg=partial("{}: {}".format, name))
