"""A published claim as data: what is said and where, how it is measured here, and the bounds within which we agree.

A claim agrees when every number it measured lies within its bounds, which stand in the table before anything is
measured. NaN lies within none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Figures = Mapping[str, float]
SCRIPT = "python benchmarks/literature/reproduce.py"


@dataclass(frozen=True)
class Bound:
    """Args:
    number: Name of a measured number.
    low, high: Where it must lie, ends included.
    text: The same in words.
    """

    number: str
    low: float
    high: float
    text: str

    def holds(self, figures: Figures) -> bool:
        return self.low <= figures[self.number] <= self.high


def near(number: str, published: float, tolerance: float) -> Bound:
    """Within a share of the published figure."""
    low, high = sorted((published * (1 - tolerance), published * (1 + tolerance)))
    return Bound(number, low, high, f"{number} = {published:g} ± {100 * tolerance:g} %")


def at_least(number: str, low: float) -> Bound:
    return Bound(number, low, math.inf, f"{number} ≥ {low:g}")


def at_most(number: str, high: float) -> Bound:
    return Bound(number, -math.inf, high, f"{number} ≤ {high:g}")


@dataclass(frozen=True)
class Claim:
    """Args:
    key: What the command line calls it.
    claim: One sentence.
    source: Authors, year, and where in the paper.
    published: The paper's figure, or its words where it has none.
    protocol: What is done here.
    figure: Our figure in words, `{name}` standing for a measured number.
    bounds: The claim agrees when all of them hold.
    minutes: Expected, on one core of two.
    measure: Takes the measurement: named numbers. It is called with the folder of the data set where `data` names one.
    data: A data set beyond the digits in the package, which must be there already.
    command: Of a row that has no `measure`: for a GPU.
    note: What else a reader must know, such as why we disagree.
    """

    key: str
    claim: str
    source: str
    published: str
    protocol: str
    figure: str
    bounds: tuple[Bound, ...]
    minutes: float
    measure: Callable[..., Figures] | None
    data: str = ""
    command: str = ""
    note: str = ""

    @property
    def reproduced_by(self) -> str:
        """The command, as a reader pastes it."""
        return self.command or f"{SCRIPT} {self.key}" + (" --data datasets" if self.data else "")

    @property
    def criterion(self) -> str:
        return "; ".join(bound.text for bound in self.bounds)

    def agrees(self, figures: Figures) -> bool:
        return all(bound.holds(figures) for bound in self.bounds)

    def tell(self, figures: Figures) -> str:
        """Our figure in words."""
        return self.figure.format(**figures)
