"""What a guess would have: the least loss of constant outputs, of a cross-entropy or a squared error.

Nobody tells a monitor the targets y, but the gradient at the outputs z does. Of L = c·Σ(z - y)² it is 2c(z - y), of c
times a sum of cross-entropies c(p - y), p being softmax(z) or, of binary ones, σ(z). c is 1/n for a mean over all n
numbers or rows, 1/B for one over samples, 1 for a sum. Which loss it was, L tells: the targets that follow have to give
it back. A guess then has the entropy of the mean target, or the variance of the targets. Any other loss has no guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

FITS = 2e-3  # of the loss; float16 rounds a gradient by 5e-4
LARGEST = 1 << 17  # outputs: so many take 9 ms on a CPU, 128 rows of 10 take 0.3 ms
SAMPLES = 8  # at least: what fewer targets spread is noise
ROWS_PER_CLASS = 10  # at least, for the same reason


def guess(outputs: Tensor, gradient: Tensor, loss: float, axis: int) -> float | None:
    """The loss of the best constant; None where the loss is none of these, or of too few samples.

    Args:
        outputs: z of the layer next to the loss, `[B, …]`.
        gradient: ∂L/∂z, as `outputs`.
        loss: L.
        axis: Of the units; each of them may guess a number of its own.
    """
    if outputs.dim() < 2 or len(outputs) < SAMPLES or outputs.numel() > LARGEST:
        return None
    if not math.isfinite(loss) or not gradient.any():
        return None
    z, slope = (each.detach().float().movedim(axis, -1).flatten(0, -2) for each in (outputs, gradient))
    counts = z.numel(), len(z), int(slope.any(dim=1).sum()), len(outputs), 1  # third: rows that are not padding
    for count in dict.fromkeys(filter(None, counts)):
        for of_kind in _KINDS:
            given_back, least = of_kind(z, count * slope)
            if abs(given_back - count * loss) <= FITS * abs(count * loss):
                return least / count if math.isfinite(least) else None
    return None


def _of_classes(z: Tensor, slope: Tensor) -> tuple[float, float]:
    """(Σ of the cross-entropies, what the best constants have) from softmax(z) - y; NaN where that cannot be."""
    live = slope.any(dim=1)
    rows, classes = int(live.sum()), z.shape[1]
    log_p = z[live].log_softmax(dim=1)
    targets = log_p.exp() - slope[live]
    if classes < 2 or not _are_shares(targets):
        return math.nan, math.nan
    mean = targets.mean(dim=0).clamp(min=0)
    too_small = (classes - 1) / (2 * rows)  # by so much is a sample's entropy, in the mean (Miller 1955)
    entropy = too_small - float(torch.xlogy(mean, mean).sum())
    return -float((targets * log_p).sum()), rows * entropy if rows >= ROWS_PER_CLASS * classes else math.nan


def _of_bits(z: Tensor, slope: Tensor) -> tuple[float, float]:
    """The same of binary cross-entropies, from σ(z) - y."""
    targets = z.sigmoid() - slope
    if not _are_shares(targets):
        return math.nan, math.nan
    found = F.binary_cross_entropy_with_logits(z, targets.clamp(0, 1), reduction="sum")
    if min(float(targets.sum()), float((1 - targets).sum())) < ROWS_PER_CLASS:
        return float(found), math.nan
    mean = targets.mean(dim=0).clamp(0, 1)
    return float(found), float(F.binary_cross_entropy(mean, mean, reduction="sum")) * len(z)


def _of_squares(z: Tensor, slope: Tensor) -> tuple[float, float]:
    """The same of squared errors, from 2(z - y)."""
    targets = z - slope / 2
    return float((slope / 2).square().sum()), float(targets.var(dim=0).sum()) * len(z)


def _are_shares(targets: Tensor) -> bool:
    return bool(((targets > -FITS) & (targets < 1 + FITS)).all())


_KINDS: tuple[Callable[[Tensor, Tensor], tuple[float, float]], ...] = (_of_classes, _of_bits, _of_squares)
