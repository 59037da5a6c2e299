"""The fifth round's nets of sequences: against slow references and by hand."""

from __future__ import annotations

import modules
import pytest
import torch
from knobs import Settings
from round_5 import listeners, losses_of_sequences, sequences, tasks_of_sequences
from tasks import Task
from torch import Tensor, nn
from untrained import made

ANY = Task("values", torch.zeros(1, 1), torch.zeros(1, 1), 1)


# --------------------------------------------------------------------------------------------- networks
def test_an_open_gate_keeps_the_state_and_a_closed_one_takes_what_is_new() -> None:
    for bias, kept in ((50.0, 1.0), (-50.0, 0.0)):
        layer = sequences.NormedGates(2, Settings(width=4, cell="gru", forget_bias=bias))
        state, nothing = torch.rand(1, 4), torch.zeros(1, 12)
        torch.testing.assert_close(layer._gated(nothing, nothing, state), kept * state)


def test_modes_are_a_recurrence_written_as_a_convolution() -> None:
    """Step by step in complex numbers, which fall by exp(-exp(d)) and turn by the angle."""
    layer, x = sequences.Modes(Settings(width=3, forget_bias=1.0), modes=4).double(), torch.randn(2, 9, 3).double()
    falls = torch.exp(torch.complex(-layer.decay.exp(), layer.angle))
    state, outputs = torch.zeros(2, 3, 4, dtype=torch.complex128), []
    for new in x.unbind(1):
        state = falls * state + new[..., None]
        outputs.append((layer.read[0] * state.real + layer.read[1] * state.imag).sum(dim=2) + layer.past * new)
    torch.testing.assert_close(layer(x), torch.stack(outputs, dim=1))


def test_the_closer_of_two_places_is_a_matter_of_their_distance() -> None:
    """With queries of zero the share of a place depends on how far it is, wherever one stands."""
    near = listeners.Near(Settings(width=8), 6)
    nn.init.zeros_(near.project.weight)
    nn.init.zeros_(near.project.bias)
    near.project.weight.data[16:] = torch.eye(8)
    nn.init.eye_(near.leave.weight)
    nn.init.zeros_(near.leave.bias)
    near.distance.data[:, :] = torch.arange(11.0).sub(5).abs().mul(-50)  # nobody but oneself
    x = torch.randn(1, 6, 8)
    torch.testing.assert_close(near(x), x)
    near.distance.data[:, :] = torch.arange(11.0).sub(6).abs().mul(-50)  # the one before
    torch.testing.assert_close(near(x)[:, 1:], x[:, :-1])


def test_a_slow_copy_follows_and_gets_no_gradient() -> None:
    network, inputs = made("bootstrapped", "branch_gain=0.25").train(), torch.randn(8, 2, 10)
    outputs = network(inputs)
    fast, slow = network.head.weight, network.slow[1].weight
    torch.testing.assert_close(slow, fast)  # at first it is the same
    assert outputs[:, 0].requires_grad
    outputs[:, 1].sum().backward()
    assert fast.grad is None or not fast.grad.any()
    before = slow.clone()
    fast.data += 1.0
    network(inputs)
    torch.testing.assert_close(slow, before + 0.25)


def test_a_memory_answers_by_what_it_holds_and_in_which_order() -> None:
    network, rows = made("reads"), modules.task_of("whereabouts", 0).inputs[:1]
    other_place, other_order = rows.clone(), rows.clone()
    other_place[0, 3, 1] = (rows[0, 3, 1] + 1) % tasks_of_sequences.PLACES
    other_order[0, :8] = rows[0, :8].flip(0)
    assert not torch.allclose(network(rows), network(other_place))
    assert not torch.allclose(network(rows), network(other_order))


def test_each_step_points_at_any_item() -> None:
    assert made("pointers")(torch.randn(3, 5, 2)).shape == (3, 5, 5)
    assert made("hearing")(torch.randn(2, 36, 8)).shape == (2, 18, 6)  # a class at each second frame


# ----------------------------------------------------------------------------------------- losses, tasks
def test_minus_the_log_of_a_normal_density() -> None:
    mean, spread, x = torch.randn(4, 3), torch.rand(4, 3) + 0.1, torch.randn(4, 3, 1)
    expected = -torch.distributions.Normal(mean, spread).log_prob(x[..., 0]).mean()
    by_log = losses_of_sequences.normals_loss(ANY, torch.stack([mean, spread.log()], -1), x, Settings())
    by_variance = losses_of_sequences.normals_loss(
        ANY, torch.stack([mean, spread**2], -1), x, Settings(op="log", eps=0.0)
    )
    torch.testing.assert_close(by_log, expected)
    torch.testing.assert_close(by_variance, expected)


@pytest.mark.parametrize(
    ("said", "meant", "apart"),
    [([1, 2, 3], [1, 2, 3], 0), ([], [4, 4], 2), ([1, 2], [2], 1), ([1, 2, 3], [1, 3, 2], 2)],
)
def test_how_far_two_spellings_are_apart(said: list[int], meant: list[int], apart: int) -> None:
    assert losses_of_sequences._apart(said, meant) == apart


def test_a_repeated_frame_is_one_symbol_and_blanks_are_none() -> None:
    frames = torch.nn.functional.one_hot(torch.tensor([[0, 2, 2, 0, 2, 1, 1, 0]]), 6).float()
    for meant, share in (([2, 2, 1, 0], 0.0), ([2, 1, 0, 0], 1 / 2)):
        assert losses_of_sequences.spelling_score(ANY, frames, torch.tensor([meant]), Settings()) == share


def test_a_value_is_the_reward_and_the_discounted_best_behind() -> None:
    outputs = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 0.0, 0.0, 0.0]]])
    targets = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.5, 9.0, 9.0, 9.0, 9.0]])
    found = losses_of_sequences.bootstrap_loss(ANY, outputs, targets, Settings())
    assert found.item() == pytest.approx((3.0 - (0.5 + tasks_of_sequences.DISCOUNT * 5.0)) ** 2)


def test_the_maze_s_true_values_are_their_own_bootstrap() -> None:
    """Whoever knows them has no loss: the noise is in what is seen alone."""
    task = tasks_of_sequences.maze(0)
    values, pressed = task.targets[:, 5:], task.targets[:, :4]
    known: dict[tuple[int, ...], Tensor] = {}
    for seen, value in zip(task.inputs[:, 0], values, strict=True):
        known[_where(seen)] = value
    behind = torch.stack([known[_where(seen)] for seen in task.inputs[:, 1]])
    outputs = torch.stack([values, behind], dim=1)
    assert losses_of_sequences.bootstrap_loss(task, outputs, task.targets, Settings()).item() < 1e-8
    assert (pressed.sum(dim=1) == 1).all()


def _where(seen: Tensor) -> tuple[int, ...]:
    return int(seen[:5].argmax()), int(seen[5:].argmax())
