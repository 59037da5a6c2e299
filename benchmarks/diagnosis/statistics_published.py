"""What the published detectors look at, one JSON line a logged step: they judge the same trainings as our rules.

The steps are GradientMonitor's: 0, 1, 2, 4, 8 … below `every_n_steps`, then each n; and the first step whose loss or
gradient is not finite, so that nobody misses it for want of a line. A line of one step:

    step                optimizer steps done before
    optimizer, lr       its place among the Trainer's; its largest learning rate
    loss, mean_loss     of this step; mean over the steps since the last line (what Keras tells at the end of an epoch)
    gradient_norm       of all parameters together
    nonfinite           whether the loss or a gradient holds a NaN or an infinity
    weights             for each weight layer with a gradient, by module path, of its parameters of two or more axes:
        gradient_mean_abs, gradient_zeros (share exactly zero), gradient_p5, gradient_p95, gradient_norm
        size, norm, mean, variance, small (share below 1e-5), all before the step
        update_ratio ‖Δw‖/‖w‖, update_scale mean|Δw|/mean|w|
    activations         for each call of an activation module, `path@2` being the second one in a pass:
        kind            its class in lower case
        nonpositive     share of outputs <= 0
        beyond_5        share of inputs beyond ±5
        silent_units    share of units whose |output| has its 95th percentile below 1e-5
        inactive_units  share of units above 0 in less than 1 % of the entries
        outside_units   share of units whose input lies in less than 1 % of the entries within the range in which the
                        derivative of tanh or sigmoid exceeds 1e-7; None for others
        bounded_units   share of units that saturate by ρ_B; None for others
        mean, variance, std, input_variance, input_std

A unit is a channel where the output has four or more axes, else a feature (the last axis). ρ_B (Rakitianskaia and
Engelbrecht 2015) is the mean of |output|, scaled to [-1, 1], taken bin by bin of a histogram: with an even number of
bins none holds both signs, so it is mean |output| itself. Functional activations are not seen, as by the tools.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from isometry.diagnostics.layers import ACTIVATIONS, plain_path, weight_layers
from isometry.jsonl import Appender, to_line

FILE = "published.jsonl"  # in the folder of a trace
RANGES = {"tanh": (-9.4999, 9.4999), "sigmoid": (-23.0, 16.99999)}  # SageMaker Debugger, SaturatedActivation


class PublishedStatistics(Callback):
    """Appends to `path`; a line for each step of each optimizer. Nothing of the training is changed.

    Args:
        path: File of lines.
        every_n_steps: As GradientMonitor's.
    """

    def __init__(self, path: str | Path, every_n_steps: int = 100) -> None:
        self.path = Path(path)
        self.every_n_steps = every_n_steps
        self._pass: _Pass | None = None
        self._handles: list[Any] = []
        self._begin()

    def _begin(self) -> None:
        self._release()
        self._losses: dict[int, list[float]] = {}  # of each optimizer since its last line
        self._loss = 0.0  # of the coming step, summed over accumulated batches
        self._is_due = False  # whether the steps of this batch are logged
        self._probed_step = -1
        self._is_broken = False  # whether a NaN was met
        self._line: dict[str, Any] | None = None  # of the coming step
        self._before: dict[str, list[tuple[nn.Parameter, Tensor]]] = {}

    def _release(self) -> None:
        """Leave nothing on the module and its optimizers."""
        if self._pass is not None:
            self._pass.detach()
        for handle in self._handles:
            handle.remove()
        self._pass, self._handles = None, []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()
        for optimizer in trainer.optimizers:
            self._handles.append(optimizer.register_step_post_hook(lambda *_: self._finish()))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        ahead = 1 if pl_module.automatic_optimization else len(trainer.optimizers)
        self._is_due = any(map(self._due, range(step, step + ahead)))
        if self._is_due and step != self._probed_step:
            self._probed_step = step  # once, though gradients may be accumulated over several batches
            self._pass = _Pass(pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._loss += float(loss.detach().sum()) / (1.0 if scaler is None else scaler.get_scale())

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        owned = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = math.hypot(*(_norm(p.grad) for p in owned))
        is_nonfinite = not math.isfinite(self._loss) or not math.isfinite(norm)
        index = trainer.optimizers.index(optimizer)
        losses = self._losses.setdefault(index, [])
        losses.append(self._loss)
        self._loss = 0.0
        if not self._is_due and (self._is_broken or not is_nonfinite):
            return
        self._is_broken |= is_nonfinite
        layers = _layers(pl_module, owned)
        self._before = {name: [(p, p.detach().clone()) for p in own] for name, own in layers.items()}
        self._line = {
            "step": trainer.global_step,
            "optimizer": index,
            "lr": max(float(group["lr"]) for group in optimizer.param_groups),
            "loss": losses[-1],
            "mean_loss": sum(losses) / len(losses),
            "gradient_norm": norm,
            "nonfinite": is_nonfinite,
            "weights": {name: {**_of_gradients(own), **_of_weights(own)} for name, own in layers.items()},
            "activations": {} if self._pass is None else dict(self._pass.rows),
        }
        self._losses[index] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._finish()  # a step that the loss scaler skipped
        if self._pass is not None:
            self._pass.detach()
            if trainer.global_step != self._probed_step:  # else accumulating: they are this coming step's
                self._pass = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._release()

    def _due(self, step: int) -> bool:
        early = step < self.every_n_steps and step & (step - 1) == 0
        return early or (step + 1) % self.every_n_steps == 0

    @torch.no_grad()
    def _finish(self) -> None:
        """The step of a line is over: what it moved."""
        if self._line is None:
            return
        for name, pairs in self._before.items():
            self._line["weights"][name] |= _of_update(pairs)
        lines = Appender(self.path)
        lines.append(to_line(self._line))
        lines.close()
        self._line, self._before = None, {}


class _Pass:
    """Hooks on the activation modules of a network for one forward pass."""

    def __init__(self, module: nn.Module) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self._calls: Counter[str] = Counter()
        self._handles: list[Any] = []
        for name, activation in module.named_modules():
            if isinstance(activation, ACTIVATIONS):
                self._attach(plain_path(name), activation)

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _attach(self, name: str, activation: nn.Module) -> None:
        kind = type(activation).__name__.lower()

        def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:  # an in-place activation overwrites its input
            self._calls[name] += 1
            self.rows[self._key(name)] = {"kind": kind, **_of_inputs(inputs[0].detach(), kind)}

        def after(_: nn.Module, inputs: Any, output: Tensor) -> None:
            self.rows[self._key(name)] |= _of_outputs(output.detach(), kind)

        self._handles.append(activation.register_forward_pre_hook(before))
        self._handles.append(activation.register_forward_hook(after))

    def _key(self, name: str) -> str:
        number = self._calls[name]
        return name if number == 1 else f"{name}@{number}"


def _layers(module: nn.Module, owned: Sequence[nn.Parameter]) -> dict[str, list[nn.Parameter]]:
    """Of each weight layer those of the given parameters that have two or more axes; layers without any left out."""
    ids = {id(parameter) for parameter in owned}
    layers = {
        name: [p for p in layer.parameters() if p.dim() > 1 and id(p) in ids] for name, layer in weight_layers(module)
    }
    return {name: own for name, own in layers.items() if own}


def _of_gradients(parameters: Sequence[nn.Parameter]) -> dict[str, float]:
    gradient = _flat([p.grad for p in parameters if p.grad is not None])
    low, high = torch.quantile(gradient, torch.tensor([0.05, 0.95], device=gradient.device)).tolist()
    return {
        "gradient_mean_abs": _mean(gradient.abs()),
        "gradient_zeros": _share(gradient == 0),
        "gradient_p5": low,
        "gradient_p95": high,
        "gradient_norm": _norm(gradient),
    }


def _of_weights(parameters: Sequence[nn.Parameter]) -> dict[str, float]:
    weight = _flat([p.detach() for p in parameters])
    return {
        "size": len(weight),
        "norm": _norm(weight),
        "mean": _mean(weight),
        "variance": _variance(weight),
        "small": _share(weight.abs() < 1e-5),
    }


def _of_update(pairs: Sequence[tuple[nn.Parameter, Tensor]]) -> dict[str, float | None]:
    """From each parameter after the step and its copy from before."""
    old = _flat([before for _, before in pairs])
    moved = _flat([parameter.detach() for parameter, _ in pairs]) - old
    return {
        "update_ratio": _ratio(_norm(moved), _norm(old)),
        "update_scale": _ratio(_mean(moved.abs()), _mean(old.abs())),
    }


def _of_inputs(values: Tensor, kind: str) -> dict[str, float | None]:
    values = values.float()
    outside = None
    if kind in RANGES:
        low, high = RANGES[kind]
        outside = _share(_units((values > low) & (values < high)).float().mean(dim=1) < 0.01)
    return {
        "beyond_5": _share(values.abs() >= 5),
        "outside_units": outside,
        "input_variance": _variance(values),
        "input_std": math.sqrt(_variance(values)),
    }


def _of_outputs(values: Tensor, kind: str) -> dict[str, float | None]:
    values = values.float()
    units = _units(values)
    bounded = {"tanh": units, "sigmoid": 2 * units - 1}.get(kind)
    return {
        "nonpositive": _share(values <= 0),
        "silent_units": _share(torch.quantile(units.abs(), 0.95, dim=1) < 1e-5),
        "inactive_units": _share((units > 0).float().mean(dim=1) < 0.01),
        "bounded_units": None if bounded is None else _share(bounded.abs().mean(dim=1) > 0.85),
        "mean": _mean(values),
        "variance": _variance(values),
        "std": math.sqrt(_variance(values)),
    }


def _units(values: Tensor) -> Tensor:
    """`[units, entries]`."""
    if values.dim() < 2:
        values = values.reshape(-1, 1)
    return values.movedim(1 if values.dim() > 3 else -1, 0).flatten(start_dim=1)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.to_dense().float().flatten() for tensor in tensors])


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.to_dense(), dtype=torch.float64))


def _mean(tensor: Tensor) -> float:
    return float(tensor.mean(dtype=torch.float64))


def _variance(tensor: Tensor) -> float:
    return float(tensor.double().var(correction=0))


def _share(mask: Tensor) -> float:
    return float(mask.float().mean())


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
