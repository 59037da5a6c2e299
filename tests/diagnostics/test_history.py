"""What is kept of a run, however long: evenly, of each optimizer, the newest always; of a step done twice the later."""

from __future__ import annotations

import itertools

import pytest

from isometry.diagnostics.history import GradientRecord, History, in_order


def record(step: int, optimizer: int = 0, total: float = 1.0) -> GradientRecord:
    return GradientRecord(step, total, total, [total], None, {}, optimizer)


@pytest.mark.parametrize("capacity", [63, 64])
@pytest.mark.parametrize("steps", [10, 65, 1_000, 10_000])
def test_a_history_is_bounded_evenly_spaced_and_ends_with_the_newest(capacity: int, steps: int) -> None:
    history = History(capacity)
    for step in range(steps):
        history.append(record(step))
        assert history.records[-1].step == step
        assert len(history) <= capacity
    kept = [each.step for each in history]
    assert kept[0] == 0
    assert len({later - earlier for earlier, later in itertools.pairwise(kept[:-1])}) == 1
    assert len(kept) >= min(steps, capacity // 2)


def test_of_two_optimizers_in_turn_both_are_kept() -> None:
    history = History(64)
    for step in range(5_000):
        history.append(record(step, optimizer=step % 2))
    counts = [sum(each.optimizer == number for each in history) for number in (0, 1)]
    assert min(counts) >= 15
    assert abs(counts[0] - counts[1]) <= 1


def test_steps_that_a_continued_run_did_again_count_once_with_the_later_values() -> None:
    done = [record(step, total=norm) for step, norm in ((0, 1.0), (10, 2.0), (20, 3.0), (10, 4.0))]
    assert [(each.step, each.total) for each in in_order(done)] == [(0, 1.0), (10, 4.0), (20, 3.0)]


def test_steps_of_two_optimizers_with_one_number_are_two() -> None:
    done = [record(10, 1), record(10, 0), record(0, 1)]
    assert [(each.step, each.optimizer) for each in in_order(done)] == [(0, 1), (10, 0), (10, 1)]
