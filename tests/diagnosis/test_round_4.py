"""The fourth round: its tasks, networks, losses and players by hand."""

from __future__ import annotations

import math

import modules
import pytest
import torch
from knobs import Settings
from networks import Net
from round_4 import losses, networks, players, sequences
from tasks import Task
from torch import Tensor, nn
from untrained import made


# --------------------------------------------------------------------------------------------- networks
def test_a_set_s_items_have_no_order() -> None:
    network, items = made("weighed_set"), torch.randn(4, 12, 6)
    torch.testing.assert_close(network(items[:, torch.randperm(12)]), network(items))


def test_the_products_of_all_pairs_of_fields() -> None:
    network = networks.Factors(Settings(depth=1, width=4), 2)
    for vectors in network.vectors:
        nn.init.zeros_(vectors.weight)
    network.numbers.data = torch.tensor([[2.0] * 8, [3.0] * 8])
    row = torch.tensor([[0.0] * len(networks.CATEGORIES) + [5.0, 7.0]])
    assert network(row)[0, :8].tolist() == pytest.approx([2 * 5 * 3 * 7.0] * 8)
    assert network(row)[0, 8:16].tolist() == pytest.approx([2 * 5 + 3 * 7.0] * 8)


def test_waves_twice_as_fast_each() -> None:
    found = networks.Waves(3)(torch.tensor([[0.3]]))[0]
    expected = [0.3, *(f(0.3 * 2**k) for f in (math.sin, math.cos) for k in range(3))]
    assert found.tolist() == pytest.approx(expected)


def test_groups_exchange_channels_in_between() -> None:
    """A change of the first channel reaches other groups than its own."""
    layer, x = networks.Shuffled(Settings(width=16)).eval(), torch.randn(1, 16, 5, 5)
    changed = x.clone()
    changed[:, 0] += 1.0
    reached = (layer(changed) - layer(x)).abs().amax(dim=(0, 2, 3)) > 0
    assert len({int(channel) // 4 for channel in reached.nonzero()}) > 1


def test_each_pixel_of_a_scene_has_labels() -> None:
    network, pictures = made("atrous"), modules.task_of("scenes", 0).inputs[:2]
    assert network(pictures).shape == (2, 16 * 16, 4)


def test_the_situation_makes_the_weights() -> None:
    """Another situation, the same inputs: another answer. With makers of zeros: the head's bias alone."""
    network = made("generated_weights")
    rows = torch.randn(1, 6).repeat(2, 1)
    rows[1, : networks.SITUATION] += 1.0
    first, second = network(rows)
    assert not torch.allclose(first, second)
    for maker in network.trunk.makers:
        nn.init.zeros_(maker.weight)
        nn.init.zeros_(maker.bias)
    torch.testing.assert_close(network(rows), network.head.bias.expand(2, -1))


@pytest.mark.parametrize("kind", ["letters_ahead", "minimal_gate"])
def test_no_letter_is_seen_before_its_turn(kind: str) -> None:
    network, letters = made(kind), torch.randint(4, (2, 20))
    changed = letters.clone()
    changed[:, 12] = (changed[:, 12] + 1) % 4
    before, after = network(letters), network(changed)
    torch.testing.assert_close(after[:, :12], before[:, :12])
    assert not torch.allclose(after[:, 12], before[:, 12])


def test_rotary_positions_know_distances_alone() -> None:
    query, key = torch.randn(8), torch.randn(8)

    def product(at: int, far: int) -> float:
        steps = torch.zeros(1, 1, 12, 8)
        queries, keys = (sequences.turned(steps + each) for each in (query, key))
        return float(queries[0, 0, at] @ keys[0, 0, at + far])

    assert product(2, 3) == pytest.approx(product(7, 3), rel=1e-4)
    assert product(2, 3) != pytest.approx(product(2, 5), rel=1e-2)


def test_an_open_gate_keeps_the_state_and_a_closed_one_none() -> None:
    for bias, kept in ((50.0, 1.0), (-50.0, 0.0)):
        layer = sequences.MinimalGate(Settings(width=4, cell="gru", forget_bias=bias))
        layer.weight_hh.data.zero_()
        state = torch.rand(1, 4)
        new = torch.zeros(1, 8)
        torch.testing.assert_close(layer._gated(new, state), kept * state)


# ----------------------------------------------------------------------------------------- the rest
def test_the_pinball_loss_by_hand() -> None:
    task = Task("quantiles", torch.zeros(1, 1), torch.zeros(1, 1), 3)
    outputs, targets = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0]])
    found = losses.quantiles_loss(task, outputs, targets, Settings())
    assert found.item() == pytest.approx((0.1 * 1 + 0 + 0.1 * 1) / 3)  # one below by 0.1, none, one above by 0.9


def test_the_best_constants_score_one() -> None:
    targets = torch.randn(1000, 1)
    constants = torch.quantile(targets[:, 0], losses.QUANTILES)[None].expand(1000, -1)
    task = Task("quantiles", torch.zeros(1, 1), targets, 3)
    assert losses.quantiles_score(task, constants, targets, Settings()) == pytest.approx(1.0)
    assert losses.quantiles_score(task, targets.expand(-1, 3), targets, Settings()) == 0


def test_what_is_still_to_come_is_worth_half_a_step_later() -> None:
    assert players.discounted(torch.tensor([[1.0, 0.0, 4.0]])).tolist() == [[2.0, 2.0, 4.0]]


def test_who_takes_the_best_action_misses_nothing() -> None:
    rewards = torch.rand(600, 3, 4)

    class Knows(nn.Module):
        def forward(self, seen: Tensor) -> Tensor:
            return seen

    trunk, critic = Net(Knows(), nn.Identity(), Settings()), Net(Knows(), nn.Identity(), Settings())
    for seen, expected in ((rewards, 0.0), (-rewards, 1.0)):
        task = Task("rewards", seen, rewards, 4)
        assert players.ActorCritic(trunk, critic, task, Settings()).score()["score"] == pytest.approx(expected)


def test_each_player_has_an_optimizer_and_learns() -> None:
    module, _, _ = modules.make("actor_critic", [], 1)
    owned = [{p for group in each.param_groups for p in group["params"]} for each in module.configure_optimizers()]
    assert owned == [set(module.network.parameters()), set(module.critic.parameters())]
