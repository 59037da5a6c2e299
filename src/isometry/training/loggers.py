"""Weights & Biases as a guest: it never asks, never stops or delays a training for long, and its run always ends.

Online with a key, else offline with one line that says how to look and how to upload. The run is started here and
handed to Lightning's WandbLogger, which would set WANDB_MODE for the whole process and reuse a run that is still open.
What W&B does is done by a process of its own, `wandb-core`, which can die or hang: the first call that fails is told
in one line and the last one made, and a call that is not answered in time ends that process, so that it fails.
"""

from __future__ import annotations

import netrc
import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from threading import Timer
from typing import Any
from urllib.parse import urlparse
from weakref import WeakSet

from pytorch_lightning.loggers import CSVLogger, WandbLogger

from ..errors import IsometryError
from ..jsonl import read_lines
from ..wandb_id import wandb_id

INIT_TIMEOUT = 30  # seconds a server may take to answer before the run goes offline
CALL_TIMEOUT = 30  # seconds W&B's process may take over one call
FINISH_TIMEOUT = 60  # seconds the last upload may take
GRACE = 10  # seconds more for W&B's process to keep to these itself

_failed: WeakSet[WandbLogger] = WeakSet()  # those of which it was said


def none(folder: Path) -> None:
    """The journal alone."""


def csv_logger(folder: Path) -> CSVLogger:
    """`metrics.csv` in the run's folder.

    Lightning's logger starts the file anew. Where the run goes on, the rows up to there are taken from the journal,
    which was cut back to its checkpoint.
    """
    logger, journal = CSVLogger(folder, name="", version="csv"), folder / "metrics.jsonl"
    if journal.is_file():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
            _ = logger.experiment  # deletes the file, and warns of that
        for row in read_lines(journal):
            values = {key: float(value) for key, value in row.items() if key not in ("step", "time", "epoch")}
            logger.log_metrics(values | ({"epoch": row["epoch"]} if "epoch" in row else {}), row["step"])
    return logger


def wandb_logger(
    folder: Path,
    *,
    project: str,
    name: str,
    entity: str | None,
    group: str | None,
    job_type: str | None,
    tags: Sequence[str],
    notes: str | None,
    mode: str,
    config: Mapping[str, Any],
) -> tuple[WandbLogger | None, str]:
    """A logger, and one line that says which mode and why. None where W&B does not start at all.

    Its run is a fresh one, or that of the folder where there is one: a continued training goes on under the same id.
    """
    options: dict[str, Any] = {"project": project, "name": name, "entity": entity, "group": group, "notes": notes}
    options |= {"job_type": job_type, "tags": list(tags), "config": dict(config)}
    known = wandb_id(folder) or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
    options |= {"id": known, "resume": "allow"}
    # Else it asks for its server to report to, also offline, and waits for the answer when Python exits.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        return _make(folder, mode, options)
    except IsometryError:  # a signal that came meanwhile
        raise
    except Exception as error:  # it is not installed, its service does not start, its folder cannot be written …
        return None, f"W&B did not start ({_reason(error)}); the journal metrics.jsonl has every value"


class GuestWandbLogger(WandbLogger):
    """Lightning's logger, but when W&B fails it says so once and falls silent: the training goes on."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        attempt(self, lambda: super(GuestWandbLogger, self).log_metrics(metrics, step))


def attempt(logger: WandbLogger, call: Callable[[], object]) -> None:
    """Make a call to W&B that nothing depends on, unless one of this logger has failed before."""
    if logger not in _failed:
        _guarded(logger, call, CALL_TIMEOUT)


def log_results(
    logger: WandbLogger, summary: Mapping[str, Any], pictures: Sequence[Path], charts: Mapping[str, Any]
) -> None:
    """The run's summary, its PNG files as W&B images, and charts of W&B's own."""
    import wandb

    def log() -> None:
        images = {f"media/{path.stem}": wandb.Image(str(path)) for path in pictures}
        logger.experiment.log({**images, **charts})
        logger.experiment.summary.update(dict(summary))

    attempt(logger, log)


def finish_wandb(logger: WandbLogger, exit_code: int) -> None:
    """End the logger's run, also one that has failed."""
    _guarded(logger, lambda: logger.experiment.finish(exit_code=exit_code), FINISH_TIMEOUT + GRACE)
    if logger in _failed:
        _end_service()  # the next run of this process starts another


