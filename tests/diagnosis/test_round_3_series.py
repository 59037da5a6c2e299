"""The third round's nets of sequences: their tasks and networks by hand, and one step of each kind."""

from __future__ import annotations

import knobs
import modules
import pytest
import torch
from round_3 import tasks_of_series
from untrained import made


# --------------------------------------------------------------------------------------------- networks
def test_causal_features_do_not_look_ahead() -> None:
    features, signal = made("causal_classes").trunk[0], torch.randn(2, 1, 48)
    changed = signal.clone()
    changed[:, :, 30] += 1.0
    before, after = features(signal), features(changed)
    torch.testing.assert_close(after[:, :, :30], before[:, :, :30])
    assert not torch.allclose(after[:, :, 30], before[:, :, 30])


def test_levels_do_not_look_ahead() -> None:
    network, poured = made("stacked_levels"), torch.randn(2, 40, 2)
    changed = poured.clone()
    changed[:, 25] += 1.0
    before, after = network(poured), network(changed)
    torch.testing.assert_close(after[:, :25], before[:, :25])
    assert not torch.allclose(after[:, 25], before[:, 25])


def test_a_code_knows_of_the_first_step_and_is_all_the_decoder_sees() -> None:
    network, lines = made("sequence_code"), torch.randn(2, 20, 1)
    changed = lines.clone()
    changed[:, 0] += 5.0
    assert not torch.equal(network(changed), network(lines))
    network.trunk.code.weight.data.zero_()
    assert torch.equal(network(changed), network(lines))


def test_pooled_states_of_both_directions_change_places() -> None:
    network, path = made("pooled_both_ways"), torch.randn(2, 30, 2)
    cell = network.trunk.cell
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, f"{name}_l0_reverse").copy_(getattr(cell, f"{name}_l0"))
    forth, back = network.trunk(path).chunk(2, dim=1)
    torch.testing.assert_close(network.trunk(path.flip(1)), torch.cat([back, forth], dim=1))


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_gaps_are_filled_alike_with_and_without_gradients(norm: str) -> None:
    """torch has a path of its own for layers that are only asked."""
    network, rows = made("gap_filler", f"norm={norm}"), modules.task_of("forms", 16).inputs[:4]
    with torch.no_grad():
        asked = network(rows)
    torch.testing.assert_close(asked, network(rows), atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------------ tasks
def test_only_gaps_count() -> None:
    task = tasks_of_series.forms(16)
    gaps = task.inputs == tasks_of_series.GAP
    assert torch.equal(task.targets != tasks_of_series.LEFT_ALONE, gaps)
    assert 0.15 < gaps.float().mean() < 0.25
    right = torch.nn.functional.one_hot(task.targets.clamp(min=0), 16).float() * 50
    wrong_elsewhere = torch.where(gaps[:, :, None], right, 50 * torch.randn(right.shape))
    loss = modules.task_loss(task, wrong_elsewhere, task.targets, knobs.Settings())
    assert loss.item() == pytest.approx(0.0, abs=1e-5)


def test_a_tank_leaks() -> None:
    levels = tasks_of_series.leaky_sum(torch.tensor([[1.0, 0.0, 2.0]]), 0.5)
    assert levels.tolist() == [[1.0, 0.5, 2.25]]


def test_every_third_beat_is_left_out() -> None:
    task = tasks_of_series.beats(60)
    peaks = (task.inputs[:, 0] > 1.5).float().sum(dim=1)
    mean = [peaks[task.targets == label].mean().item() for label in range(5)]
    assert mean[1] > 1.5 * mean[0]  # quick and slow
    assert mean[4] == pytest.approx(2 / 3 * mean[2], rel=0.1)  # a gap of seven steps on average
