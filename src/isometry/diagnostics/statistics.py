"""Norms and non-finite counts of gradients, on their device, without a transfer to the host.

Vanishing gradients live at 1e-30 and below, exploding ones above 1e+18, where squares in float32 become 0 and infinity.
So norms are float64: on a GPU the sum itself is; on a CPU, where that is ten times slower, the float32 sum is used
wherever it can be trusted and only the doubtful tensors are summed again (0.9 ms against 15 ms for 1.5M parameters).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Within these bounds no square of an element that matters has left float32's range (1e-38 … 3e+38).
_TRUSTED = (1e-13, 1e18)


def tensor_norms(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of each tensor; float64 `[len(tensors)]`, right from 1e-150 to 1e+150.

    On the tensors' device; on the host for devices that have no float64 (Apple's).
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    dense = [tensor.coalesce().values() if tensor.is_sparse else tensor for tensor in tensors]
    if dense[0].device.type == "cuda":
        return torch.stack(torch._foreach_norm(dense, 2, dtype=torch.float64))
    precision = torch.promote_types(dense[0].dtype, torch.float32)
    norms = torch.stack(torch._foreach_norm(dense, 2, dtype=precision)).cpu().double()
    trusted = (norms >= _TRUSTED[0]) & (norms <= _TRUSTED[1]) | norms.isnan()
    for index in (~trusted).nonzero().flatten().tolist():
        norms[index] = torch.linalg.vector_norm(dense[index].cpu(), dtype=torch.float64)
    return norms


def combine_norms(norms: Tensor) -> Tensor:
    """The norm of all tensors together, from the norm of each; float64, no axes."""
    total: Tensor = torch.linalg.vector_norm(norms)
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
        return combine_norms(tensor_norms([tensor.clamp(-clip_val, clip_val) for tensor in tensors]))
    return total * (clip_val / (total + 1e-6)).clamp(max=1.0)  # 1e-6 as in torch.nn.utils.clip_grad_norm_


def count_nonfinite(tensors: Sequence[Tensor]) -> Tensor:
    """Numbers of NaN and of infinite elements over all tensors; int64 `[2]` on their device."""
    counts = [torch.stack((tensor.isnan().sum(), tensor.isinf().sum())) for tensor in tensors]
    return torch.stack(counts).sum(dim=0)
