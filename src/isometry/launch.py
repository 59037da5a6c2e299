"""How a run of a sweep is started: a process here, or a job of submitit's, on SLURM or, to try that, on this machine.

A process has a session of its own, so that Ctrl-C reaches the sweep alone, which hands it on. A job that its cluster
preempts by SIGUSR2, submitit's way, is queued again, and `resume=auto` goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from .config import Config
from .errors import ConfigError

# What would make one run take another's place.
_OF_ONE_RUN = ("ISOMETRY_RUN_FOLDER", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_RESUME")
_ASK_AGAIN = 2.0  # seconds; a cluster's files are asked for over a network


class Started(Protocol):
    """A run under way."""

    def exit_code(self) -> int | None:
        """None while it runs; above 128 the signal that killed it."""

    def stop(self, number: signal.Signals) -> None:
        """Send it a signal: to save and end, to leave at once, or SIGKILL."""


Launcher = Callable[[Sequence[str], Path], Started]


def launcher(config: Config, folder: Path) -> tuple[Launcher, int | None]:
    """What starts a run from its words and the file for what it says; CPU threads for each, where we share them out.

    Raises:
        ConfigError: A cluster is asked for and submitit is not installed, or does not take these resources.
    """
    start = _cluster(config, folder) if config.parallel.cluster else Process
    is_free = config.parallel.cluster == "slurm" or config.parallel.workers == 1 or "OMP_NUM_THREADS" in os.environ
    if is_free or config.threads is not None:
        return start, None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return start, max(1, cores // config.parallel.workers)


class Process:
    """A process of this machine."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in _OF_ONE_RUN}
        # Code of the user's that lies beside train.py is found from a process that starts otherwise, too.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (sys.path[0], os.environ.get("PYTHONPATH"))))
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

    def __init__(self, words: Sequence[str], log: Path, devices: str | None) -> None:
        self.words, self.log, self.devices = list(words), log.resolve(), devices

    def __call__(self) -> int:
        """The exit code."""
        from .cli import main

        for name in _OF_ONE_RUN:
            os.environ.pop(name, None)
        if self.devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.devices
        elif (os.environ.get("SUBMITIT_EXECUTOR"), os.environ.get("CUDA_VISIBLE_DEVICES")) == ("local", ""):
            del os.environ["CUDA_VISIBLE_DEVICES"]  # which submitit hides from a local job that asks for none
        with self.log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        return main(["train", *self.words])

    def checkpoint(self) -> Any:
        """Submitit's name for what to queue when the cluster takes the machine away: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Job:
    """A job of submitit's, which may have several tasks."""

    def __init__(self, job: Any, *, is_local: bool) -> None:
        self._job, self._is_local = job, is_local
        self._asked = -_ASK_AGAIN
        self._is_stopped = False

    def exit_code(self) -> int | None:
        if time.monotonic() < self._asked + _ASK_AGAIN:
            return None
        self._asked = time.monotonic()
        if not self._job.done(force_check=self._is_stopped):
            return None
        try:
            return max(map(int, self._job.results()))
        except Exception as error:  # killed, out of memory or time, or the node is gone
            print(f"job {self._job.job_id}: {(str(error).splitlines() or [''])[0]}", file=sys.stderr, flush=True)
            return 1

    def stop(self, number: signal.Signals) -> None:
        self._is_stopped = True
        if self._is_local:  # whose `cancel` would kill after a second
            os.kill(int(self._job.job_id), number if number == signal.SIGKILL else signal.SIGTERM)
        else:
            self._job.cancel(check=False)


def _cluster(config: Config, folder: Path) -> Launcher:
    try:
        import submitit
    except ImportError:
        raise ConfigError(
            "error: parallel.cluster needs submitit, which is missing\n  fix:   pip install 'isometry[cluster]'"
        ) from None
    resources, is_local = config.parallel.resources or {}, config.parallel.cluster == "local"
    try:
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=config.parallel.cluster)
        executor.update_parameters(**{"name": folder.name, "timeout_min": 24 * 60} | resources)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"error: submitit does not take this: {error}\n  fix:   parallel.cluster, parallel.resources"
        ) from None
    devices = os.environ.get("CUDA_VISIBLE_DEVICES") if is_local and "gpus_per_node" not in resources else None
    return lambda words, log: Job(executor.submit(Training(words, log, devices)), is_local=is_local)
