"""What acts on a training: Ctrl-C and SIGTERM as errors that say how to go on; alert and stop on a critical finding."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ..diagnostics.findings import CRITICAL, Diagnosis
from ..errors import CheckpointError, Interrupted, Terminated
from .checkpoints import LATEST, find_checkpoint


class Guard(Callback):
    """Sends an alert for each critical finding, once, and ends the training on one if asked to.

    Args:
        diagnosis: The verdict so far; the monitor's.
        stops: Whether a critical finding ends the training.
    """

    def __init__(self, diagnosis: Callable[[], Diagnosis], *, stops: bool) -> None:
        self.diagnosis, self.stops = diagnosis, stops
        self._seen: Diagnosis | None = None
        self._told: set[str] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        diagnosis = self.diagnosis()
        if diagnosis is self._seen:
            return  # nothing was judged since; on all processes alike, as they log the same steps
        self._seen = diagnosis
        for finding in diagnosis.findings:
            if finding.severity == CRITICAL and finding.rule not in self._told:
                self._told.add(finding.rule)
                _alert(trainer, finding.rule, finding.explanation)
        if self.stops and trainer.strategy.reduce_boolean_decision(not diagnosis.healthy, all=False):
            trainer.should_stop = True


def _alert(trainer: Trainer, rule: str, text: str) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            try:
                logger.experiment.alert(rule, text, level="ERROR")
            except Exception as error:  # whatever W&B raises, the training goes on
                print(f"W&B did not take the alert ({error}); diagnosis.json has it")


def guarded(trainer: Trainer, folder: Path, call: Callable[[], Any]) -> Any:
    """`call`, with Ctrl-C and SIGTERM as errors of our own: Lightning would exit with 1 and with 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        return call()
    except SIGTERMException:
        raise Terminated(f"terminated {_how_to_go_on(trainer, folder)}") from None
    except SystemExit:
        raise Interrupted(f"interrupted {_how_to_go_on(trainer, folder)}") from None
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further Ctrl-C while it shuts down


def _how_to_go_on(trainer: Trainer, folder: Path) -> str:
    with suppress(CheckpointError):
        newest = find_checkpoint(folder, LATEST)
        return (
            f"at step {trainer.global_step}; the newest checkpoint is {newest}\n"
            f"  continue:  python train.py ckpt_path={folder}"
        )
    return f"at step {trainer.global_step}, before the first checkpoint"
