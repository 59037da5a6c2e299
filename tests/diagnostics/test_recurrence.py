"""‖∂L/∂h_t‖ of recurrent layers against backpropagation through time by hand, with cells of torch's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from isometry import probe
from isometry.diagnostics.profile import Profile

T, B, FEATURES, HIDDEN = 7, 5, 3, 4
CELLS: dict[type[nn.RNNBase], Callable[..., nn.RNNCellBase]] = {
    nn.RNN: nn.RNNCell,
    nn.GRU: nn.GRUCell,
    nn.LSTM: nn.LSTMCell,
}
Read = Callable[[Tensor, Any], Tensor]  # from a layer's output [T, B, D·H] and its final states to what the loss sees
READS: dict[str, Read] = {
    "last output": lambda outputs, finals: outputs[-1],
    "all outputs": lambda outputs, finals: outputs,
    "h_n": lambda outputs, finals: finals[0] if isinstance(finals, tuple) else finals,
    "c_n": lambda outputs, finals: finals[1],
    "output and h_n": lambda outputs, finals: torch.cat(
        [outputs.flatten(), (finals[0] if isinstance(finals, tuple) else finals).flatten()]
    ),
}


class Net(nn.Module):
    """A recurrent layer and what is read from it."""

    def __init__(self, layer: nn.RNNBase, read: Read, state: Any = None) -> None:
        super().__init__()
        self.layer, self.read, self.state = layer, read, state

    def forward(self, x: Tensor) -> Tensor:
        outputs, finals = self.layer(x) if self.state is None else self.layer(x, self.state)
        return self.read(outputs.transpose(0, 1) if self.layer.batch_first else outputs, finals)


def loss_of(read: Tensor, _: Any = None) -> Tensor:
    """Another gradient for each element."""
    weights = torch.linspace(0.5, 2.0, read.numel(), dtype=read.dtype).view_as(read)
    return (read.sin() * weights).sum()


def by_hand(layer: nn.RNNBase, x: Tensor, read: Read, state: Any = None) -> dict[str, list[float]]:
    """The norms by layer and direction: each step a call of a cell, in float64, each h_t's gradient kept."""
    inputs = (x.transpose(0, 1) if layer.batch_first else x).double()
    states: dict[str, list[Tensor]] = {}
    finals: list[Any] = []
    for number in range(layer.num_layers):
        directions = []
        for suffix in (f"l{number}", f"l{number}_reverse")[: 1 + layer.bidirectional]:
            options = {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}
            cell = CELLS[type(layer)](inputs.shape[-1], layer.hidden_size, bias=layer.bias, **options).double()
            for name, parameter in cell.named_parameters():
                parameter.data.copy_(getattr(layer, f"{name}_{suffix}"))
            if state is None:
                current = None
            elif isinstance(state, tuple):
                current = tuple(kind[len(finals)].double() for kind in state)
            else:
                current = state[len(finals)].double()
            order = range(len(inputs))[::-1] if suffix.endswith("reverse") else range(len(inputs))
            found: dict[int, Tensor] = {}
            for t in order:
                current = cell(inputs[t], current)
                found[t] = current[0] if isinstance(current, tuple) else current
                found[t].retain_grad()
            finals.append(current)
            states[suffix] = [found[t] for t in order]
            directions.append(torch.stack([found[t] for t in sorted(found)]))
        inputs = torch.cat(directions, dim=-1)
    ends: Any = torch.stack(finals) if isinstance(finals[0], Tensor) else None
    if ends is None:  # an LSTM's h and c
        ends = tuple(torch.stack(kind) for kind in zip(*finals, strict=True))
    loss_of(read(inputs, ends)).backward()
    return {
        suffix: [0.0 if h.grad is None else h.grad.norm().item() for h in over_time]
        for suffix, over_time in states.items()
    }


def times(profile: Profile) -> dict[str, list[float]]:
    return {time.name: list(time.gradient_norms) for time in profile.times}


def check(layer: nn.RNNBase, read: Read, state: Any = None) -> None:
    x = torch.randn(*((B, T) if layer.batch_first else (T, B)), FEATURES)
    shown = probe(Net(layer, read, state), (x, None), loss_of)
    expected = by_hand(layer, x, read, state)
    assert not shown.unseen
    prefix = [f"layer.{suffix}" for suffix in expected] if len(expected) > 1 else ["layer"]
    assert list(times(shown)) == prefix
    for name, norms in zip(prefix, expected.values(), strict=True):
        assert times(shown)[name] == pytest.approx(norms, rel=1e-4, abs=1e-12)
        assert max(norms) > 1e-3


