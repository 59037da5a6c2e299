"""The guard alerts once for each critical finding, and ends a training on one only where that was asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from isometry.diagnostics.findings import CRITICAL, WARNING, Diagnosis, Finding
from isometry.training.guard import Guard
from isometry.training.loggers import finish_wandb, wandb_logger

pytestmark = pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers", "ignore:The number of training batches"
)

FINE = Diagnosis()


def diagnosis(*rules: str, severity: str = CRITICAL) -> Diagnosis:
    return Diagnosis(tuple(Finding(rule, severity, f"What {rule} means.") for rule in rules))


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Run:
    """Stands for a W&B run: keeps what it is told."""

    dir = "wandb/run-1-ab/files"

    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, str]] = []

    def alert(self, title: str, text: str, level: str) -> None:
        self.alerts.append((title, text, level))

    def log(self, *args: Any, **kwargs: Any) -> None:
        pass

    def define_metric(self, *args: Any, **kwargs: Any) -> None:
        pass


class Guest(WandbLogger):
    """A WandbLogger around such a run, without a service."""

    def __init__(self) -> None:
        self.run = self._experiment = Run()
        self._save_dir, self._name, self._id = ".", "guest", "guest"

    @property
    def experiment(self) -> Any:
        return self.run

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        pass

    def save(self) -> None:
        pass

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        pass

    def finalize(self, status: str) -> None:
        pass


def train(verdicts: list[Diagnosis], *loggers: Any, stops: bool) -> int:
    """Steps made: one verdict after each, the last one ever after."""
    told: Iterator[Diagnosis] = iter(verdicts)
    last = [verdicts[-1]]

    def now() -> Diagnosis:
        return next(told, last[0])

    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=list(loggers) or False, callbacks=[Guard(now, stops=stops)],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Line(), DataLoader(TensorDataset(torch.ones(8, 1))))
    return trainer.global_step


def test_each_critical_finding_is_alerted_once() -> None:
    guest, other = Guest(), Guest()
    one, two = diagnosis("vanishing_gradients"), diagnosis("vanishing_gradients", "non_finite")
    again = diagnosis("vanishing_gradients")
    assert train([FINE, one, one, two, FINE, again], guest, other, stops=False) == 8
    expected = [
        ("vanishing_gradients", "What vanishing_gradients means.", "ERROR"),
        ("non_finite", "What non_finite means.", "ERROR"),
    ]
    assert guest.run.alerts == other.run.alerts == expected


def test_a_warning_is_no_alert_until_it_is_critical() -> None:
    guest = Guest()
    warned = diagnosis("small_batch_norm", severity=WARNING)
    train([warned, FINE, warned], guest, stops=True)
    assert guest.run.alerts == []
    train([warned, diagnosis("small_batch_norm")], guest, stops=False)
    assert [title for title, *_ in guest.run.alerts] == ["small_batch_norm"]


@pytest.mark.parametrize(("stops", "steps"), [(True, 3), (False, 8)])
def test_a_critical_finding_ends_the_training_if_that_was_asked_for(stops: bool, steps: int) -> None:
    assert train([FINE, FINE, diagnosis("non_finite")], stops=stops) == steps


@pytest.mark.parametrize("verdict", [FINE, diagnosis("small_batch_norm", severity=WARNING)])
def test_what_is_not_critical_ends_nothing(verdict: Diagnosis) -> None:
    assert train([FINE, verdict], stops=True) == 8


def test_other_loggers_get_no_alert_and_without_any_it_stops_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([diagnosis("non_finite")], CSVLogger(tmp_path), stops=False) == 8
    assert "W&B" not in capsys.readouterr().out
    assert train([diagnosis("non_finite")], stops=True) == 1


def test_a_service_that_takes_no_alert_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dead(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("service died")

    guest = Guest()
    monkeypatch.setattr(guest.run, "alert", dead)
    assert train([FINE, diagnosis("non_finite")], guest, stops=False) == 8
    assert capsys.readouterr().out.count("W&B stopped (service died)") == 1


def test_the_stop_is_decided_together() -> None:
    """On several processes a finding of one ends all."""
    asked: list[tuple[bool, bool]] = []

    class Strategy:
        def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
            asked.append((decision, all))
            return True

    class Told:
        strategy, loggers, should_stop = Strategy(), (), False

    trainer: Any = Told()
    verdicts = [Diagnosis(), Diagnosis()]
    guard = Guard(lambda: verdicts[0], stops=True)
    for index in range(3):
        guard.on_train_batch_end(trainer, Line(), None, None, index)
    assert asked == [(False, False)]  # once for each verdict: whether any process has found something
    del verdicts[0]  # a new one that says the same, here: on another process it may not
    guard.on_train_batch_end(trainer, Line(), None, None, 3)
    assert asked == [(False, False)] * 2
    assert trainer.should_stop


@pytest.mark.skipif(sys.platform == "win32", reason="W&B's service")
def test_a_real_run_takes_the_alert(tmp_path: Path) -> None:
    options: dict[str, Any] = {"entity": None, "group": None, "job_type": None, "tags": (), "notes": None, "config": {}}
    logger, line = wandb_logger(tmp_path, project="p", name="n", mode="offline", **options)
    assert logger is not None, line
    train([FINE, diagnosis("non_finite")], logger, stops=True)
    assert logger.experiment.offline
    finish_wandb(logger, 0)
