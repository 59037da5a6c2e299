"""The suite in one table: trainings that are broken by one knob, their healthy twins, and healthy ones that look odd.

The two parts share no architecture: thresholds are set on the training part and scored on the held-out part.
"""

from __future__ import annotations

from cases_former import FORMER
from cases_held_out import HELD_OUT
from cases_held_out_series import HELD_OUT_SERIES
from cases_training import TRAINING
from entry import Case

SEEDS = (1, 2, 3)
CASES: tuple[Case, ...] = (*TRAINING, *FORMER, *HELD_OUT, *HELD_OUT_SERIES)
BY_NAME = {case.name: case for case in CASES}

__all__ = ["BY_NAME", "CASES", "SEEDS", "Case"]
