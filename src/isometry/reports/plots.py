"""Figures of a run, from plain data, each with what it tells and what it needs. matplotlib draws without a display.

Sizes are shown as log10 on a linear axis, taken in Python's floats: 1e-40 is drawn where it is. A red × at the bottom
(a red cell in a map) stands for zero, NaN or infinite; where nothing was measured there is a gap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..diagnostics.history import GradientRecord, History, LayerRecord, in_order
from ..diagnostics.profile import Profile
from .series import by_optimizer, chosen, layer_names, log10, update_ratios
from .terminal import horizon, theory, times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RED = "#cb181d"
_PAIRS = (("#9ecae1", "#08519c"), ("#a1d99b", "#006d2c"), ("#bcbddc", "#54278f"), ("#d9d9d9", "#525252"))
_BROKEN = -1e9  # in a map of logarithms: zero, NaN or infinite
_UNUSABLE = "× zero, NaN or infinite"


def depth_ribbon(history: History, path: Path) -> None:
    """How signal, gradient and learning spread over the depth, and how that changed during the training.

    A gradient line that falls to the left vanishes on its way to the input, one that rises explodes; dashed is the
    fitted factor per layer of the first and of the last profile, a step where the shape changes. An update ratio
    between 1e-4 and 1e-2 is usual.

    Needs a history with at least one profile.
    """
    figure, panels = canvas(3, 1, size=(8, 8.6), sharex=True)
    profiles = chosen(history, 6)
    names = layer_names(profiles)
    position = {name: index for index, name in enumerate(names)}
    for profile, color in zip(profiles, _shades(len(profiles)), strict=True):
        _draw_profile(panels, profile, position, update_ratios(history, profile.step), color)
    for profile, color in zip(_ends(profiles)[::-1], ("#d94801", "#fdae6b"), strict=False):
        for xs, ys in _fitted_line(profile, position):
            panels[1].plot(xs, ys, "--", color=color, linewidth=1.2)
    for axes in panels[:2]:
        _widen(axes, 2)
    _shade_usual(panels[2])
    recorded = "" if update_ratios(history, 0) else ": none was recorded"
    panels[0].set(title="activation: RMS of each layer's output z", ylabel="log₁₀ RMS z")
    panels[1].set(title=_flow_title(profiles), ylabel="log₁₀ RMS ∂L/∂z")
    panels[2].set(
        title=f"update ratio{recorded}", ylabel="log₁₀ ‖Δw‖/‖w‖", xlabel=f"layer, input first   ({_UNUSABLE})"
    )
    ticks = _spread(len(names))
    labels = [_short(names[i]) for i in ticks]
    panels[2].set_xticks(ticks, labels, rotation=35, ha="right", fontsize=7, parse_math=False)
    legend = panels[0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    figure.savefig(path)


def time_profile(history: History, path: Path) -> None:
    """How far back through time the gradient reaches, in each recurrent layer and direction.

    A line that falls to the left: what happened at the first steps cannot be learned from the last ones. Where there is
    a loss at each step, the gradient is that of what arrives at the last one; a direction that reads backwards has the
    end of the sequence at the left.

    Needs a history with a profile that has `times`.
    """
    profiles = [profile for profile in in_order(history.profiles) if profile.times]
    shown = list({id(p): p for p in (profiles[0], profiles[len(profiles) // 2], profiles[-1])}.values())
    names = list(dict.fromkeys(time.name for profile in shown for time in profile.times))
    figure, grid = canvas(len(names), 1, size=(8, 1 + 2.8 * len(names)), squeeze=False, sharex=True)
    for axes, name in zip(grid.flat, names, strict=True):
        for profile, color in zip(shown, _shades(len(shown)), strict=True):
            for time in (time for time in profile.times if time.name == name):
                label = f"step {profile.step:,}: {horizon(time)}"
                _draw_curve(axes, dict(enumerate(time.reach)), color, label)
        axes.set_title(f"gradient at each time step of {_short(name)}", parse_math=False)
        axes.set(ylabel="log₁₀ ‖∂L/∂hₜ‖")
        axes.legend(frameon=False, fontsize=8)
        _widen(axes, 2)
    grid[-1, 0].set(xlabel=f"time step   ({_UNUSABLE})")
    figure.savefig(path)


def gradient_norms(history: History, path: Path) -> None:
    """Where and when the gradient is large or small: the total norm of every step, and each layer's over the run.

    A total that rises by orders of magnitude explodes, one that falls to nothing stalls; what clipping took away lies
    between the two lines. In the map, a layer's row that is dark against its neighbours gets hardly any gradient. (The
    map shows weight gradients: textbook vanishing in ReLU nets can hide from them.) Each optimizer has its own line
    and its own rows.

    Needs a history with at least one record.
    """
    figure, (top, bottom) = canvas(2, 1, size=(8, 6.4), height_ratios=[1, 1.6])
    groups = by_optimizer(history)
    for number, records in groups.items():
        _draw_totals(top, records, _PAIRS[number % len(_PAIRS)], f", optimizer {number}" if len(groups) > 1 else "")
    top.set(title="gradient norm of the whole network", xlabel="optimizer step", ylabel="log₁₀ ‖∂L/∂w‖")
    top.legend(frameon=False, ncols=3, fontsize=8)
    _widen(top, 1)
    for axes in (top, bottom):
        axes.locator_params(axis="x", integer=True)
    blocks = [(_edges([r.step for r in records]), *_norm_rows(records)) for records in groups.values()]
    _draw_map(figure, bottom, blocks)
    bottom.set(title="log₁₀ gradient norm of each layer, input at the top", xlabel="optimizer step", ylabel="layer")
    figure.savefig(path)


def gradient_histogram(history: History, path: Path) -> None:
    """Of what size the elements of each layer's gradient are, at the last step where they were counted.

    A row far to the left of the others hardly learns; a row that ends at the smallest number of its precision
    (1e-45 in float32, 6e-8 in float16) loses the rest to zero.

    Needs a record with a histogram that is not empty.
    """
    layers = last_histograms(history)
    decades = sorted({int(decade) for layer in layers.values() for decade in layer.histogram or {}})
    columns = np.arange(decades[0], decades[-1] + 2)
    counts = np.zeros((len(layers), len(columns) - 1))
    for row, layer in enumerate(layers.values()):
        for decade, count in (layer.histogram or {}).items():
            counts[row, int(decade) - decades[0]] = count
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = canvas(1, 1, size=(8, 4.8))
    image = axes.pcolormesh(
        columns, np.arange(len(layers) + 1), np.where(shares > 0, shares, np.nan), cmap="Blues", vmin=0
    )
    axes.set(title="size of the gradient's elements", xlabel="log₁₀ |∂L/∂w|", ylabel="layer, input at the top")
    _label_rows(axes, list(layers))
    figure.colorbar(image, ax=axes, label="share of the layer's nonzero elements")
    figure.savefig(path)


def last_histograms(history: History) -> dict[str, LayerRecord]:
    """Layers whose gradient's elements were counted, at the last step of each optimizer that has it; empty for none."""
    found: dict[str, LayerRecord] = {}
    for records in by_optimizer(history).values():
        counted = ({n: layer for n, layer in rec.layers.items() if layer.histogram} for rec in reversed(records))
        found |= next(filter(None, counted), {})
    return found


