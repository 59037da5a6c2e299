"""Straight chains of dense layers, for which theory has a closed form: z → fresh BatchNorm → activation → next layer.

Told by the tensors themselves: the next layer must get the very tensor that the activation returned, unwritten since.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import layers, theory
from .calls import Call
from .statistics import tensor_norm


@dataclass(frozen=True)
class _Origin:
    """Where a tensor comes from: a call's z, through its fresh BatchNorm, its activation, and nothing else."""

    tensor: weakref.ref[Tensor]
    call: Call
    version: int  # it is this tensor only as long as nobody writes into it
    normed: bool = False
    activation: str = "identity"


class Chain:
    """The chains of one forward pass, asked in the order of execution."""

    def __init__(self) -> None:
        self._origins: dict[int, _Origin] = {}  # by the tensor's id

    def begin(self, z: Tensor, call: Call) -> None:
        """A layer has returned z."""
        self._origins[id(z)] = _Origin(weakref.ref(z), call, times_written(z))

    def follow(self, module: nn.Module, inputs: object, output: Tensor) -> Call | None:
        """A BatchNorm or an activation has run; the call whose z it worked on, where that is known."""
        origin = self._origin(inputs, written=int(getattr(module, "inplace", False)))
        if origin is None:
            return None
        reference, version = weakref.ref(output), times_written(output)
        if isinstance(module, layers.ACTIVATIONS) and origin.activation == "identity":
            name = layers.activation_name(module)
            self._origins[id(output)] = _Origin(reference, origin.call, version, origin.normed, name)
        elif not origin.normed and origin.activation == "identity" and _is_fresh(module):
            self._origins[id(output)] = _Origin(reference, origin.call, version, normed=True)
        return origin.call

    def link(self, inputs: Tensor, call: Call) -> bool:
        """Whether a layer's inputs come from another in a chain; of dense layers, theory's factor is noted."""
        origin = self._origin(inputs)
        if origin and isinstance(call.module, nn.Linear):
            origin.call.expected = _expected(origin, call.module)
        return origin is not None

    def _origin(self, tensor: object, written: int = 0) -> _Origin | None:
        """Where a tensor comes from; None where it was written to more often than `written`."""
        origin = self._origins.get(id(tensor))
        known = origin.tensor() if origin else None
        if known is None or known is not tensor:
            return None
        return origin if origin and times_written(known) == origin.version + written else None


def _expected(origin: _Origin, layer: nn.Linear) -> tuple[float, float] | None:
    """Theory's (backward, forward) factor from the dense layer of `origin` to `layer`."""
    if not theory.is_known(origin.activation):
        return None
    if origin.normed:
        return theory.batch_norm_factors(origin.activation)
    before = origin.call
    if nn.utils.parametrize.is_parametrized(layer):
        return None  # reading its weight can change it: spectral_norm iterates
    weight = layer.weight.detach()
    if not _is_random(weight):
        return None
    weight_variance = float(tensor_norm(weight)) ** 2 / layer.out_features  # fan_in · mean(w²)
    bias_variance = 0.0 if layer.bias is None else float(layer.bias.detach().square().mean())
    q = float(before.norm) ** 2 / before.numel
    return theory.dense_factors(origin.activation, weight_variance, bias_variance, q) if 0 < q < math.inf else None


def _is_random(weight: Tensor) -> bool:
    """Whether weights may pass for independent draws of mean 0: not constant, not mostly zeros as the identity is."""
    chance = max(0.1, 4 / math.sqrt(weight.numel()))  # how far the mean of independent draws lies off 0, in deviations
    is_centred = abs(float(weight.mean())) <= chance * float(weight.std(correction=0))
    return is_centred and 2 * int(weight.count_nonzero()) > weight.numel()


def _is_fresh(norm: nn.Module) -> bool:
    """A BatchNorm that uses this batch's statistics and has not learned a scale or shift yet."""
    if not isinstance(norm, _BatchNorm) or not (norm.training or norm.running_mean is None):
        return False
    return not norm.affine or bool((norm.weight == 1).all() and (norm.bias == 0).all())


def times_written(tensor: Tensor) -> int:
    """How often a tensor was written to; inference mode does not count."""
    return 0 if tensor.is_inference() else tensor._version
