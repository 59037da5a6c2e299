"""The dashboard as W&B would get it, offline; and that it asks for nothing which no run logs."""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isometry.errors import ConfigError
from isometry.jsonl import read_lines
from isometry.reports import dashboard
from isometry.reports.dashboard import COLORS, PICTURES, SECTIONS, STEP

# wandb-workspaces 0.4.13, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style `@validator` validators are deprecated")
GOLDEN = Path(__file__).parent / "golden"
TINY = ["data.limit_train_images=300", "data.batch_size=30", "trainer.max_epochs=2",
        "trainer.limit_test_batches=1", "trainer.log_every_n_steps=1", "monitor.every_n_steps=3"]  # fmt: skip
# What only some runs log: a GPU under fp16, and a run that skipped a step (tests/training/test_finite_steps.py).
RARE = {"amp/scale", "amp/skipped_steps", "health/skipped_steps"}


@pytest.mark.parametrize("name", ["workspace", "report"])
def test_what_would_be_sent_is_what_was_looked_at(name: str) -> None:
    """After a change on purpose: `isometry dashboard entity=me project=isometry out=tests/reports/golden`."""
    made = getattr(dashboard, name)("me", "isometry", {})
    assert dashboard.as_json(made) + "\n" == (GOLDEN / f"{name}.json").read_text()


def test_every_key_of_a_panel_is_one_that_runs_log(cli: Callable[..., Any], tmp_path: Path) -> None:
    words = ["train", *TINY, "logger=none"]
    cli(*words, "model.depth=8", "model.width=4", "trainer.gradient_clip_val=0.1", "trainer.max_epochs=6", "run_name=a")
    cli(*words, "model.depth=8", "model.width=4", "activation=tanh", "run_name=b")
    cli(*words, "model=lstm", "run_name=c")
    logged = {key for name in "abc" for row in read_lines(tmp_path / "runs" / name / "metrics.jsonl") for key in row}
    for section, panels in SECTIONS.items():
        for key in {key for panel in panels for key in panel.keys} - RARE:
            assert fnmatch.filter(logged, key), f"{section}: no run logs {key}"
    pictures = {f"media/{path.stem}" for path in (tmp_path / "runs/a").glob("*.png")}
    assert set(PICTURES) <= pictures


def test_runs_have_the_colour_of_their_verdict(tmp_path: Path) -> None:
    for name, verdict in (("my-run-1", "healthy"), ("b2", "critical: dead_units"), ("c3", "warning: chronic_clipping")):
        (tmp_path / name / "wandb" / f"offline-run-20261124_174517-{name}").mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("seed: 1\n")
        (tmp_path / name / "diagnosis.json").write_text(json.dumps({"verdict": verdict}))
    (tmp_path / "unseen").mkdir()
    (tmp_path / "unseen" / "config.yaml").write_text("seed: 1\n")
    colors = dashboard.run_colors([tmp_path])
    assert colors == {"my-run-1": COLORS["healthy"], "b2": COLORS["critical"], "c3": COLORS["warning"]}
    spec = json.loads(dashboard.as_json(dashboard.workspace("me", "p", colors)))["spec"]["section"]
    assert spec["customRunColors"] == colors


def test_the_axis_is_the_optimizer_step_and_only_training_values_are_smoothed() -> None:
    spec = json.loads(dashboard.as_json(dashboard.workspace("me", "p", {})))["spec"]["section"]
    assert spec["settings"]["xAxis"] == STEP
    sections = spec["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == list(SECTIONS)
    plots = [panel["config"] for section in sections for panel in section["panels"] if "Line" in panel["viewType"]]
    assert {plot["xAxis"] for plot in plots} == {STEP}
    smoothed = {plot["chartTitle"] for plot in plots if plot["smoothingType"] != "none"}
    assert smoothed == {"loss", "accuracy"}


def test_without_a_key_nothing_is_sent_and_the_files_are_there(cli: Callable[..., Any], tmp_path: Path) -> None:
    code, _, err = cli("dashboard", "entity=me", "project=p", "--push")
    assert (code, "W&B did not take it" in err) == (2, True), err
    code, _, err = cli("dashboard", "--push")
    assert (code, "whose project" in err) == (2, True)
    code, _, err = cli("dashboard", "project=p")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "dashboard" / "workspace.json").read_text())["project"] == "p"


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ConfigError, match=r"isometry\[dashboard\]"):
        dashboard.workspace("me", "p", {})
