"""What was measured, as plain records: no torch, so that a verdict or a picture can be had from a saved run.

`gradients.jsonl` holds one record a line (see `jsonl.py`), `{"kind": "step", …}`:

    step        GradientRecord    a logged step: norms before and after clipping, of each layer; update ratios
    profile     Profile           a probed step: the depth profile (see `profile.py`)
    units       UnitsRecord       units that stayed silent over a window of at least 1,000 samples
    nonfinite   NonFiniteRecord   the first NaN or infinity: where, and in which samples
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..jsonl import read_lines, to_line
from .profile import LayerProfile, Profile, TimeProfile


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One layer (all parameters of one module that have a gradient) at one logged step.

    Args:
        norm: L2 norm of its gradient.
        nan, inf: NaN and infinite elements of the gradient.
        zeros: Share of the gradient's elements that are exactly zero.
        weight_norm: ‖w‖ before the step; None where only `norm`, `nan` and `inf` were taken (a step that is recorded
            for its NaN alone).
        update_ratio: ‖Δw‖/‖w‖ of the step, from the weights themselves; None where w was zero.
        histogram: Elements with 10^k <= |g| < 10^(k+1), by k; None unless asked for.
    """

    norm: float
    nan: int = 0
    inf: int = 0
    zeros: float = 0.0
    weight_norm: float | None = None
    update_ratio: float | None = None
    histogram: dict[str, int] | None = None


@dataclass(frozen=True)
class GradientRecord:
    """One logged step of one optimizer.

    Args:
        step: Optimizer steps done before this one.
        total: Norm of the whole gradient before clipping.
        total_clipped: The same after clipping.
        totals: `total` of every step since the last record, this one last.
        clip_fraction: Share of these steps that clipping changed; None when clipping is off.
        layers: By module path, in the order of registration; those without a gradient are not in it.
        optimizer: Which of the Trainer's optimizers.
        frozen: Layers none of whose parameters wants a gradient.
        unused: Layers that want a gradient and got none.
        skipped: Steps since the last record that the loss scaler skipped for an overflow.
        scale: The loss scale, under fp16.
        monitor_ms: Time the monitor took for a step, mean since the last record.
        losses: Of each step in `totals`: what was differentiated for it, without the scale; empty where unknown.
        lr: The largest learning rate among the optimizer's groups.
    """

    step: int
    total: float
    total_clipped: float
    totals: list[float]
    clip_fraction: float | None
    layers: dict[str, LayerRecord]
    optimizer: int = 0
    frozen: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    skipped: int = 0
    scale: float | None = None
    monitor_ms: float = 0.0
    losses: list[float] = field(default_factory=list)
    lr: float | None = None

    @property
    def clip_coefficient(self) -> float:
        """What clipping multiplied the gradient's norm by; 1 where it left the gradient alone."""
        return self.total_clipped / self.total if self.total else 1.0


@dataclass(frozen=True)
class UnitsRecord:
    """Share of dead units by layer: exactly zero in every sample of a window.

    Args:
        step: Where the window was opened.
        until: Where it was closed.
        samples: How many it held.
        dead: By the name of the weight layer before the activation.
    """

    step: int
    until: int
    samples: int
    dead: dict[str, float]


@dataclass(frozen=True)
class NonFiniteRecord:
    """The first NaN or infinity of a training.

    Args:
        step: Optimizer steps done before.
        batch_idx: Of the batch in its epoch; None where it was noticed later.
        module: The first module, in the order of execution, whose output is not finite; None: the forward pass was.
        parameter: The first parameter or layer, in the order of the backward pass, whose gradient is not finite.
        samples: Positions in the batch whose values are not finite there; empty where they cannot be told apart.
        inputs: Whether the batch itself holds such values.
        file: What replays it: the batch, the weights and the random state before the step.
    """

    step: int
    batch_idx: int | None
    module: str | None
    parameter: str | None
    samples: list[int]
    inputs: bool
    file: str | None


Record = GradientRecord | Profile | UnitsRecord | NonFiniteRecord
_KINDS: dict[str, type[Record]] = {
    "step": GradientRecord,
    "profile": Profile,
    "units": UnitsRecord,
    "nonfinite": NonFiniteRecord,
}


Row = TypeVar("Row")


