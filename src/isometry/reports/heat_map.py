"""Two knobs of a sweep against each other: where a network can be trained, and what its gradient does there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .comparison import Comparison, Group, Run
from .plots import canvas

_PREFERRED = ("model.depth", "init.name")  # of the figure that the field is used to: depth across, init down
_FACETS = 4  # at most so many values of a third knob have a row of their own
_LEVELS = 20  # values of a knob that fit beside each other; a random search has more


def heat_map(comparison: Comparison, path: Path) -> None:
    """Accuracy on the left, the backward gain at the first step on the right; means over whatever else differs.

    A gain of 1 is white: below it the gradient shrinks towards the input, above it grows. A grey cell has no number: no
    run that came to its end, a gradient of exactly zero. With a third knob there is a row of maps for each of its
    values.

    Needs a comparison with at least one knob in `axes_of`.
    """
    across, down, third = axes_of(comparison)
    assert across
    facets: Sequence[Any] = comparison.levels(third) if third else [None]
    xs, ys = comparison.levels(across), comparison.levels(down) if down else [None]
    size = 1.5 + 2 * (2 + 0.75 * len(xs)), 0.9 + (1.2 + 0.42 * len(ys)) * len(facets)
    figure, grid = canvas(len(facets), 2, size=size, squeeze=False)
    for row, facet in zip(grid, facets, strict=True):
        cells = [[_runs(comparison, {across: x, down: y, third: facet}) for x in xs] for y in ys]
        title = f"{third} = {facet}: " if third else ""
        accuracy = np.array(
            [[100 * Group((), runs).accuracy[0] if runs else math.nan for runs in line] for line in cells]
        )
        image = row[0].imshow(accuracy, cmap="viridis", vmin=0, vmax=100, aspect="auto")
        _label(row[0], accuracy, lambda value: f"{value:.1f}", accuracy < 60)
        figure.colorbar(image, ax=row[0])
        row[0].set_title(f"{title}test accuracy, %", fontsize=9, parse_math=False)
        gain = np.array([[Group((), runs).backward_gain if runs else math.nan for runs in line] for line in cells])
        image = row[1].imshow(np.log10(gain), cmap="RdBu_r", vmin=-0.5, vmax=0.5, aspect="auto")
        _label(row[1], gain, lambda value: f"{value:.3g}", abs(np.log10(gain)) > 0.35)
        figure.colorbar(image, ax=row[1], label="log₁₀")
        row[1].set_title(f"{title}∂L/∂z per layer, step 0", fontsize=9, parse_math=False)
        for axes in row:
            axes.set_xticks(range(len(xs)), [str(x) for x in xs], parse_math=False)
            axes.set_yticks(range(len(ys)), [str(y) if down else "" for y in ys], parse_math=False)
            axes.set_xlabel(across)
            axes.set_ylabel(down or "")
            axes.set_facecolor("lightgrey")
    figure.savefig(path)


def axes_of(comparison: Comparison) -> tuple[str | None, str | None, str | None]:
    """Knobs across, down and by facets: depth and init where both differ, else what explains the accuracy best."""
    shares = comparison.explained(lambda run: run.accuracy)
    drawn = [key for key in comparison.knobs if len(comparison.levels(key)) <= _LEVELS]
    by_share = sorted(drawn, key=lambda key: -(shares[key] if math.isfinite(shares[key]) else 0.0))
    first = [key for key in _PREFERRED if key in by_share] if set(_PREFERRED) <= set(by_share) else []
    ordered: list[str | None] = [*first, *(key for key in by_share if key not in first), None, None, None]
    across, down, third = ordered[:3]
    if across and across != _PREFERRED[0] and down and len(comparison.levels(down)) > len(comparison.levels(across)):
        across, down = down, across
    return across, down, third if third and len(comparison.levels(third)) <= _FACETS else None


def _runs(comparison: Comparison, wanted: dict[str | None, Any]) -> list[Run]:
    keys = [key for key in wanted if key]
    return [run for run in comparison.runs if all(repr(run.settings.get(key)) == repr(wanted[key]) for key in keys)]


def _label(axes: Any, values: Any, say: Callable[[float], str], is_dark: Any) -> None:
    for row, column in np.argwhere(np.isfinite(values)):
        color = "white" if is_dark[row, column] else "black"
        axes.text(column, row, say(values[row, column]), ha="center", va="center", fontsize=8, color=color)
