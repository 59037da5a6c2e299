"""The suite's modules are scripts of benchmarks/diagnosis, imported by their bare names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "diagnosis"))
