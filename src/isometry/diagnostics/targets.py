"""What the loss is of: the targets, and what stands between the last layer and it; told from z, ∂L/∂z and L.

Nobody tells a monitor the targets y, but the gradient at the outputs o does. Of L = c·Σ(o - y)² it is 2c(o - y), of c
times a sum of cross-entropies c(p - y), p being softmax(o) or, of binary ones, σ(o). c is 1/n for a mean over all n
numbers or rows, 1/B for one over samples, 1 for a sum, half of that for half the squares, and any number where somebody
weighs the loss: of a cross-entropy it shows at the outputs that should be 0. o is z itself; or it is the sigmoid, tanh
or softmax of z, and ∂L/∂o follows from ∂L/∂z by the chain rule, backwards. Which it was, L tells: the targets that
follow have to give it back. (A ReLU hides those behind its zeros; where ∂L/∂z is zero just where z is not positive, the
others stand for all.)

A cross-entropy shows itself also where L has other terms, as of several heads or a penalty: by targets of 0 and 1.

With the targets it is known what a guess has, the best constant: the entropy of the mean target, or the variance of the
targets. And what is out of reach: a sigmoid before a cross-entropy cannot be sure, a ReLU has no value below zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .profile import LEAST_SAMPLES
from .statistics import tensor_norm

FITS = 2e-3  # of the loss; float16 rounds a gradient by 5e-4
LARGEST = 1 << 17  # outputs: so many take 10 ms on one core, 12 ms where no loss fits; 128 rows of 10 take 0.2 and 1 ms
LARGEST_LINKED = 1 << 14  # for what is tried after that: so many take 7 ms where no loss fits
ROWS_PER_CLASS = 10  # at least, for the same reason
LIKE = 10.0  # mean square of the targets that a ReLU hides over that of the others, either way, at most


@dataclass(frozen=True, slots=True)
class Told:
    """Args:
    link: What stands between z and the loss: "identity", "sigmoid", "tanh", "softmax" or "relu".
    guess: The loss of the best constant, as if nothing did; None where a batch is too small to say.
    out_of_reach: What of that the link cannot get rid of, as a share: 0 for the identity.
    """

    link: str
    guess: float | None
    out_of_reach: float


def told(outputs: Tensor, gradient: Tensor, loss: float, axis: int) -> Told | None:
    """What z and ∂L/∂z tell; None where the loss is none of these, or of too few samples.

    Args:
        outputs: z of the layer next to the loss, `[B, …]`.
        gradient: ∂L/∂z, as `outputs`.
        loss: L.
        axis: Of the units; each of them may guess a number of its own.
    """
    if outputs.dim() < 2 or len(outputs) < LEAST_SAMPLES or outputs.numel() > LARGEST:
        return None
    z, slope = (each.detach().float().movedim(axis, -1).flatten(0, -2) for each in (outputs, gradient))
    if not math.isfinite(loss) or not slope.any():
        return None
    is_live = slope.any(dim=1)  # the others are padding
    of_all, of_live = (z.numel(), len(z)), (z.shape[1] * int(is_live.sum()), int(is_live.sum()))
    counts = list(dict.fromkeys((*of_all, *of_live, len(outputs), 1)))
    masked = _behind_relu(z, slope, loss, counts)
    if masked is not None:
        return masked
    links = _LINKS if outputs.numel() <= LARGEST_LINKED else _LINKS[:1]
    return _behind_any(links, z, slope, loss, counts)


# ------------------------------------------------------------------------------------------- the losses
class _Classes:
    """The cross-entropy of rows of logits."""

    @staticmethod
    def rows(o: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Those without a gradient are padding."""
        is_live = slope.any(dim=1)
        return o[is_live], slope[is_live]

    @staticmethod
    def counts(o: Tensor, slope: Tensor, loss: float, usual: Sequence[float]) -> list[float]:
        """What 1/c may be: of the usual ones, or from the outputs of which p alone is left."""
        return [*usual, _weighed(o.softmax(dim=1), slope)]

    @staticmethod
    def targets(o: Tensor, slope: Tensor) -> Tensor | None:
        if o.shape[1] < 2 or float(slope.sum(dim=1).abs().max()) > FITS:
            return None
        targets = o.softmax(dim=1) - slope
        return targets if _are_shares(targets) else None

    @staticmethod
    def loss(o: Tensor, targets: Tensor) -> float:
        return -float((targets * o.log_softmax(dim=1)).sum())

    @staticmethod
    def guess(targets: Tensor) -> float:
        rows, classes = targets.shape
        if rows < ROWS_PER_CLASS * classes:
            return rows * math.log(classes)  # so few say nothing of uneven classes
        mean = targets.mean(dim=0).clamp(min=0)
        too_small = (classes - 1) / (2 * rows)  # by so much is a sample's entropy, in the mean (Miller 1955)
        entropy = too_small - float(torch.xlogy(mean, mean).sum())
        return rows * entropy

    @staticmethod
    def floor(targets: Tensor, low: float, high: float) -> float:
        """Of one class `high` and the others `low`."""
        return len(targets) * math.log1p((targets.shape[1] - 1) * math.exp(low - high))


