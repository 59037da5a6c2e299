"""JSON lines as a run's folder holds them: strict JSON, with NaN and infinities as texts that `float()` reads.

Torch-free. A file is appended to line by line, so a kill tears at most its last line, which reading ignores.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

_TAIL = 1 << 20  # bytes; no line is longer


def to_line(record: Mapping[str, Any]) -> str:
    """One line, without its end: `{"step": 3, "grad_norm/total": "NaN"}`."""
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:  # rare, and looking for them costs more than writing
        return json.dumps(_plain(record), allow_nan=False)


def open_to_append(path: Path) -> TextIO:
    """The file, open for more lines; its folder is made, and a last line that a kill has torn is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        with open(path, "rb+") as file:
            start = max(file.seek(0, os.SEEK_END) - _TAIL, 0)
            file.seek(start)
            file.truncate(start + file.read().rfind(b"\n") + 1)
    return open(path, "a", encoding="utf-8")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, up to the first torn line."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                return
            yield record


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
