"""The keys that records have in W&B and in the journal; each has exactly one slash, which makes W&B's sections.

At most 15 scalars a log besides `grad_norm/*`: thousands of charts freeze a dashboard. The series of every layer
(`update_ratio/<layer> activation_rms/<layer> gradient_rms/<layer>`) are for those who ask for them.
"""

from __future__ import annotations

import statistics

from .history import GradientRecord, Record, UnitsRecord
from .profile import Profile


def of(record: Record, layer_series: bool, several: bool) -> dict[str, float]:
    """The values of a record; none for a NonFiniteRecord, which is no number.

    Args:
        record: Of any kind.
        layer_series: Whether with the series of each layer.
        several: Whether there are several optimizers; each then has keys of its own, `grad_norm/total_1`.
    """
    if isinstance(record, GradientRecord):
        return _of_gradients(record, layer_series, f"_{record.optimizer}" if several else "")
    if isinstance(record, Profile):
        return _of_profile(record, layer_series)
    return _of_units(record) if isinstance(record, UnitsRecord) else {}


def _of_gradients(record: GradientRecord, layer_series: bool, suffix: str) -> dict[str, float]:
    ratios = {name: row.update_ratio for name, row in record.layers.items() if row.update_ratio is not None}
    values = {f"grad_norm/{name}": row.norm for name, row in record.layers.items()}  # a layer may be called `total`
    values[f"grad_norm/total{suffix}"] = record.total
    if record.clip_fraction is not None:
        values[f"grad_norm/total_clipped{suffix}"] = record.total_clipped
        values[f"clip/coefficient{suffix}"] = record.clip_coefficient
        values[f"clip/fraction{suffix}"] = record.clip_fraction
    if record.scale is not None:
        values |= {"amp/scale": record.scale, "amp/skipped_steps": float(record.skipped)}
    values[f"grad_norm/nan{suffix}"] = float(sum(row.nan for row in record.layers.values()))
    values[f"grad_norm/inf{suffix}"] = float(sum(row.inf for row in record.layers.values()))
    if ratios:
        values[f"update_ratio/median{suffix}"] = statistics.median(ratios.values())
    if layer_series:
        values |= {f"update_ratio/{name}": ratio for name, ratio in ratios.items()}
    return values | {"perf/monitor_ms": record.monitor_ms}


def _of_profile(profile: Profile, layer_series: bool) -> dict[str, float]:
    """A probed step: factors per layer, decades over all of them, steps back in time until a tenth is left."""
    values: dict[str, float | None] = {
        "flow/backward_gain": profile.backward_gain,
        "flow/forward_gain": profile.forward_gain,
        "flow/decades": profile.backward.decades if profile.backward else None,
        "flow/fit_quality": profile.fit_quality,
    }
    if profile.times:
        values["flow/time_horizon"] = min(time.horizon or len(time.reach) for time in profile.times)
    saturated = [row.saturated for row in profile.layers if row.saturated is not None]
    values["units/saturated"] = max(saturated, default=None)
    if layer_series:
        values |= {f"activation_rms/{row.name}": row.activation_rms for row in profile.layers}
        values |= {f"gradient_rms/{row.name}": row.gradient_rms for row in profile.layers}
    return {key: value for key, value in values.items() if value is not None}


def _of_units(record: UnitsRecord) -> dict[str, float]:
    """The largest share of dead units in a layer."""
    return {"units/dead": max(record.dead.values(), default=0.0)}
