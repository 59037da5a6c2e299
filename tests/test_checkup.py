"""`isometry diagnose`, and what a verdict does to a run: files, exit codes, an early end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isometry import diagnose

Cli = Callable[..., tuple[int, str, str]]

TINY = ["data.limit_train_images=300", "data.batch_size=30", "logger=none", "run_name=r",
        "trainer.limit_test_batches=1", "trainer.log_every_n_steps=5"]  # fmt: skip
VANISHING = [*TINY, "model=mlp", "model.depth=30", "model.width=32", "norm=none", "init=xavier_normal",
             "optimizer.lr=0.01", "diagnose.seconds=4"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r"


def test_a_vanishing_gradient_is_named_and_its_cure_is_tried(cli: Cli, folder: Path) -> None:
    code, out, err = cli("diagnose", *VANISHING)
    assert (code, err) == (0, "")
    assert "critical: vanishing_gradients" in out
    stored = json.loads((folder / "diagnosis.json").read_text())
    assert stored["verdict"] == "critical: vanishing_gradients"
    assert stored["findings"][0]["remedies"][0]["overrides"] == ["init=he_normal"]
    before, first = stored["trials"][:2]
    assert (before["overrides"], first["overrides"]) == ([], ["init=he_normal"])
    assert before["backward_gain"] == pytest.approx(0.7071, rel=0.05)
    assert first["backward_gain"] == pytest.approx(1.0, rel=0.05)
    assert first["verdict"] in ("cures", "clears the finding, the loss is no lower yet")
    assert "init=he_normal" in out.split("as it is")[1]


def test_strict_exits_with_8_on_a_critical_finding_and_the_file_is_there(cli: Cli, folder: Path) -> None:
    code, _, err = cli("diagnose", *VANISHING, "diagnose.strict=true")
    assert code == 8
    assert "vanishing_gradients" in err
    assert (folder / "diagnosis.json").is_file()


def test_a_healthy_training_is_called_healthy_also_strictly(cli: Cli, folder: Path) -> None:
    code, out, _ = cli("diagnose", *TINY, "model=mlp", "model.depth=4", "diagnose.strict=true", "diagnose.seconds=2")
    assert code == 0
    assert "healthy: no rule found anything" in out
    assert json.loads((folder / "diagnosis.json").read_text())["findings"] == []


def test_a_run_s_verdict_is_in_its_summary_and_can_be_had_from_its_folder(cli: Cli, folder: Path) -> None:
    code, out, err = cli("train", *VANISHING, "trainer.max_epochs=3", "monitor.every_n_steps=5", "diagnose.strict=true")
    assert code == 8, err
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert summary["verdict"] == "critical: vanishing_gradients"
    assert [finding["rule"] for finding in summary["findings"]] == ["vanishing_gradients"]
    assert "critical: vanishing_gradients" in out
    again = diagnose(folder)
    assert again.verdict == summary["verdict"]
    assert again.findings[0].remedies[0].overrides == ("init=he_normal",)
    assert again.findings[0].since == summary["findings"][0]["since"]
    assert "vanishing_gradients" in (folder / "report.html").read_text()


def test_a_run_that_is_there_is_diagnosed_by_the_command_line(cli: Cli, folder: Path) -> None:
    assert cli("train", *VANISHING, "trainer.max_epochs=3", "monitor.every_n_steps=5")[0] == 0
    code, out, _ = cli("diagnose", str(folder))
    assert (code, out.startswith("critical: vanishing_gradients")) == (0, True)
    code, _, err = cli("diagnose", str(folder / "elsewhere"))
    assert (code, "holds no gradients.jsonl" in err) == (4, True)


def test_a_critical_finding_ends_the_training_where_it_is_asked_to(cli: Cli, folder: Path) -> None:
    words = [*VANISHING, "trainer.max_epochs=30", "monitor.every_n_steps=5"]
    code, out, _ = cli("train", *words, "monitor.on_critical=stop")
    assert code == 0
    assert json.loads((folder / "summary.json").read_text())["steps"] < 100
    assert "critical: vanishing_gradients" in out
