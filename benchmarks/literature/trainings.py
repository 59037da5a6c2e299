"""Short trainings in a Lightning Trainer without folder, logger or monitor: of the project's words, or of any module.

The loss of a training is the mean over its last twentieth of the steps, at least ten of them; one that has become NaN
or infinite is stopped and stays so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from isometry import build
from isometry.data.sources import ImageSet
from isometry.overrides import read
from isometry.run import expected_warnings


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self.steps.append(float(outputs["loss"]))
        trainer.should_stop |= not math.isfinite(self.steps[-1])

    @property
    def last(self) -> float:
        count = max(len(self.steps) // 20, 10)
        return math.fsum(self.steps[-count:]) / count if math.isfinite(self.steps[-1]) else math.inf


def fit(module: LightningModule, batches: Iterable[Any], steps: int, clip: float | None = None) -> Losses:
    """Train for so many optimizer steps; batches begin anew where they end."""
    losses = Losses()
    with expected_warnings():
        _trainer(steps, clip, losses).fit(module, batches)
    return losses


def train(words: Sequence[str], steps: int, prepare: Callable[[nn.Module], None] | None = None) -> Losses:
    """So many steps of the run that `words` stand for, without validation; `prepare` may change its first weights."""
    return _train(words, steps, prepare)[0]


def train_and_test(words: Sequence[str], steps: int) -> tuple[Losses, float]:
    """(losses, share of the test images classified rightly after the last step)."""
    losses, module, loader = _train(words, steps)
    module.eval()
    with torch.no_grad():
        right = sum(float((module(images).argmax(dim=1) == labels).sum()) for images, labels in loader)
    return losses, right / len(loader.labels)


def _train(
    words: Sequence[str], steps: int, prepare: Callable[[nn.Module], None] | None = None
) -> tuple[Losses, LightningModule, Any]:
    config = read([*words, f"trainer.max_steps={steps}", "trainer.max_epochs=1000"])
    data = build.datamodule(config, _images(config.data.name, config.data.dir))
    module = build.classifier(config, data, steps)
    if prepare:
        prepare(module)
    losses = fit(module, data.train_dataloader(), steps, config.trainer.gradient_clip_val)
    return losses, module, data.test_dataloader()


@cache
def digits(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One training batch of the digits in the package: normalised images `[B, 1, 28, 28]`, labels `[B]`."""
    config = read([f"data.batch_size={count}", "data.augment=none"])
    data = build.datamodule(config, _images(config.data.name, config.data.dir))
    images, labels = next(iter(data.train_dataloader()))
    return images, labels


@cache
def _images(name: str, folder: str) -> ImageSet:
    images = build.image_set(read([f"data={name}", f"data.dir={folder}"]))
    assert isinstance(images, ImageSet)
    return images


def _trainer(steps: int, clip: float | None, losses: Losses) -> Trainer:
    return Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        gradient_clip_val=clip,
        logger=False,
        callbacks=[losses],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
