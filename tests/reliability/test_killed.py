"""Killed at any point, any number of times, and started again by the same command: the same bits as if never stopped.

The digest is over weights, buffers, optimizer, schedules, clipping and monitor; the journal and the gradient history
are compared line by line, but for times. What runs has dropout, augmentation, accumulated gradients, a schedule and an
early stopping that look at val/loss, clipping by percentile and the monitor (`harness.COMMON`).
"""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import POINTS
from harness import BATCHES, COMMON, NETWORKS, Fault, killed_and_resumed, outcome, run, said

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from reliability import soak

QUICK_BATCHES = (0, 1, 7, 8, 9, BATCHES - 1)  # around both ends of an epoch, in a window of two batches and between two
SOAK_KILLS = 50


@pytest.fixture(scope="session")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """By network: the outcome of a run that nobody killed."""
    known: dict[str, dict[str, Any]] = {}

    def of(network: str) -> dict[str, Any]:
        if network not in known:
            folder = tmp_path_factory.mktemp("whole") / network
            assert run(folder, [*NETWORKS[network], *COMMON, "run_name=r"]) == 0, said(folder)
            known[network] = outcome(folder)
        return known[network]

    return of


def words(network: str) -> list[str]:
    return [*NETWORKS[network], *COMMON]


EVERY_BATCH = [
    pytest.param(
        network,
        batch,
        marks=() if network == "deep_cnn" and batch in QUICK_BATCHES else pytest.mark.slow,
        id=f"{network}-{batch}",
    )
    for network in NETWORKS
    for batch in range(BATCHES)
]


@pytest.mark.parametrize(("network", "batch"), EVERY_BATCH)
def test_killed_before_a_batch(network: str, batch: int, tmp_path: Path, never_stopped: Any) -> None:
    killed_and_resumed(tmp_path / "k", words(network), Fault("batch", batch))
    assert outcome(tmp_path / "k") == never_stopped(network)


@pytest.mark.parametrize("count", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize("point", [point for point in POINTS if point != "weights"])
def test_killed_at_every_point(point: str, count: int, tmp_path: Path, never_stopped: Any) -> None:
    once = ("finish", "test")
    killed_and_resumed(tmp_path / "k", words("deep_cnn"), Fault(point, 0 if point in once else count))
    assert outcome(tmp_path / "k") == never_stopped("deep_cnn")


@pytest.mark.parametrize("network", NETWORKS)
def test_killed_again_and_again(network: str, tmp_path: Path, never_stopped: Any) -> None:
    """Each process gets a little further: at the start, while it saves, in a validation, after the training."""
    faults = [Fault("manifest", 1), Fault("step", 2), Fault("write", 1), Fault("validation", 1), Fault("batch", 1)]
    killed_and_resumed(tmp_path / "k", words(network), *faults, Fault("finish"))
    assert outcome(tmp_path / "k") == never_stopped(network)
    assert said(tmp_path / "k").count("resumed") == len(faults) + 2


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path / "k", words("deep_cnn"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "k/runs").rglob("*") if path.is_file()}
    assert run(tmp_path / "k", [*words("deep_cnn"), "run_name=r", "resume=auto"]) == 0
    assert "finished before, after 10 of 10 steps" in said(tmp_path / "k")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "k/runs").rglob("*") if path.is_file()} == before


# ------------------------------------------------------------------------------- the test can fail
@pytest.mark.parametrize("spoiled", ["batch seeds", "counters", "monitor", "journal"])
def test_without_one_of_its_parts_a_resumed_run_is_another(spoiled: str, tmp_path: Path, never_stopped: Any) -> None:
    """The control: dropout that goes on by torch's generator, Lightning's own counters, nothing kept of the monitor."""
    command = [*words("deep_cnn"), "run_name=r", "resume=auto"]
    assert run(tmp_path / "k", command, Fault("batch", 7), spoiled) == -signal.SIGKILL, said(tmp_path / "k")
    run(tmp_path / "k", command, None, spoiled)
    assert not (tmp_path / "k/runs/r/summary.json").is_file() or outcome(tmp_path / "k") != never_stopped("deep_cnn")


# ------------------------------------------------------------------------------------------- at random
@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_soak_of_random_kills(network: str, tmp_path: Path) -> None:
    counts = soak(network, SOAK_KILLS, tmp_path, random.Random(1))
    assert counts["kills"] == SOAK_KILLS
    assert counts["lost"] == 0
