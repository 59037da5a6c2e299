"""Layer-sequential unit variance (Mishkin & Matas 2016): every layer's output has variance 1 on a real batch.

The paper divides a layer's weights by the deviation of its output and looks again until the variance is within 0.1
of 1. A layer without biases is linear in its weights, so one division is exact, and because the divided output can be
handed on at once, one forward pass does all layers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def unit_variance_scales(model: nn.Module, layers: dict[str, nn.Module], inputs: Tensor) -> dict[str, float]:
    """What to multiply each layer's weights by, in the order of execution; the model is not changed.

    Args:
        model: Any module; the biases of `layers` are 0.
        layers: Convolutions and dense layers of `model` by path.
        inputs: A batch `[B, …]`; layers that it does not reach are left out.

    Raises:
        ValueError: A layer's output is the same everywhere, so that no scale gives it variance 1.
    """
    trial = copy.deepcopy(model)  # a pass moves running statistics
    scales: dict[str, float] = {}
    owners: dict[int, str] = {}  # of a weight, tied ones included: the layer that is called first scales it

    def rescale(name: str, module: nn.Module, _: Any, output: Tensor) -> Tensor:
        owner = owners.setdefault(id(module._parameters.get("weight", module)), name)
        if owner not in scales:
            scales[owner] = _scale(owner, output)
        return output * scales[owner]

    hooks: dict[str, Callable[..., Tensor]] = {name: partial(rescale, name) for name in layers}
    for name, hook in hooks.items():
        trial.get_submodule(name).register_forward_hook(hook)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        trial(inputs)
    return scales


def _scale(name: str, output: Tensor) -> float:
    variance = float(output.double().var(correction=0))
    if not 0 < variance < math.inf:
        raise ValueError(
            f"lsuv needs an output that varies, but the variance of layer {name} is {variance:g} on this batch"
        )
    return 1 / math.sqrt(variance)
