"""From the command to its answer: help, a mistake, the first training step; each a process of its own.

The first step's floor is what nobody can go below who uses these libraries: a process that imports torch, Lightning and
W&B, and opens an offline W&B run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pairs import Ratio, in_turn

TRAIN_PY = str(Path(__file__).parents[2] / "train.py")
# Ends where the first step has been made: the callback that saves is the Trainer's first.
FIRST_STEP = """
import os, sys
from isometry.training.checkpoints import Checkpoints
Checkpoints.on_train_batch_end = lambda *_: os._exit(0)
from isometry.cli import main
sys.exit(main(["train", "wandb.mode=offline", *sys.argv[1:]]))
"""
FLOOR = """
import os
import torch, pytorch_lightning, wandb
wandb.init(project="floor", mode="offline", settings=wandb.Settings(silent=True, console="off"))
os._exit(0)
"""


def process(*command: str, code: int = 0) -> Callable[[], float]:
    """Seconds from its start to its end."""

    def seconds() -> float:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
            ended = time.perf_counter()
        assert done.returncode == code, done.stderr
        return ended - began

    return seconds


def measure(pairs: int) -> tuple[dict[str, float], Ratio]:
    """Seconds of the answers that need no torch, medians; our time to the first step over the floor."""
    answers = {
        "--help": process(TRAIN_PY, "--help"),
        "a mistyped key": process(TRAIN_PY, "model.dpeth=3", code=2),
    }
    found = {}
    for name, run in answers.items():
        run()
        found[name] = statistics.median(run() for _ in range(pairs))
        print(f"{name}: {found[name]:.2f} s", flush=True)
    first = in_turn(process("-c", FIRST_STEP), process("-c", FLOOR), pairs)
    print(f"first step: {statistics.median(first.ours):.2f} s, {first} × the floor", flush=True)
    return found, first


if __name__ == "__main__":
    measure(pairs=5)
