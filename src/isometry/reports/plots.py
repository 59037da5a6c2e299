"""Figures of a run, from plain data, each with what it tells and what it needs. matplotlib draws without a display."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..diagnostics.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gradient_norms(history: History, path: Path) -> None:
    """Where and when the gradient is large or small: the total norm of every step, and each layer's over the run.

    A total that rises by orders of magnitude explodes, one that falls to nothing stalls; what clipping took away lies
    between the two lines. In the map, a layer's row that is dark against its neighbours gets hardly any gradient. (The
    map shows weight gradients: textbook vanishing in ReLU nets can hide from them.)

    Needs a history with at least one record.
    """
    figure, (top, bottom) = _canvas(2, 1, size=(8, 6.4), height_ratios=(1, 1.6))
    steps = [record.step for record in history]
    totals = [(record.step - len(record.totals) + 1 + i, t) for record in history for i, t in enumerate(record.totals)]
    top.semilogy(*zip(*totals, strict=True), color="#9ecae1", linewidth=1, label="every step")
    top.semilogy(steps, [record.total for record in history], color="#08519c", linewidth=1.5, label="logged steps")
    if any(record.clip_fraction is not None for record in history):
        clipped = [record.total_clipped for record in history]
        top.semilogy(steps, clipped, color="#d94801", linewidth=1.5, label="after clipping")
    top.set(title="gradient norm of the whole network", xlabel="optimizer step", ylabel="‖∂L/∂w‖")
    top.legend(frameon=False, ncols=3)
    names = list(history.records[0].layers)
    norms = np.array([[record.layers[n].norm if n in record.layers else math.nan for record in history] for n in names])
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(norms)
    logs[~np.isfinite(logs)] = np.nan
    edges = [steps[0] - 0.5, *[(a + b) / 2 for a, b in itertools.pairwise(steps)], steps[-1] + 0.5]
    image = bottom.pcolormesh(edges, np.arange(len(names) + 1), logs, cmap="viridis")
    bottom.invert_yaxis()
    bottom.set(title="log₁₀ gradient norm of each layer, input at the top", xlabel="optimizer step", ylabel="layer")
    rows = np.unique(np.linspace(0, len(names) - 1, 12).astype(int))
    bottom.set_yticks(rows + 0.5, [names[row].removeprefix("network.") for row in rows], fontsize=7)
    figure.colorbar(image, ax=bottom)
    figure.savefig(path)


def confusion_matrix(counts: npt.NDArray[np.int64], class_names: Sequence[str], path: Path) -> None:
    """Which class is taken for which: counts `[K, K]`, rows true, columns predicted. Needs K >= 2."""
    few = len(class_names) <= 20
    figure, axes = _canvas(1, 1, size=(6, 5.4))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=f"test set: accuracy {np.trace(counts) / counts.sum():.2%}", xlabel="predicted", ylabel="true")
    if few:
        axes.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right")
        axes.set_yticks(range(len(class_names)), class_names)
        for row, column in np.argwhere(counts > 0):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=axes, label="share of the true class")
    figure.savefig(path)


def sample_predictions(
    images: npt.NDArray[np.uint8],
    labels: Sequence[int],
    probabilities: npt.NDArray[np.float32],
    class_names: Sequence[str],
    path: Path,
) -> None:
    """What the network sees and says: up to 24 pictures uint8 `[N, C, H, W]` with the likeliest class, red if wrong."""
    figure, grid = _canvas(3, 8, size=(9.6, 4.4))
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, label, row in zip(grid.flat, images, labels, probabilities, strict=False):
        guess = int(row.argmax())
        axes.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
        color = "black" if guess == label else "#cb181d"
        was = "" if guess == label else f"\n(is {class_names[label]})"
        axes.set_title(f"{class_names[guess]} {row[guess]:.0%}{was}", fontsize=7, color=color)
    figure.savefig(path)


def _canvas(rows: int, columns: int, size: tuple[float, float], **grid: Any) -> tuple[Figure, Any]:
    """A figure and its axes, without pyplot: nothing global, no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    return figure, figure.subplots(rows, columns, gridspec_kw=grid)
