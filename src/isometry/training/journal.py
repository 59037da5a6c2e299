"""The journal `metrics.jsonl`: every logged value, one JSON object a line, whatever else logs or fails.

A Lightning logger like any other. Each line is given to the system when it is written, and fsynced with each checkpoint
(`checkpoints.py`). NaN and infinities are kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from ..jsonl import Appender, to_line


class Journal(Logger):
    """Appends to `path`; only the first process writes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = Appender(path)

    @property
    def name(self) -> str:
        return "journal"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        values = {key: float(value) for key, value in metrics.items()}
        if "epoch" in values:
            values["epoch"] = int(values["epoch"])
        self._file.append(to_line({"step": step, "time": round(time.time(), 3), **values}))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The configuration has a file of its own, config.yaml."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self._file.close()
