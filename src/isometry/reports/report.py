"""Everything that can be drawn of a run, from its folder alone: at the end of a run, or later, or after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..diagnostics.history import History
from ..errors import CheckpointError, IsometryError
from . import plots
from .html import history_in, write_report

# File stem -> how it is drawn, and when it applies.
_PICTURES: dict[str, tuple[Callable[[History, Path], None], Callable[[History], object]]] = {
    "depth_ribbon": (plots.depth_ribbon, lambda history: history.profiles),
    "time_profile": (plots.time_profile, lambda history: any(profile.times for profile in history.profiles)),
    "gradient_norms": (plots.gradient_norms, lambda history: history.records),
    "gradient_histogram": (plots.gradient_histogram, plots.last_histograms),
}


def draw(folder: Path) -> list[Path]:
    """The files made: the pictures that apply to the run, and `report.html` last.

    A picture that cannot be drawn is reported in a line and costs nothing else.

    Raises:
        CheckpointError: `folder` holds no run, or a gradient history that this version cannot read.
    """
    if not any((folder / name).is_file() for name in ("gradients.jsonl", "metrics.jsonl")):
        raise CheckpointError(
            f"error: {folder} holds no run: neither gradients.jsonl nor metrics.jsonl is there\n"
            "  fix:   isometry report runs/NAME"
        )
    history = _read(folder)
    made = []
    for stem, (picture, applies) in _PICTURES.items():
        path = folder / f"{stem}.png"
        try:
            if applies(history):
                picture(history, path)
                made.append(path)
        except IsometryError:  # a signal that came meanwhile
            raise
        except Exception as error:  # whatever is odd about a history, the run's other pictures are wanted
            print(f"pictures {path.name} could not be drawn: {error}", flush=True)
    return [*made, write_report(folder, history)]


def _read(folder: Path) -> History:
    try:
        return history_in(folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"error: {folder / 'gradients.jsonl'} is not a gradient history of this version ({error!r})\n"
            "  fix:   the version that made the run draws it"
        ) from None
