"""What a system, torch or Lightning raises in a training, in words of ours: one table of kinds, each with what to do.

What none of them recognises stays an unexpected error with its traceback in `error.log`.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import torch

from .config import Config
from .errors import DataError, DistributedError, IsometryError, ResourceError


def in_words(error: Exception, folder: Path, config: Config) -> IsometryError | None:
    """The error that a user is shown for `error`; None: it is not one that is known.

    Args:
        error: From a training.
        folder: The run's.
        config: The run's.
    """
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return ResourceError(f"error: the GPU's memory is full: {text}\n  fix:   a smaller data.batch_size")
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        fix = "a smaller data.batch_size or model"
        return ResourceError(f"error: the memory is full: {text or 'Python got no more'}\n  fix:   {fix}")
    if isinstance(error, BrokenPipeError):
        return None  # whoever read the output has seen enough
    if isinstance(error, ConnectionError) or "DataLoader worker (pid" in text:
        look = "a worker of the DataLoader has died; one that takes too much memory is killed"
        return DataError(f"error: the data did not arrive: {text}\n  look:  {look}")
    if isinstance(error, OSError):
        return ResourceError(f"error: {text}\n  look:  is the disk of {folder} full or read-only?")
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return ResourceError(f"error: torch.compile failed: {text}\n  fix:   model.compile=false")
    if _is_of_another_process(error):
        return DistributedError(
            f"error: the processes of this training lost each other: {(text.splitlines() or [''])[0]}\n"
            f"  likely:    one ended, or gave no answer for trainer.ddp_timeout = {config.trainer.ddp_timeout:g} s;\n"
            "             what it said is above or in the run's error.log\n"
            f"  continue:  {continuing(folder)}"
        )
    return None


def continuing(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"python train.py {quote(f'resume={folder}')}"


def _is_of_another_process(error: Exception) -> bool:
    """Whether torch says so; what gloo says is a plain RuntimeError."""
    is_torchs = any(kind.__name__ == "DistError" for kind in type(error).__mro__)
    return is_torchs or any(words in str(error) for words in ("gloo", "pair closure"))
