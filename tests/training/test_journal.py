"""The journal keeps every value, in strict JSON, whatever happens to the process."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from isometry.jsonl import read_lines, to_line
from isometry.training.journal import Journal


def test_each_line_is_there_when_it_was_logged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.log_metrics({"train/loss": torch.tensor(0.5), "epoch": 2.0}, step=3)
    (record,) = read_lines(tmp_path / "metrics.jsonl")  # read while the file is still open
    assert (record["step"], record["train/loss"], record["epoch"]) == (3, 0.5, 2)
    journal.finalize("success")
    journal.log_metrics({"test/acc": 1.0}, step=4)  # reopened: appends
    journal.finalize("success")
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [3, 4]


def test_nan_and_infinity_are_kept_in_strict_json(tmp_path: Path) -> None:
    line = to_line({"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 1.5, "e": None})
    assert json.loads(line, parse_constant=lambda name: 1 / 0) == {
        "a": "NaN",
        "b": ["Infinity", {"c": "-Infinity"}],
        "d": 1.5,
        "e": None,
    }
    assert math.isnan(float("NaN"))


def test_a_name_may_hold_any_letter(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.log_metrics({'val/größe ∂L/∂z 损失\n"': math.nan}, step=0)
    journal.finalize("success")
    (record,) = read_lines(tmp_path / "metrics.jsonl")
    assert math.isnan(float(record['val/größe ∂L/∂z 损失\n"']))


def test_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert [line["step"] for line in read_lines(path)] == [1, 2]


def test_a_torn_last_line_is_cut_off_before_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste')
    journal = Journal(path)
    journal.log_metrics({"train/loss": 1.0}, step=2)
    journal.finalize("success")
    assert [line["step"] for line in read_lines(path)] == [1, 2]
