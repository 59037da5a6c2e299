"""`model.compile=true`: what a step gains, what the first steps cost, and after how many steps that is earned back.

The monitor is on, at its defaults. The plain and the compiled training run one after the other, each in a process of
its own, the compiled one without a cache; a step's time is the median over the last two thirds of the steps, the
start's what the steps before took beyond that. Not in turns, so a ratio is as good as the machine was steady.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

STEPS = 120
DRIVER = """
import json, sys, time, statistics
import torch
from isometry.training.checkpoints import Checkpoints
times = []
begin = Checkpoints.on_train_batch_start
def timed(self, *args):
    begin(self, *args)
    times.append(time.perf_counter())
Checkpoints.on_train_batch_start = timed
from isometry import run
from isometry.overrides import read
run.train(read(sys.argv[1:]))
steps = [later - earlier for earlier, later in zip(times, times[1:])]
first = len(steps) // 3
late = statistics.median(steps[first:])
start = sum(steps[:first]) - late * first
from torch._dynamo.utils import counters
print(json.dumps([late, start, sum(counters["graph_break"].values()), counters["stats"]["unique_graphs"]]))
"""


def training(name: str, cache: str, *, compiled: bool) -> tuple[float, float, int, int]:
    """Seconds of a step, seconds that the start costs, graph breaks, graphs."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
    with tempfile.TemporaryDirectory() as folder:
        words = [f"model={name}", f"trainer.max_steps={STEPS}", "trainer.limit_test_batches=1", "logger=none"]
        words += [f"runs_dir={folder}", f"model.compile={str(compiled).lower()}"]
        driver = [sys.executable, "-c", DRIVER, *words]
        done = subprocess.run(driver, env=environment, capture_output=True, text=True, check=True)
    step, start, breaks, graphs = json.loads(done.stdout.splitlines()[-1])
    return step, start, int(breaks), int(graphs)


def measure(names: tuple[str, ...] = ("deep_cnn", "resnet", "lstm", "mlp")) -> dict[str, dict[str, float]]:
    """By model: the compiled step over the plain one, the start in seconds, steps until it is earned back, breaks."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            plain, compiled = (training(name, cache, compiled=compiled) for compiled in (False, True))
        gain, start = plain[0] - compiled[0], compiled[1] - plain[1]
        found[name] = {
            "ratio": compiled[0] / plain[0],
            "start": start,
            "steps": start / gain if gain > 0 else float("inf"),
            "breaks": compiled[2],
            "graphs": compiled[3],
        }
        print(name, {key: round(value, 2) for key, value in found[name].items()}, flush=True)
    return found


if __name__ == "__main__":
    measure()
