"""The same MLP on MNIST-shaped digits, three times: as templates usually do it, by a bare Lightning Trainer, by ours.

The usual practice: the data set's pictures through torchvision transforms in a `DataLoader`, `self.log` of loss and
accuracy by torchmetrics, a rich bar, one logger (CSV), ModelCheckpoint. The minimal Trainer has our network, batches,
optimizer and schedule, and no callback, logger, bar or checkpoint. Hydra's share is starting up, which is not on this
clock.

All take the same number of steps over 9,001 images in batches of 128, with SGD; the first two validate one batch an
epoch, too.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from data import Pictures, made
from loop import QUIET, clocked
from pairs import Ratio, in_turn
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import Accuracy, MeanMetric
from torchvision import transforms

from isometry import build, run
from isometry.overrides import read

BATCH, IMAGES, WIDTH, DEPTH = 128, 9_001, 64, 4  # the images that mnist_mini trains on
WORDS = ["model=mlp", f"model.depth={DEPTH}", f"model.width={WIDTH}", f"data.batch_size={BATCH}", "data.augment=none",
         "scheduler=constant", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1",
         "wandb.mode=offline"]  # fmt: skip


def network() -> nn.Module:
    """Four dense layers with BatchNorm and ReLU, as `model=mlp` has them."""
    sizes = [784, *[WIDTH] * DEPTH]
    blocks = [nn.Sequential(nn.Linear(sizes[i], sizes[i + 1]), nn.BatchNorm1d(WIDTH), nn.ReLU()) for i in range(DEPTH)]
    return nn.Sequential(nn.Flatten(), *blocks, nn.Linear(WIDTH, 10))


class Minimal(LightningModule):
    """Nothing but a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Usual(Minimal):
    """What the usual template logs: running means of loss and accuracy, at each step and over the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.loss, self.accuracy = MeanMetric(), Accuracy("multiclass", num_classes=10)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        logits = self.net(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        self.loss(loss)
        self.accuracy(logits.argmax(dim=1), batch[1])
        self.log("train/loss", self.loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss


class Clock(Callback):
    """From the first batch to the end of the training."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self.began


def ours(epochs: int) -> Callable[[], float]:
    def seconds() -> float:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), clocked() as clock:
            run.train(read([*WORDS, f"trainer.max_epochs={epochs}", f"runs_dir={folder}"]))
        return sum(clock)

    return seconds


def minimal(epochs: int) -> Callable[[], float]:
    config = read([*WORDS, f"trainer.max_epochs={epochs}"])
    data = build.datamodule(config, build.image_set(config))

    def seconds() -> float:
        module, clock = build.classifier(config, data, build.total_steps(config, data.num_batches)), Clock()
        Trainer(**QUIET, max_epochs=epochs, limit_val_batches=1, callbacks=[clock]).fit(module, datamodule=data)
        return clock.seconds

    return seconds


def usual(epochs: int, workers: int) -> Callable[[], float]:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    pictures = Pictures(made((1, 28, 28), IMAGES), transform)
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def seconds() -> float:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            clock = Clock()
            callbacks = [RichProgressBar(), ModelCheckpoint(folder), clock]
            options: dict[str, Any] = {"accelerator": "cpu", "limit_val_batches": 0, "enable_model_summary": False}
            Trainer(**options, logger=CSVLogger(folder), max_epochs=epochs, callbacks=callbacks).fit(Usual(), loader)
            return clock.seconds

    return seconds


def measure(pairs: int, *, short: bool = False) -> dict[str, Ratio]:
    """Our time over a minimal Trainer's; the usual practice's over ours."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    many, few = (1, 1) if short else (20, 4)  # epochs
    found = {"a minimal Trainer": in_turn(ours(many), minimal(many), pairs)}
    for workers in (0, 2):
        ratio = in_turn(ours(few), usual(few, workers), pairs)
        found[f"the usual practice, {workers} workers"] = ratio.inverse()
    for name, ratio in found.items():
        print(f"{name}: {ratio}", flush=True)
    return found


if __name__ == "__main__":
    measure(pairs=3)
