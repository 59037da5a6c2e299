"""One owner at a time for a folder: two processes would write over each other's files, so the second stops at once."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from .errors import CheckpointError

LOCK = ".lock"


def lock(folder: Path) -> TextIO:
    """The lock, held until the file is closed; the system lets go of it however the process ends.

    Raises:
        CheckpointError: Another process is at work in the folder.
    """
    path = folder / LOCK
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held as long as the owner likes)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise CheckpointError(
            f"error: {folder} is in use by {owner}\n  fix:   wait for it, or another run_name"
        ) from None
    if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        file.close()
        return lock(folder)  # its owner has just left, and taken the file along
    file.truncate(0)
    print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
    return file


def unlock(folder: Path, file: TextIO) -> None:
    """Let go of the folder, and leave nothing behind."""
    (folder / LOCK).unlink(missing_ok=True)
    file.close()
