"""Gradient clipping that finds its threshold itself, unlike `trainer.gradient_clip_val`, which is one number for all.

`strategy(**options) -> clip`, and `clip(named_parameters)` changes `.grad` in place, once before each optimizer step.

| name       | clipped together          | to at most                                                             |
|------------|---------------------------|------------------------------------------------------------------------|
| agc        | the weights of one output | factor × max(‖w‖, 1e-3), w being these weights (Brock 2021, eq. 3)     |
| percentile | the gradient as a whole   | a percentile of its norms up to this step (AutoClip, Seetharaman 2020) |

g ← g · limit/‖g‖ where ‖g‖ > limit; all else is left alone to the bit, at any magnitude: the usual limit/(‖g‖ + 1e-6)
would take away 99 % of a gradient of norm 1e-8 that is within its limit. What holds a NaN or an infinity is left alone,
too: the loss scaler, the monitor and the guard have to see it where it arose. Nothing waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .optimizers import NamedParameters

Clip = Callable[[NamedParameters], None]

HEAD = "head."  # the classifying layer of every model here; agc leaves it alone, as the paper does
HISTORY = 10_000  # steps that percentile looks back
_SMALLEST_NORM = 1e-3  # of weights: fresh zeros could not move otherwise


@runtime_checkable
class Stateful(Protocol):
    """A clip that remembers; its state travels in the checkpoint, so that a resumed run clips as one run would."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def none() -> None:
    """`trainer.gradient_clip_val` decides."""


def agc(*, factor: float) -> Clip:
    return partial(_clip_to_weights, factor=factor)


def percentile(*, percentile: float) -> Clip:
    return AutoClip(percentile)


# ------------------------------------------------------------------------------------------------- agc
@torch.no_grad()
def _clip_to_weights(named_parameters: NamedParameters, factor: float) -> None:
    for name, parameter in named_parameters:
        if parameter.grad is not None and not name.startswith(HEAD):
            norms, weight_norms = _unit_norms(parameter.grad), _unit_norms(parameter)
            coefficients = _coefficient(norms, factor * weight_norms.clamp(min=_SMALLEST_NORM))
            parameter.grad.mul_(coefficients.to(parameter.grad.dtype))


def _unit_norms(tensor: Tensor) -> Tensor:
    """`[outputs, 1, …]`, over the weights of each; a bias or the scales of a norm are one unit, as in timm's code."""
    axes = tuple(range(1, tensor.dim())) or None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=axes, keepdim=True, dtype=_wide(tensor))
    return norms


# ------------------------------------------------------------------------------------------ percentile
class AutoClip:
    """Args:
    percentile: From 0 to 100, of the norms up to this step; 10 in the paper.
    """

    def __init__(self, percentile: float) -> None:
        self.percentile = percentile
        self._norms = torch.full((HISTORY,), torch.nan, dtype=torch.float64)  # of the last steps, a ring
        self._steps = 0  # on the host, which knows it without asking the device

    @torch.no_grad()
    def __call__(self, named_parameters: NamedParameters) -> None:
        gradients = [parameter.grad for _, parameter in named_parameters if parameter.grad is not None]
        if not gradients:
            return
        norms = torch._foreach_norm(gradients, 2, dtype=_wide(gradients[0]))
        norm = torch.linalg.vector_norm(torch.stack(norms))
        torch._foreach_mul_(gradients, _coefficient(norm, self._limit(norm)).to(gradients[0].dtype))

    def _limit(self, norm: Tensor) -> Tensor:
        """The percentile of the norms up to this one; one that is not finite has a place among them, but no say."""
        self._norms = self._norms.to(norm)
        self._norms[self._steps % HISTORY] = torch.where(norm.isfinite(), norm, torch.nan)
        self._steps += 1
        return torch.nanquantile(self._norms[: self._steps], self.percentile / 100)

    def state_dict(self) -> dict[str, Any]:
        return {"norms": self._norms[: self._steps].clone(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        norms, self._steps = state["norms"], state["steps"]
        self._norms[: len(norms)] = norms


# ------------------------------------------------------------------------------------------- what both need
def _coefficient(norm: Tensor, limit: Tensor) -> Tensor:
    """What the gradient is multiplied by; 1 changes no bit, of a NaN neither."""
    return torch.where((norm > limit) & norm.isfinite(), limit / norm, 1.0)


def _wide(tensor: Tensor) -> torch.dtype:
    """In which squares of 1e+20 and 1e-25 are numbers; Apple's GPUs have none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64