@pytest.mark.parametrize("read", ["last output", "all outputs", "h_n", "output and h_n"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "make",
    [nn.RNN, lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k), nn.GRU, nn.LSTM],
    ids=["tanh", "relu", "gru", "lstm"],
)
def test_norms_over_time_are_those_by_hand(make: Callable[..., nn.RNNBase], bidirectional: bool, layers: int,
                                           read: str) -> None:  # fmt: skip
    check(make(FEATURES, HIDDEN, num_layers=layers, bidirectional=bidirectional), READS[read])


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("options", [{"batch_first": True}, {"bias": False}, {"batch_first": True, "num_layers": 3}])
def test_other_options(make: Callable[..., nn.RNNBase], options: dict[str, Any]) -> None:
    check(make(FEATURES, HIDDEN, **options), READS["all outputs"])


def test_a_loss_on_the_cell_state_alone() -> None:
    check(nn.LSTM(FEATURES, HIDDEN, num_layers=2), READS["c_n"])


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_given_first_state(make: Callable[..., nn.RNNBase], batch_first: bool) -> None:
    layer = make(FEATURES, HIDDEN, num_layers=2, batch_first=batch_first)
    first = torch.randn(2, B, HIDDEN)
    check(layer, READS["last output"], (first, 2 * first) if make is nn.LSTM else first)


def test_the_first_state_matters() -> None:
    """The control of the test above and of the one below."""
    layer, x = nn.RNN(FEATURES, HIDDEN), torch.randn(T, B, FEATURES)
    read = READS["last output"]
    without, with_it = by_hand(layer, x, read), by_hand(layer, x, read, 5 * torch.ones(1, B, HIDDEN))
    assert without["l0"] != pytest.approx(with_it["l0"], rel=1e-3)


