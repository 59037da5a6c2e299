"""What watching gradients costs: GradientMonitor, `wandb.watch` and Lightning's `grad_norm` against no monitor at all.

    python benchmarks/monitor_overhead.py [--rounds 5] [--nets cnn mlp lstm]

One training a net, in which the ways of watching take turns, 100 steps each, round after round: so all meet the same
network and the same machine, whatever else it does. A turn's time is the sum over its 100 places of the median over the
rounds, which a hiccup does not reach; printed is its ratio to the turns without a monitor, and behind it the smallest
and largest ratio of single turns. A turn holds one of the monitor's logged steps, as 100 steps of a long run do; the
seven extra ones of the first 100 are 0.07 % of 10,000 steps. The first round warms up and is left out.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import torch
import wandb
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import grad_norm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from isometry import GradientMonitor, build
from isometry.overrides import read

TURN = 100
NETS = {
    "cnn": ("20-layer CNN", ["model=deep_cnn"], (1, 28, 28)),
    "mlp": ("100-layer MLP", ["model=mlp", "model.depth=100", "norm=none"], (1, 28, 28)),
    "lstm": ("LSTM, 28 steps", ["model=lstm"], (1, 28, 28)),
}


class Net(LightningModule):
    """Cross-entropy and SGD around a network of ours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class Nothing(Callback):
    """No monitor."""


class Watch(Callback):
    """`wandb.watch`, gradients, every so many backward passes."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.logger.experiment.watch(pl_module, log="gradients", log_freq=self.every)  # type: ignore[union-attr]

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        trainer.logger.log_metrics({"step": float(trainer.global_step)}, trainer.global_step)  # type: ignore[union-attr]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.logger.experiment.unwatch(pl_module)  # type: ignore[union-attr]


class GradNorm(Callback):
    """Lightning's `grad_norm` of every parameter, every step, as its documentation shows."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        trainer.logger.log_metrics(grad_norm(pl_module, 2), trainer.global_step)  # type: ignore[union-attr, arg-type]


class Turns(Callback):
    """Gives each way of watching its turn of `TURN` steps and takes the time of every step."""

    def __init__(self, ways: dict[str, Callable[[], Callback]]) -> None:
        self.ways = ways
        self.turns: dict[str, list[list[float]]] = {name: [] for name in ways}
        self.way: Callback = Nothing()
        self.started = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % TURN == 0:
            name = list(self.ways)[trainer.global_step // TURN % len(self.ways)]
            self.way.on_train_end(trainer, pl_module)
            self.way = self.ways[name]()
            self.way.on_train_start(trainer, pl_module)
            self.turns[name].append([])
            self.own = self.turns[name][-1]
            self.started = time.perf_counter()
        self.way.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_before_backward(self, *args: Any) -> None:
        self.way.on_before_backward(*args)

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.way.on_before_optimizer_step(*args)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self.way.on_train_batch_end(trainer, *args)
        now = time.perf_counter()
        self.own.append(now - self.started)
        self.started = now


def ways(folder: Path) -> dict[str, Callable[[], Callback]]:
    return {
        "no monitor": Nothing,
        "GradientMonitor()": lambda: GradientMonitor(path=folder / "default.jsonl"),
        "GradientMonitor(every_n_steps=1)": lambda: GradientMonitor(1, folder / "every.jsonl"),
        "wandb.watch(log_freq=100)": lambda: Watch(100),
        "wandb.watch(log_freq=1)": lambda: Watch(1),
        "Lightning's grad_norm, every step": GradNorm,
    }


def measure(words: list[str], shape: tuple[int, ...], rounds: int, folder: Path) -> dict[str, list[list[float]]]:
    """Seconds of each step of each way's turns."""
    config = read(words)
    network = build.network(config, shape, 10)
    build.initialize(network, config.init, activation=config.activation)
    turns = Turns(ways(folder))
    images, labels = torch.randn(64 * TURN, *shape), torch.randint(0, 10, (64 * TURN,))
    logger = WandbLogger(project="overhead", save_dir=folder, offline=True)
    trainer = Trainer(
        max_steps=TURN * len(turns.ways) * (rounds + 1),
        max_epochs=-1,
        accelerator="cpu",
        logger=logger,
        callbacks=[turns],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Net(network), DataLoader(TensorDataset(images, labels), batch_size=64))
    wandb.finish()
    return {name: own[1:] for name, own in turns.turns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.rounds} rounds of {TURN} steps\n")
    for key in options.nets:
        title, words, shape = NETS[key]
        with tempfile.TemporaryDirectory() as folder:
            turns = measure(words, shape, options.rounds, Path(folder))
        bare = turns["no monitor"]
        print(f"{title}: {1000 * typical(bare) / TURN:.1f} ms a step without a monitor")
        for name, own in turns.items():
            ratios = [sum(mine) / sum(plain) for mine, plain in zip(own, bare, strict=True)]
            print(f"  {name:<34} {typical(own) / typical(bare):6.3f}   {min(ratios):.3f} … {max(ratios):.3f}")


def typical(turns: list[list[float]]) -> float:
    """Seconds of a turn: of each of its places the median over the rounds."""
    return sum(statistics.median(place) for place in zip(*turns, strict=True))


if __name__ == "__main__":
    main()
