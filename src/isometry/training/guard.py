"""Ctrl-C and SIGTERM, as errors that say how to go on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ..errors import CheckpointError, Interrupted, Terminated
from .checkpoints import LATEST, find_checkpoint


def guarded(trainer: Trainer, folder: Path, call: Callable[[], Any]) -> Any:
    """`call`, with Ctrl-C and SIGTERM as errors of our own: Lightning would exit with 1 and with 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        return call()
    except SIGTERMException:
        raise Terminated(f"terminated {_how_to_go_on(trainer, folder)}") from None
    except SystemExit:
        raise Interrupted(f"interrupted {_how_to_go_on(trainer, folder)}") from None
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further Ctrl-C while it shuts down


def _how_to_go_on(trainer: Trainer, folder: Path) -> str:
    with suppress(CheckpointError):
        newest = find_checkpoint(folder, LATEST)
        return (
            f"at step {trainer.global_step}; the newest checkpoint is {newest}\n"
            f"  continue:  python train.py ckpt_path={folder}"
        )
    return f"at step {trainer.global_step}, before the first checkpoint"
