"""W&B's id of a run folder: by it a run that is continued goes on there, too, and a dashboard finds it."""

from __future__ import annotations

from pathlib import Path


def wandb_id(folder: Path) -> str:
    """From the name of W&B's own folder in it, `wandb/offline-run-20261124_174517-ab12cd34`; empty without one."""
    known = sorted(path.name.partition("run-")[2] for path in folder.glob("wandb/*run-*-*"))
    return known[-1].partition("-")[2] if known else ""