class _Thinned(list[Any]):
    """Records as they came, evenly thinned to about `capacity`: of each optimizer one in so many, and the newest."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self._ranks: list[int] = []  # of each record among those of its optimizer
        self._seen: dict[int, int] = {}  # by optimizer
        self._stride = 1  # one in so many is kept

    def append(self, record: Any) -> None:
        optimizer = getattr(record, "optimizer", 0)
        if self and self._ranks[-1] % self._stride:  # was kept as the newest alone
            self.pop()
            self._ranks.pop()
        super().append(record)
        self._ranks.append(self._seen.get(optimizer, 0))
        self._seen[optimizer] = self._ranks[-1] + 1
        if len(self) > self.capacity:
            self._thin()

    def _thin(self) -> None:
        self._stride *= 2
        kept = [i for i, rank in enumerate(self._ranks) if rank % self._stride == 0 or i == len(self) - 1]
        self[:] = [self[i] for i in kept]
        self._ranks = [self._ranks[i] for i in kept]


Stepped = TypeVar("Stepped", GradientRecord, Profile)


def in_order(records: Iterable[Stepped]) -> list[Stepped]:
    """By step, of several optimizers one after another; of a step that a continued run did again, the later record."""
    newest = {(record.step, getattr(record, "optimizer", 0)): record for record in records}
    return [newest[key] for key in sorted(newest)]


class History:
    """All records of a run, each kind thinned evenly to at most `capacity`, however long it is; the file keeps all."""

    def __init__(self, capacity: int = 512) -> None:
        self.records: list[GradientRecord] = _Thinned(capacity)
        self.profiles: list[Profile] = _Thinned(capacity)
        self.units: list[UnitsRecord] = _Thinned(capacity)
        self.nonfinite: list[NonFiniteRecord] = _Thinned(capacity)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[GradientRecord]:
        return iter(self.records)

    def append(self, record: Record) -> None:
        homes: dict[type[Record], list[Any]] = {
            GradientRecord: self.records,
            Profile: self.profiles,
            UnitsRecord: self.units,
            NonFiniteRecord: self.nonfinite,
        }
        homes[type(record)].append(record)


def encode(record: Record) -> str:
    """One line of `gradients.jsonl`, without its end: layers in columns, six digits, no column of defaults alone."""
    kind = next(kind for kind, its_type in _KINDS.items() if its_type is type(record))
    plain = {each.name: _plain(getattr(record, each.name)) for each in fields(record)}
    return to_line({"kind": kind, **plain})


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict) and value and isinstance(next(iter(value.values())), LayerRecord):
        return {"layer": list(value), **_columns(list(value.values()))}
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return _columns(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _columns(rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Dataclasses of one kind as a table, field by field."""
    table = {}
    for each in fields(rows[0]):
        column = [getattr(row, each.name) for row in rows]
        if column.count(each.default) < len(column):
            table[each.name] = _plain(column)
    return table


def read_history(path: Path) -> History:
    """The history saved in `path`."""
    history = History()
    for line in read_lines(path):
        history.append(_revive(line))
    return history


def decode(line: str) -> Record:
    """The record that `encode` made a line of, with the six digits that it has there."""
    return _revive(json.loads(line))


def _revive(line: Mapping[str, Any]) -> Record:
    plain = _numbers(line)
    kind = plain.pop("kind")
    if kind == "step":
        names = plain["layers"].pop("layer", [])
        plain["layers"] = dict(zip(names, _rows(LayerRecord, plain["layers"]), strict=True))
    if kind == "profile":
        plain["layers"], plain["times"] = _rows(LayerProfile, plain["layers"]), _rows(TimeProfile, plain["times"])
    return _KINDS[kind](**plain)


def _rows(row_type: type[Row], columns: Mapping[str, Sequence[Any]]) -> tuple[Row, ...]:
    """The dataclasses of a table; their sequences are tuples."""
    rows = zip(*columns.values(), strict=True) if columns else ()
    return tuple(
        row_type(**{name: tuple(v) if isinstance(v, list) else v for name, v in zip(columns, row, strict=True)})
        for row in rows
    )


def _numbers(value: Any) -> Any:
    """NaN and infinities, which JSON holds as texts, as numbers again."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
