"""The suite in one table: trainings that are broken by one knob, their healthy twins, and healthy ones that look odd.

Round by round, each with architectures of its own. A round is held out until its misses have been looked at: from then
on it is part of what thresholds are set on, and the next one takes its place.
"""

from __future__ import annotations

from dataclasses import replace

import round_1.cases
import round_2.cases
import round_3.cases
import round_3.cases_of_series
import round_4.cases
import round_4.cases_of_sequences
import round_5.cases
import round_5.cases_of_sequences
import round_6.cases
import round_6.cases_of_sequences
import round_7.cases
import round_7.cases_of_sequences
import round_8.cases
import round_8.cases_of_sequences
from entry import Case

SEEDS = (1, 2, 3)
_TRAINING = (
    *round_1.cases.CASES,
    *round_2.cases.CASES,
    *round_3.cases.CASES,
    *round_3.cases_of_series.CASES,
    *round_4.cases.CASES,
    *round_4.cases_of_sequences.CASES,
    *round_5.cases.CASES,
    *round_5.cases_of_sequences.CASES,
    *round_6.cases.CASES,
    *round_6.cases_of_sequences.CASES,
    *round_7.cases.CASES,
    *round_7.cases_of_sequences.CASES,
)
_HELD_OUT = (*round_8.cases.CASES, *round_8.cases_of_sequences.CASES)
CASES: tuple[Case, ...] = (*_TRAINING, *(replace(case, part="held-out") for case in _HELD_OUT))
BY_NAME = {case.name: case for case in CASES}

__all__ = ["BY_NAME", "CASES", "SEEDS", "Case"]
