"""What acts on a critical finding: an alert, and the end of the training where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger

from ..diagnostics.findings import CRITICAL, Diagnosis
from .loggers import attempt


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

    def state_dict(self) -> dict[str, Any]:
        return {"told": sorted(self._told)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._told = set(state_dict["told"])


def _alert(trainer: Trainer, rule: str, text: str) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            attempt(logger, partial(_send, logger, rule, text))


def _send(logger: WandbLogger, rule: str, text: str) -> None:
    logger.experiment.alert(rule, text, level="ERROR")
