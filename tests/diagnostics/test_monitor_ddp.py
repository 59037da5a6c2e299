"""GradientMonitor in two processes (gloo, CPU): the reduced gradient in both, one file, one voice to the loggers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import two_processes

from isometry.diagnostics.history import read_history

pytestmark = pytest.mark.slow  # two interpreters import torch and Lightning
SCRIPT = Path(two_processes.__file__)


def run(folder: Path, devices: int) -> list[dict[str, Any]]:
    folder.mkdir()
    if devices == 1:
        two_processes.train(folder, 1)
    else:
        words = [sys.executable, str(SCRIPT), str(folder), str(devices)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(devices)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ddp")
    with warnings.catch_warnings():  # marks do not reach a fixture of the module
        warnings.simplefilter("ignore")
        return folder, run(folder / "two", 2), run(folder / "one", 1)[0]


def of_kind(seen: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [record for record in seen["records"] if record["kind"] == kind]


def test_every_process_sees_the_gradient_of_the_whole_batch(both: Any) -> None:
    """Rows (1, 2) … (7, 8) have the mean (4, 5), and so on: not the share of one process."""
    _, ranks, single = both
    for seen in (*ranks, single):
        steps = of_kind(seen, "step")
        assert [record["step"] for record in steps] == [0, 1, 3]
        totals = [total for record in steps for total in record["totals"]]
        assert totals[:3] == pytest.approx([math.hypot(8 * n + 4, 8 * n + 5) for n in range(3)], rel=1e-5)
        assert totals[3] == "NaN"
        assert [record["total_clipped"] for record in steps[:2]] == pytest.approx([math.hypot(4, 5), 10.0], rel=1e-5)


def test_one_process_writes_the_file_and_logs(both: Any) -> None:
    folder, ranks, _ = both
    assert ranks[0]["logged"] > 0
    steps = read_history(folder / "two/gradients.jsonl")
    assert [record.step for record in steps.records] == [0, 1, 3]  # each once
    assert len(steps.profiles) == len(of_kind(ranks[0], "profile"))
    assert ranks[1]["logged"] == 0


def test_each_process_says_which_of_its_samples_are_bad_and_keeps_its_batch(both: Any) -> None:
    """Rows go round the processes: row 13 is the first of its batch in rank 1, row 14 the second in rank 0."""
    folder, ranks, single = both
    found = [of_kind(seen, "nonfinite")[0] for seen in (*ranks, single)]
    assert [record["samples"] for record in found] == [[1], [0], [1, 2]]
    assert [record["inputs"] for record in found] == [True] * 3
    names = ["nonfinite-step0000003-rank0.pt", "nonfinite-step0000003-rank1.pt", "nonfinite-step0000003.pt"]
    assert [record["file"] for record in found] == names
    for place, name in zip(("two", "two", "one"), names, strict=True):
        assert (folder / place / name).is_file()
