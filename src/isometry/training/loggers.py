"""Weights & Biases as a guest: it never asks, never stops a training, and its run ends in every exit path.

Online with a key, else offline with one line that says how to look and how to upload. The run is started here and
handed to Lightning's WandbLogger, which would set WANDB_MODE for the whole process and reuse a run that is still open.
"""

from __future__ import annotations

import netrc
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pytorch_lightning.loggers import CSVLogger, WandbLogger

INIT_TIMEOUT = 30  # seconds a server may take to answer before the run goes offline
FINISH_TIMEOUT = 60  # seconds the last upload may take


def none(folder: Path) -> None:
    """The journal alone."""


def csv_logger(folder: Path) -> CSVLogger:
    """`metrics.csv` in the run's folder."""
    return CSVLogger(folder, name="", version="csv")


def wandb_logger(
    folder: Path,
    *,
    project: str,
    name: str,
    entity: str | None,
    group: str | None,
    tags: Sequence[str],
    notes: str | None,
    mode: str,
    config: Mapping[str, Any],
) -> tuple[WandbLogger | None, str]:
    """A logger, and one line that says which mode and why. None where W&B does not start at all.

    Its run is a fresh one, or that of the folder where there is one: a continued training goes on under the same id.
    """
    chosen, reason = _choose_mode(mode)
    if chosen == "disabled":
        return None, f"W&B disabled ({reason})"
    options: dict[str, Any] = {"project": project, "name": name, "entity": entity, "group": group, "notes": notes}
    options |= {"tags": list(tags), "config": dict(config), "id": _run_id(folder), "resume": "allow"}
    run, failure = _start(folder, chosen, options)
    if run is None and chosen == "online":
        chosen, reason = "offline", f"the server did not take the run: {failure}"
        run, failure = _start(folder, chosen, options)
    if run is None:
        return None, f"W&B did not start ({failure}); the journal metrics.jsonl has every value"
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    run.define_metric("val/acc", summary="max")
    return GuestWandbLogger(experiment=run, project=project, save_dir=folder), _say(chosen, reason, run)


class GuestWandbLogger(WandbLogger):
    """Lightning's logger, but when W&B fails it says so once and falls silent: the training goes on."""

    failed = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.failed:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # its service process died, its disk is full …
            self.failed = True
            print(f"W&B stopped logging ({error}); the journal metrics.jsonl has every value")


def log_results(
    logger: WandbLogger, summary: Mapping[str, Any], pictures: Sequence[Path], charts: Mapping[str, Any]
) -> None:
    """The run's summary, its PNG files as W&B images, and charts of W&B's own."""
    import wandb

    try:
        images = {f"media/{path.stem}": wandb.Image(str(path)) for path in pictures}
        logger.experiment.log({**images, **charts})
        logger.experiment.summary.update(dict(summary))
    except Exception as error:
        print(f"W&B did not take the results ({error}); they are in the run's folder")


def finish_wandb(logger: WandbLogger, exit_code: int) -> None:
    """End the logger's run; a W&B that fails to finish is reported, not raised."""
    try:
        logger.experiment.finish(exit_code=exit_code)
    except Exception as error:  # whatever W&B raises here, the training is done and its files are written
        print(f"W&B did not finish cleanly ({error}); upload later: wandb sync {logger.save_dir}/wandb/*run*")


def _run_id(folder: Path) -> str | None:
    """Of the run that W&B has in this folder: `wandb/offline-run-20261124_174517-ab12cd34`. None: there is none."""
    known = sorted(path.name.partition("run-")[2] for path in folder.glob("wandb/*run-*-*"))
    return known[-1].rpartition("-")[2] if known else None


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

    settings = wandb.setup().settings
    if settings.api_key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(urlparse(settings.base_url).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _start(folder: Path, mode: Any, options: Mapping[str, Any]) -> tuple[Any, str]:
    """A run, or None and the reason. Whatever W&B raises, training goes on without it."""
    import wandb

    settings = wandb.Settings(init_timeout=INIT_TIMEOUT, finish_timeout=FINISH_TIMEOUT, silent=True, console="off")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            # Absolute: W&B's service is a process of its own and keeps the folder it was started in.
            return wandb.init(
                dir=str(folder.resolve()), mode=mode, settings=settings, reinit="create_new", **options
            ), ""
    except Exception as error:
        return None, (str(error) or type(error).__name__).splitlines()[0]


def _say(mode: str, reason: str, run: Any) -> str:
    if mode == "online":
        return f"W&B online ({reason}): {run.url}"
    place = os.path.relpath(Path(run.dir).parent)
    return f"W&B offline ({reason}); look: wandb leet {place}   upload: wandb sync {place}"
