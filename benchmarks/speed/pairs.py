"""Two ways of doing one thing, timed in turn: A B A B …, so that a machine whose speed drifts slows both.

What is reported is the median of the ratios of neighbours, with the smallest and the largest.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Args:
    ours: Seconds of each run of ours.
    theirs: Of the peer's, in the same order.
    """

    ours: list[float]
    theirs: list[float]

    @property
    def all(self) -> list[float]:
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def median(self) -> float:
        return statistics.median(self.all)

    @property
    def total(self) -> float:
        """All of ours over all of theirs."""
        return sum(self.ours) / sum(self.theirs)

    def __str__(self) -> str:
        """`1.04 (1.02 … 1.06)`."""
        return f"{self.median:.2f} ({min(self.all):.2f} … {max(self.all):.2f})"

    def inverse(self) -> Ratio:
        return Ratio(self.theirs, self.ours)


def in_turn(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> Ratio:
    """Each gives the seconds of one run; both are run once before, which is not counted."""
    ours(), theirs()
    measured = [(ours(), theirs()) for _ in range(pairs)]
    return Ratio([mine for mine, _ in measured], [other for _, other in measured])
