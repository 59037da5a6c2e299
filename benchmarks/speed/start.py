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

# Where the time goes that the floor does not need; W&B's start and all imports but ours are the floor's, too.
PARTS = """
import os, sys, time
import torch, pytorch_lightning, wandb
spent = {}

def clocked(name, call):
    def run(*args, **named):
        began = time.perf_counter()
        try:
            return call(*args, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
    return run

def imports():
    import isometry.cli, isometry.overrides, isometry.resume, isometry.run

clocked("our own modules", imports)()
from isometry import build, overrides
from isometry.training.checkpoints import Checkpoints
overrides.read = clocked("the configuration", overrides.read)
build.image_set, build.datamodule = clocked("the data", build.image_set), clocked("the data", build.datamodule)
build.classifier = clocked("the network", build.classifier)
fitting = []

def begin(fit):
    def run(*args, **named):
        fitting.append(time.perf_counter())
        return fit(*args, **named)
    return run

def end(*_):
    spent["Lightning, a batch, a save"] = time.perf_counter() - fitting[0]
    print(*(f"{name}={seconds}" for name, seconds in spent.items()), sep="\\n", file=sys.stderr, flush=True)
    os._exit(0)

pytorch_lightning.Trainer.fit = begin(pytorch_lightning.Trainer.fit)
Checkpoints.on_train_batch_end = end
from isometry.cli import main
sys.exit(main(["train", "wandb.mode=offline"]))
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


def parts(runs: int) -> dict[str, float]:
    """Seconds of what the first step needs beyond the floor, medians."""
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-c", PARTS], cwd=folder, capture_output=True, text=True, check=True)
        for line in done.stderr.splitlines():
            name, is_part, seconds = line.partition("=")
            if is_part and seconds.replace(".", "", 1).isdigit():
                found.setdefault(name, []).append(float(seconds))
    return {name: statistics.median(each) for name, each in found.items()}


def measure(pairs: int) -> tuple[dict[str, float], Ratio, dict[str, float]]:
    """Seconds of the answers that need no torch, medians; our time to the first step over the floor; its parts."""
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
    beyond = parts(pairs)
    print("beyond the floor:", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in beyond.items()), flush=True)
    return found, first, beyond


if __name__ == "__main__":
    measure(pairs=5)