class _Bits:
    """The binary cross-entropy of logits."""

    @staticmethod
    def rows(o: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        return o, slope

    @staticmethod
    def counts(o: Tensor, slope: Tensor, loss: float, usual: Sequence[float]) -> list[float]:
        return [*usual, _weighed(o.sigmoid(), slope)]

    @staticmethod
    def targets(o: Tensor, slope: Tensor) -> Tensor | None:
        targets = o.sigmoid() - slope
        return targets if _are_shares(targets) else None

    @staticmethod
    def loss(o: Tensor, targets: Tensor) -> float:
        return float(F.binary_cross_entropy_with_logits(o, targets.clamp(0, 1), reduction="sum"))

    @staticmethod
    def guess(targets: Tensor) -> float:
        if min(float(targets.sum()), float((1 - targets).sum())) < ROWS_PER_CLASS:
            return math.nan
        mean = targets.mean(dim=0).clamp(0, 1)
        return float(F.binary_cross_entropy(mean, mean, reduction="sum")) * len(targets)

    @staticmethod
    def floor(targets: Tensor, low: float, high: float) -> float:
        ones = float(targets.sum())
        return ones * math.log1p(math.exp(-high)) + (targets.numel() - ones) * math.log1p(math.exp(low))


class _Squares:
    """The squared error of values."""

    @staticmethod
    def rows(o: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        return o, slope

    @staticmethod
    def counts(o: Tensor, slope: Tensor, loss: float, usual: Sequence[float]) -> list[float]:
        """L = c·Σ(g/2c)² holds of any loss for one c; where that is a usual one, or half of it, it is no chance."""
        fitting = 4 * loss / float(tensor_norm(slope)) ** 2
        return [count for each in usual for count in (each, 2 * each) if abs(fitting / count - 1) <= FITS]

    @staticmethod
    def targets(o: Tensor, slope: Tensor) -> Tensor:
        return o - slope / 2

    @staticmethod
    def loss(o: Tensor, targets: Tensor) -> float:
        return float((o - targets).square().sum())

    @staticmethod
    def guess(targets: Tensor) -> float:
        return float(targets.var(dim=0).sum()) * len(targets)

    @staticmethod
    def floor(targets: Tensor, low: float, high: float) -> float:
        return float((targets - targets.clamp(low, high)).square().sum())


_Loss = type[_Classes] | type[_Bits] | type[_Squares]


def _weighed(p: Tensor, slope: Tensor) -> float:
    """p over its own gradient, where that is positive: the same in all such places."""
    return float((p / slope)[slope > 0].median()) if bool((slope > 0).any()) else math.nan


def _are_shares(targets: Tensor) -> bool:
    return bool(((targets > -FITS) & (targets < 1 + FITS)).all())


# -------------------------------------------------------------------------------------------- the links
@dataclass(frozen=True)
class _Link:
    """Args:
    forward: o of z.
    backward: ∂L/∂o of o and ∂L/∂z.
    low, high: What o can be.
    losses: With which it is met.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    low: float
    high: float
    losses: tuple[_Loss, ...]


def _before_softmax(p: Tensor, slope: Tensor) -> Tensor:
    """Up to a constant for each row, and that of a cross-entropy adds up to 0."""
    divided = slope / p
    return divided - divided.mean(dim=1, keepdim=True)


_LINKS = (
    _Link("identity", lambda z: z, lambda _, slope: slope, -math.inf, math.inf, (_Classes, _Bits, _Squares)),
    _Link("softmax", lambda z: z.softmax(dim=1), _before_softmax, 0.0, 1.0, (_Classes,)),
    _Link("sigmoid", torch.sigmoid, lambda o, slope: slope / (o * (1 - o)), 0.0, 1.0, (_Classes, _Bits, _Squares)),
    _Link("tanh", torch.tanh, lambda o, slope: slope / (1 - o.square()), -1.0, 1.0, (_Classes, _Bits, _Squares)),
)


def _behind_any(links: Sequence[_Link], z: Tensor, slope: Tensor, loss: float, counts: list[int]) -> Told | None:
    """What follows behind the first link that fits; where the loss is none of these alone, as one term of it."""
    tried = []
    for link in links:
        outputs = link.forward(z)
        gradient = link.backward(outputs, slope)
        if gradient.isfinite().all():
            found = _alone(link, outputs, gradient, loss, counts)
            if found is not None:
                return found
            tried.append((link, outputs, gradient))
    return next(filter(None, (_among_others(*each, loss) for each in tried)), None)


def _alone(link: _Link, outputs: Tensor, gradient: Tensor, loss: float, counts: list[int]) -> Told | None:
    """What follows if this link stands between z and the loss; None: it does not."""
    for kind in link.losses:
        o, at_link = kind.rows(outputs, gradient)
        if not len(o):
            continue
        for count in kind.counts(o, at_link, loss, counts):
            if not count * abs(loss) > 0:
                continue  # no weight, or a gradient so large that none is left
            targets = kind.targets(o, count * at_link)
            if targets is None or not abs(kind.loss(o, targets) - count * loss) <= FITS * abs(count * loss):
                continue  # NaN is not <= anything
            guess = kind.guess(targets)
            known = guess if math.isfinite(guess) else len(targets) * math.log(max(targets.shape[1], 2))
            floor = kind.floor(targets, link.low, link.high) if link.name != "identity" else 0.0
            return Told(link.name, guess / count if math.isfinite(guess) else None, floor / known if known else 0.0)
    return None


def _among_others(link: _Link, outputs: Tensor, gradient: Tensor, loss: float) -> Told | None:
    """Of a cross-entropy that is one term of several: the loss if this one were a guess's, the others as they are.

    Only of targets that are 0 or 1, which few other gradients look like.
    """
    for kind in (_Classes, _Bits):
        o, at_link = kind.rows(outputs, gradient)
        (count,) = kind.counts(o, at_link, loss, ())
        targets = kind.targets(o, count * at_link) if count > 0 and kind in link.losses else None
        if targets is None or bool((torch.minimum(targets.abs(), (1 - targets).abs()) > FITS).any()):
            continue
        own = kind.guess(targets)
        guess = loss + (own - kind.loss(o, targets)) / count
        floor = kind.floor(targets, link.low, link.high) if link.name != "identity" else 0.0
        return Told(link.name, guess, floor / own) if guess > 0 and own > 0 else None
    return None


def _behind_relu(z: Tensor, slope: Tensor, loss: float, counts: list[int]) -> Told | None:
    """The same of a ReLU before a squared error."""
    is_live = slope != 0
    live = int(is_live.sum())
    if min(live, z.numel() - live) < LEAST_SAMPLES or bool((is_live != (z > 0)).any()):
        return None
    errors, values = slope[is_live], z[is_live]
    if errors.abs().std() < FITS * errors.abs().mean():  # those of an absolute error
        return None
    for count in counts:
        targets = values - count * errors / 2
        hidden = (count * loss - float((count * errors / 2).square().sum())) / (z.numel() - live)
        size, variance = float(targets.square().mean()), float(targets.var())
        if variance > 0 and size / LIKE < hidden < size * LIKE:
            lost = float(targets.clamp(max=0).square().mean())
            return Told("relu", variance * z.numel() / count, lost / variance)
    return None
