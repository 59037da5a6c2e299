"""Runs killed with SIGKILL at random times, again and again, against runs that nobody killed; and what saving costs.

    python benchmarks/reliability.py [--kills 1000]

Writes `benchmarks/reliability.md`. The runs are those of `tests/reliability` (three networks with everything on that
has a state of its own); one is killed after a time between nothing and 1.5 s, continued by the same command, killed
again … until it gets to its end, and then compared: state digest, journal and gradient history, test accuracy.

The cost is the share of a training's time, from its first batch to its last save, that goes into saving, into the hook
that derives each batch's seed, and into the question before each step whether it is finite: one run of each network, at
its defaults, on the bundled digits.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "reliability"))

from harness import COMMON, NETWORKS, outcome, run, said, start  # noqa: E402 (a folder of the tests)

LONGEST_S = 1.5  # a whole run takes about as long, on an idle core
COST_STEPS = 401  # three saves: at 0, 200, 400, and the last


def soak(network: str, kills: int, folder: Path, rng: random.Random) -> Counter[str]:
    """Counts of what happened until `kills` have hit a run of this network."""
    words = [*NETWORKS[network], *COMMON, "run_name=r", "resume=auto"]
    assert run(folder / "whole", words) == 0, said(folder / "whole")
    wanted, counts = outcome(folder / "whole"), Counter[str]()
    while counts["kills"] < kills:
        place = folder / str(counts["runs"])
        while counts["kills"] < kills:
            process = start(place, words)
            time.sleep(rng.uniform(0, LONGEST_S))
            process.kill()
            process.join()
            counts["processes"] += 1
            counts["kills"] += process.exitcode == -signal.SIGKILL
            if process.exitcode == 0:
                break
        counts["runs"] += 1
        if run(place, words) or outcome(place) != wanted:
            counts["lost"] += 1
            print(f"{network}: {place} differs\n{said(place)}", flush=True)
    return counts


def cost(word: str) -> dict[str, float]:
    """Milliseconds of a save, of the hooks before a batch and before a step; the share of the training's time."""
    from isometry import run as product
    from isometry.overrides import read
    from isometry.training.checkpoints import Checkpoints
    from isometry.training.finite_steps import FiniteSteps

    saves, hooks = _timed(Checkpoints, "save"), _timed(Checkpoints, "on_train_batch_start")
    questions = _timed(FiniteSteps, "on_before_optimizer_step")
    with tempfile.TemporaryDirectory() as folder:
        limits = [f"trainer.max_steps={COST_STEPS}", "trainer.limit_test_batches=1", "logger=none"]
        product.train(read([word, *limits, f"runs_dir={folder}"]))
    spent = [end - begin for begin, end in [*hooks, *questions, saves[-1]]]  # the last save is after the last batch
    return {
        **{name: 1000 * _median(calls) for name, calls in (("save", saves), ("hook", hooks), ("question", questions))},
        "share": sum(spent) / (saves[-1][1] - hooks[0][0]),
    }


def _median(calls: list[tuple[float, float]]) -> float:
    return statistics.median(end - begin for begin, end in calls)


def _alone(function: Callable[..., Any], *args: Any) -> Any:
    """Its result, from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def _timed(owner: Any, name: str) -> list[tuple[float, float]]:
    """When each call from now on begins and ends, in seconds."""
    real: Callable[..., Any] = getattr(owner, name)
    calls: list[tuple[float, float]] = []

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        result = real(*args)
        calls.append((began, time.perf_counter()))
        return result

    setattr(owner, name, timed)
    return calls


def page(rows: dict[str, Counter[str]], costs: dict[str, dict[str, float]]) -> str:
    import torch

    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    lines = [
        "# Killed and resumed",
        "",
        f"Written by `python benchmarks/reliability.py` ({machine}). SIGKILL at random times, the same command again.",
        "",
        "| network | kills | processes | runs that got to their end | of these with other bits or lost lines |",
        "|---|---|---|---|---|",
    ]
    for name, c in rows.items():
        lines.append(f"| {name} | {c['kills']:,} | {c['processes']:,} | {c['runs']:,} | {c['lost']} |")
    lines += [
        "",
        "What it costs, with a save every 200 steps:",
        "",
        "| run | a save | before a batch | before a step | of its time |",
        "|---|---|---|---|---|",
    ]
    for name, each in costs.items():
        hooks = f"{each['hook']:.3f} ms | {each['question']:.3f} ms"
        lines.append(f"| {name} | {each['save']:.0f} ms | {hooks} | {each['share']:.2%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="over all networks")
    parser.add_argument("--seed", type=int, default=1, help="of the times")
    options = parser.parse_args()
    costs = {name: _alone(cost, f"model={name}") for name in NETWORKS}
    rng, rows = random.Random(options.seed), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            (Path(folder) / name).mkdir()
            rows[name] = soak(name, -(-options.kills // len(NETWORKS)), Path(folder) / name, rng)
            print(name, dict(rows[name]), flush=True)
    text = page(rows, costs)
    (HERE / "reliability.md").write_text(text)
    print(text)
    if any(counts["lost"] for counts in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