def test_arguments_by_their_names() -> None:
    class Named(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.read(*self.layer(input=x, hx=self.state))

    layer, x, state = nn.RNN(FEATURES, HIDDEN), torch.randn(T, B, FEATURES), 5 * torch.ones(1, B, HIDDEN)
    shown = probe(Named(layer, READS["last output"], state), (x, None), loss_of)
    assert times(shown)["layer"] == pytest.approx(by_hand(layer, x, READS["last output"], state)["l0"], rel=1e-4)

    class HalfNamed(Named):
        def forward(self, x: Tensor) -> Tensor:
            return self.read(*self.layer(x, hx=self.state))

    shown = probe(HalfNamed(layer, READS["last output"], state), (x, None), loss_of)
    assert times(shown)["layer"] == pytest.approx(by_hand(layer, x, READS["last output"], state)["l0"], rel=1e-4)


def test_a_linear_recurrence_halves_each_step() -> None:
    x, g = torch.ones(B, 20, HIDDEN), torch.randn(B, HIDDEN)
    (time,) = probe(Net(halving(), READS["last output"]), (x, g), inner_product).times
    assert time.gradient_norms == pytest.approx([g.norm().item() * 0.5 ** (19 - t) for t in range(20)], rel=1e-6)
    assert time.fit is not None
    assert (time.fit.gain, time.fit.quality) == pytest.approx((0.5, 1.0))
    assert time.horizon == 4


@pytest.mark.parametrize("bidirectional", [False, True])
def test_where_there_is_a_loss_at_each_step_the_last_one_s_is_told_by_itself(bidirectional: bool) -> None:
    """Of h_t each later step's loss has a half less: 2 - 0.5^k of it in all, 0.5^k of the last one's."""
    layer = halving(bidirectional)
    x, g = torch.ones(B, 20, HIDDEN), torch.randn(B, 1, HIDDEN)
    both = (1, 1, 1 + bidirectional)
    shown = probe(Net(layer, lambda outputs, _: outputs.transpose(0, 1)), (x, g.repeat(both)), inner_product).times
    assert [time.name for time in shown] == (["layer.l0", "layer.l0_reverse"] if bidirectional else ["layer"])
    for time in shown:  # a direction that reads backwards has the end of the sequence first
        size, left = g.norm().item(), [0.5 ** (19 - t) for t in range(20)]
        assert time.gradient_norms == pytest.approx([size * (2 - each) for each in left], rel=1e-5)
        assert time.reach == time.last_norms == pytest.approx([size * each for each in left], rel=1e-5)
        assert time.horizon == 4
        assert time.fit is not None
        assert time.fit.gain == pytest.approx(0.5)


def test_of_a_loss_at_the_last_step_alone_nothing_is_told_twice() -> None:
    x, g = torch.ones(B, 20, HIDDEN), torch.randn(B, HIDDEN)
    (time,) = probe(Net(halving(), READS["last output"]), (x, g), inner_product).times
    assert time.last_norms == ()
    assert time.reach == time.gradient_norms


def halving(bidirectional: bool = False) -> nn.RNN:
    layer = nn.RNN(HIDDEN, HIDDEN, nonlinearity="relu", bias=False, batch_first=True, bidirectional=bidirectional)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            weight.copy_(torch.eye(HIDDEN) * (0.5 if "hh" in name else 1.0))
    return layer


def inner_product(outputs: Tensor, g: Tensor) -> Tensor:
    return (outputs * g).sum()


def test_only_a_few_samples_are_taken() -> None:
    layer, x = nn.GRU(FEATURES, HIDDEN, batch_first=True), torch.randn(40, T, FEATURES)
    read = READS["last output"]

    def mean(outputs: Tensor, _: Any) -> Tensor:
        return outputs.square().sum() / 40

    all_of_them = probe(Net(layer, read), (x, None), mean).times
    first = probe(Net(layer, read), (x[:16], None), mean).times
    assert all_of_them[0].gradient_norms == pytest.approx(first[0].gradient_norms, rel=1e-6)


def test_784_steps_are_neither_zero_nor_infinite() -> None:
    layer, head = nn.RNN(1, 32, batch_first=True), nn.Linear(32, 10)
    net = nn.Sequential(layer, Last(), head)
    (time,) = probe(net, (torch.randn(4, 784, 1), torch.randint(10, (4,))), F.cross_entropy).times
    assert len(time.gradient_norms) == 784
    assert all(math.isfinite(norm) and norm > 0 for norm in time.gradient_norms)
    assert time.gradient_norms[0] < 1e-100
    assert time.gradient_norms[-1] > 1e-3


class Last(nn.Module):
    def forward(self, states: tuple[Tensor, Any]) -> Tensor:
        return states[0][:, -1]


@pytest.mark.parametrize(("layer", "batch"), [
    (nn.LSTM(FEATURES, HIDDEN, batch_first=True), (B, T)), (nn.GRU(FEATURES, HIDDEN), (T, B)),
])  # fmt: skip
def test_the_row_of_a_recurrent_layer_speaks_of_a_state(layer: nn.RNNBase, batch: tuple[int, int]) -> None:
    x = torch.randn(*batch, FEATURES)
    (row,) = probe(Net(layer, READS["all outputs"]), (x, None), loss_of).layers
    outputs = layer(x)[0].detach().requires_grad_()
    loss_of(outputs.transpose(0, 1) if layer.batch_first else outputs).backward()
    assert row.shape == (HIDDEN,)  # neither the batch axis nor the time axis
    assert row.activation_rms == pytest.approx(outputs.detach().square().mean().sqrt().item(), rel=1e-5)
    assert outputs.grad is not None
    assert row.gradient_rms == pytest.approx(outputs.grad.square().mean().sqrt().item(), rel=1e-5)


# ------------------------------------------------------------------------------------------ several calls
def test_one_layer_on_two_sequences_has_two_profiles() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(FEATURES, HIDDEN)

        def forward(self, pair: Tensor) -> Tensor:
            a, b = (self.layer(side)[0][-1] for side in pair.unbind())
            return torch.stack([a, 3 * b])

    pair = torch.randn(2, T, B, FEATURES)
    model = Siamese()
    shown = probe(model, (pair, None), loss_of)
    assert [row.name for row in shown.layers] == ["layer", "layer@2"]
    assert list(times(shown)) == ["layer", "layer@2"]

    def half(index: int) -> Read:
        def read(outputs: Tensor, _: Any) -> Tensor:
            read = torch.zeros(2, B, HIDDEN, dtype=outputs.dtype)
            return torch.cat([(read[0] if index else outputs[-1])[None], (3 * outputs[-1] if index else read[1])[None]])

        return read

    for index, name in enumerate(("layer", "layer@2")):
        expected = by_hand(model.layer, pair[index], half(index))["l0"]
        assert times(shown)[name] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_layer_called_step_by_step_is_a_loop_as_well(make: Callable[..., nn.RNNBase]) -> None:
    """As decoders do: 20 calls of one step each, the state handed on."""

    class Steps(nn.Module):
        def __init__(self, layer: nn.RNNBase) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for step in x.split(1):
                output, state = self.layer(step, state)
            return output[-1]  # type: ignore[no-any-return]

    layer, x = make(FEATURES, HIDDEN), torch.randn(20, B, FEATURES)
    shown = probe(Steps(layer), (x, None), loss_of)
    assert [row.name for row in shown.layers] == ["layer"]
    assert list(times(shown)) == ["layer"]
    assert times(shown)["layer"] == pytest.approx(by_hand(layer, x, READS["last output"])["l0"], rel=1e-4)


# ------------------------------------------------------------------------------- recurrences of their own
class Own(nn.Module):
    """A first layer, h_t = 0.5 h_{t-1} + z_t by hand, and the last state."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(())
        for z in self.first(x).unbind(1):
            state = 0.5 * state + z
        return state


@pytest.mark.parametrize("first", [nn.Linear(FEATURES, HIDDEN), nn.Embedding(9, HIDDEN)])
def test_a_recurrence_of_their_own_shows_where_the_sequence_comes_in(first: nn.Module) -> None:
    x = torch.randint(9, (B, 20)) if isinstance(first, nn.Embedding) else torch.randn(B, 20, FEATURES)
    g = torch.randn(B, HIDDEN)
    (time,) = probe(Own(first), (x, g), inner_product).times
    assert time.name == "first"
    assert time.gradient_norms == pytest.approx([g.norm().item() * 0.5 ** (19 - t) for t in range(20)], rel=1e-5)


def test_a_recurrent_layer_tells_more_than_where_the_sequence_comes_in() -> None:
    net = nn.Sequential(nn.Linear(FEATURES, HIDDEN), halving(), Last())
    (time,) = probe(net, (torch.randn(B, 20, FEATURES), torch.randn(B, HIDDEN)), inner_product).times
    assert time.name == "1"


def test_pictures_and_rows_of_a_table_are_no_sequences() -> None:
    for net, x in ((nn.Conv2d(1, 2, 3), torch.randn(B, 1, 9, 9)), (nn.Linear(4, 2), torch.randn(B, 4))):
        assert probe(net, (x, None), loss_of).times == ()


# ------------------------------------------------------------------------------------------------- unseen
class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.tensor([7, 6, 4, 2, 1])
        outputs, (h, _) = self.layer(pack_padded_sequence(x, lengths, batch_first=True))
        assert isinstance(outputs, PackedSequence)
        return h[-1] + outputs.data.mean()  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Net(nn.GRU(FEATURES, HIDDEN, 2, dropout=0.5), READS["last output"]), "dropout"),
        (lambda: Net(nn.LSTM(FEATURES, HIDDEN, proj_size=2), READS["last output"]), "projected"),
        (lambda: Packed(), "[batch, time, features]"),
    ],
    ids=["dropout", "projection", "packed"],
)
def test_what_cannot_be_told_is_named_with_the_reason(model: Callable[[], nn.Module], reason: str) -> None:
    x = torch.randn(B, T, FEATURES)
    shown = probe(model(), (x, None), loss_of)
    assert times(shown) == {}
    assert list(shown.unseen) == ["layer"]
    assert reason in shown.unseen["layer"]
    assert [row.name for row in shown.layers] == ["layer"]
    assert shown.layers[0].gradient_rms is not None


def test_a_sequence_without_batch_axis_is_named() -> None:
    shown = probe(Net(nn.RNN(FEATURES, HIDDEN), READS["last output"]), (torch.randn(T, FEATURES), None), loss_of)
    assert (times(shown), list(shown.unseen)) == ({}, ["layer"])


def test_dropout_is_no_reason_in_eval_mode() -> None:
    check(nn.GRU(FEATURES, HIDDEN, 2, dropout=0.5).eval(), READS["last output"])


def test_a_frozen_layer_has_no_gradients_over_time() -> None:
    layer = nn.GRU(FEATURES, HIDDEN).requires_grad_(False)
    shown = probe(Net(layer, READS["last output"]), (torch.randn(T, B, FEATURES), None), loss_of)
    assert (times(shown), shown.layers[0].gradient_rms) == ({}, None)
