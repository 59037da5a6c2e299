"""What was measured, as plain records: no torch, so that a verdict or a picture can be had from a saved run.

`gradients.jsonl` holds one `GradientRecord` a line (see `jsonl.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..jsonl import read_lines


@dataclass(frozen=True)
class LayerRecord:
    """The gradient of one layer (all parameters of one module): L2 norm, numbers of NaN and infinite elements."""

    norm: float
    nan: int
    inf: int


@dataclass(frozen=True)
class GradientRecord:
    """One logged step.

    Args:
        step: Optimizer steps done before this one.
        total: Norm of the whole gradient before clipping.
        total_clipped: The same after clipping.
        totals: `total` of every step since the last record, this one last.
        clip_fraction: Share of these steps that clipping changed; None when clipping is off.
        layers: By module path, in the order of registration. A layer without gradient is not in it.
    """

    step: int
    total: float
    total_clipped: float
    totals: list[float]
    clip_fraction: float | None
    layers: dict[str, LayerRecord]

    @property
    def clip_coefficient(self) -> float:
        """What clipping multiplied the gradient's norm by; 1 where it left the gradient alone."""
        return self.total_clipped / self.total if self.total else 1.0


class History:
    """Records in the order of their steps; past `capacity` every second one is dropped, and of new ones as many.

    So it stays bounded and evenly spaced however long the run; the file keeps every record.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self.capacity = capacity
        self.records: list[GradientRecord] = []
        self._seen = 0
        self._stride = 1  # one in so many is kept

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[GradientRecord]:
        return iter(self.records)

    def append(self, record: GradientRecord) -> None:
        if self._seen % self._stride == 0:
            self.records.append(record)
        self._seen += 1
        if len(self.records) > self.capacity:
            del self.records[1::2]
            self._stride *= 2


def read_history(path: Path) -> History:
    """The history saved in `path`."""
    history = History()
    for plain in read_lines(path):
        layers = {
            name: LayerRecord(float(layer["norm"]), layer["nan"], layer["inf"])
            for name, layer in plain["layers"].items()
        }
        history.append(
            GradientRecord(
                step=plain["step"],
                total=float(plain["total"]),
                total_clipped=float(plain["total_clipped"]),
                totals=[float(total) for total in plain["totals"]],
                clip_fraction=plain["clip_fraction"],
                layers=layers,
            )
        )
    return history
