"""What the terminal shows while training: a bar with loss, accuracy, images/s and the time left, and a line an epoch.

Where standard output is no terminal there is no bar, only the lines. Values are read from the device on logged steps
alone (`log_every_n_steps`), so that the display costs no synchronisation in between.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Reading(ProgressColumn):
    """Loss, accuracy and images/s of the last logged step."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["reading"], no_wrap=True)


class TrainingProgress(Callback):
    """Args:
    total_steps: Optimizer steps of the whole training.
    every_n_steps: Between two readings; the Trainer's `log_every_n_steps`.
    remark: Asked at the end of an epoch for a line of its own; empty: none.
    console: Where to write; None: standard output.
    """

    def __init__(
        self,
        total_steps: int,
        every_n_steps: int,
        remark: Callable[[], str] = str,
        console: Console | None = None,
    ) -> None:
        self.total_steps = total_steps
        self.every_n_steps = every_n_steps
        self.remark = remark
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.samples_per_s = float("nan")  # over the whole training, validation excluded
        self._bar: Progress | None = None
        self._samples, self._seconds = 0, 0.0
        self._window_samples, self._window_start = 0, 0.0
        self._step = self._start_step = 0
        self._started = 0.0

    # ------------------------------------------------------------------------------------------- hooks
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = self._start_step = trainer.global_step
        self._started = time.monotonic()
        self._open_window()  # also where an epoch goes on that was begun before
        if trainer.is_global_zero and self.console.is_terminal:
            columns = (
                TextColumn("epoch {task.description}"),
                BarColumn(16),
                _Reading(),
                TimeRemainingColumn(compact=True),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.add_task("", total=self.total_steps, completed=trainer.global_step, reading="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open_window()
        if self._bar:
            self._bar.update(self._bar.task_ids[0], description=f"{trainer.current_epoch + 1}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._window_samples += len(batch[1]) * trainer.world_size
        stepped = trainer.global_step > self._step  # not while gradients are being accumulated
        self._step = trainer.global_step
        if stepped and trainer.global_step % self.every_n_steps == 0:
            speed = self._close_window()
            pl_module.log("perf/samples_per_s", speed)
            if self._bar:
                self._bar.update(
                    self._bar.task_ids[0], completed=trainer.global_step, reading=_reading(trainer, "train", speed)
                )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close_window()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open_window()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        done = trainer.global_step - self._start_step
        left = (time.monotonic() - self._started) / max(done, 1) * max(self.total_steps - trainer.global_step, 0)
        parts = [
            f"epoch {trainer.current_epoch + 1:>3}",
            f"step {trainer.global_step}/{self.total_steps}",
            _reading(trainer, "train"),
            _reading(trainer, "val"),
            f"{self.samples_per_s:,.0f} images/s",
            f"{int(left) // 60}:{int(left) % 60:02d} left",
        ]
        self.console.print("  ".join(part for part in parts if part))
        remark = self.remark()
        if remark:
            self.console.print(f"           {remark}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    # ----------------------------------------------------------------------------------------- windows
    def _open_window(self) -> None:
        self._window_samples, self._window_start = 0, time.monotonic()

    def _close_window(self) -> float:
        """Images/s since the window was opened; opens the next one."""
        seconds = time.monotonic() - self._window_start
        speed = self._window_samples / seconds if seconds > 0 else float("nan")
        self._samples += self._window_samples
        self._seconds += seconds
        self.samples_per_s = self._samples / self._seconds if self._seconds > 0 else float("nan")
        self._open_window()
        return speed

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def _reading(trainer: Trainer, stage: str, speed: float | None = None) -> str:
    """`train loss 0.123 acc 96.1 %`, as far as the values are there; 80 columns hold it with bar, speed and time."""
    values = trainer.callback_metrics
    if f"{stage}/loss" not in values or f"{stage}/acc" not in values:
        return ""
    words = f"{stage} loss {values[f'{stage}/loss'].item():.3f} acc {100 * values[f'{stage}/acc'].item():.1f} %"
    return words if speed is None else f"{words}  {speed:,.0f} images/s"
