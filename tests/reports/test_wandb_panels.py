"""W&B's own charts hold the ribbon's points, and an offline run takes them."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from histories import history, profile, record, recurrent, vanishing

from isometry.reports.wandb_panels import native_charts


def test_the_charts_hold_the_points_of_the_ribbon_without_gaps() -> None:
    made = vanishing()
    first, *others = made.profiles[0].layers
    made.profiles[0] = replace(made.profiles[0], layers=(replace(first, gradient_rms=math.nan), *others))
    charts = native_charts(made)
    assert list(charts) == ["flow/ribbon_activation", "flow/ribbon_gradient"]
    rows = charts["flow/ribbon_gradient"].table.data
    assert len(rows) == 6 * 30 - 1
    assert rows[0] == [1, "step 0", pytest.approx(math.log10(0.01 * 0.5**14))]
    assert list(dict.fromkeys(row[1] for row in rows)) == [f"step {step}" for step in (0, 50, 100, 150, 200, 450)]


def test_a_recurrent_net_has_a_chart_over_time() -> None:
    rows = native_charts(recurrent())["flow/time"].table.data
    assert rows[:28] == [[t, "step 0 network.forward", pytest.approx((27 - t) * math.log10(0.58))] for t in range(28)]


def test_without_a_value_there_is_no_chart() -> None:
    assert native_charts(history(record(0, [1.0]))) == {}
    assert list(native_charts(history(profile(0, 0.5, 3, top=0.0)))) == ["flow/ribbon_activation"]


def test_an_offline_run_takes_them(tmp_path: Path) -> None:
    import wandb

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_machine_info=True)
        with wandb.init(mode="offline", dir=str(tmp_path), settings=settings) as run:
            run.log(native_charts(recurrent()))
            folder = Path(run.dir)
    tables = {path.name.partition(".")[0] for path in folder.rglob("*.table.json")}
    assert {name.rpartition("_table")[0] for name in tables} == {"ribbon_activation", "ribbon_gradient", "time"}
