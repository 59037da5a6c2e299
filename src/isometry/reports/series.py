"""The numbers behind a picture or table: which records it shows, in which order, and as log10. Nothing is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..diagnostics.history import GradientRecord, History, in_order
from ..diagnostics.profile import LayerProfile, Profile


def log10(size: float | None) -> float:
    """NaN for what has no logarithm: None, zero, NaN and infinities. Exact far below the smallest float32."""
    return math.log10(size) if size is not None and math.isfinite(size) and size > 0 else math.nan


def by_optimizer(history: History) -> dict[int, list[GradientRecord]]:
    """The logged steps of each optimizer, in order."""
    numbers = sorted({record.optimizer for record in history})
    return {number: in_order(record for record in history if record.optimizer == number) for number in numbers}


def chosen(history: History, count: int) -> list[Profile]:
    """At most `count` profiles: the first, the last and log-spaced ones between, since training moves most early on."""
    profiles = {profile.step: profile for profile in in_order(history.profiles)}
    if len(profiles) <= count:
        return list(profiles.values())
    first, *between, last = profiles
    kept = [first, last]
    for wanted in first - 1 + np.geomspace(1, last - first + 1, count)[1:-1]:
        nearest = int(np.argmin([abs(step - wanted) for step in between]))
        kept.append(between.pop(nearest))
    return [profiles[step] for step in sorted(kept)]


def layer_names(profiles: Iterable[Profile]) -> list[str]:
    """All layers of the profiles by depth, also those that were not there from the first step on."""
    depths: dict[str, int] = {}
    for profile in profiles:
        for layer in profile.layers:
            depths[layer.name] = max(layer.depth, depths.get(layer.name, 0))
    return sorted(depths, key=lambda name: depths[name])


def update_ratios(history: History, step: int) -> dict[str, float]:
    """‖Δw‖/‖w‖ by module path, of each optimizer's logged step nearest to `step` that has any."""
    found: dict[str, float] = {}
    for records in by_optimizer(history).values():
        by_distance = sorted(records, key=lambda record: abs(record.step - step))
        ratios = (
            {n: r.update_ratio for n, r in rec.layers.items() if r.update_ratio is not None} for rec in by_distance
        )
        found |= next(filter(None, ratios), {})
    return found


def dead_share(history: History, layer: LayerProfile) -> float | None:
    """Share of dead units behind a layer: of the profile's own batch, else of the last window that watched it."""
    if layer.dead is not None:
        return layer.dead
    return next((window.dead[layer.name] for window in reversed(history.units) if layer.name in window.dead), None)


def unusable_layers(profile: Profile) -> list[str]:
    """Layers with a NaN or an infinity in their output or in the gradient that reaches it."""
    sizes = {layer.name: (layer.activation_rms, layer.gradient_rms or 0.0) for layer in profile.layers}
    counted = {layer.name for layer in profile.layers if layer.nonfinite}
    return [name for name, both in sizes.items() if name in counted or not all(map(math.isfinite, both))]