def confusion_matrix(counts: npt.NDArray[np.int64], class_names: Sequence[str], path: Path) -> None:
    """Which class is taken for which: counts `[K, K]`, rows true, columns predicted. Needs K >= 2."""
    few = len(class_names) <= 20
    figure, axes = canvas(1, 1, size=(6, 5.4))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=f"test set: accuracy {np.trace(counts) / counts.sum():.2%}", xlabel="predicted", ylabel="true")
    if few:
        axes.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(class_names)), class_names, parse_math=False)
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
    figure, grid = canvas(3, 8, size=(9.6, 4.4))
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, label, row in zip(grid.flat, images, labels, probabilities, strict=False):
        guess = int(row.argmax())
        axes.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
        color = "black" if guess == label else _RED
        was = "" if guess == label else f"\n(is {class_names[label]})"
        axes.set_title(f"{class_names[guess]} {row[guess]:.0%}{was}", fontsize=7, color=color, parse_math=False)
    figure.savefig(path)


def _draw_profile(
    panels: Sequence[Any], profile: Profile, position: dict[str, int], ratios: dict[str, float], color: Any
) -> None:
    """A line in each panel of the ribbon: activation, gradient, update ratio."""
    curves: list[dict[int, float | None]] = [{}, {}, {}]
    for layer in profile.layers:
        sizes = layer.activation_rms, layer.gradient_rms, ratios.get(layer.module)
        for curve, size in zip(curves, sizes, strict=True):
            curve[position[layer.name]] = size
    for axes, curve in zip(panels, curves, strict=True):
        _draw_curve(axes, curve, color, f"step {profile.step:,}")


