"""Shares over many trainings, and their intervals by drawing cases anew: seeds of one case are no independent runs.

A share is a sum over cases divided by another: a draw of cases is a draw of two rows of numbers. The interval of a
share on which all cases agree has no width, however few they are.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectors import Verdict
from entry import Case

RESAMPLES = 10_000


@dataclass(frozen=True)
class Judged:
    """What one detector said of one training."""

    case: Case
    is_broken: bool
    verdict: Verdict

    @property
    def names_first(self) -> bool:
        return bool(self.verdict.first & set(self.case.rules))

    @property
    def names(self) -> bool:
        return bool(self.verdict.named & set(self.case.rules))


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; None where there is nothing to divide by."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "–"
        return f"{100 * self.value:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def share(parts: Mapping[str, float], wholes: Mapping[str, float]) -> Share:
    """Σ parts / Σ wholes over cases, with the interval from 10,000 draws of as many cases.

    Args:
        parts, wholes: By case.
    """
    pairs = np.array([(parts[name], wholes[name]) for name in wholes], dtype=float).reshape(-1, 2)
    part, whole = pairs.sum(axis=0)
    if not whole:
        return Share(None, None, None)
    draws = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    sums = pairs[draws].sum(axis=1)
    shares = sums[sums[:, 1] > 0]
    low, high = np.percentile(shares[:, 0] / shares[:, 1], [2.5, 97.5])
    return Share(part / whole, float(low), float(high))


def by_case(runs: Iterable[Judged], counts: Iterable[float]) -> dict[str, float]:
    """Sums of one number a run over the runs of each case."""
    sums: dict[str, float] = {}
    for judged, count in zip(runs, counts, strict=True):
        sums[judged.case.name] = sums.get(judged.case.name, 0.0) + count
    return sums


def measures(runs: Sequence[Judged]) -> dict[str, Share]:
    """All shares of one detector. Healthy runs are those of healthy cases and the twins of broken ones."""

    def ratio(part: Iterable[float], whole: Iterable[float]) -> Share:
        return share(by_case(runs, part), by_case(runs, whole))

    broken, alarm = [run.is_broken for run in runs], [run.verdict.alarm for run in runs]
    hits = [a and b for a, b in zip(alarm, broken, strict=True)]
    healthy = [not b for b in broken]
    return {
        "precision": ratio(hits, alarm),
        "recall": ratio(hits, broken),
        "F1": ratio([2 * hit for hit in hits], [a + b for a, b in zip(alarm, broken, strict=True)]),
        "false positives": ratio([run.verdict.alarm and not run.is_broken for run in runs], healthy),
        "right fault first": ratio([run.is_broken and run.names_first for run in runs], broken),
        "right fault at all": ratio([run.is_broken and run.names for run in runs], broken),
        "healthy with any finding": ratio([run.verdict.warned and not run.is_broken for run in runs], healthy),
    }


def first_alarm(runs: Iterable[Judged]) -> float | None:
    """Median step over the broken runs with an alarm."""
    steps = [run.verdict.step for run in runs if run.is_broken and run.verdict.step is not None]
    return statistics.median(steps) if steps else None
