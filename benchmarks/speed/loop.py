"""A whole default training against the loop that one writes by hand: the same network, order, optimizer and schedule.

Ours is `run.train` at its defaults but for the number of epochs: journal, W&B offline, checkpoints, gradient monitor.
The loop by hand logs nothing, saves nothing, watches nothing; it validates after each epoch, as ours does. The clock
runs from the first batch to the end of the training, the last save included; starting up is another benchmark's.
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from pairs import Ratio, in_turn

from isometry import build, run
from isometry.config import Config
from isometry.overrides import read
from isometry.training.checkpoints import Checkpoints

NETWORKS = {"deep_cnn": ["model=deep_cnn"], "resnet": ["model=resnet"], "lstm": ["model=lstm"]}
COMMON = ["trainer.limit_test_batches=1", "wandb.mode=offline"]


def default_run(words: list[str]) -> Callable[[], float]:
    """One training in a folder that goes away."""

    def seconds() -> float:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), clocked() as clock:
            run.train(read([*words, *COMMON, f"runs_dir={folder}"]))
        return clock["end"] - clock["begin"]

    return seconds


@contextlib.contextmanager
def clocked() -> Any:
    """Notes when the first batch begins and the training ends: with Checkpoints, which comes first and saves last."""
    clock: dict[str, float] = {}
    begin, end = Checkpoints.on_train_batch_start, Checkpoints.on_train_end

    def on_train_batch_start(self: Checkpoints, *args: Any) -> None:
        clock.setdefault("begin", time.perf_counter())
        begin(self, *args)

    def on_train_end(self: Checkpoints, *args: Any) -> None:
        end(self, *args)
        clock["end"] = time.perf_counter()

    Checkpoints.on_train_batch_start, Checkpoints.on_train_end = on_train_batch_start, on_train_end  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        Checkpoints.on_train_batch_start, Checkpoints.on_train_end = begin, end  # type: ignore[method-assign]


def loop_by_hand(words: list[str]) -> Callable[[], float]:
    """The same training without any of it."""

    def seconds() -> float:
        config = read([*words, *COMMON])
        data = build.datamodule(config, build.image_set(config))
        steps = build.total_steps(config, data.num_batches)
        with contextlib.redirect_stdout(io.StringIO()):
            module = build.classifier(config, data, steps)
        return train_by_hand(config, module, data, steps)

    return seconds


def train_by_hand(config: Config, module: Any, data: Any, steps: int) -> float:
    network = module.network
    optimizer = module.make_optimizer(network.named_parameters())
    (schedule,) = module.make_schedule(optimizer)
    train, validation = data.train_dataloader(), data.val_dataloader()
    began, done = time.perf_counter(), 0
    for epoch in range(math.ceil(steps / len(train))):
        train.set_epoch(epoch)
        network.train()
        for images, labels in train:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
            schedule["scheduler"].step()
            done += 1
            if done == steps:
                break
        network.eval()
        with torch.no_grad():
            for images, labels in validation:
                logits = network(images)
                F.cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).sum()
    return time.perf_counter() - began


def measure(pairs: int, *, short: bool = False) -> dict[str, Ratio]:
    """Our time over that of the loop by hand."""
    found = {}
    for name, own in NETWORKS.items():
        words = [*own, "trainer.max_steps=10" if short else "trainer.max_epochs=3"]
        found[name] = in_turn(default_run(words), loop_by_hand(words), pairs)
        print(f"{name:<10} {found[name]}", flush=True)
    return found


if __name__ == "__main__":
    measure(pairs=3)