def _shade_usual(axes: Any) -> None:
    axes.axhspan(-4, -2, color="#e5f5e0", zorder=0)
    place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "top"}
    axes.text(0.995, -2.1, "usual", fontsize=7, color="#238b45", **place)


def _draw_curve(axes: Any, sizes: dict[int, float | None], color: Any, label: str) -> None:
    """log10 of `sizes` over their keys, with a red × at the bottom for what has none; None is a gap without a mark."""
    logs = [log10(size) for size in sizes.values()]
    axes.plot(list(sizes), logs, color=color, linewidth=1.5, marker=".", markersize=4, label=label)
    _mark(axes, [x for (x, size), log in zip(sizes.items(), logs, strict=True) if size is not None and math.isnan(log)])


def _mark(axes: Any, positions: Sequence[float]) -> None:
    if positions:
        bottom = [0.03] * len(positions)
        axes.plot(positions, bottom, "x", color=_RED, markersize=5, transform=axes.get_xaxis_transform())


def _draw_totals(axes: Any, records: Sequence[GradientRecord], colors: tuple[str, str], suffix: str) -> None:
    """The total norm of every step, of the logged ones, and after clipping. A skipped step's infinity is a mark."""
    every = {r.step - len(r.totals) + 1 + i: total for r in records for i, total in enumerate(r.totals)}
    axes.plot(list(every), list(map(log10, every.values())), color=colors[0], linewidth=1, label=f"every step{suffix}")
    steps = [record.step for record in records]
    style = {"linewidth": 1.5, "marker": "." if len(steps) == 1 else ""}
    axes.plot(steps, [log10(r.total) for r in records], color=colors[1], label=f"logged steps{suffix}", **style)
    if any(record.clip_fraction is not None for record in records):
        clipped = [log10(record.total_clipped) for record in records]
        axes.plot(steps, clipped, color="#d94801", label=f"after clipping{suffix}", **style)
    _mark(axes, [step for step, total in every.items() if math.isnan(log10(total))])


