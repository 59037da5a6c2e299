"""Many runs as numbers, read from their folders: what differs between them, and what that did.

Runs of a sweep, of W&B's agents or started by hand are alike: `config.yaml` says what a run was, `summary.json`,
`metrics.jsonl` and `gradients.jsonl` what came of it. Nothing is drawn here.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..diagnostics.history import in_order, read_history
from ..diagnostics.rules import diagnose, settings_in
from ..errors import CheckpointError
from ..jsonl import read_lines

SEEDS = ("seed", "init_seed", "data.split_seed")
# Where a run and its data lie, and who looks at it; not what it is. Whole sections, and keys.
_ELSEWHERE = {"run_name", "runs_dir", "resume", "sweep_name", "parallel", "wandb", "logger", "threads", "diagnose"}
_ELSEWHERE |= {"data.dir", "data.download_deadline", "init_from", "checkpoint", "monitor"}
TARGET = 0.9  # of the best val/acc of all runs

Knobs = tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """Args:
    name: Of its folder, below what all that are compared have in common.
    settings: Dotted keys.
    accuracy: On the test set; NaN where the run has not come to its end.
    verdict: What the rules say, also of a run without an end; None where nothing was measured.
    backward_gain: Factor of ∂L/∂z per layer, towards the input, at the first probed step; NaN without a profile.
    validations: (step, val/acc) of each.
    samples_per_s: Training images a second.
    """

    name: str
    settings: Mapping[str, Any]
    accuracy: float
    verdict: str | None
    backward_gain: float
    validations: Sequence[tuple[int, float]]
    samples_per_s: float

    def steps_to(self, target: float) -> float:
        """Optimizer steps until a validation reached it; NaN if none did."""
        return next((float(step) for step, accuracy in self.validations if accuracy >= target), math.nan)


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seeds alone.

    Args:
        values: Of the knobs, in their order.
        runs: At least one.
    """

    values: Knobs
    runs: Sequence[Run]

    @property
    def accuracy(self) -> tuple[float, float]:
        """Mean and sample standard deviation of those that came to their end; NaN where there are too few."""
        return _mean_and_std([run.accuracy for run in self.runs])

    @property
    def backward_gain(self) -> float:
        """Geometric mean."""
        gains = [math.log(run.backward_gain) for run in self.runs if 0 < run.backward_gain < math.inf]
        return math.exp(statistics.fmean(gains)) if gains else math.nan

    @property
    def samples_per_s(self) -> float:
        return _mean_and_std([run.samples_per_s for run in self.runs])[0]

    @property
    def verdict(self) -> str:
        """The one most of them have, with how many where not all: `critical: dead_units (2 of 3)`."""
        (verdict, count), *_ = Counter(run.verdict or "not watched" for run in self.runs).most_common(1)
        return verdict if count == len(self.runs) else f"{verdict} ({count} of {len(self.runs)})"

    def steps_to(self, target: float) -> float:
        """Mean; NaN unless all reached it."""
        return statistics.fmean([run.steps_to(target) for run in self.runs])


