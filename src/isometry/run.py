"""What a run does, in order: build, fit, test once on the best checkpoint, write everything into its folder."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger, WandbLogger

from . import build
from .config import Config
from .data.image_data import ImageData
from .diagnostics.monitor import GradientMonitor
from .errors import IsometryError, NumericalError
from .failures import continuing, in_words
from .folder import enter_folder, is_first_process, leave_folder
from .jsonl import read_lines
from .machine import check_machine
from .reports import plots, report, terminal
from .reports.wandb_panels import native_charts
from .resume import finished_summary, start_of
from .training.checkpoint_files import LATEST, committed, fingerprint, read_manifest
from .training.checkpoints import Checkpoints
from .training.classifier import Classifier
from .training.finite_steps import FiniteSteps
from .training.guard import Guard
from .training.journal import Journal
from .training.loggers import finish_wandb, log_results, wandb_logger
from .training.passes import Passes
from .training.progress import TrainingProgress
from .training.signals import Signals

# Lightning announces devices and tips at this level; our own lines say what was chosen and why.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)

JOURNAL, HISTORY = "metrics.jsonl", "gradients.jsonl"


def train(config: Config, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train, test and report one run; its summary, which is also in `summary.json`.

    Raises:
        IsometryError: Whatever went wrong, in words; anything unexpected is in `error.log`, too.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    say("machine", check_machine(config))
    folder = enter_folder(config)
    try:
        with expected_warnings(), Signals(continuing(folder)) as signals:
            return _train_in(folder, config, overrides, signals)
    except NumericalError as error:  # of all processes together: the first one's code speaks for them
        if not is_first_process():
            error.exit_code = 0
        raise
    except IsometryError:
        raise
    except Exception as error:
        told = in_words(error, folder, config)
        if told is not None:
            raise told from error
        with suppress(OSError):
            (folder / "error.log").write_text(traceback.format_exc())
            error.add_note(f"  look:  {folder / 'error.log'}")
        raise
    finally:
        leave_folder(folder)


def _train_in(folder: Path, config: Config, overrides: Sequence[str], signals: Signals) -> dict[str, Any]:
    started = time.monotonic()
    images = build.image_set(config)
    for note in images.notes:
        say("data", note)
    data = build.datamodule(config, images)
    say("data", f"{config.data.name}: {data.describe()}")
    steps = build.total_steps(config, data.num_batches)
    if config.resume and (finished := finished_summary(folder, steps)):
        say("finished", f"before, after {finished['steps']:,} of {steps:,} steps; trainer.max_epochs=… adds some")
        return finished
    ckpt_path = _continue(folder, config, data) if config.resume else None
    module = build.classifier(config, data, steps)
    size = sum(parameter.numel() for parameter in module.parameters())
    say("model", f"{config.model.name}, {size:,} parameters, {steps:,} steps")
    if is_first_process():
        OmegaConf.save(OmegaConf.create(config.model_dump()), folder / "config.yaml")
        OmegaConf.save(OmegaConf.create(list(overrides)), folder / "overrides.yaml")
    loggers = _make_loggers(config, folder)
    wandb_log = next((logger for logger in loggers if isinstance(logger, WandbLogger)), None)
    monitor = _make_monitor(config, folder)
    checkpoints = Checkpoints(folder, config.checkpoint.every_n_steps, steps, config.seed, signals, (JOURNAL, HISTORY))
    exit_code = 1
    try:
        summary = _fit_and_test(folder, config, module, data, steps, loggers, monitor, checkpoints, ckpt_path)
        summary |= _verdict(monitor)
        summary["duration_s"] = round(time.monotonic() - started, 1)
        if is_first_process():
            (folder / "summary.json").write_text(json.dumps(summary, indent=1))
            report.draw(folder)
        if wandb_log:
            charts = native_charts(monitor.history)
            log_results(wandb_log, summary, sorted(folder.glob("*.png")), charts)
        exit_code = 0
    except IsometryError as error:
        exit_code = error.exit_code
        raise
    finally:
        if is_first_process() and monitor.history.records:
            (folder / "diagnosis.json").write_text(json.dumps(monitor.diagnosis.as_dict(), indent=1))
        if wandb_log:
            finish_wandb(wandb_log, exit_code)
    return summary


def _fit_and_test(
    folder: Path,
    config: Config,
    module: Classifier,
    data: ImageData,
    steps: int,
    loggers: Sequence[Logger],
    monitor: GradientMonitor,
    checkpoints: Checkpoints,
    ckpt_path: Path | None,
) -> dict[str, Any]:
    progress = TrainingProgress(steps, config.trainer.log_every_n_steps, remark=lambda: _flow(monitor))
    guard = Guard(lambda: monitor.diagnosis, stops=config.monitor.on_critical == "stop")
    watching: list[Callback] = [monitor, guard] if config.monitor.enabled else []
    finite = FiniteSteps(skips=config.nonfinite == "skip", grad_norm=lambda: monitor.grad_norm, advice=_cure(folder))
    trainer = build.trainer(config, folder, loggers, [checkpoints, Passes(config.seed), *watching, finite, progress])
    trainer.fit(module, datamodule=data, ckpt_path=str(ckpt_path) if ckpt_path else None)
    if trainer.global_step < steps:
        stops = config.monitor.on_critical == "stop" and not monitor.diagnosis.healthy
        why = monitor.diagnosis.verdict if stops else "val/loss stopped falling"
        say("stopped", f"early, after {trainer.global_step:,} of {steps:,} steps: {why}")
    best = _best_checkpoint(trainer, module, data, folder, checkpoints)
    done = trainer.global_step
    saved = read_manifest(committed(folder, LATEST)[0])
    tested = trainer.test(module, datamodule=data, ckpt_path=str(best), verbose=False)[0]
    confusion = module.confusion.compute().cpu().numpy()  # on every process: computing gathers from all
    if is_first_process():
        _draw(folder, module, data, confusion)
        print(terminal.layer_table(monitor.history))
        if monitor.history.records:
            print("\n".join(terminal.findings_lines(monitor.diagnosis)))
        if config.trainer.profiler:
            say("profile", str(folder / "fit-profile.txt"))
    return {
        **tested,
        **_best_validation(folder),
        "folder": str(folder),
        "samples_per_s": round(progress.samples_per_s, 1),
        "steps": done,
        "total_steps": steps,
        "state_digest": saved["state_digest"] if saved["step"] == done else None,  # the disk may have refused the last
        "checkpoint": str(best.relative_to(folder)),
        "fingerprint": fingerprint(),
        "git_commit": _git_commit(),
    }


def _continue(folder: Path, config: Config, data: ImageData) -> Path | None:
    """The checkpoint to go on from; None: from the start. What was written after it is cut off, and written again."""
    start = start_of(folder, config, data)
    for note in start.notes:
        say("resumed", note)
    for name in (JOURNAL, HISTORY):
        if is_first_process() and (folder / name).is_file():
            os.truncate(folder / name, min(start.sizes.get(name, 0), (folder / name).stat().st_size))
    return start.path


def _best_checkpoint(
    trainer: Trainer, module: Classifier, data: ImageData, folder: Path, checkpoints: Checkpoints
) -> Path:
    """The checkpoint with the lowest val/loss; a training too short for a validation is validated at its end."""
    if checkpoints.best is None and "val/loss" not in trainer.callback_metrics:
        say("validate", "the training ended before its first validation; its last weights are validated and kept")
        trainer.validate(module, datamodule=data, verbose=False)
        checkpoints.keep_best(trainer)
    loss = float(trainer.callback_metrics.get("val/loss", checkpoints.best_loss))
    if not math.isfinite(loss) or checkpoints.best is None:
        raise NumericalError(f"error: the training ended with val/loss = {loss}\n{_cure(folder)}")
    return folder / "checkpoints" / checkpoints.best


def _cure(folder: Path) -> str:
    """Lines for the error of a training whose numbers are none."""
    return (
        f"  look:  isometry report {folder}   draws where the gradients went,\n"
        f"         isometry replay {folder}   names layer and samples, where the monitor kept the batch (on a CPU)\n"
        "  fix:   trainer.gradient_clip_val=1.0   or   a smaller optimizer.lr   or   norm=batch"
    )


def _best_validation(folder: Path) -> dict[str, float]:
    """val/loss and val/acc of the best checkpoint: the journal's row with the lowest loss."""
    rows = [row for row in read_lines(folder / JOURNAL) if math.isfinite(float(row.get("val/loss", math.nan)))]
    best = min(rows, key=lambda row: float(row["val/loss"]), default={})
    return {key: value for key, value in best.items() if key.startswith("val/")}


