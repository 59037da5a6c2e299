"""`probe`: the depth profile of any network, from a pass of its own that leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .layers import Layout
from .profile import Profile
from .recorder import Recorder
from .statistics import tensor_norm
from .unchanged import unchanged
from .units import UnitWatch


def probe(
    model: nn.Module,
    batch: tuple[Any, Any],
    loss_fn: Callable[[Any, Any], Tensor],
    *,
    unit_batches: Iterable[tuple[Any, Any]] = (),
    jacobian_samples: int = 0,
) -> Profile:
    """The depth profile of any network, from one forward and backward pass of its own; nothing of it is changed.

    Parameters, buffers, `.grad`, modes, metrics, other attributes and the random state are bit-equal afterwards, also
    when the forward pass raises. A compiled network is run through its original modules.

    Args:
        model: As it is: in train mode BatchNorm uses the batch, in eval mode its running statistics.
        batch: (inputs, targets); the loss is `loss_fn(model(inputs), targets)`.
        unit_batches: Further batches for the share of dead units, which wants 1,000 samples.
        jacobian_samples: Random vectors for the mean squared singular value of the input-output Jacobian; 0: none.

    Raises:
        Whatever the model or the loss raises.
    """
    inputs, targets = batch
    recorder = Recorder(Layout(model))
    with unchanged(model), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        recorder.attach()
        try:
            loss = loss_fn(model(inputs), targets)
            wanted = [p for p in model.parameters() if p.requires_grad]
            if wanted and loss.requires_grad:
                torch.autograd.grad(loss, wanted, allow_unused=True)  # not backward(): it would add to .grad
        finally:
            recorder.detach()
        profile = recorder.profile(step=0, loss=float(loss.detach()))
        watch = recorder.watch()
        _show(watch, model, unit_batches)
        jacobian = _jacobian(model, inputs, jacobian_samples) if jacobian_samples else None
    return _with_dead(profile, watch, jacobian)


def _show(watch: UnitWatch, model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> None:
    for inputs, _ in batches:
        if watch.is_over:
            break
        watch.attach()
        try:
            with torch.no_grad():
                model(inputs)
        finally:
            watch.detach()


def _with_dead(profile: Profile, watch: UnitWatch, jacobian: float | None) -> Profile:
    dead = watch.dead()
    rows = [replace(row, dead=dead[row.name]) if row.name in dead else row for row in profile.layers]
    return replace(profile, layers=tuple(rows), jacobian=jacobian)


def _jacobian(model: nn.Module, inputs: Tensor, count: int) -> float:
    """Mean σ² of J = ∂output/∂input over its singular values and over samples: ‖J‖² = E‖Jᵀv‖², v ~ N(0, 1)."""
    points = inputs.detach().clone().requires_grad_()
    outputs = model(points)
    squares = 0.0
    for _ in range(count):
        (product,) = torch.autograd.grad(outputs, points, torch.randn_like(outputs), retain_graph=True)
        squares += float(tensor_norm(product)) ** 2 / len(points) / count
    return squares / int(min(outputs[0].numel(), points[0].numel()))
