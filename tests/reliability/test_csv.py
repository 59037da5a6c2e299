"""`metrics.csv` of a run that was killed and went on has the rows of one that never stopped, in their order."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest
from harness import COMMON, NETWORKS, Fault, killed_and_resumed, run, said

WORDS = [*NETWORKS["deep_cnn"], *COMMON, "logger=csv"]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("whole") / "k"
    assert run(folder, [*WORDS, "run_name=r"]) == 0, said(folder)
    return rows(folder)


def rows(folder: Path) -> list[dict[str, str]]:
    """Without what is measured with a clock."""
    with open(folder / "runs/r/csv/metrics.csv", newline="") as file:
        return [{key: row[key] for key in row if not key.startswith("perf/")} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault("batch", 0)], marks=pytest.mark.slow),
        [Fault("batch", 7), Fault("batch", 9)],  # in the first epoch, and in the second
        [Fault("test")],
    ],
    ids=["before the first row", "twice", "after the last step"],
)
def test_no_row_is_lost_and_none_is_there_twice(
    faults: list[Fault], tmp_path: Path, never_stopped: list[dict[str, str]]
) -> None:
    killed_and_resumed(tmp_path / "k", WORDS, *faults)
    assert rows(tmp_path / "k") == never_stopped
    assert "Warning" not in said(tmp_path / "k")
    steps = [int(row["step"]) for row in never_stopped]
    assert (steps[0], steps[-1]) == (0, 10)
    assert never_stopped[-1]["test/acc"]


@pytest.mark.slow
def test_numbers_that_are_none_stay_so(tmp_path: Path) -> None:
    """What the journal writes as a text."""
    words = [*WORDS, "activation=dropping:Rare", "nonfinite=skip", "run_name=r", "resume=auto"]
    assert run(tmp_path / "whole", words) == 0, said(tmp_path / "whole")
    assert run(tmp_path / "k", words, Fault("batch", 14)) == -signal.SIGKILL
    assert run(tmp_path / "k", words) == 0, said(tmp_path / "k")
    assert rows(tmp_path / "k") == rows(tmp_path / "whole")
    assert any(value in ("nan", "inf") for row in rows(tmp_path / "k") for value in row.values())
