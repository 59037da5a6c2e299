"""Ctrl-C, SIGTERM and SIGUSR1: the step is finished, the run is saved, the exit code says which; it goes on exactly."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults import POINTS
from harness import BATCHES, COMMON, NETWORKS, Fault, outcome, run, said
from test_killed import never_stopped  # noqa: F401 (a fixture)

from isometry.training.checkpoint_files import LATEST, committed, read_manifest

WORDS = [*NETWORKS["deep_cnn"], *COMMON, "run_name=r", "resume=auto"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
ONE_SAVE = "checkpoint.every_n_steps=1000"  # but for the one that the signal asks for


def sends(*numbers: signal.Signals) -> Any:
    return partial(_send, numbers)


def _send(numbers: tuple[signal.Signals, ...]) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(("point", "count"), [("batch", 2), ("backward", 1), ("step", 1), ("validation", 0)])
def test_it_saves_after_the_step_and_goes_on_exactly(
    point: str,
    count: int,
    number: signal.Signals,
    tmp_path: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    folder = tmp_path / "k"
    assert run(folder, [*WORDS, ONE_SAVE], Fault(point, count, sends(number))) == CODES[number], said(folder)
    newest = committed(folder / "runs/r", LATEST)[0]
    assert read_manifest(newest)["step"] == 2  # not the one at the start
    assert "at step 2" in said(folder)
    assert "python train.py resume=runs/r" in said(folder)
    assert "Traceback" not in said(folder)
    assert run(folder, [*WORDS, ONE_SAVE]) == 0
    assert outcome(folder) == never_stopped("deep_cnn")


def test_a_second_ctrl_c_leaves_at_once_and_what_was_saved_stays(tmp_path: Path, never_stopped: Any) -> None:  # noqa: F811
    folder = tmp_path / "k"
    assert run(folder, WORDS, Fault("batch", 6, sends(signal.SIGINT, signal.SIGINT))) == 130
    assert "Ctrl-C again leaves at once" in said(folder)
    assert "interrupted at once" in said(folder)
    assert run(folder, WORDS) == 0
    assert outcome(folder) == never_stopped("deep_cnn")


def test_a_signal_in_the_last_batch_is_not_forgotten(tmp_path: Path, never_stopped: Any) -> None:  # noqa: F811
    folder = tmp_path / "k"
    assert run(folder, WORDS, Fault("batch", BATCHES - 1, sends(signal.SIGTERM))) == 143, said(folder)
    assert "after the last step, before the test" in said(folder)
    assert run(folder, WORDS) == 0
    assert outcome(folder) == never_stopped("deep_cnn")


@pytest.mark.parametrize("point", ["finish", "test"])
def test_outside_of_the_training_there_is_nothing_to_finish(point: str, tmp_path: Path, never_stopped: Any) -> None:  # noqa: F811
    folder = tmp_path / "k"
    assert point in POINTS
    assert run(folder, WORDS, Fault(point, 0, sends(signal.SIGTERM))) == 143, said(folder)
    assert run(folder, WORDS) == 0
    assert outcome(folder) == never_stopped("deep_cnn")
