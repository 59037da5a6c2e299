"""When a run is saved, and what it takes to go on from there as if nothing had happened.

Lightning promises no exact resume: its checkpoints lack random states, half accumulated gradients and the metrics that
schedules look at, and it guesses from its counters where it was. So a run is saved at one kind of place alone: before
a batch, after everything that belongs to earlier ones (step, validation, end of an epoch), with no gradient half
accumulated. There the counters are plain, randomness is derived from (seed, epoch, batch), and what was written after
that place is written again: the files that grow are cut back to the length they had.

    latest-…ckpt   the whole state; the newest two stay
    best-…ckpt     weights alone, at the validation with the lowest val/loss; stays as long as a latest one names it
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..errors import CheckpointError, ResourceError
from ..randomness import derive, seed_torch
from .checkpoint_files import BEST, LATEST, DurableCheckpointIO, committed, read_manifest
from .signals import Signals

KEPT = 2  # latest checkpoints: should the newest turn out damaged, there is one more
PATIENCE = 3  # failed writes in a row, after which a full disk ends the training


class Checkpoints(Callback):
    """Saves every so many steps, when a signal asks for it, and at the end. The first of the Trainer's callbacks.

    Args:
        folder: Of the run; checkpoints lie in its `checkpoints/`.
        every_n_steps: Optimizer steps between two saves.
        total_steps: Of the whole training; where it has grown, a finished one goes on.
        seed: From which the randomness of each batch is derived.
        signals: Asked before each batch whether to save and leave.
        growing: Files that are appended to, by name in the run's folder.
    """

    def __init__(
        self,
        folder: Path,
        every_n_steps: int,
        total_steps: int,
        seed: int,
        signals: Signals,
        growing: Sequence[str] = (),
    ) -> None:
        self.folder, self.every_n_steps, self.total_steps = folder, every_n_steps, total_steps
        self.seed, self.signals, self.growing = seed, signals, tuple(growing)
        self.best: str | None = None  # file name
        self.best_loss = math.inf
        self._next_batch = 0  # of the epoch: the one before which the run is saved
        self._finished = False
        self._restored: dict[str, Any] = {}
        self._failures = 0  # in a row

    # ------------------------------------------------------------------------------------------- hooks
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.defer()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if self._restored:
            self._go_on(trainer)
        elif batch_idx % trainer.accumulate_grad_batches == 0:
            asked = self._is_asked(trainer)
            if asked or step % self.every_n_steps == 0:
                self._next_batch = batch_idx
                self.save(trainer)
            if asked:
                self.signals.leave(f"at step {step:,}", is_first=trainer.is_global_zero)
        key = derive(self.seed, "batch", trainer.current_epoch, batch_idx, trainer.global_rank)
        seed_torch(key, trainer.strategy.root_device)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.keep_best(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finished, self._next_batch = True, trainer.fit_loop.epoch_loop.batch_progress.current.completed
        self.save(trainer)
        if self._is_asked(trainer):
            self.signals.leave("after the last step, before the test", is_first=trainer.is_global_zero)
        self.signals.stop_deferring()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.signals.stop_deferring()

    def _is_asked(self, trainer: Trainer) -> bool:
        """Whether a signal has come to any of the processes: all leave, or none."""
        return bool(trainer.strategy.reduce_boolean_decision(self.signals.asked is not None, all=False))

    # ------------------------------------------------------------------------------------------ saving
    def save(self, trainer: Trainer) -> None:
        """The whole state, and with it which older files can go."""
        self._sync()
        name = self._write(trainer, LATEST, weights_only=False)
        if name and trainer.is_global_zero:
            self._prune(name)

    def keep_best(self, trainer: Trainer) -> None:
        """The weights, where val/loss is the lowest so far."""
        loss = float(trainer.callback_metrics.get("val/loss", math.nan))
        if loss < self.best_loss:
            name = self._write(trainer, BEST, weights_only=True)
            if name:
                self.best, self.best_loss = name, loss

    def _write(self, trainer: Trainer, kind: str, *, weights_only: bool) -> str | None:
        """The file's name; None where it was not written: the disk refused, or weights are no numbers."""
        if not _is_finite(trainer):
            if trainer.is_global_zero:
                print(
                    f"not saved at step {trainer.global_step:,}: weights or optimizer hold a NaN or an infinity",
                    flush=True,
                )
            return None
        name, failure = f"{kind}-epoch{trainer.current_epoch:03d}-step{trainer.global_step:07d}.ckpt", None
        try:
            trainer.save_checkpoint(self.folder / "checkpoints" / name, weights_only=weights_only)
        except ResourceError as error:
            failure = error
            trainer.strategy.barrier()  # where the other processes wait for this one's write
        if not trainer.strategy.reduce_boolean_decision(failure is not None, all=False):
            self._failures = 0
            return name
        self._failures += 1
        if self._failures >= PATIENCE:
            raise failure or ResourceError("error: the first process could not write a checkpoint")
        if failure:
            print(f"{failure}\n  the training goes on; older checkpoints are kept", flush=True)
        return None

    def _sync(self) -> None:
        """What the files that grow hold so far is on the disk before a checkpoint says so."""
        for name in self.growing:
            if (self.folder / name).is_file():
                file = os.open(self.folder / name, os.O_RDONLY)
                os.fsync(file)
                os.close(file)

    def _prune(self, newest: str) -> None:
        """All but the newest two and what they name; those that seem later were damaged, and passed over."""
        latest = committed(self.folder, LATEST)
        kept = [path for path in latest if path.name <= newest][:KEPT]
        named = {path.name for path in kept}
        for path in kept:
            with suppress(CheckpointError):  # of an earlier process, damaged since
                named.add(str(read_manifest(path)["best"]))
        for path in [*latest, *committed(self.folder, BEST)]:
            if path.name not in named:
                DurableCheckpointIO().remove_checkpoint(path)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        loop = trainer.fit_loop.epoch_loop
        sizes = {name: (self.folder / name).stat().st_size for name in self.growing if (self.folder / name).is_file()}
        checkpoint["resume"] = {
            "best": self.best,
            "best_loss": self.best_loss,
            "finished": self._finished,
            "total_steps": self.total_steps,
            "batches_that_stepped": loop._batches_that_stepped,
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "sizes": sizes,
            "world_size": trainer.world_size,
        }
        is_over = self._next_batch >= trainer.num_training_batches
        if is_over or not self._finished:
            _place(checkpoint["loops"]["fit_loop"], trainer.current_epoch, 0 if is_over else self._next_batch)
        else:  # Lightning counts an epoch that `max_steps` cuts off as a whole one
            _place(checkpoint["loops"]["fit_loop"], trainer.current_epoch - 1, self._next_batch)

    # ----------------------------------------------------------------------------------------- resuming
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._restored = checkpoint["resume"]
        self.best, self.best_loss = self._restored["best"], self._restored["best_loss"]
        is_over = self._restored["finished"] and self._restored["total_steps"] == self.total_steps
        trainer.should_stop = is_over  # also where it had stopped early
        before, now = self._restored["world_size"], trainer.world_size
        if before != now and trainer.is_global_zero:
            print(
                f"resumed  not to the bit what it would have been without a stop: {before} processes there, {now} here"
            )

    def _go_on(self, trainer: Trainer) -> None:
        """Before the first batch: what Lightning does not restore, or counted once more while it found its place."""
        state, self._restored = self._restored, {}
        trainer.fit_loop.restarting = False  # else no schedule that looks at a metric would step after this epoch
        trainer.fit_loop.epoch_loop._batches_that_stepped = state["batches_that_stepped"]
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in state["metrics"].items()})


