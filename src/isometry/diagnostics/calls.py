"""One call of one weight layer, as hooks see it, and the row of a depth profile that it becomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .profile import LayerProfile
from .statistics import count_nonfinite, spread

SPREAD_UNITS = 8  # so many units of a layer are compared with each other: equal ones are equal from the first on


@dataclass(eq=False)
class Call:
    """One call of one weight layer; tensors have no axes and lie on the device until the end."""

    name: str
    module: nn.Module
    depth: int
    shape: tuple[int, ...]
    samples: int
    numel: int
    norm: Tensor | float
    mean: Tensor
    nonfinite: Tensor | int
    gradient_norm: Tensor | float | None = None
    gradient_nonfinite: Tensor | int = 0
    hooked: bool = False
    trains: bool = True  # whether gradients were recorded when it ran
    activation: nn.Module | None = None
    saturated: Tensor | None = None
    silent: Tensor | None = None
    expected: tuple[float, float] | None = None  # backward and forward, to the next layer
    weight_spread: Tensor | float | None = None
    unit_sum: Tensor | float | None = None
    unit_zeros: Tensor | None = None
    sample_spread: Tensor | float | None = None
    underflow: Tensor | None = None


def row(calls: list[Call], scale: float) -> LayerProfile:
    """One row from one call, or pooled over the calls of a loop."""
    first, numel = calls[0], sum(call.numel for call in calls)
    gradients = [call.gradient_norm for call in calls if call.gradient_norm is not None]
    expected = first.expected or (None, None)
    return LayerProfile(
        name=first.name,
        depth=first.depth,
        shape=first.shape,
        activation_rms=_pooled([call.norm for call in calls], numel),
        activation_mean=sum(float(call.mean) * call.numel for call in calls) / numel,
        gradient_rms=_pooled(gradients, numel) / scale if gradients else None,
        nonfinite=sum(int(call.nonfinite) + int(call.gradient_nonfinite) for call in calls),
        dead=0.0 if first.silent is not None and not first.silent.any() else None,
        saturated=None if first.saturated is None else float(first.saturated),
        expected_backward=expected[0],
        expected_forward=expected[1],
        kind=type(first.module).__name__,
        samples=first.samples,
        activation=None if first.activation is None else type(first.activation).__name__.lower(),
        weight_spread=_number(first.weight_spread),
        unit_sum=_number(first.unit_sum),
        unit_zeros=_number(first.unit_zeros),
        sample_spread=_number(first.sample_spread),
        underflow=_number(first.underflow),
        detached=not gradients and any(call.hooked for call in calls),
    )


def _number(value: Tensor | float | None) -> float | None:
    return None if value is None else float(value)


def _pooled(norms: Sequence[Tensor | float], numel: int) -> float:
    """RMS over all elements of several tensors, from their norms."""
    return math.hypot(*(float(norm) for norm in norms)) / math.sqrt(numel)


def nonfinite(values: Tensor, norm: Tensor | float) -> Tensor | int:
    """Number of NaN and infinite elements; only counted where a norm on the host does not say that there are none."""
    if isinstance(norm, float) and math.isfinite(norm):
        return 0
    return count_nonfinite(values).sum()


def weight_spread(layer: nn.Module) -> Tensor | float | None:
    """Of the first units of a layer with plain weights, of those in which they differ most.

    A table's rows are no units, they need not differ.
    """
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag) or nn.utils.parametrize.is_parametrized(layer):
        return None
    weights = [each for each in layer.parameters(recurse=False) if each.dim() >= 2]
    if not weights or any(isinstance(each, nn.parameter.UninitializedParameter) for each in weights):
        return None
    spreads = [spread(each.detach()[:SPREAD_UNITS]) for each in weights if len(each) > 1]
    known = [each for each in spreads if isinstance(each, Tensor)]
    if known:
        return torch.stack(known).max()  # without asking the host
    return max((float(each) for each in spreads), default=None)
