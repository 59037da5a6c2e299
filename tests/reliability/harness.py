"""Runs that are killed at a named point, each in a process of its own that is forked from one with torch loaded.

A case takes a second instead of the seven of a fresh interpreter. Nothing of this is in the product: a fault is put
around one of its functions, in the forked process alone.

    point                what happens there
    batch                a batch's forward pass is about to start
    backward             gradients are there, the step is not made
    step                 the optimizer has stepped, the schedule has not
    validation           a validation batch is about to be looked at
    epoch                the epoch's last hook runs
    write                a checkpoint's temporary file is half written
    rename               it is whole, and has no name yet
    manifest             it has its name, and no manifest
    committed            the manifest is there, older ones are not pruned
    prune                an old one has lost its manifest, and is still there
    journal              a line of the journal is half written
    append               a line is about to be written
    weights              a step makes weights that are no numbers
    test                 a test batch is about to be looked at
    finish               the training is over, nothing is tested
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isometry.jsonl import read_lines

# 270 digits in batches of 30, two optimizer steps in three batches' time, a validation in mid-epoch: everything that
# has a state of its own is on.
COMMON = ["data.limit_train_images=300", "data.batch_size=30", "data.augment=cutout", "trainer.max_epochs=2",
          "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=0.5", "trainer.log_every_n_steps=1",
          "trainer.limit_test_batches=1", "trainer.limit_val_batches=1", "monitor.every_n_steps=3", "logger=none",
          "scheduler=plateau", "scheduler.patience=0", "clip=percentile", "checkpoint.every_n_steps=2",
          "early_stopping.patience=50", "activation=dropping:relu", "threads=1"]  # fmt: skip
NETWORKS = {
    "deep_cnn": ["model=deep_cnn", "model.depth=3", "model.width=4"],
    "resnet": ["model=resnet", "model.depth=8", "model.width=4"],
    "lstm": ["model=lstm", "model.hidden_size=8", "norm=none", "optimizer=adamw"],
}
BATCHES = 18  # in two epochs


class Fault(NamedTuple):
    """What happens at the `count`-th time (from 0) that a point is reached, and the following ones up to `times`."""

    point: str
    count: int = 0
    action: Callable[[], None] | None = None
    times: int = 1


def nothing() -> None:
    """Where the point itself is the fault."""


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(folder: Path, words: Sequence[str], fault: Fault | None = None, spoiled: str = "") -> Any:
    """The process of one command in `folder`; its words go to `out.txt`."""
    folder.mkdir(exist_ok=True)
    process = _context().Process(target=_command, args=(str(folder), list(words), fault, spoiled))
    process.start()
    return process


def run(folder: Path, words: Sequence[str], fault: Fault | None = None, spoiled: str = "") -> int:
    """The exit code of one command; negative: the signal that killed it."""
    process = start(folder, words, fault, spoiled)
    process.join(timeout=120)
    assert process.exitcode is not None, "it hangs"
    return int(process.exitcode)


def killed_and_resumed(folder: Path, words: Sequence[str], *faults: Fault) -> None:
    """One run that meets each fault in turn, and then goes on to its end."""
    command = [*words, "run_name=r", "resume=auto"]
    for fault in faults:
        assert run(folder, command, fault) == -signal.SIGKILL, (fault, said(folder))
    assert run(folder, command) == 0, said(folder)


def said(folder: Path) -> str:
    """What all commands in `folder` have printed."""
    return (folder / "out.txt").read_text()


def outcome(folder: Path) -> dict[str, Any]:
    """What has to be equal to the bit, however often a run was killed."""
    place = folder / "runs/r"
    summary = json.loads((place / "summary.json").read_text())
    timeless = [
        {key: value for key, value in row.items() if key != "time" and not key.startswith("perf/")}
        for row in read_lines(place / "metrics.jsonl")
    ]
    gradients = [{**row, "monitor_ms": 0} for row in read_lines(place / "gradients.jsonl")]
    told = {key: summary[key] for key in ("state_digest", "test/acc", "test/loss", "val/loss", "verdict", "checkpoint")}
    return {**told, "journal": [row for row in timeless if row.keys() - {"step", "epoch"}], "gradients": gradients}


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["isometry.run", "isometry.resume", "dropping", "faults"])
    return context


def _command(folder: str, words: list[str], fault: Fault | None, spoiled: str) -> None:
    """In the forked process."""
    os.chdir(folder)
    descriptor = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    import faults

    from isometry.cli import main

    faults.draw_nothing()
    if spoiled:
        faults.SPOILED[spoiled]()
    if fault is not None:
        faults.plant(fault.point, range(fault.count, fault.count + fault.times), fault.action or kill)
    sys.exit(main(["train", *words]))
