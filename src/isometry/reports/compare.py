"""A comparison of runs as files: `comparison.csv`, `.md`, `.html` and `heat_map.png`."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .comparison import SEEDS, Comparison, Group, Run, read_runs
from .heat_map import axes_of, heat_map
from .page import figure, page, table
from .terminal import times

Row = Mapping[str, str]

_READING = (
    "On the right 1 is white: there the gradient keeps its size through the depth. Blue vanishes towards the input, "
    "red explodes; grey has no number. Cells are means over whatever else differs."
)


def compare(places: Sequence[Path], target: float | None, out: Path) -> tuple[str, list[Path]]:
    """The table for a terminal, and the files made.

    Args:
        places: Folders of runs, or of sweeps.
        target: val/acc for `steps_to`; None: nine tenths of the best.
        out: Folder for the files; made.

    Raises:
        CheckpointError: There are not two runs.
    """
    comparison = Comparison(read_runs(places), target)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"comparison.{ending}" for ending in ("csv", "md", "html")]
    _write_csv(comparison, files[0])
    shown = "\n\n".join(f"## {heading}\n\n{markdown(rows)}" for heading, rows in _tables(comparison).items())
    files[1].write_text(f"# {out.resolve().name}\n\n{shown}\n", encoding="utf-8")
    if axes_of(comparison)[0]:
        files.append(out / "heat_map.png")
        heat_map(comparison, files[-1])
    files[2].write_text(page(out.resolve().name, _parts(comparison, out)), encoding="utf-8")
    return "\n\n".join("\n".join(aligned(rows)) for rows in _tables(comparison).values() if rows), files


def _tables(comparison: Comparison) -> dict[str, list[Row]]:
    """Heading -> rows, in reading order."""
    return {
        "Runs that differ by more than their seed": [_group(comparison, each) for each in comparison.groups],
        "What explains the spread": list(_explained(comparison)),
    }


def _group(comparison: Comparison, group: Group) -> Row:
    mean, std = group.accuracy
    spread = f" ± {100 * std:.2f}" if math.isfinite(std) else ""
    return {
        **{key: str(value) for key, value in zip(comparison.knobs, group.values, strict=True)},
        "runs": str(len(group.runs)),
        "test acc %": f"{100 * mean:.2f}{spread}" if math.isfinite(mean) else "not finished",
        "verdict": group.verdict,
        "∂L/∂z per layer": times(group.backward_gain) if math.isfinite(group.backward_gain) else "",
        f"steps to {comparison.target:.1%}" if math.isfinite(comparison.target) else "steps": _count(
            group.steps_to(comparison.target)
        ),
        "images/s": _count(group.samples_per_s),
    }


def _explained(comparison: Comparison) -> Iterable[Row]:
    accuracy = comparison.explained(lambda run: run.accuracy)
    gain = comparison.explained(_log_gain)
    for key in comparison.knobs:
        yield {"knob": key, "of test accuracy": _share(accuracy[key]), "of log ∂L/∂z per layer": _share(gain[key])}


def _log_gain(run: Run) -> float:
    return math.log(run.backward_gain) if run.backward_gain > 0 else math.nan


def _write_csv(comparison: Comparison, path: Path) -> None:
    """A row for each run, numbers unrounded."""
    seeds = [key for key in SEEDS if any(key in run.settings for run in comparison.runs)]
    measures = ["test_acc", "verdict", "backward_gain", "steps_to_target", "samples_per_s"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *comparison.knobs, *seeds, *measures])
        for run in comparison.runs:
            chosen = [run.settings.get(key) for key in (*comparison.knobs, *seeds)]
            numbers = [run.accuracy, run.verdict, run.backward_gain, run.steps_to(comparison.target), run.samples_per_s]
            writer.writerow([run.name, *chosen, *numbers])


def _parts(comparison: Comparison, out: Path) -> Iterable[str]:
    yield f"<h1>{escape(out.resolve().name)}: {len(comparison.runs)} runs</h1>"
    if axes_of(comparison)[0]:
        yield figure(out / "heat_map.png", "Where it trains, and what the gradient does there", _READING)
    for heading, rows in _tables(comparison).items():
        yield f"<h2>{escape(heading)}</h2>"
        yield table(rows)
    yield '<p class="soft">A knob explains the share of the spread over all runs that the means of its values have '
    yield "(η²). Over a full grid, what all of them leave is the seeds', and what knobs do together. Of a knob with "
    yield "nearly as many values as runs nothing can be said.</p>"


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; headings from the first row."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([*row.values()] for row in rows)] if rows else []
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def aligned(rows: Sequence[Row]) -> list[str]:
    """Columns of equal width for a terminal."""
    lines = [list(rows[0]), *([*row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _count(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else ""


def _share(value: Any) -> str:
    return f"{value:.0%}" if math.isfinite(value) else ""
