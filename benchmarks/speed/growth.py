"""What grows with what: a step with depth, feeding with the data set, a run's files with its length.

Depth: a dense net of width 32, milliseconds a layer of a training step under a monitor that looks at every step, and
without one. Data: seconds an epoch of n images. Length: the files of a real run of 200 steps are drawn out to as many
steps as a long one has, a record each 100, then read and reported; only what is thinned goes into the report.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from data import made
from loop import QUIET
from peer import BATCH, Clock, Minimal
from pytorch_lightning import Trainer
from torch import Tensor

from isometry import GradientMonitor, build, run
from isometry.data.augmentation import shift
from isometry.data.loader import ImageLoader
from isometry.diagnostics.history import read_history
from isometry.overrides import read
from isometry.reports.report import draw

STEPS = 10


class Batches:
    """Ready tensors. A list of them would be a list of loaders to Lightning."""

    def __init__(self) -> None:
        images, labels = torch.randn(STEPS * BATCH, 1, 28, 28), torch.arange(STEPS * BATCH) % 10
        self.batches = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


def by_depth(depths: tuple[int, ...]) -> Iterator[tuple[int, float, float]]:
    """(layers, milliseconds a layer and step without a monitor, with one at every step)."""
    batches = Batches()
    for depth in depths:
        config = read(["model=mlp", f"model.depth={depth}", "model.width=32", "norm=none"])
        seconds = []
        for callbacks in ([], [GradientMonitor(every_n_steps=1)]):
            module, clock = Minimal(), Clock()
            module.net = build.network(config, (1, 28, 28), 10)
            build.initialize(module.net, config.init, activation=config.activation)
            Trainer(**QUIET, max_steps=STEPS, callbacks=[*callbacks, clock]).fit(module, batches)
            seconds.append(1000 * clock.seconds / STEPS / depth)
        yield depth, seconds[0], seconds[1]


def by_images(counts: tuple[int, ...]) -> Iterator[tuple[int, float]]:
    """(images, seconds of an epoch)."""
    for count in counts:
        labels = torch.zeros(count, dtype=torch.int64)
        mean, std = torch.tensor([0.5]), torch.tensor([0.25])
        loader = ImageLoader(made((1, 28, 28), count), labels, mean, std, 128, order_seed=1, augment=shift)
        for _ in range(2):
            began = time.perf_counter()
            for _batch in loader:
                pass
        yield count, time.perf_counter() - began


def by_length(lengths: tuple[int, ...]) -> Iterator[dict[str, float]]:
    """Of a run of so many steps: megabytes of its files, seconds to read its history and to report it."""
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        words = ["trainer.max_steps=200", "trainer.limit_test_batches=1", "logger=none", f"runs_dir={place}"]
        folder = Path(str(run.train(read(words))["folder"]))
        history, journal = (_last((folder / name).read_text(), 199) for name in ("gradients.jsonl", "metrics.jsonl"))
        for steps in lengths:
            yield _of(folder, history, journal, steps)


def _last(text: str, step: int) -> list[dict[str, Any]]:
    """What was written at that step."""
    return [row for row in map(json.loads, text.splitlines()) if row.get("step") == step]


def _of(folder: Path, history: list[dict[str, Any]], journal: list[dict[str, Any]], steps: int) -> dict[str, float]:
    for name, rows in (("gradients.jsonl", history), ("metrics.jsonl", journal)):
        with (folder / name).open("w") as file:
            for step in range(99, steps, 100):
                file.writelines(json.dumps({**row, "step": step}) + "\n" for row in rows)
    size = sum((folder / name).stat().st_size for name in ("gradients.jsonl", "metrics.jsonl"))
    began = time.perf_counter()
    read_history(folder / "gradients.jsonl")
    read_in = time.perf_counter() - began
    *_, report = draw(folder)
    return {
        "steps": steps,
        "MB": size / 1e6,
        "read": read_in,
        "report": time.perf_counter() - began - read_in,
        "report MB": report.stat().st_size / 1e6,
    }


def measure(*, short: bool = False) -> dict[str, list[Any]]:
    depths, counts = ((10, 100), (1_000, 10_000)) if short else ((10, 100, 1_000), (1_000, 10_000, 100_000))
    lengths = (1_000, 10_000) if short else (10_000, 100_000, 1_000_000)
    found = {"depth": list(by_depth(depths)), "images": list(by_images(counts)), "length": list(by_length(lengths))}
    for name, rows in found.items():
        print(name, *rows, sep="\n  ", flush=True)
    return found


if __name__ == "__main__":
    measure()
