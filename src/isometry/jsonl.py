"""JSON lines as a run's folder holds them: strict JSON, with NaN and infinities as texts that `float()` reads.

Torch-free. A file is appended to line by line, so a kill tears at most its last line, which reading ignores.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

_TAIL = 1 << 20  # bytes; no line is longer


def to_line(record: Mapping[str, Any]) -> str:
    """One line, without its end: `{"step": 3, "grad_norm/total": "NaN"}`."""
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:  # rare, and looking for them costs more than writing
        return json.dumps(_plain(record), allow_nan=False)


class Appender:
    """A file that lines are appended to, each on its way to the disk when it is written. Its folder is made.

    A last line that a kill has torn is cut off first. Where the disk refuses, lines wait in memory and are written with
    the next one that it takes; whoever writes is not stopped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None
        self._waiting: list[bytes] = []
        self._is_refused = False

    def append(self, line: str) -> None:
        self._waiting.append(f"{line}\n".encode())
        try:
            self._write()
        except OSError as error:
            if not self._is_refused:
                print(f"{self.path} cannot be written ({error.strerror}): its lines wait in memory", flush=True)
            self._is_refused = True

    def close(self) -> None:
        """What the disk refuses to the last is lost, and said to be."""
        try:
            self._write()
        except OSError as error:
            print(
                f"{self.path} could not be written ({error.strerror}): {len(self._waiting)} lines are lost", flush=True
            )
        if self._file is not None:
            self._file.close()
        self._file, self._waiting = None, []

    def _write(self) -> None:
        while self._waiting:
            self._file = self._file or _open_whole(self.path)
            end = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(self._waiting[0]) < len(self._waiting[0]):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                self._file.truncate(end)  # half a line in the middle would end the reading
                raise
            del self._waiting[0]
        self._is_refused = False


def _open_whole(path: Path) -> FileIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "ab+", buffering=0)  # noqa: SIM115 (the caller closes it)
    start = max(file.seek(0, os.SEEK_END) - _TAIL, 0)
    file.seek(start)
    file.truncate(start + file.read().rfind(b"\n") + 1)
    return file


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
