"""How close to the bare machine, and to what others do: all benchmarks of speed, in one run.

    python benchmarks/speed [--short]

Writes `benchmarks/results.md`. `--short` runs each once, small, writes nothing and says nothing about speed: that all
of it still runs is a test.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import compiling
import data
import growth
import loop
import peer
import start
import torch
from pairs import Ratio

RESULTS = Path(__file__).parents[1] / "results.md"


def table(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"


def rows(*values: Sequence[object]) -> Iterator[str]:
    yield from (f"| {' | '.join(map(str, each))} |" for each in values)


def page(found: dict[str, Any]) -> str:
    """The results in Markdown."""
    machine = f"{_processor()}, Python {platform.python_version()}, torch {torch.__version__}"
    lines = [
        "# Speed",
        "",
        f"Written by `python benchmarks/speed` ({machine}, {torch.get_num_threads()} threads).",
        "Ratios are medians over neighbouring pairs of runs, with the smallest and the largest; what each is of, the",
        "modules there say.",
        "",
        "A default training over a loop by hand, in turns of ten steps (target: 1.05, for the LSTM 1.10):",
        "",
        *table("network", "ratio", "in all", "a step by hand"),
        *rows(*(_looped(name, ratio) for name, ratio in found["loop"].items())),
        "",
        "The loop by hand leaves weights in the layout torch gives them; ours puts the channels of convolutions last.",
        "",
        "What a step takes beyond the loop by hand, on an MLP that hides nothing. Where a target is missed it is by",
        "these milliseconds, which weigh the more the shorter a step is; much of it is Lightning's own loop:",
        "",
        *table("", "ms more"),
        *rows(*((name, f"{more:.2f}") for name, more in found["parts"].items())),
        "",
        "An MLP with four layers of 64, batches of 128 (target: 1.15 over a minimal Trainer, 5 × the usual practice):",
        "",
        *table("", "ratio"),
        *rows(*((_named(name), ratio) for name, ratio in found["peer"].items())),
        "",
        "Feeding batches, their time over ours (target: 20):",
        "",
        *table("peer", "ratio", "ours, images/s"),
        *rows(*((name, ratio, f"{1 / ratio.theirs[-1]:,.0f}") for name, ratio in found["data"].items())),
        "",
        "Starting (targets: 1.5 s; 1.2 × the floor):",
        "",
        *table("from the command to", "seconds"),
        *rows(*((name, f"{seconds:.2f}") for name, seconds in found["start"][0].items())),
        *rows(("the first training step", _first(found["start"][1]))),
        *rows(*((f"beyond the floor: {name}", f"{seconds:.2f}") for name, seconds in found["start"][2].items())),
        "",
        "`model.compile=true`, with the monitor on:",
        "",
        *table("network", "a step, over plain", "start", "earned back after", "graph breaks", "graphs"),
        *rows(*(_compiled(name, own) for name, own in found["compiling"].items())),
        "",
        "Growth:",
        "",
        *table("dense layers", "ms a layer and step", "with the monitor at every step"),
        *rows(*((f"{depth:,}", f"{bare:.3f}", f"{watched:.3f}") for depth, bare, watched in found["growth"]["depth"])),
        "",
        *table("images", "an epoch"),
        *rows(*((f"{count:,}", f"{seconds:.3f} s") for count, seconds in found["growth"]["images"])),
        "",
        *table("steps of a run", "its files", "reading the history", "the report", "its size"),
        *rows(*map(_length, found["growth"]["length"])),
    ]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    """Its name, where the system says it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _looped(name: str, ratio: Ratio) -> tuple[str, ...]:
    return name, str(ratio), f"{ratio.total:.2f}", f"{1000 * statistics.median(ratio.theirs) / loop.TURN:.1f} ms"


def _named(name: str) -> str:
    return f"ours over {name}" if "Trainer" in name else f"{name}, over ours"


def _first(ratio: Ratio) -> str:
    return f"{sorted(ratio.ours)[len(ratio.ours) // 2]:.2f}, {ratio} × the floor"


def _compiled(name: str, own: dict[str, float]) -> tuple[str, ...]:
    steps = "never" if own["steps"] == float("inf") else f"{own['steps']:,.0f} steps"
    return name, f"{own['ratio']:.2f}", f"{own['start']:.0f} s", steps, f"{own['breaks']:.0f}", f"{own['graphs']:.0f}"


def _length(own: dict[str, float]) -> tuple[str, ...]:
    sizes = f"{own['MB']:,.1f} MB", f"{own['read']:.2f} s", f"{own['report']:.2f} s", f"{own['report MB']:.2f} MB"
    return f"{own['steps']:,.0f}", *sizes


def measure(*, short: bool) -> dict[str, Any]:
    pairs = 1 if short else 3
    return {
        "loop": loop.measure(short=short),
        "parts": loop.by_part(short=short),
        "peer": peer.measure(pairs, short=short),
        "data": data.measure(pairs, short=short),
        "start": start.measure(pairs),
        "compiling": compiling.measure(("mlp",)) if short else compiling.measure(),
        "growth": growth.measure(short=short),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="does all of it run: small, once, nothing is written")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    text = page(measure(short=options.short))
    if not options.short:
        RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