def _guarded(logger: WandbLogger, call: Callable[[], object], seconds: float) -> None:
    try:
        with _deadline(seconds):
            call()
    except IsometryError:  # a signal that came meanwhile
        raise
    except Exception as error:  # its service process died, its disk is full, its server is gone …
        if logger not in _failed:
            run: Any = logger._experiment  # `experiment` would start one where there is none yet
            rest = f", upload what W&B has: wandb sync {_place(run)}" if run else ""
            print(f"W&B stopped ({_reason(error)}); the journal metrics.jsonl has every value{rest}", flush=True)
        _failed.add(logger)


def _make(folder: Path, mode: str, options: Mapping[str, Any]) -> tuple[WandbLogger | None, str]:
    chosen, reason = _choose_mode(mode)
    if chosen == "disabled":
        return None, f"W&B disabled ({reason})"
    try:
        run = _start(folder, chosen, options)
    except Exception as error:
        if isinstance(error, IsometryError) or chosen == "offline":
            raise
        chosen, reason = "offline", f"the server did not take the run: {_reason(error)}"
        _end_service()
        run = _start(folder, chosen, options)
    logger = GuestWandbLogger(experiment=run, project=options["project"], save_dir=folder)
    return logger, _say(chosen, reason, run)


def _choose_mode(mode: str) -> tuple[str, str]:
    wanted, reason = mode, f"wandb.mode={mode}"
    if mode == "auto":
        variable = os.environ.get("WANDB_MODE", "").lower()
        named = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
        wanted, reason = named.get(variable, "auto"), f"WANDB_MODE={variable}"
    if wanted in ("offline", "disabled"):
        return wanted, reason
    if _has_key():
        return "online", "an API key was found" if wanted == "auto" else reason
    return "offline", "no API key" if wanted == "auto" else f"{reason}, but there is no API key"  # it would ask for one


def _has_key() -> bool:
    """Whether W&B could log in without asking: an environment variable or a netrc entry."""
    import wandb

    settings = wandb.setup(wandb.Settings(silent=True)).settings  # the login speaks before a run's own settings hold
    if settings.api_key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(urlparse(settings.base_url).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _start(folder: Path, mode: Any, options: Mapping[str, Any]) -> Any:
    """A run of W&B's. Raises whatever W&B raises."""
    import wandb

    wandb.setup()  # starts its process
    settings = wandb.Settings(
        init_timeout=INIT_TIMEOUT,
        finish_timeout=FINISH_TIMEOUT,
        finish_timeout_raises=True,
        silent=True,
        console="off",
    )
    with warnings.catch_warnings(), _deadline(2 * INIT_TIMEOUT + GRACE):  # W&B waits twice
        warnings.simplefilter("default")
        # Absolute: W&B's service is a process of its own and keeps the folder it was started in.
        run = wandb.init(dir=str(folder.resolve()), mode=mode, settings=settings, reinit="create_new", **options)
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        run.define_metric("val/acc", summary="max")
    return run


def _end_service() -> None:
    """Stop W&B's process, which would not answer again, or keep the id of a run that did not start.

    Runs that the user's own code has open in this process end, too.
    """
    import wandb

    try:
        with _deadline(GRACE):
            wandb.teardown()
    except IsometryError:  # a signal that came meanwhile
        raise
    except (Exception, SystemExit):  # it died, and W&B would have Python exit for that
        pass


def _say(mode: str, reason: str, run: Any) -> str:
    if mode == "online":
        return f"W&B online ({reason}): {run.url}"
    place = _place(run)
    return f"W&B offline ({reason}); look: wandb leet {place}   upload: wandb sync {place}"


def _place(run: Any) -> str:
    return os.path.relpath(Path(run.dir).parent)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """For a call to W&B: past this many seconds the process that it waits for is killed, and so the call fails.

    W&B itself would wait without end, at the latest when Python exits.
    """
    service = _service()
    timer = Timer(seconds, service.kill) if service else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def _service() -> Popen[bytes] | None:
    """W&B's process; None where there is none, or it is somebody else's (WANDB_SERVICE)."""
    from wandb.sdk import wandb_setup

    try:  # it has no public name
        service: Any = wandb_setup.singleton()._connection._proc._process  # type: ignore[union-attr]
    except AttributeError:
        return None
    return service  # type: ignore[no-any-return]


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
