"""GradientMonitor: a Lightning callback that observes the gradient every optimizer step really uses.

Where it looks, and why there (Lightning 2.6):

    backward                    gradients are scaled and partial: not here
    on_before_optimizer_step    accumulated, unscaled, reduced over processes, before clipping: here
    clipping, optimizer.step    .grad may now hold the optimizer's step (Nesterov on a GPU): not here

The total norm of every step stays on the device; every `every_n_steps` all of it comes to the host in one transfer.
Nothing of the training is changed: with and without the monitor the final weights are bit-identical (a test).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from ..jsonl import open_to_append, to_line
from .history import GradientRecord, History, LayerRecord
from .statistics import clipped_norm, combine_norms, count_nonfinite, tensor_norms


class GradientMonitor(Callback):
    """Total gradient norm each step, before and after clipping; per-layer norms and NaN/Inf counts on logged steps.

    Values go to every logger of the Trainer, to `history`, and to `path` as one JSON object a logged step.

    Args:
        every_n_steps: Optimizer steps between logged ones; the first step is logged, too.
        path: File to append to; None: none.
    """

    def __init__(self, every_n_steps: int = 50, path: Path | None = None) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be >= 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.path = path
        self.history = History()
        self._totals: list[Tensor] = []  # of each step since the last record, on the device
        self._clipped: list[Tensor] = []  # the same after clipping; empty when the Trainer does not clip

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._totals, self._clipped = [], []  # a second fit starts its own window

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        gradients = [parameter.grad for parameter in parameters]
        norms = tensor_norms(gradients)
        self._totals.append(combine_norms(norms))
        if trainer.gradient_clip_val:
            algorithm = str(getattr(trainer.gradient_clip_algorithm, "value", "norm"))
            clip_val = float(trainer.gradient_clip_val)
            self._clipped.append(clipped_norm(gradients, self._totals[-1], clip_val, algorithm))
        if self._is_logged(trainer.global_step):
            names, layers = _by_layer(pl_module, parameters, norms)
            self._record(trainer, names, layers)

    def _is_logged(self, step: int) -> bool:
        # Lightning counts its logged steps from 1 as well: both put their values at 0-based steps n-1, 2n-1, …
        return step == 0 or (step + 1) % self.every_n_steps == 0

    def _record(self, trainer: Trainer, names: list[str], layers: Tensor) -> None:
        """Everything since the last record, in one transfer to the host, to everyone who wants it."""
        count, clips = len(self._totals), bool(self._clipped)
        after = self._clipped or self._totals
        on_host = torch.cat((torch.stack(self._totals), torch.stack(after), layers.flatten())).tolist()
        self._totals, self._clipped = [], []
        before, clipped, rest = on_host[:count], on_host[count : 2 * count], on_host[2 * count :]
        changed = sum(new < old * (1 - 1e-6) for old, new in zip(before, clipped, strict=True))
        rows = zip(names, zip(*[iter(rest)] * 3, strict=True), strict=True)
        record = GradientRecord(
            step=trainer.global_step,
            total=before[-1],
            total_clipped=clipped[-1],
            totals=before,
            clip_fraction=changed / count if clips else None,
            layers={name: LayerRecord(norm, int(nan), int(inf)) for name, (norm, nan, inf) in rows},
        )
        self.history.append(record)
        if trainer.is_global_zero:
            self._write(trainer, record)

    def _write(self, trainer: Trainer, record: GradientRecord) -> None:
        if self.path is not None:
            with open_to_append(self.path) as file:
                print(to_line(asdict(record)), file=file)
        for logger in trainer.loggers:
            logger.log_metrics(metrics(record), step=record.step)


def metrics(record: GradientRecord) -> dict[str, float]:
    """The keys a record has in W&B and the journal; exactly one slash each."""
    values = {"grad_norm/total": record.total}
    if record.clip_fraction is not None:
        values["grad_norm/total_clipped"] = record.total_clipped
        values["clip/coefficient"] = record.clip_coefficient
        values["clip/fraction"] = record.clip_fraction
    values |= {f"grad_norm/{name}": layer.norm for name, layer in record.layers.items()}
    values["grad_norm/nan"] = float(sum(layer.nan for layer in record.layers.values()))
    values["grad_norm/inf"] = float(sum(layer.inf for layer in record.layers.values()))
    return values


def _by_layer(pl_module: LightningModule, parameters: list[Any], norms: Tensor) -> tuple[list[str], Tensor]:
    """Names of the layers with a gradient, and norm, NaN and Inf count of each, float64 `[L, 3]`."""
    position = {id(parameter): index for index, parameter in enumerate(parameters)}
    members: dict[str, list[int]] = {}
    for name, parameter in pl_module.named_parameters():  # tied weights appear once
        if id(parameter) in position:
            members.setdefault(name.rpartition(".")[0], []).append(position[id(parameter)])
    rows = []
    for indices in members.values():
        counts = count_nonfinite([parameters[index].grad for index in indices])
        rows.append(torch.cat((combine_norms(norms[indices])[None], counts.to(norms))))
    return list(members), torch.stack(rows)
