"""The sixth round's nets, losses and scores, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from knobs import Settings
from round_6 import losses, losses_of_sequences, sequences, tasks_of_sequences
from tasks import Task
from torch import Tensor, nn
from untrained import made

ANY = Task("values", torch.zeros(1, 1), torch.zeros(1, 1), 1)


# --------------------------------------------------------------------------------------------- networks
def test_a_rule_reaches_one_cell_further_each_time_it_is_applied() -> None:
    for steps in (1, 3):
        network, field = made("cellular", f"depth={steps}"), torch.randn(1, 3, 8, 8)
        field = field[:, : network.trunk.enter.in_channels]
        changed = field.clone()
        changed[:, :, 0, 0] += 1.0
        side = int(math.sqrt(network(field).shape[1]))
        cells = (network(changed) - network(field)).abs().amax(dim=2)[0].view(side, side) > 1e-9
        assert int(cells.nonzero().max()) <= steps


def test_an_open_gate_keeps_the_state() -> None:
    cell = sequences.NormedCell(2, Settings(width=4, cell="gru", forget_bias=50.0))
    x, state = torch.randn(3, 2), torch.rand(3, 4)
    torch.testing.assert_close(cell(x, state), state)


def test_a_leap_sees_the_state_of_four_steps_ago() -> None:
    layer = sequences.Leaps(Settings(width=2, cell="rnn"))
    layer.weight_hh.data.zero_()
    x = torch.randn(1, 9, 2)
    changed = x.clone()
    changed[:, 0] += 1.0
    moved = (layer(changed) - layer(x)).abs().amax(dim=2)[0] > 0
    assert moved.nonzero().flatten().tolist() == [0, 4, 8]


def test_a_slow_copy_follows_by_its_share() -> None:
    network, rows = made("doors").train(), torch.randn(4, 2, 60)
    rows = rows[:, :, : network.trunk[0].layer.in_features]
    network(rows)
    mine, copied = network.head.weight, network.copied[1].weight
    torch.testing.assert_close(copied, mine)
    before = copied.clone()
    mine.data += 1.0
    network(rows)
    torch.testing.assert_close(copied, before + network.share)


def test_a_memory_s_sentences_have_no_order() -> None:
    network, words = made("memory"), torch.randint(30, (2, 3 * 5 + 1))
    sentences = words[:, :-1].unflatten(1, (-1, 3))[:, torch.randperm(5)].flatten(1)
    torch.testing.assert_close(network(torch.cat([sentences, words[:, -1:]], dim=1)), network(words))


# ---------------------------------------------------------------------------------------------- losses
def test_what_is_easy_counts_for_little_in_the_focal_loss() -> None:
    outputs, targets = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]])
    hit, calm = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    expected = -((1 - hit) ** 2) * math.log(hit) - calm**2 * math.log(1 - calm)
    assert losses.found_loss(ANY, outputs, targets, Settings()).item() == pytest.approx(expected, rel=1e-5)


def test_views_that_belong_together_are_found() -> None:
    views = torch.randn(100, 1, 16)
    same, others = views.expand(-1, 2, -1), torch.stack([views[:, 0], views[:, 0].roll(1, 0)], dim=1)
    assert losses.views_score(ANY, same, views, Settings()) == 0
    assert losses.views_score(ANY, others, views, Settings()) == pytest.approx(1 / (1 - 1 / losses.AMONG))
    assert losses.views_loss(ANY, same, views, Settings()) < losses.views_loss(ANY, others, views, Settings())


def test_a_law_that_holds_has_no_loss() -> None:
    """w = x² + y² bends by -Δw = -4 everywhere, by differences of second order, too."""
    centre = torch.tensor([[0.3, -0.2], [0.0, 0.9]])
    around = losses.STEP * torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    values = (centre[:, None] + around).square().sum(dim=2, keepdim=True)
    frame = values[:, 0, 0]
    targets = torch.stack([torch.full((2,), -4.0), frame, torch.tensor([0.0, 1.0]), frame], dim=1)
    assert losses.law_loss(ANY, values, targets, Settings()).item() == pytest.approx(0, abs=1e-6)
    assert losses.law_score(ANY, values, targets, Settings()) == pytest.approx(0, abs=1e-9)


def test_a_density_of_both_kinds() -> None:
    mean, scale, x = torch.randn(2, 3, 1), torch.rand(2, 3, 1) + 0.1, torch.randn(2, 3, 1)
    expected = -torch.distributions.Normal(mean, scale).log_prob(x).mean() - 0.5 * math.log(2 * math.pi)
    for told, words in ((scale.log(), {}), (scale, {"op": "log", "eps": 0.0})):
        found = losses_of_sequences.density_loss(ANY, torch.cat([mean, told], 2), x, Settings(**words))
        torch.testing.assert_close(found, expected)


def test_a_door_s_worth_is_its_reward_and_the_best_behind_it() -> None:
    outputs = torch.tensor([[[1.0, 2.0], [0.5, 3.0]]])
    targets = torch.tensor([[1.0, 0.25, 7.0, 9.0]])
    expected = nn.functional.smooth_l1_loss(torch.tensor(2.0), torch.tensor(0.25 + tasks_of_sequences.WORTH * 3.0))
    assert losses_of_sequences.moves_loss(ANY, outputs, targets, Settings()).item() == pytest.approx(expected.item())
    assert _score(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), targets) == 0  # the better door
    assert _score(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), targets) == 2  # of two, twice what any door loses


def _score(outputs: Tensor, targets: Tensor) -> float:
    return losses_of_sequences.moves_score(ANY, outputs, targets, Settings())
