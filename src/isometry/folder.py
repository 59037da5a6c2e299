"""A run's folder: new or its own continuation, the same in every process, never written over, owned by one run."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

from pytorch_lightning.utilities import rank_zero_only

from .config import Config
from .errors import CheckpointError, ConfigError, ResourceError
from .lock import lock, unlock

# Tells the processes that Lightning starts for strategy=ddp where the first one writes.
_VARIABLE = "ISOMETRY_RUN_FOLDER"
_locks: dict[Path, TextIO] = {}  # held by this process; the system lets go of them however it ends


def is_first_process() -> bool:
    """Whether this process speaks and writes for all; Lightning reads the launcher's environment for it."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def enter_folder(config: Config) -> Path:
    """The run's folder, the same in every process; only the first one makes and checks it.

    Raises:
        CheckpointError: The folder holds a run, or another process is at work in it.
        ConfigError: Several processes were started without a `run_name`.
        ResourceError: The folder cannot be written.
    """
    if _VARIABLE in os.environ:
        return Path(os.environ[_VARIABLE])
    several = max(int(os.environ.get(name) or 1) for name in ("WORLD_SIZE", "SLURM_NTASKS")) > 1
    if several and config.run_name is None:
        raise ConfigError("error: several processes must know the run's folder from the start\n  fix:   run_name=NAME")
    folder = _place(config)
    if is_first_process():
        _make(folder, config)
        os.environ[_VARIABLE] = str(folder.resolve())
    return folder


def leave_folder(folder: Path) -> None:
    """Forget the folder, so that the next run of this process gets its own; a run that wrote nothing leaves none."""
    os.environ.pop(_VARIABLE, None)
    if is_first_process():
        if folder in _locks:
            unlock(folder, _locks.pop(folder))
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _place(config: Config) -> Path:
    """`run_name`, else time and a readable slug."""
    runs_dir = Path(config.runs_dir).expanduser()
    if config.run_name:
        return runs_dir / config.run_name
    slug = "-".join((config.model.name, config.init.name, config.norm.name, config.data.name, f"s{config.seed}"))
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{slug.replace(':', '.').replace('/', '.')}"
    folder, number = runs_dir / name, 1
    while folder.exists():  # two runs started in the same second
        number += 1
        folder = runs_dir / f"{name}-{number}"
    return folder


def _make(folder: Path, config: Config) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.resume is None and any((folder / name).exists() for name in ("metrics.jsonl", "checkpoints")):
            raise CheckpointError(
                f"error: {folder} already holds a run\n  fix:   another run_name   or   resume=auto to continue it"
            )
        _locks[folder] = lock(folder)
    except OSError as error:
        raise ResourceError(
            f"error: cannot write into {folder}: {error.strerror}\n  fix:   runs_dir=A_FOLDER_YOU_MAY_WRITE"
        ) from None
