"""A script: `python two_processes.py FOLDER DEVICES` trains on known batches, and every process writes what it saw."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from fixed import Collector, Fixed, loader, make_trainer
from torch import nn

from isometry import GradientMonitor
from isometry.diagnostics.history import encode

ROWS = torch.arange(1.0, 33.0).view(16, 2)  # batches of 4 samples; the second and third sample of the last one are bad
ROWS[13] = ROWS[14] = torch.nan


class Both(Fixed):
    """Both layers have a gradient, the third one is gone: DDP wants every parameter to take part."""

    def __init__(self) -> None:
        super().__init__()
        del self.unused
        nn.init.ones_(self.a.weight)

    def train_dataloader(self) -> Any:  # sample n of a batch goes to process n % devices
        devices = self.trainer.world_size
        return loader(ROWS[self.trainer.global_rank :: devices], 4 // devices)


def train(folder: Path, devices: int) -> None:
    monitor, logger = GradientMonitor(every_n_steps=2, path=folder / "gradients.jsonl"), Collector()
    several: dict[str, Any] = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto"}
    trainer = make_trainer(monitor, logger=logger, gradient_clip_val=10.0, use_distributed_sampler=False, **several)
    trainer.fit(Both())
    history = monitor.history
    records = [*history.records, *history.profiles, *history.units, *history.nonfinite]
    seen = {"records": [json.loads(encode(record)) for record in records], "logged": len(logger.rows)}
    (folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), int(sys.argv[2]))
