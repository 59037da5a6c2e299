"""Covering arrays: few rows in which every pair of choices that go together stands at least once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Clashes = Callable[[tuple[str, Any], tuple[str, Any]], bool]


def covering_rows(factors: Mapping[str, Sequence[Any]], clash: Clashes) -> list[Row]:
    """Greedy: a row starts from an open pair, and each further factor takes the value that closes most open pairs.

    Args:
        factors: Key -> its values.
        clash: Whether two (key, value) do not go together; a row has no such two.
    """
    rng, waiting, rows = random.Random(0), all_pairs(factors, clash), []
    while waiting:
        row: Row = dict(min((sorted(pair, key=repr) for pair in waiting), key=repr))
        for key in rng.sample(list(factors), len(factors)):
            if key not in row:
                allowed = [v for v in factors[key] if not any(clash((key, v), other) for other in row.items())]
                row[key] = max(allowed, key=lambda v: sum(_pair((key, v), o) in waiting for o in row.items()))
        waiting -= {_pair(*two) for two in itertools.combinations(row.items(), 2)}
        rows.append(row)
    return rows


def all_pairs(factors: Mapping[str, Sequence[Any]], clash: Clashes) -> set[frozenset[tuple[str, Any]]]:
    """Every two (key, value) of different keys that go together."""
    chosen = [[(key, value) for value in values] for key, values in factors.items()]
    return {
        _pair(one, other)
        for left, right in itertools.combinations(chosen, 2)
        for one, other in itertools.product(left, right)
        if not clash(one, other)
    }


def _pair(one: tuple[str, Any], other: tuple[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset((one, other))
