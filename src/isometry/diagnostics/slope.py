"""A line through log10 of sizes over depth or over time: the factor per layer or per step, and how good a line it is.

Least squares, within groups that are comparable. Over depth, single layers that lie far off are left out: those of a
side branch of the same shape say nothing of the way past it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Point = tuple[object, int, float]  # group, x, y
Members = list[tuple[int, float]]

FAR_OFF = 6.0  # standard deviations from the line
LEAST_FAR = 0.5  # decades: a unit's noise is no outlier on a line without any
LEAST_NEAR = 0.6  # share of the points that have to be near for the others not to count


@dataclass(frozen=True, slots=True)
class Fit:
    """A line through log10 RMS over depth.

    Args:
        gain: Factor per layer in the direction of travel: 1 keeps the size, 0.7 loses a third.
        quality: R² within the groups; near 0 for a level line with noise, where nothing is to be explained.
        decades: log10(gain) times the layers travelled: -3 is a thousandfold loss.
        layers: Layers from the first to the last that were fitted.
    """

    gain: float
    quality: float
    decades: float
    layers: int


def usable(size: float) -> bool:
    """Whether a size has a logarithm."""
    return math.isfinite(size) and size > 0


def fit(points: Iterable[Point], direction: int) -> Fit | None:
    """One slope through (group, x, y) with an intercept for each group; None for fewer than three points in groups.

    Args:
        points: y is a log10.
        direction: +1 when the factor is for rising x, -1 for falling x.
    """
    shared = _shared(points)
    if sum(map(len, shared)) < 3:
        return None
    centred = []
    for members in shared:
        mean_x, mean_y = (sum(axis) / len(members) for axis in zip(*members, strict=True))
        centred += [(x - mean_x, y - mean_y) for x, y in members]
    sxx, sxy, syy = (
        sum(f(x, y) for x, y in centred) for f in (lambda x, _: x * x, lambda x, y: x * y, lambda _, y: y * y)
    )
    slope = sxy / sxx
    positions = [x for members in shared for x, _ in members]
    span = max(positions) - min(positions)
    rest = max(syy - slope * sxy, 0.0)
    quality = 1 - rest / syy if syy > 1e-18 else 1.0  # a level line without noise is a perfect line
    return Fit(10 ** (direction * slope), quality, direction * slope * span, span + 1)


def _shared(points: Iterable[Point]) -> list[Members]:
    """(x, y) by group, of those groups that have more than one x."""
    groups: dict[object, Members] = {}
    for group, x, y in points:
        groups.setdefault(group, []).append((x, y))
    return [members for members in groups.values() if len({x for x, _ in members}) > 1]


def on_the_way(points: Iterable[Point]) -> list[Point]:
    """Those that do not lie far off: a side branch of the same shape says nothing of the way past it.

    Far off the line with the median slope of all pairs (Theil 1950) through each group's median. Reweighted least
    squares (Rousseeuw & Leroy 1987), once `fit` has taken what is left. Where much lies far off, all of it counts.
    """
    points = list(points)
    groups = _shared(points)
    slopes = [slope for members in groups for slope in _slopes(members)]
    if not slopes:
        return points
    slope = statistics.median(slopes)
    rests = []
    for number, members in enumerate(groups):
        level = statistics.median(y - slope * x for x, y in members)
        rests += [(number, x, y, abs(y - slope * x - level)) for x, y in members]
    usual = statistics.median(rest for *_, rest in rests) / 0.6745  # of normal ones, a standard deviation
    near: list[Point] = [(group, x, y) for group, x, y, rest in rests if rest <= max(FAR_OFF * usual, LEAST_FAR)]
    is_most = sum(map(len, _shared(near))) >= LEAST_NEAR * len(rests)
    return near if is_most else points


def _slopes(members: Members) -> Iterator[float]:
    """Of all pairs; in a large group, of each member with some 50 others."""
    for gap in range(1, len(members), 1 + len(members) // 50):
        for (x, y), (other_x, other_y) in zip(members, members[gap:], strict=False):
            if other_x != x:
                yield (other_y - y) / (other_x - x)
