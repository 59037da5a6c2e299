"""Isometry: see, understand and cure vanishing and exploding gradients.

The public names load on first use (PEP 562), so that `import isometry.config` needs no torch and no lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build import initialize, load
    from .diagnostics.monitor import GradientMonitor
    from .diagnostics.probe import probe
    from .diagnostics.rules import diagnose

__version__ = "0.1.0"
__all__ = ["GradientMonitor", "diagnose", "initialize", "load", "probe"]

_HOMES = {
    "GradientMonitor": ".diagnostics.monitor",
    "diagnose": ".diagnostics.rules",
    "initialize": ".build",
    "load": ".build",
    "probe": ".diagnostics.probe",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