def _norm_rows(records: Sequence[GradientRecord]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Layer names and log10 of their norms `[layer, record]`; NaN before a layer's first gradient."""
    fullest_first = sorted(records, key=lambda record: -len(record.layers))  # its order holds for those that come late
    names = list(dict.fromkeys(name for record in fullest_first for name in record.layers))
    row = {name: index for index, name in enumerate(names)}
    logs = np.full((len(names), len(records)), np.nan)
    for column, record in enumerate(records):
        for name, layer in record.layers.items():
            log = log10(layer.norm)
            logs[row[name], column] = _BROKEN if math.isnan(log) else log
    return names, logs


def _draw_map(figure: Figure, axes: Any, blocks: Sequence[tuple[Any, list[str], npt.NDArray[np.float64]]]) -> None:
    """Rows of layers below each other, one colour scale for all, of a decade at least; each block has its own steps."""
    from matplotlib import colormaps

    seen = np.concatenate([logs[logs > _BROKEN] for _, _, logs in blocks])
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
    scale = {"vmin": min(low, high - 1), "vmax": high, "cmap": colormaps["viridis"].with_extremes(under=_RED)}
    names: list[str] = []
    for edges, rows, logs in blocks:
        image = axes.pcolormesh(edges, np.arange(len(rows) + 1) + len(names), logs, **scale)
        names += rows
    _label_rows(axes, names)
    broken = any((logs == _BROKEN).any() for _, _, logs in blocks)
    bar = figure.colorbar(image, ax=axes, extend="min" if broken else "neither")
    bar.set_label("red: zero, NaN or infinite" if broken else "")


def _label_rows(axes: Any, names: Sequence[str]) -> None:
    axes.invert_yaxis()
    ticks = _spread(len(names))
    axes.set_yticks([i + 0.5 for i in ticks], [_short(names[i]) for i in ticks], fontsize=7, parse_math=False)


def _edges(steps: Sequence[int]) -> list[float]:
    """Borders of the columns of a map; the first and the last column are as wide as a step."""
    return [steps[0] - 0.5, *[(a + b) / 2 for a, b in itertools.pairwise(steps)], steps[-1] + 0.5]


def _fitted_line(profile: Profile, position: dict[str, int]) -> list[tuple[list[int], list[float]]]:
    """The backward fit, if there is one, a piece for each shape: positions and log10 RMS."""
    if profile.backward is None:
        return []
    groups: dict[tuple[int, ...], list[tuple[int, int, float]]] = {}
    for layer in profile.layers:
        if math.isfinite(log := log10(layer.gradient_rms)):
            groups.setdefault(layer.shape, []).append((position[layer.name], layer.depth, log))
    slope = -log10(profile.backward.gain)
    pieces = []
    for members in groups.values():
        xs, depths, logs = zip(*members, strict=True)
        if len(set(depths)) > 1:
            middle, level = sum(depths) / len(depths), sum(logs) / len(logs)
            pieces.append((list(xs), [level + slope * (depth - middle) for depth in depths]))
    return pieces


def _flow_title(profiles: Sequence[Profile]) -> str:
    """`gradient ×0.98 per layer (no closed form) at step 2,000; ×0.71 at step 0`: of the last and the first fit."""
    fitted = [(profile, profile.backward.gain) for profile in reversed(_ends(profiles)) if profile.backward]
    if not fitted:
        return "gradient that reaches z: no factor per layer"
    words = [f"{times(gain)} at step {profile.step:,}" for profile, gain in fitted]
    factor, _, rest = words[0].partition(" ")
    return "; ".join([f"gradient {factor} per layer ({theory(fitted[0][0])}) {rest}", *words[1:]])


def _ends(profiles: Sequence[Profile]) -> list[Profile]:
    """The first and the last, or the only one."""
    return [profiles[0], *profiles[1:][-1:]]


def _widen(axes: Any, decades: float) -> None:
    """No shorter a y-axis than this, so that noise does not look like a slope."""
    low, high = axes.get_ylim()
    missing = max(decades - (high - low), 0.0)
    axes.set_ylim(low - missing / 2, high + missing / 2)


def _spread(count: int) -> list[int]:
    """Up to 12 positions that get a label."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, 12))})


def _short(name: str) -> str:
    """Without the classifier's own prefix, and the middle of a long path."""
    name = name.removeprefix("network.")
    return name if len(name) <= 28 else f"{name[:9]}…{name[-18:]}"


def _shades(count: int) -> list[Any]:
    """From light to dark: from early to late; one alone is dark."""
    from matplotlib import colormaps

    return list(colormaps["Blues"](np.linspace(1.0 if count == 1 else 0.35, 1.0, count)))


def canvas(rows: int, columns: int, size: tuple[float, float], **grid: Any) -> tuple[Figure, Any]:
    """A figure and its axes, without pyplot: nothing global, no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    return figure, figure.subplots(rows, columns, **grid)
