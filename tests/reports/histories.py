"""Made histories whose every number is known: what a vanishing, a healthy, an exploding … run would have left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isometry.diagnostics.history import GradientRecord, History, LayerRecord, NonFiniteRecord, encode
from isometry.diagnostics.profile import LayerProfile, Profile, TimeProfile


def profile(step: int, gain: float, count: int, top: float = 0.01, expected: float | None = None) -> Profile:
    """`count` layers of one shape whose ∂L/∂z shrinks by `gain` a layer on its way back from `top`."""
    layers = tuple(
        LayerProfile(
            f"network.layer{i}",
            i + 1,
            (64,),
            activation_rms=1.0,
            activation_mean=0.0,
            gradient_rms=top * gain ** (count - 1 - i),
            dead=0.125,
            saturated=None,
            expected_backward=expected,
        )
        for i in range(count)
    )
    return Profile(step, layers)


def record(step: int, norms: Sequence[float], ratio: float | None = 1e-3, **changes: Any) -> GradientRecord:
    """A logged step of layers with these norms."""
    layers = {f"network.layer{i}": LayerRecord(norm, update_ratio=ratio) for i, norm in enumerate(norms)}
    total = math.sqrt(sum(norm**2 for norm in norms))
    plain = {"total": total, "total_clipped": total, "totals": [total], "clip_fraction": None, "layers": layers}
    return GradientRecord(step, **plain | changes)


def history(*records: Any) -> History:
    made = History()
    for one in records:
        made.append(one)
    return made


def vanishing() -> History:
    """30 layers under Xavier: ×0.7071 a layer, and so it stays."""
    steps = range(0, 500, 50)
    profiles = [profile(step, 0.5**0.5, 30, expected=0.5**0.5) for step in steps]
    return history(*profiles, *(record(step, [1e-3] * 30) for step in steps))


def exploding() -> History:
    """×3 a layer, and NaN in the first layers of the last profile."""
    last = profile(100, 3.0, 20, top=1.0)
    broken = tuple(
        LayerProfile(layer.name, layer.depth, layer.shape, 1.0, 0.0, math.nan, nonfinite=7)
        if layer.depth <= 4
        else layer
        for layer in last.layers
    )
    found = NonFiniteRecord(100, 3, "network.layer2", "network.layer0.weight", [5, 9], False, "nonfinite.pt")
    records = [record(step, [10.0**step * (21 - i) for i in range(20)]) for step in range(0, 100, 10)]
    bad = record(100, [math.nan] * 4 + [1e3] * 16, total=math.nan, totals=[math.nan], total_clipped=math.nan)
    return history(profile(0, 3.0, 20), Profile(100, broken), *records, bad, found)


def recurrent() -> History:
    """Two recurrent layers over 28 steps, one forgets by ×0.58 a step, one by ×0.97."""
    made = history(*(record(step, [1e-2, 1e-2]) for step in (0, 50, 100)))
    for step in (0, 50, 100):
        layers = profile(step, 0.9, 2).layers
        times = tuple(
            TimeProfile(name, tuple(gain ** (27 - t) for t in range(28)))
            for name, gain in (("network.forward", 0.58 + step / 1000), ("network.backward", 0.97))
        )
        made.append(Profile(step, layers, times))
    return made


def save(folder: Path, made: History) -> None:
    """`gradients.jsonl` as a run writes it."""
    records = [*made.records, *made.profiles, *made.units, *made.nonfinite]
    (folder / "gradients.jsonl").write_text("".join(encode(one) + "\n" for one in records))
