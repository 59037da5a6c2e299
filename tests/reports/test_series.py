"""Which records a picture shows, and that nothing with a logarithm is lost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from histories import history, profile, record

from isometry.diagnostics.history import LayerRecord, UnitsRecord
from isometry.reports import series


def test_log10_keeps_what_float32_cannot_hold_and_makes_gaps_of_the_rest() -> None:
    assert series.log10(1e-40) == pytest.approx(-40)
    assert series.log10(1e300) == pytest.approx(300)
    assert all(math.isnan(series.log10(size)) for size in (None, 0.0, math.nan, math.inf, -1.0))


def test_a_few_profiles_are_all_chosen_and_many_are_log_spaced_with_both_ends() -> None:
    few = history(*(profile(step, 0.9, 3) for step in range(6)))
    assert [p.step for p in series.chosen(few, 6)] == [0, 1, 2, 3, 4, 5]
    many = history(*(profile(step * 50, 0.9, 3) for step in range(40)))
    assert [p.step for p in series.chosen(many, 6)] == [0, 50, 100, 150, 450, 1950]


def test_of_the_probes_of_a_long_run_the_chosen_ones_are_evenly_spaced_in_log_time() -> None:
    probed = history(*(profile(step, 0.9, 3) for step in [0, 1, 2, 4, 8, 16, 32, *range(50, 2101, 50)]))
    assert [p.step for p in series.chosen(probed, 6)] == [0, 4, 16, 100, 450, 2100]


def test_a_history_that_was_thinned_still_shows_its_first_and_a_late_profile() -> None:
    steps = [p.step for p in series.chosen(history(*(profile(step, 0.9, 3) for step in range(1100))), 6)]
    assert steps[0] == 0
    assert steps[-1] >= 1090
    assert len(steps) == 6


def test_layers_are_named_by_depth_also_one_that_appears_late() -> None:
    early = profile(0, 0.9, 3)
    late = profile(10, 0.9, 3)
    early = replace(early, layers=(early.layers[0], early.layers[2]))
    assert series.layer_names([early, late]) == ["network.layer0", "network.layer1", "network.layer2"]


def test_update_ratios_come_from_the_nearest_step_with_values_of_each_optimizer() -> None:
    critic = {"critic": LayerRecord(1.0, update_ratio=0.125)}
    made = history(
        record(0, [1.0], ratio=0.5),
        record(10, [1.0], ratio=None),
        record(20, [1.0], ratio=0.25),
        replace(record(1, []), optimizer=1, layers=critic),
        replace(record(11, [1.0], ratio=None), optimizer=1),
    )
    assert series.update_ratios(made, 12) == {"network.layer0": 0.25, "critic": 0.125}
    assert series.update_ratios(history(), 0) == {}


def test_dead_units_are_the_profiles_own_else_the_last_windows() -> None:
    made = history(
        UnitsRecord(0, 10, 1000, {"network.layer0": 0.5}), UnitsRecord(10, 20, 1000, {"network.layer1": 1.0})
    )
    layer = profile(0, 0.9, 1).layers[0]
    assert series.dead_share(made, layer) == 0.125
    assert series.dead_share(made, replace(layer, dead=None)) == 0.5
    assert series.dead_share(history(), replace(layer, dead=None)) is None
