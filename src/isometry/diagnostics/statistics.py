"""Norms and counts of gradients, weights and activations, on their device, without a transfer to the host.

Vanishing gradients live at 1e-30 and below, exploding ones above 1e+18, where squares in float32 become 0 and infinity.
So norms are float64: on a GPU the sum itself is. On a CPU, where that is fifteen times slower (31 against 2 ms for 6.5M
elements), float32 products are summed by pieces, these in float64, and only what leaves the range in which squares can
be trusted is summed again. (torch's own float32 norm is off by 2e-3 for 30M elements.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Within these bounds no square of an element that matters has left float32's range (1e-38 … 3e+38).
_TRUSTED = (1e-13, 1e18)
_PIECE = 1 << 17  # elements whose squares are summed in float32: off by less than 1e-4, also where all are equal
_SMALL = 1 << 14  # elements: copying so many takes about as long as a call
_DECADES = range(-45, 39)  # of float32's magnitudes, subnormals included


def tensor_norms(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of each tensor; float64 `[len(tensors)]`, right from 1e-150 to 1e+150.

    On the tensors' device; on the host for devices that have no float64 (Apple's).
    """
    dense = [stored(tensor) for tensor in tensors]
    if dense and dense[0].device.type == "cuda":
        return torch.stack(torch._foreach_norm(dense, 2, dtype=torch.float64))
    return torch.tensor([_norm_on_host(tensor) for tensor in dense], dtype=torch.float64)


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The norm of all tensors together; float64 without axes. To rounding what `combine_norms(tensor_norms(…))` is.

    On the host small tensors are strung together first: a call for each of them costs more than its elements do.
    """
    if not tensors or tensors[0].device.type != "cpu":
        return combine_norms(tensor_norms(tensors))
    small, norms = [], []
    for tensor in map(stored, tensors):
        if tensor.numel() <= _SMALL and tensor.dtype == torch.float32:
            small.append(tensor.reshape(-1))
        else:
            norms.append(_norm_on_host(tensor))
    if small:
        norms.append(_norm_on_host(torch.cat(small)))
    return combine_norms(torch.tensor(norms, dtype=torch.float64))


def tensor_norm(tensor: Tensor) -> Tensor | float:
    """`tensor_norms` of one tensor: a number where it is on the host at once, else a tensor without axes."""
    return tensor_norms([tensor])[0] if tensor.device.type == "cuda" else _norm_on_host(tensor)


def _norm_on_host(tensor: Tensor) -> float:
    values = tensor.reshape(-1)
    if values.dtype == torch.float32 and values.device.type == "cpu":
        pieces = values.split(_PIECE) if len(values) > _PIECE else (values,)
        norm = math.sqrt(sum([torch.dot(piece, piece).item() for piece in pieces]))
    else:
        norm = float(torch.linalg.vector_norm(values, dtype=torch.promote_types(values.dtype, torch.float32)))
    if _TRUSTED[0] <= norm <= _TRUSTED[1]:
        return norm
    return float(torch.linalg.vector_norm(values.cpu(), dtype=torch.float64))


def combine_norms(norms: Tensor) -> Tensor:
    """The norm of all tensors together, from the norm of each along the last axis; float64."""
    total: Tensor = torch.linalg.vector_norm(norms, dim=-1)
    return total


def clipped_norm(tensors: Sequence[Tensor], total: Tensor, clip_val: float, algorithm: str) -> Tensor:
    """The norm that `total` becomes when the Trainer clips; nothing is changed.

    Computed and not read back: on a GPU, SGD with Nesterov momentum writes its step into `.grad`, so what lies there
    after the step is no gradient any more.

    Args:
        tensors: The gradients before clipping.
        total: Their norm together.
        clip_val: `trainer.gradient_clip_val`.
        algorithm: "norm" scales all by min(1, clip_val / (total + 1e-6)); "value" cuts each element at ±clip_val.
    """
    if algorithm == "value":
        return combine_norms(tensor_norms([stored(tensor).clamp(-clip_val, clip_val) for tensor in tensors]))
    return total * (clip_val / (total + 1e-6)).clamp(max=1.0)  # 1e-6 as in torch.nn.utils.clip_grad_norm_


def count_nonfinite(tensor: Tensor) -> Tensor:
    """Numbers of NaN and of infinite elements; int64 `[2]` on the tensor's device."""
    values = stored(tensor)
    return torch.stack((values.isnan().sum(), values.isinf().sum()))