def _is_finite(trainer: Trainer) -> bool:
    """Whether the weights and what the optimizers remember are numbers: nothing else may take a good file's place."""
    remembered = (
        value for optimizer in trainer.optimizers for state in optimizer.state.values() for value in state.values()
    )
    tensors = [*trainer.lightning_module.parameters(), *(value for value in remembered if isinstance(value, Tensor))]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _place(loops: dict[str, Any], epoch: int, batch: int) -> None:
    """Rewrite the counters of a checkpoint so that they say one thing: all is done up to this batch of this epoch.

    Lightning would find counters of a batch that is under way, and restart in one of five ways, by how they differ.
    """
    is_under_way = int(batch > 0 or loops["epoch_progress"]["current"]["started"] > epoch)
    for counts in loops["epoch_progress"].values():
        counts.update(ready=epoch + is_under_way, started=epoch + is_under_way, processed=epoch, completed=epoch)
    progress = loops["epoch_loop.batch_progress"]
    progress["is_last_batch"] = False
    done = progress["total"]["completed"]
    progress["total"].update(ready=done, started=done, processed=done)
    progress["current"].update(ready=batch, started=batch, processed=batch, completed=batch)
    validation = loops["epoch_loop.val_loop.batch_progress"]
    for counts in (validation["total"], validation["current"]):
        counts.update(dict.fromkeys(counts, 0))
    # A place that a loader of another kind noted is one batch too far; `passes` brings it to its own.
    ours = [state for state in loops["state_dict"].get("combined_loader", ()) if "next_batch" in state]
    loops["state_dict"]["combined_loader"] = [{"next_batch": batch} for _ in ours]
