"""The depth ribbon and the time profile as W&B's own charts, beside the pictures. wandb is imported inside alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..diagnostics.history import History
from .series import chosen, layer_names, log10


def native_charts(history: History) -> dict[str, Any]:
    """What `run.log` takes: `flow/ribbon_activation`, `flow/ribbon_gradient` and, for recurrent nets, `flow/time`.

    A series per chosen step, y as log10; zero, NaN and infinite are gaps. Empty without a profile.
    """
    profiles = chosen(history, 6)
    position = {name: index for index, name in enumerate(layer_names(profiles))}
    activation, gradient, time = {}, {}, {}
    for profile in profiles:
        label, layers = f"step {profile.step}", profile.layers
        activation[label] = [(position[layer.name], log10(layer.activation_rms)) for layer in layers]
        gradient[label] = [(position[layer.name], log10(layer.gradient_rms)) for layer in layers]
        for one in profile.times:
            time[f"{label} {one.name}"] = [(t, log10(norm)) for t, norm in enumerate(one.reach)]
    charts = {
        "flow/ribbon_activation": _chart(activation, "log10 RMS of each layer's output", "layer"),
        "flow/ribbon_gradient": _chart(gradient, "log10 RMS of ∂L/∂z", "layer"),
        "flow/time": _chart(time, "log10 ‖∂L/∂h_t‖", "time step"),
    }
    return {key: chart for key, chart in charts.items() if chart is not None}


def _chart(series: Mapping[str, Sequence[tuple[int, float]]], title: str, xname: str) -> Any:
    """A line chart; None where no value can be drawn."""
    import wandb

    points = {label: [(x, y) for x, y in curve if math.isfinite(y)] for label, curve in series.items()}
    points = {label: curve for label, curve in points.items() if curve}
    if not points:
        return None
    xs, ys = ([[point[axis] for point in curve] for curve in points.values()] for axis in (0, 1))
    return wandb.plot.line_series(xs, ys, list(points), title, xname)
