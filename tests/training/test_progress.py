"""The progress display reads a speed once an optimizer step, over all batches since the last reading."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from isometry.training import progress


def test_speed_spans_all_micro_batches_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches of 10 images make a step; each takes a second of a clock set by hand."""
    clock = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    trainer: Any = SimpleNamespace(global_step=0, world_size=2, is_global_zero=True, callback_metrics={})
    logged: list[tuple[int, float]] = []
    module: Any = SimpleNamespace(log=lambda key, value: logged.append((trainer.global_step, value)))
    display = progress.TrainingProgress(total_steps=2, every_n_steps=1)
    display.on_train_start(trainer, module)
    display.on_train_epoch_start(trainer, module)
    for batch in range(6):
        trainer.global_step = (batch + 1) // 3
        display.on_train_batch_end(trainer, module, None, ([], [0] * 10), batch)
    # The clock ticks once when it is read: 1 s from opening a window to closing it, whatever lies in between.
    assert logged == [(1, 60.0), (2, 60.0)]  # 3 batches × 10 images × 2 processes; not six readings of 20
