"""No optimizer step is made with a loss or a gradient that is not finite: the weights stay numbers.

One NaN in a gradient is a NaN in every weight after clipping and a step, and in every checkpoint from then on. So it is
asked before each step, after the loss scaler and before clipping, on all processes together. The gradients are then
taken away and not multiplied by zero (0 · NaN is NaN): weights, momentum and the clip's memory stay as they are, to the
bit. What the forward pass has written by then, BatchNorm's running statistics, is put back where the training goes on.

The schedule counts a skipped step as one. An infinite gradient of a finite loss under fp16 is left to the loss scaler,
whose work it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from ..diagnostics.scaling import loss_scaler
from ..diagnostics.statistics import total_norm
from ..errors import NumericalError

PATIENCE = 10  # skipped steps in a row; one more ends the training


class FiniteSteps(Callback):
    """Ends the training at the first step that is not finite, or skips such steps. Stands behind the monitor, if any.

    Args:
        skips: Whether to skip.
        grad_norm: Of the coming step's whole gradient, no axes, where somebody has it; None: it is computed here.
        advice: Lines for the error: where to look, what to do.
    """

    def __init__(self, *, skips: bool, grad_norm: Callable[[], Tensor | None], advice: str) -> None:
        self.skips, self.grad_norm, self.advice = skips, grad_norm, advice
        self.skipped = self.in_a_row = 0
        self._loss: Tensor | None = None  # of the coming step, summed over accumulated batches
        self._buffers: dict[str, Tensor] = {}  # before the first of these batches
        self._is_dropped = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.skips and batch_idx % trainer.accumulate_grad_batches == 0:
            self._buffers = {name: buffer.clone() for name, buffer in pl_module.named_buffers()}

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        loss, self._loss = self._loss, None
        is_scaled = loss_scaler(trainer) is not None
        looked_at = [] if loss is None else [loss]
        if not is_scaled:
            norm = self.grad_norm()
            looked_at.append(_total(optimizer) if norm is None else norm)
        is_finite = math.isfinite(float(sum(looked_at)))  # a sum is where all are; a GPU is waited for once
        is_broken = trainer.strategy.reduce_boolean_decision(not is_finite, all=False)
        if not is_broken:
            self.in_a_row = 0
        elif not (is_scaled and getattr(optimizer, "_step_supports_amp_scaling", False)):
            for parameter in _parameters(optimizer):  # else the optimizer's step unscales them, and skips itself
                parameter.grad = None
        self._is_dropped |= is_broken  # of several optimizers any

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_dropped:  # only now: the monitor has its record of the step
            self._is_dropped = False
            self._after_dropped(trainer, pl_module)

    def _after_dropped(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step - 1
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if not self.skips:
            raise NumericalError(
                f"error: step {step:,} was not made: its loss or gradient is not finite\n{self.advice}\n"
                "         nonfinite=skip   leaves out such steps, where they are few"
            )
        if self.in_a_row > PATIENCE:
            raise NumericalError(
                f"error: {self.in_a_row} steps in a row up to {step:,} were skipped: no loss or gradient is finite\n"
                f"{self.advice}"
            )
        for name, buffer in pl_module.named_buffers():
            if name in self._buffers:  # else the forward pass made it
                buffer.copy_(self._buffers[name])
        if trainer.is_global_zero:
            print(f"skipped  step {step:,}: its loss or gradient is not finite; {self.skipped} so far", flush=True)
        for logger in trainer.loggers:
            logger.log_metrics({"health/skipped_steps": float(self.skipped)}, step=step)

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _total(optimizer: Optimizer) -> Tensor:
    """The norm of the whole gradient."""
    gradients = [parameter.grad for parameter in _parameters(optimizer) if parameter.grad is not None]
    return total_norm(gradients)
