"""Proves the suite's labels without any detector, by what each training came to on data held aside.

    python benchmarks/diagnosis/labels.py --out runs/suite [--part training]

Broken: each seed's fault ends clearly worse than every seed's twin, one knob away. Healthy (and so each twin): each
seed ends clearly better than it began. A score is 0 where nothing is left to learn and 1 at chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cases import CASES, SEEDS, Case

CHANCE = 1.0
CLEARLY_WORSE = 0.2  # of the way from the worst twin to chance
LEARNT = 0.7  # of the score at the start, at most
CURED = 0.25  # of the way from the worst twin to the best fault


def outcomes(case: Case, variant: str, folder: Path, key: str = "score") -> list[float]:
    """Of each seed."""
    files = [folder / case.name / str(seed) / variant / "outcome.json" for seed in SEEDS]
    return [float(json.loads(file.read_text())[key]) for file in files]


def learns(case: Case, folder: Path) -> bool:
    starts = outcomes(case, "twin", folder, "initial_score")
    return all(end <= LEARNT * start for end, start in zip(outcomes(case, "twin", folder), starts, strict=True))


def fails(case: Case, folder: Path) -> bool:
    worst = max(outcomes(case, "twin", folder))
    return min(outcomes(case, "fault", folder)) >= worst + CLEARLY_WORSE * (CHANCE - worst)


def cured_score(case: Case, folder: Path) -> float:
    """The score at which, or below which, a cure has worked."""
    worst, best = max(outcomes(case, "twin", folder)), min(outcomes(case, "fault", folder))
    return worst + CURED * (best - worst)


def proven(case: Case, folder: Path) -> bool:
    return learns(case, folder) and (not case.fault or fails(case, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=["training", "held-out"])
    options = parser.parse_args()
    chosen = [case for case in CASES if options.part in (None, case.part)]
    unproven = [case.name for case in chosen if not _show(case, options.out)]
    broken = sum(bool(case.fault) for case in chosen)
    print(f"\n{broken} broken, {len(chosen) - broken} healthy; not proven: {', '.join(unproven) or 'none'}")
    sys.exit(bool(unproven))


def _show(case: Case, folder: Path) -> bool:
    holds = proven(case, folder)
    faults = _numbers(outcomes(case, "fault", folder)) if case.fault else ""
    label = case.rules[0] if case.fault else "healthy"
    twins = _numbers(outcomes(case, "twin", folder))
    print(f"{case.name:<26} {label:<26} {twins:<19} {faults:<19} {'yes' if holds else 'NO'}")
    return holds


def _numbers(scores: Sequence[float]) -> str:
    return " ".join(f"{score:.3f}" for score in scores)


if __name__ == "__main__":
    main()