@dataclass(frozen=True)
class Comparison:
    """Args:
    runs: All, in the order they were found.
    target: val/acc that `steps_to` is about; None: nine tenths of the best.
    """

    runs: Sequence[Run]
    asked_target: float | None = None

    @cached_property
    def knobs(self) -> list[str]:
        """Keys that differ, without seeds, and without options that follow from the name beside them."""
        keys = [key for key in dict.fromkeys(key for run in self.runs for key in run.settings) if key not in SEEDS]
        keys = [key for key in keys if not _ELSEWHERE & {key, key.partition(".")[0]}]
        differing = [key for key in keys if self._number_of(key) > 1]
        names = {key.partition(".")[0]: key for key in differing if key.endswith(".name")}
        return [key for key in differing if not self._follows(key, names.get(key.partition(".")[0]))]

    def _number_of(self, *keys: str) -> int:
        """Of the combinations that these keys have, in runs that have them: an older version's lack some."""
        having = [run.settings for run in self.runs if all(key in run.settings for key in keys)]
        return len({tuple(repr(settings[key]) for key in keys) for settings in having})

    def _follows(self, key: str, name: str | None) -> bool:
        return name is not None and key != name and self._number_of(name, key) == self._number_of(name)

    @cached_property
    def groups(self) -> list[Group]:
        """Runs by what they have of the knobs, in the order they were found."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(repr(self.values(run)), []).append(run)
        return [Group(self.values(runs[0]), runs) for runs in found.values()]

    def values(self, run: Run) -> Knobs:
        return tuple(run.settings.get(key) for key in self.knobs)

    @cached_property
    def target(self) -> float:
        known = [accuracy for run in self.runs for _, accuracy in run.validations if math.isfinite(accuracy)]
        best = max(known, default=math.nan)
        return TARGET * best if self.asked_target is None else self.asked_target

    def levels(self, key: str) -> list[Any]:
        """The values of a knob: numbers by size, then others in the order they were found."""
        values = list({repr(value): value for value in (run.settings.get(key) for run in self.runs)}.values())
        numbers = sorted(value for value in values if isinstance(value, int | float))
        return [*numbers, *(value for value in values if not isinstance(value, int | float))]

    def explained(self, measure: Callable[[Run], float]) -> dict[str, float]:
        """By knob, how much of the spread over all runs its own means have: η² = Σ n_v (m_v - m)² / Σ (x - m)².

        1: the knob alone decides. Over a full grid, what is left by all of them is seeds and what knobs do together.
        NaN where nothing differs, and for a knob with more values than half the runs, as a random search has them:
        a value that only one run has explains that run whatever it does. Runs without a value are left out.
        """
        known = [(run, value) for run in self.runs if math.isfinite(value := measure(run))]
        mean = statistics.fmean([value for _, value in known]) if known else math.nan
        differs = len({value for _, value in known}) > 1
        total = sum((value - mean) ** 2 for _, value in known)
        shares = {}
        for key in self.knobs:
            by_level: dict[str, list[float]] = {}
            for run, value in known:
                by_level.setdefault(repr(run.settings.get(key)), []).append(value)
            between = sum(len(each) * (statistics.fmean(each) - mean) ** 2 for each in by_level.values())
            shares[key] = between / total if differs and len(by_level) <= len(known) / 2 else math.nan
        return shares


def read_runs(places: Sequence[Path]) -> list[Run]:
    """The runs in these folders, each a run's or one that holds runs.

    Raises:
        CheckpointError: There are not two runs.
    """
    folders = list(dict.fromkeys(folder.resolve() for place in places for folder in run_folders(place)))
    if len(folders) < 2:
        raise CheckpointError(
            f"error: {len(folders)} runs in {', '.join(map(str, places))}: two are needed for a comparison\n"
            "  fix:   isometry compare runs/SWEEP   or   isometry compare runs/ONE runs/OTHER"
        )
    common = Path(os.path.commonpath([folder.parent for folder in folders]))
    return [_read(folder, str(folder.relative_to(common))) for folder in folders]


def run_folders(place: Path) -> list[Path]:
    """The run that a folder is, or those it holds."""
    if (place / "config.yaml").is_file():
        return [place]
    return sorted(path.parent for path in place.glob("*/config.yaml"))


def _read(folder: Path, name: str) -> Run:
    summary: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # it has not come to its end
        summary = json.loads((folder / "summary.json").read_text())
    settings, profiles, verdict = settings_in(folder) or {}, [], summary.get("verdict")
    with suppress(OSError, AttributeError, KeyError, TypeError, ValueError):  # no monitor, or another version's file
        history = read_history(folder / "gradients.jsonl")
        profiles, verdict = in_order(history.profiles), verdict or diagnose(history, settings).verdict
    journal = folder / "metrics.jsonl"
    rows = list(read_lines(journal)) if journal.is_file() else []
    gain = profiles[0].backward_gain if profiles else None
    return Run(
        name,
        dict(_dotted(settings)),
        float(summary.get("test/acc", math.nan)),
        verdict,
        math.nan if gain is None else gain,
        [(int(row["step"]), float(row["val/acc"])) for row in rows if "val/acc" in row],
        float(summary.get("samples_per_s", math.nan)),
    )


def _dotted(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{above}{key}.")
        else:
            yield above + key, str(value) if isinstance(value, list) else value


def _mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)]
    mean = statistics.fmean(known) if known else math.nan
    return mean, statistics.stdev(known) if len(known) > 1 else math.nan
