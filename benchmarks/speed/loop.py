"""A whole default training against the loop that one writes by hand: the same network, order, optimizer and schedule.

Ours is `run.train` at its defaults but for the number of epochs: journal, W&B offline, checkpoints, gradient monitor.
The loop by hand logs nothing, saves nothing, watches nothing; it validates after each epoch, as ours does. They take
turns in one process, ten steps each, so that a machine whose speed drifts slows both. Ours begins with its first batch
and ends with the training, the last save included; starting up is another benchmark's.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from pairs import Ratio
from pytorch_lightning import Callback, LightningModule, Trainer

from isometry import build, run
from isometry.overrides import read
from isometry.training.checkpoints import Checkpoints

NETWORKS = {"deep_cnn": ["model=deep_cnn"], "resnet": ["model=resnet"], "lstm": ["model=lstm"]}
TINY = ["model=mlp", "model.depth=4", "model.width=64"]
PARTS: dict[str, list[str] | None] = {
    "all of it": [],
    "without the monitor": ["monitor.enabled=false"],
    "without monitor and W&B": ["monitor.enabled=false", "logger=none"],
    "a bare Lightning Trainer": None,
}
QUIET: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                         "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip
EPOCHS = 4
TURN = 10  # steps
FEW = ["data.limit_train_images=1000", "trainer.max_epochs=1"]
COMMON = ["trainer.limit_test_batches=1", "wandb.mode=offline"]


@contextlib.contextmanager
def clocked(between: Any = None) -> Any:
    """Notes seconds by turn, of a training that starts meanwhile: with Checkpoints, which comes first and saves last.

    Args:
        between: Called before each turn, off the clock.
    """
    seconds: list[float] = []
    began = [0.0]
    begin, end = Checkpoints.on_train_batch_start, Checkpoints.on_train_end

    def on_train_batch_start(self: Checkpoints, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % TURN == 0:
            if began[0]:
                seconds.append(time.perf_counter() - began[0])
            if between:
                between()
            began[0] = time.perf_counter()
        begin(self, trainer, module, batch, batch_idx)

    def on_train_end(self: Checkpoints, *args: Any) -> None:
        end(self, *args)
        seconds.append(time.perf_counter() - began[0])

    Checkpoints.on_train_batch_start, Checkpoints.on_train_end = on_train_batch_start, on_train_end  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Checkpoints.on_train_batch_start, Checkpoints.on_train_end = begin, end  # type: ignore[method-assign]


def by_hand(words: list[str]) -> Iterator[float]:
    """The same training without any of it: seconds of each turn, the last of an epoch with its validation."""
    config = read(words)
    data = build.datamodule(config, build.image_set(config))
    module = build.classifier(config, data, build.total_steps(config, data.num_batches))
    network, optimizer = module.network, module.make_optimizer(module.network.named_parameters())
    (schedule,) = module.make_schedule(optimizer)
    train, validation = data.train_dataloader(), data.val_dataloader()
    for epoch in range(config.trainer.max_epochs):
        began = time.perf_counter()
        train.set_epoch(epoch)
        network.train()
        for index, (images, labels) in enumerate(train):
            if index and index % TURN == 0:
                yield time.perf_counter() - began
                began = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
            schedule["scheduler"].step()
        network.eval()
        with torch.no_grad():
            for images, labels in validation:
                logits = network(images)
                F.cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).sum()
        yield time.perf_counter() - began


def in_turns(words: list[str]) -> Ratio:
    """Our seconds and those of the loop by hand, turn by turn."""
    theirs: list[float] = []
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        hand = by_hand([*words, *COMMON])
        with clocked(lambda: theirs.append(next(hand))) as ours:
            run.train(read([*words, *COMMON, f"runs_dir={folder}"]))
    return Ratio(ours, theirs)


class Turns(Callback):
    """Lets the loop by hand have its turns within a training by a Trainer that has no other callback."""

    def __init__(self, hand: Iterator[float]) -> None:
        self.hand, self.ratio, self.began = hand, Ratio([], []), 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % TURN == 0:
            if self.began:
                self.ratio.ours.append(time.perf_counter() - self.began)
            self.ratio.theirs.append(next(self.hand))
            self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ratio.ours.append(time.perf_counter() - self.began)


def bare_trainer(words: list[str]) -> Ratio:
    """Lightning's Trainer with nothing of ours but the network and its batches, against the loop by hand."""
    config = read([*words, *COMMON])
    data = build.datamodule(config, build.image_set(config))
    module = build.classifier(config, data, build.total_steps(config, data.num_batches))
    turns = Turns(by_hand([*words, *COMMON]))
    Trainer(**QUIET, max_epochs=config.trainer.max_epochs, callbacks=[turns]).fit(module, datamodule=data)
    return turns.ratio


def measure(*, short: bool = False) -> dict[str, Ratio]:
    """Our time over that of the loop by hand."""
    found = {}
    for name, own in NETWORKS.items():
        in_turns([*own, *FEW])  # whoever comes first pays for torch's first calls
        found[name] = in_turns([*own, *(FEW if short else [f"trainer.max_epochs={EPOCHS}"])])
        print(f"{name:<10} {found[name]}, in all {found[name].total:.2f}", flush=True)
    return found


def by_part(*, short: bool = False) -> dict[str, float]:
    """Milliseconds that a step takes beyond the loop by hand, on a network too small to hide any."""
    found = {}
    for name, words in PARTS.items():
        way = bare_trainer if words is None else in_turns
        way([*TINY, *(words or []), *FEW])
        ratio = way([*TINY, *(words or []), *(FEW if short else ["trainer.max_epochs=10"])])
        more = [ours - theirs for ours, theirs in zip(ratio.ours, ratio.theirs, strict=True)]
        found[name] = 1000 * statistics.median(more) / TURN
        print(f"{name}: {found[name]:.2f} ms a step more than by hand", flush=True)
    return found


if __name__ == "__main__":
    measure()
    by_part()