def count_zeros(tensor: Tensor) -> Tensor:
    """Number of elements that are exactly zero; what a sparse tensor does not store is."""
    return tensor.numel() - stored(tensor).count_nonzero()


def decades(tensor: Tensor) -> Tensor:
    """Elements by power of ten of their magnitude: int64 `[84]`, from 1e-45 up; zeros and non-finite ones left out."""
    values = stored(tensor).flatten().float().abs()
    values = values[(values > 0) & values.isfinite()]
    powers = values.double().log10().floor().long() - _DECADES.start
    return torch.bincount(powers, minlength=len(_DECADES))


def by_decade(counts: Sequence[float]) -> dict[str, int]:
    """`decades` as {"-3": 17}: so many elements from 0.001 to 0.01. Powers without elements are left out."""
    return {str(power): int(count) for power, count in zip(_DECADES, counts, strict=True) if count}


def silent_units(activations: Tensor, axis: int, nonnegative: bool) -> Tensor:
    """Which units are exactly zero in every sample and place; bool `[C]`, C being the size of `axis`.

    Args:
        activations: `[B, …]`.
        axis: Of the units.
        nonnegative: Whether no activation is below zero, so that a sum says as much in half the time.
    """
    others = [other for other in range(activations.dim()) if other != axis % activations.dim()]
    if nonnegative:
        return activations.sum(dim=others) == 0
    return activations.abs().amax(dim=others) == 0  # a seventh of the time of torch's infinity norm


def spread(values: Tensor) -> Tensor | float:
    """RMS(v - mean over the first axis)/RMS(v): 0 where all along it are equal, also where all are zero."""
    size, rest = tensor_norm(values), tensor_norm(values - values.mean(dim=0, keepdim=True))
    if isinstance(size, Tensor):
        return rest / size.clamp(min=torch.finfo(size.dtype).tiny)
    return rest / size if size else 0.0


def unit_sum(gradient: Tensor, axis: int, norm: Tensor | float) -> Tensor | float | None:
    """RMS of Σ_k g_k over √K·RMS(g), K being the size of `axis`: 1 for independent elements, 0 where they cancel out.

    None for a single unit.
    """
    if gradient.dim() < 2 or gradient.shape[axis] < 2:
        return None
    total = tensor_norm(gradient.float().sum(dim=axis))
    return total / norm if isinstance(norm, Tensor) else (total / norm if norm else None)


def unit_zeros(gradient: Tensor, axis: int) -> Tensor | None:
    """Share of exact zeros among the vectors along `axis` that are not zero as a whole; of a single unit, among all."""
    if gradient.dim() < 2:
        return None
    if gradient.shape[axis] == 1:
        return (gradient == 0).float().mean()
    zeros = (gradient == 0).sum(dim=axis).float()
    is_live = zeros < gradient.shape[axis]
    return (zeros * is_live).sum() / (is_live.sum().clamp(min=1) * gradient.shape[axis])


def underflow_share(values: Tensor) -> Tensor:
    """Share of the nonzero elements of which fewer than three bits are left: below eight times the smallest number.

    In float16 that is 4.8e-7. It has numbers down to 6.0e-8, ever coarser ones below 6.1e-5; what is smaller is 0.
    """
    limits = torch.finfo(values.dtype)
    small = (values != 0) & (values.abs() < 8 * limits.smallest_normal * limits.eps)
    return small.sum() / values.count_nonzero().clamp(min=1)


def stored(tensor: Tensor) -> Tensor:
    """The values a tensor holds: of a sparse one those that are stored, each place once."""
    return tensor.coalesce().values() if tensor.is_sparse else tensor
