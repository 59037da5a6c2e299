"""Remedies, tried: the same training with a change, for a few steps, beside the training as it was.

A verdict is worth what its cure is worth. So each remedy is probed before the first step, and the likeliest are trained
on the same batches for the same number of steps. What did not help is shown as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from .findings import Trial
from .monitor import GradientMonitor
from .rules import diagnose


def train_briefly(
    module: LightningModule,
    data: LightningDataModule,
    steps: int,
    options: Mapping[str, Any],
    overrides: tuple[str, ...] = (),
    settings: Mapping[str, Any] | None = None,
) -> Trial:
    """Train for a few steps under a monitor; nothing is written.

    Args:
        module: Trained in place.
        data: Its train batches are used.
        steps: Optimizer steps.
        options: The Trainer's, such as precision and clipping.
        overrides: For the record.
        settings: The configuration, for remedies.
    """
    monitor = GradientMonitor(steps, settings=settings)
    trainer = Trainer(
        **options,
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        callbacks=[monitor],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    losses = [loss for record in monitor.history.records for loss in record.losses]
    profiles = monitor.history.profiles
    return Trial(overrides, profiles[0] if profiles else None, losses, diagnose(monitor.history, settings))