def say(topic: str, line: str) -> None:
    """One line on what was chosen or done, from the first process alone."""
    if is_first_process():
        print(f"{topic:<8} {line}", flush=True)


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Silences, by name, the warnings of Lightning that tell a user of ours nothing."""
    with warnings.catch_warnings():
        # Lightning 2.6.6 on torch 2.15 trips over its own use of a torch class.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        # It is, by `training.passes`.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
        # A continued run keeps its folder.
        warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")
        yield


def _make_loggers(config: Config, folder: Path) -> list[Logger]:
    """The journal, which is always written, and the logger that was asked for."""
    loggers: list[Logger] = [Journal(folder / JOURNAL)]
    if config.logger != "wandb":
        own = build.logger(config, folder)
        loggers += [own] if own else []
    elif is_first_process():
        options = config.wandb.model_dump()
        made, line = wandb_logger(folder, name=folder.name, config=config.model_dump(), **options)
        say("logging", line)
        loggers += [made] if made else []
    return loggers


def _make_monitor(config: Config, folder: Path) -> GradientMonitor:
    return GradientMonitor(
        config.monitor.every_n_steps,
        folder / HISTORY,
        histograms=config.monitor.histograms,
        layer_series=config.monitor.layer_series,
        settings=config.model_dump(),
    )


def _flow(monitor: GradientMonitor) -> str:
    """How the gradient flows now, in a line."""
    profiles = monitor.history.profiles
    return terminal.flow_line(profiles[-1]) if profiles else ""


def _draw(folder: Path, module: Classifier, data: ImageData, confusion: Any) -> None:
    """What only the network can tell. A picture that cannot be drawn is reported and costs nothing else."""
    shown = data.examples(24)
    try:
        plots.confusion_matrix(confusion, module.class_names, folder / "confusion_matrix.png")
        if shown:
            (images, labels), path = shown, folder / "predictions.png"
            probabilities = module.predict(images).numpy()
            plots.sample_predictions(images.numpy(), labels.tolist(), probabilities, module.class_names, path)
    except IsometryError:  # a signal that came meanwhile
        raise
    except Exception as error:  # a class name can hold what matplotlib takes for mathematics
        say("pictures", f"not all could be drawn: {error}")


def _verdict(monitor: GradientMonitor) -> dict[str, Any]:
    """For the summary: which rules hold, how bad and since when; `diagnosis.json` says the rest."""
    if not monitor.history.records:
        return {"verdict": None, "findings": []}  # nothing was measured
    found = monitor.diagnosis.findings
    told = [{"rule": each.rule, "severity": each.severity, "since": each.since} for each in found]
    return {"verdict": monitor.diagnosis.verdict, "findings": told}


def _git_commit() -> str | None:
    """The checkout's commit, with a + when files were changed; None outside one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changes.stdout else "")
