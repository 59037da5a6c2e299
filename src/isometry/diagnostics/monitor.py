"""GradientMonitor: a Lightning callback that observes the gradient every optimizer step really uses.

Where it looks, and why there (Lightning 2.6):

    on_train_batch_start        a probed step: hooks on, for this one batch (`recorder`)
    backward                    weight gradients are scaled and partial: not here
    on_before_optimizer_step    accumulated, unscaled, reduced over processes, before clipping: here
    clipping                    after a module's own: the norm that it left (`clipping`)
    optimizer.step              .grad may now hold the optimizer's step (Nesterov on a GPU): not here
    after the step              the weights have moved: ‖Δw‖/‖w‖

The total norm of every step stays on the device; every `every_n_steps` all of it comes to the host in one transfer.
Nothing of the training is changed: with and without the monitor the final weights are bit-identical (a test).
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from ..jsonl import Appender
from . import metrics
from .clipping import AfterClipping, clips_itself, trainer_clipping
from .findings import Diagnosis, changes
from .history import History, NonFiniteRecord, Record, decode, encode, read_history
from .nonfinite import Suspect, describe, locate, noticed_late
from .ride import Ride, TrainingLayout, Watch
from .rules import judge
from .scaling import loss_scale, loss_scaler
from .window import Window

log = logging.getLogger("isometry")


class GradientMonitor(Callback):
    """Total gradient norm each step; on logged steps each layer's, its update ratio, and the depth profile.

    Values go to every logger of the Trainer, to `history`, and to `path` as one JSON object a record. Logged steps are
    0, 1, 2, 4, 8 … below `every_n_steps`, where most goes wrong, and then every n.

    With manual optimization it sees what lies in `.grad` when `optimizer.step()` is called: after a
    `self.clip_gradients` of the module's own. On a GPU, where looking at every step would cost a synchronisation, the
    first NaN is noticed at the next logged step: its step is told, its layer only where it is that step, its batch not.

    Args:
        every_n_steps: Optimizer steps between logged ones.
        path: File to append to; None: none, and a resumed training has no history of what was before. The batch of the
            first NaN is kept beside it.
        histograms: Whether with the elements of each gradient by power of ten.
        layer_series: Whether loggers get `update_ratio`, `activation_rms` and `gradient_rms` of each layer, too.
        settings: The run's configuration, with which remedies become words of the command line.

    Attributes:
        history: What was measured.
        diagnosis: What the rules say of it so far.
        grad_norm: Of the coming step's whole gradient, from `on_before_optimizer_step` on; None: there is no gradient.
    """

    def __init__(
        self,
        every_n_steps: int = 100,
        path: str | Path | None = None,
        *,
        histograms: bool = False,
        layer_series: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be >= 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.path = None if path is None else Path(path)
        self.histograms = histograms
        self.layer_series = layer_series
        self.settings = settings
        self.history = History()
        self.diagnosis = Diagnosis()
        self.grad_norm: Tensor | None = None
        self._handles: list[Any] = []
        self._ride: Ride | None = None
        self._watch: Watch | None = None
        self._after_clipping: AfterClipping | None = None
        self._file: Appender | None = None
        self._saved: dict[str, Any] = {}  # of the checkpoint that the coming fit goes on from
        self._begin()

    def _begin(self) -> None:
        """A fit of its own: nothing of an earlier one counts."""
        self._release()
        self._windows: dict[Optimizer, Window] = {}
        self._is_due = False  # whether the steps of this batch are logged
        self._probed_step = -1
        self._batch_step = 0  # before the last batch
        self._layout: TrainingLayout | None = None
        self._batch: Suspect | None = None
        self._loss: Tensor | None = None  # of the coming step, summed over accumulated batches
        self._suspect: Suspect | None = None  # the first of these batches whose loss is not finite
        self._is_broken = False  # whether a NaN was met
        self._seconds, self._steps = 0.0, 0  # since the last record

    def _release(self) -> None:
        """Leave nothing on the module and its optimizers."""
        for handle in self._handles:
            handle.remove()
        for looking in (self._ride, self._watch, self._after_clipping):
            if looking:
                looking.detach()
        if self._file:
            self._file.close()
        self._handles, self._ride, self._watch, self._batch, self._file = [], None, None, None, None
        self._after_clipping = None

    # ------------------------------------------------------------------------------------------- hooks
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()
        for index, optimizer in enumerate(trainer.optimizers):
            self._windows[optimizer] = Window(index)
            self._handles.append(optimizer.register_step_post_hook(partial(self._on_stepped, trainer, pl_module)))
        if self._saved:
            self._go_on(pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._layout = None  # modules may have been exchanged

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        with self._clock():
            step, last = trainer.global_step, trainer.global_step - self._batch_step
            ahead = 1 if pl_module.automatic_optimization else max(len(trainer.optimizers), last)
            self._batch_step = step
            self._is_due = any(map(self._due, range(step, step + ahead)))
            self._batch = Suspect(batch, batch_idx, torch.get_rng_state())
            if self._is_due and step != self._probed_step:
                self._probed_step = step  # once, though gradients may be accumulated over several batches
                self._layout = self._layout or TrainingLayout(pl_module)
                parts = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
                self._ride = Ride(self._layout, step, loss_scale(trainer), parts, units=self._watch is None)
            if self._watch:
                self._watch.attach()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        if self._ride and self._ride.loss is None:
            self._ride.loss = loss.detach()
        if self._suspect is None and loss.device.type == "cpu" and not _is_finite(loss):
            self._suspect = self._batch

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        with self._clock():
            window, scaler = self._windows[optimizer], loss_scaler(trainer)
            if window.is_open and scaler is None:
                return  # LBFGS evaluates its closure again: the first gradient is that of the step
            if window.is_open:
                self._finish(trainer, pl_module, window, stepped=False)
            if pl_module.automatic_optimization:
                self._end_ride(trainer)
            owned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            unscales_itself = scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
            is_hooked = pl_module.automatic_optimization and clips_itself(pl_module)
            step, clipping, scale = trainer.global_step, trainer_clipping(trainer), loss_scale(trainer)
            loss, self._loss = self._loss, None
            if self._is_due:
                window.lr = max(float(group["lr"]) for group in optimizer.param_groups)
            total = window.measure(owned, step, loss, None if is_hooked else clipping, scale, unscales_itself)
            suspect, self._suspect = self._suspect or self._batch, None
            self.grad_norm = total
            if total is None:
                return  # no gradient: training_step returned None
            self._steps += 1
            is_nonfinite = total.device.type == "cpu" and not math.isfinite(total.item())
            if is_nonfinite and not self._is_broken and not (scaler and _is_finite(loss)):
                self._is_broken = True
                self._report(trainer, locate(trainer, pl_module, suspect, self.path))
                window.take(self.histograms)
            elif self._is_due:
                window.take(self.histograms)
            if is_hooked:
                self._after_clipping = AfterClipping(pl_module, partial(self._on_clipped, window))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        with self._clock():
            self._end_ride(trainer)
            if self._after_clipping:
                self._after_clipping.detach()  # nothing was clipped
            for window in self._windows.values():
                if window.is_open:  # the loss scaler skipped the step
                    self._finish(trainer, pl_module, window, stepped=False)
            if self._watch:
                self._watch.detach()
                if self._watch.units.is_over:
                    self._keep(trainer, self._watch.record(trainer.global_step))
                    self._watch = None
            self._batch = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._release()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["gradient_monitor"] = {
            "windows": [window.state_dict() for window in self._windows.values()],
            "watch": self._watch.state_dict(pl_module) if self._watch else None,
            "is_broken": self._is_broken,
            "diagnosis": self.diagnosis.as_dict(),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The verdict, at once; the history, where there is a file; the rest when the training goes on."""
        self._saved = checkpoint.get("gradient_monitor", {})
        if self._saved:
            self.diagnosis = Diagnosis.from_dict(self._saved["diagnosis"])
        if self.path is not None and self.path.is_file():
            self.history = read_history(self.path)

    # ---------------------------------------------------------------------------------- what they do
    def _go_on(self, pl_module: LightningModule) -> None:
        saved, self._saved = self._saved, {}
        for window, state in zip(self._windows.values(), saved["windows"], strict=False):
            window.load_state_dict(state)
        self._watch = Watch.restored(saved["watch"], pl_module) if saved["watch"] else None
        self._is_broken = saved["is_broken"]

    def _due(self, step: int) -> bool:
        # Lightning counts its logged steps from 1 as well: both put their values at 0-based steps n-1, 2n-1, …
        early = step < self.every_n_steps and step & (step - 1) == 0
        return early or (step + 1) % self.every_n_steps == 0

    def _on_clipped(self, window: Window) -> None:
        with self._clock():
            window.measure_clipped()

    def _on_stepped(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, args: Any, kwargs: Any
    ) -> None:
        window = self._windows[optimizer]
        if window.is_open:
            with self._clock():
                self._finish(trainer, pl_module, window, stepped=True)

    def _finish(self, trainer: Trainer, pl_module: LightningModule, window: Window, stepped: bool) -> None:
        """The step of a window is over: its record, if it is a logged one."""
        window.close(stepped)
        if not window.is_logged:
            return
        milliseconds = 1000 * self._seconds / max(self._steps, 1)
        self._seconds, self._steps = 0.0, 0
        record = window.record(pl_module, milliseconds)
        self._keep(trainer, record)
        late = None if self._is_broken or record.scale is not None else noticed_late(record)
        if late is not None:
            self._is_broken = True
            self._report(trainer, late)
        self._judge(trainer, record.step)

    def _judge(self, trainer: Trainer, step: int) -> None:
        """The verdict after a record: told where it changes, and logged."""
        before = self.diagnosis
        try:
            self.diagnosis = judge(self.history, self.settings, before)
        except Exception as error:
            return _tell_of_bug("the verdict", error)
        if not trainer.is_global_zero:
            return
        for line in changes(before, self.diagnosis, step):
            log.warning(line)
        for logger in trainer.loggers:
            logger.log_metrics({"health/status": float(self.diagnosis.status)}, step=step)

    def _end_ride(self, trainer: Trainer) -> None:
        """The probed pass is over: its profile, and a watch over the units that were silent in it."""
        ride, self._ride = self._ride, None
        if ride is None:
            return
        try:
            profile = ride.end(trainer.precision_plugin.forward_context())
        except Exception as error:
            return _tell_of_bug("the profile", error)
        self._seconds += ride.recorder.seconds
        self._keep(trainer, profile)
        if self._watch is None:
            self._watch = Watch(ride.recorder.watch(), profile.step)

    def _report(self, trainer: Trainer, record: NonFiniteRecord) -> None:
        log.warning(describe(record))
        self._keep(trainer, record)

    def _keep(self, trainer: Trainer, record: Record) -> None:
        """In the history, the file and every logger. With a file, the history is what it says, to the digit."""
        line = encode(record) if self.path else ""
        self.history.append(decode(line) if line else record)
        if not trainer.is_global_zero:
            return
        if self.path:
            self._file = self._file or Appender(self.path)
            self._file.append(line)
        values = metrics.of(record, self.layer_series, several=len(self._windows) > 1)
        for logger in trainer.loggers if values else ():
            logger.log_metrics(values, step=record.step)

    @contextmanager
    def _clock(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds += time.perf_counter() - started


def _tell_of_bug(what: str, error: Exception) -> None:
    """Who observes must not end what runs."""
    words = f"{what} failed, a bug of isometry's: {type(error).__name__}: {error}; the training goes on"
    warnings.warn(words, RuntimeWarning, stacklevel=2)


def _is_finite(loss: Tensor | None) -> bool:
    return loss is not None and math.isfinite(loss.sum().item())
