"""How a run of a sweep is started: a process here, or a job of submitit's, on SLURM or, to try that, on this machine.

Both are watched and stopped alike. A process has a session of its own, so that Ctrl-C reaches the sweep alone, which
hands it on. A job that its cluster preempts is queued again, and `resume=auto` goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from .config import Config
from .errors import ConfigError

Main = Callable[[Sequence[str]], int]
# What would make one run take another's place.
_OF_ONE_RUN = ("ISOMETRY_RUN_FOLDER", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_RESUME")


class Started(Protocol):
    """A run under way."""

    def exit_code(self) -> int | None:
        """None while it runs; above 128 the signal that killed it."""

    def stop(self, number: signal.Signals) -> None:
        """Ask it to save and end."""


Launcher = Callable[[Sequence[str], Path], Started]


def launcher(config: Config, folder: Path, main: Main) -> tuple[Launcher, int | None]:
    """What starts a run from its words and the file for what it says; CPU threads for each, where we share them out.

    Raises:
        ConfigError: A cluster is asked for and submitit is not installed, or does not take these resources.
    """
    if config.parallel.cluster:
        return _cluster(config, folder, main), None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Process, max(1, cores // config.parallel.workers) if config.parallel.workers > 1 else None


class Process:
    """A process of this machine."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in _OF_ONE_RUN}
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", str(__package__), "train", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


class Training:
    """What a job does: `python train.py` of these words. It travels to the job as a pickle."""

    def __init__(self, words: Sequence[str], log: Path, main: Main) -> None:
        self.words, self.log, self.main = list(words), log.resolve(), main

    def __call__(self) -> int:
        """The exit code."""
        for name in _OF_ONE_RUN:
            os.environ.pop(name, None)
        with self.log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        return self.main(["train", *self.words])

    def checkpoint(self) -> Any:
        """Submitit's name for what to queue when the cluster takes the machine away: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Job:
    """A job of submitit's."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def exit_code(self) -> int | None:
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception as error:  # killed, out of memory or time, or the node is gone: submitit's log says which
            print(f"job {self._job.job_id}: {(str(error).splitlines() or [''])[0]}", file=sys.stderr, flush=True)
            return 1

    def stop(self, number: signal.Signals) -> None:
        self._job.cancel(check=False)


def _cluster(config: Config, folder: Path, main: Main) -> Launcher:
    try:
        import submitit
    except ImportError:
        raise ConfigError(
            "error: parallel.cluster needs submitit, which is not installed\n  fix:   pip install 'isometry[cluster]'"
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=config.parallel.cluster)
        executor.update_parameters(**{"name": folder.name, "timeout_min": 24 * 60} | (config.parallel.resources or {}))
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"error: submitit does not take this: {error}\n  fix:   parallel.cluster, parallel.resources"
        ) from None
    return lambda words, log: Job(executor.submit(Training(words, log, main)))
