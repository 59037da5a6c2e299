"""What the monitor's tests share: a module whose gradients are the batch, a logger that keeps, a short `fit`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from isometry import GradientMonitor

# `pytestmark` of these files: what Lightning says about tiny data on a laptop.
LIGHTNING_SAYS = pytest.mark.filterwarnings(
    "ignore:The '(train|val)_dataloader' does not have many workers",
    "ignore:The number of training batches",
    "ignore:`trainer.init_module` cannot fully support",
)


class Fixed(LightningModule):
    """Its gradients are the batch: ∂L/∂a = x[0], ∂L/∂b = x[1], whatever the weights are."""

    def __init__(self, lr: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), nn.Linear(1, 1)
        self.lr = lr

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        return self.loss(batch[0])

    def loss(self, rows: Tensor) -> Tensor:
        x = rows.mean(dim=0)
        return self.a.weight.sum() * x[0] + self.b.weight.sum() * x[1]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Regression(LightningModule):
    """A real net with a real loss: mean (net(x) - 1)²."""

    def __init__(self, net: nn.Module, lr: float = 0.1) -> None:
        super().__init__()
        self.net, self.lr = net, lr

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        loss: Tensor = (self.net(batch[0]) - 1).pow(2).mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Collector(DummyLogger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, Any]]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.rows.append((step, metrics))

    def series(self, key: str) -> dict[int | None, float]:
        return {step: row[key] for step, row in self.rows if key in row}


def loader(rows: Any, batch_size: int = 1) -> DataLoader[Any]:
    data = rows if isinstance(rows, Tensor) else torch.tensor(rows)
    return DataLoader(TensorDataset(data), batch_size=batch_size)


def make_trainer(*callbacks: Callback, logger: Any = False, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
    quiet: dict[str, Any] = {"enable_checkpointing": False, "enable_model_summary": False}
    return Trainer(**{**defaults, **quiet, **options}, logger=logger, callbacks=list(callbacks))


def fit(
    monitor: GradientMonitor,
    rows: Iterable[Any],
    module: LightningModule | None = None,
    *,
    batch_size: int = 1,
    others: Iterable[Callback] = (),
    **options: Any,
) -> Collector:
    logger = Collector()
    make_trainer(monitor, *others, logger=logger, **options).fit(
        Fixed() if module is None else module, loader(rows, batch_size)
    )
    return logger


def fp16(scale: float = 1024.0, **options: Any) -> Any:
    """Lightning's 16-mixed with a loss scaler, on the CPU."""
    from pytorch_lightning.plugins import MixedPrecision

    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale, **options))
