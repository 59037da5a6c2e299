"""Puts a fault around a function of the product, or of a library below it, in this process alone; see `harness.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from torch.optim import Optimizer

from isometry import run
from isometry.diagnostics.monitor import GradientMonitor
from isometry.jsonl import Appender
from isometry.training import checkpoint_files, checkpoints, classifier, journal, passes
from isometry.training.checkpoints import Checkpoints
from isometry.training.classifier import Classifier

Action = Callable[[], None]
Reach = Callable[[], bool]  # a point is reached; whether the fault struck


def plant(point: str, counts: range, action: Action) -> None:
    """`action` at these times, from 0, that `point` is reached."""
    reached = -1

    def at_last(*_: Any) -> bool:
        nonlocal reached
        reached += 1
        if reached in counts:
            action()
        return reached in counts

    POINTS[point](at_last)


def draw_nothing() -> None:
    """Pictures take longer than these trainings."""
    run._draw = lambda *_: None  # type: ignore[assignment]
    run.report.draw = lambda *_: []  # type: ignore[assignment]


def _before(owner: Any, name: str, when: Callable[..., bool] | None = None) -> Callable[[Reach], None]:
    def plant_it(reach: Reach) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if when is None or when(*args):
                reach()
            return real(*args, **kwargs)

        setattr(owner, name, wrapped)

    return plant_it


def _after(owner: Any, name: str) -> Callable[[Reach], None]:
    def plant_it(reach: Reach) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            reach()
            return result

        setattr(owner, name, wrapped)

    return plant_it


def _after_any(owners: tuple[Any, ...], name: str) -> Callable[[Reach], None]:
    def plant_it(reach: Reach) -> None:
        for owner in owners:
            _after(owner, name)(reach)

    return plant_it


def _half_written(reach: Reach) -> None:
    real = checkpoint_files.open if hasattr(checkpoint_files, "open") else open

    def torn(path: Any, mode: str = "r", **kwargs: Any) -> Any:
        file = real(path, mode, **kwargs)
        if mode == "wb" and str(path).endswith(".ckpt." + str(os.getpid()) + ".tmp"):
            write = file.write

            class Torn:
                def __getattr__(self, name: str) -> Any:
                    return getattr(file, name)

                def __enter__(self) -> Torn:
                    return self

                def __exit__(self, *error: Any) -> None:
                    file.close()

                def write(self, content: Any) -> int:
                    write(content[: len(content) // 2])
                    file.flush()
                    reach()
                    return int(write(content[len(content) // 2 :]))

            return Torn()
        return file

    checkpoint_files.open = torn  # type: ignore[attr-defined]


def _torn_line(reach: Reach) -> None:
    real = journal.to_line

    def torn(record: Any) -> str:
        line = real(record)
        with open(next(Path().glob("runs/r/metrics.jsonl"), "none"), "a", encoding="utf-8") as file:
            file.write(line[: len(line) // 2])
            file.flush()
            reach()
            file.truncate(file.tell() - len(line) // 2)
        return line

    journal.to_line = torn  # type: ignore[assignment]


def _poisoned(reach: Reach) -> None:
    real = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        result = real(self, *args, **kwargs)
        if reach():
            self.param_groups[0]["params"][0].data.fill_(torch.nan)
        return result

    torch.optim.SGD.step = step  # type: ignore[method-assign]


def _is_checkpoint(source: Any, target: Any, *_: Any) -> bool:
    return str(target).endswith(".ckpt")


def _is_manifest(source: Any, target: Any, *_: Any) -> bool:
    return str(target).endswith(".ckpt.json")


def _is_file_of_pruned(path: Path, *_: Any, **__: Any) -> bool:
    return path.suffix == ".ckpt"


POINTS: dict[str, Callable[[Reach], None]] = {
    "batch": _before(Classifier, "training_step"),
    "backward": _before(Optimizer, "zero_grad"),
    "step": _after_any((torch.optim.SGD, torch.optim.AdamW), "step"),
    "validation": _before(Classifier, "validation_step"),
    "epoch": _before(_LoggerConnector, "update_train_epoch_metrics"),
    "write": _half_written,
    "rename": _before(os, "replace", _is_checkpoint),
    "manifest": _before(os, "replace", _is_manifest),
    "committed": _before(Checkpoints, "_prune"),
    "prune": _before(Path, "unlink", _is_file_of_pruned),
    "journal": _torn_line,
    "weights": _poisoned,
    "append": _before(Appender, "_write"),
    "test": _before(Classifier, "test_step"),
    "finish": _after(Checkpoints, "on_train_end"),
}


# --------------------------------------------------------------------- what must not be missing, for the controls
def _no_seeds() -> None:
    checkpoints.seed_torch = lambda *_: None  # type: ignore[assignment]


def _no_passes() -> None:
    passes.Passes._seed = lambda *_: None  # type: ignore[method-assign,assignment]


def _no_counters() -> None:
    checkpoints._place = lambda *_: None  # type: ignore[assignment]


def _no_monitor() -> None:
    GradientMonitor.on_save_checkpoint = lambda *_: None  # type: ignore[method-assign,assignment]


def _no_cut() -> None:
    os.truncate = lambda *_: None  # type: ignore[assignment]


def _no_verification() -> None:
    checkpoint_files._check_manifest = lambda *_: None  # type: ignore[assignment]
    checkpoint_files.digest = lambda *_: ""  # type: ignore[assignment]
    classifier.digest = lambda *_: ""  # type: ignore[attr-defined]
    real = checkpoint_files.torch.load

    def load(*args: Any, **kwargs: Any) -> Any:
        content = real(*args, **kwargs)
        content["isometry"]["digest"] = ""
        return content

    checkpoint_files.torch.load = load  # type: ignore[assignment]


SPOILED: dict[str, Action] = {
    "batch seeds": _no_seeds,
    "passes": _no_passes,
    "counters": _no_counters,
    "monitor": _no_monitor,
    "journal": _no_cut,
    "verification": _no_verification,
}
