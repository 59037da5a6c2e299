"""What a run does, in order: build, fit, test once on the best checkpoint, write everything into its folder."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from . import build
from .config import Config
from .data.datamodule import ImageDataModule
from .diagnostics.monitor import GradientMonitor
from .errors import CheckpointError, ConfigError, Interrupted, IsometryError, NumericalError, ResourceError
from .reports import plots
from .training.checkpoints import BEST, LATEST, digest, find_checkpoint, fingerprint
from .training.classifier import Classifier
from .training.journal import Journal
from .training.loggers import csv_logger, finish_wandb, log_media, wandb_logger
from .training.progress import TrainingProgress

# Lightning announces devices and tips at this level; our own lines say what was chosen and why.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Silences, by name, the two warnings of Lightning that tell a user of ours nothing."""
    with warnings.catch_warnings():
        # Lightning 2.6.6 on torch 2.15 trips over its own use of a torch class.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        # A continued run keeps its folder.
        warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")
        yield


def train(config: Config, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train, test and report one run; its summary, which is also in `summary.json`.

    Raises:
        IsometryError: Whatever went wrong, in words; anything unexpected is in `error.log`, too.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    say("machine", build.check_machine(config))
    folder = _agree_on_folder(config)
    try:
        with expected_warnings():
            return _train_in(folder, config, overrides)
    except IsometryError:
        raise
    except Exception:
        (folder / "error.log").write_text(traceback.format_exc())
        raise
    finally:
        os.environ.pop(FOLDER_VARIABLE, None)


# Tells the processes that Lightning starts for strategy=ddp where the first one writes.
FOLDER_VARIABLE = "ISOMETRY_RUN_FOLDER"


def _agree_on_folder(config: Config) -> Path:
    """The same folder in every process; only the first one makes and checks it."""
    if FOLDER_VARIABLE in os.environ:
        return Path(os.environ[FOLDER_VARIABLE])
    if "TORCHELASTIC_RUN_ID" in os.environ and config.run_name is None:
        raise ConfigError("error: under torchrun every process must know the run's folder\n  fix:   run_name=NAME")
    if not is_first_process():
        return _fresh_name(Path(config.runs_dir).expanduser(), config)
    folder = make_folder(config)
    os.environ[FOLDER_VARIABLE] = str(folder.resolve())
    return folder


def is_first_process() -> bool:
    """Whether this process speaks and writes for all; Lightning reads the launcher's environment for it."""
    return bool(rank_zero_only.rank == 0)


def _train_in(folder: Path, config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    started = time.monotonic()
    if is_first_process():
        OmegaConf.save(OmegaConf.create(config.model_dump()), folder / "config.yaml")
        OmegaConf.save(OmegaConf.create(list(overrides)), folder / "overrides.yaml")
    ckpt_path = find_checkpoint(config.ckpt_path, LATEST) if config.ckpt_path else None
    images = build.image_set(config)
    for note in images.notes:
        say("data", note)
    data = build.datamodule(config, images)
    say("data", _describe_data(config, data))
    steps = build.total_steps(config, data.batches_per_epoch)
    module = build.classifier(config, data, steps)
    size = sum(parameter.numel() for parameter in module.parameters())
    say("model", f"{config.model.name}, {size:,} parameters, {steps:,} steps")
    loggers, wandb_line = _make_loggers(config, folder)
    if wandb_line:
        say("logging", wandb_line)
    wandb_log = next((logger for logger in loggers if isinstance(logger, WandbLogger)), None)
    exit_code = 1
    try:
        summary = _fit_and_test(folder, config, module, data, steps, loggers, ckpt_path, started)
        if wandb_log:
            log_media(wandb_log, {f"media/{path.stem}": path for path in sorted(folder.glob("*.png"))})
            wandb_log.experiment.summary.update(summary)
        exit_code = 0
    except IsometryError as error:
        exit_code = error.exit_code
        raise
    finally:
        if wandb_log:
            finish_wandb(wandb_log, exit_code)
    return summary


def _fit_and_test(
    folder: Path,
    config: Config,
    module: Classifier,
    data: ImageDataModule,
    steps: int,
    loggers: Sequence[Logger],
    ckpt_path: Path | None,
    started: float,
) -> dict[str, Any]:
    progress = TrainingProgress(steps, config.trainer.log_every_n_steps)
    monitor = GradientMonitor(config.monitor.every_n_steps, folder / "gradients.jsonl")
    callbacks: list[Callback] = [monitor] if config.monitor.enabled else []
    trainer = build.trainer(config, folder, loggers, [*callbacks, progress])
    fit(trainer, module, data, ckpt_path, folder)
    validation = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
    if not math.isfinite(validation.get("val/loss", math.nan)):
        raise NumericalError(
            f"error: the training ended with val/loss = {validation.get('val/loss')}\n"
            f"  look:  {folder}/gradients.jsonl has the gradient norm of every step\n"
            "  fix:   trainer.gradient_clip_val=1.0   or   a smaller optimizer.lr   or   norm=batch"
        )
    best = find_checkpoint(folder, BEST)
    tested = trainer.test(module, datamodule=data, ckpt_path=str(best), verbose=False)[0]
    summary = {
        **tested,
        **validation,
        "folder": str(folder),
        "duration_s": round(time.monotonic() - started, 1),
        "samples_per_s": round(progress.samples_per_s, 1),
        "steps": trainer.global_step,
        "state_digest": digest(module.state_dict()),
        "checkpoint": str(best.relative_to(folder)),
        "fingerprint": fingerprint(),
        "git_commit": _git_commit(),
    }
    if trainer.is_global_zero:
        _draw(folder, module, data, monitor)
        (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def fit(trainer: Trainer, module: Classifier, data: LightningDataModule, ckpt_path: Path | None, folder: Path) -> None:
    """`trainer.fit`, with Ctrl-C as an error of its own instead of Lightning's exit code 1."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=str(ckpt_path) if ckpt_path else None)
    except SystemExit:
        raise _interrupted(trainer, folder) from None
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further Ctrl-C while it shuts down
    if trainer.interrupted:
        raise _interrupted(trainer, folder)


def _interrupted(trainer: Trainer, folder: Path) -> Interrupted:
    with suppress(CheckpointError):
        newest = find_checkpoint(folder, LATEST)
        return Interrupted(
            f"interrupted at step {trainer.global_step}; the newest checkpoint is {newest}\n"
            f"  continue:  python train.py ckpt_path={folder} and the same settings"
        )
    return Interrupted(f"interrupted at step {trainer.global_step}, before the first checkpoint")


def evaluate(config: Config, place: str) -> dict[str, Any]:
    """The test accuracy of a checkpoint, from that file and the data alone; also stored as `evaluation.json`."""
    say("machine", build.check_machine(config))
    path = find_checkpoint(place, BEST)
    module = build.load(path)
    images = build.image_set(config)
    if images.class_names != module.class_names:
        raise CheckpointError(
            f"error: {path} knows {len(module.class_names)} classes ({', '.join(module.class_names[:3])} …), "
            f"the data has {len(images.class_names)} ({', '.join(images.class_names[:3])} …)"
        )
    data = build.datamodule(config, images)
    data.mean, data.std = torch.tensor(module.mean), torch.tensor(module.std)  # as it was trained
    keys = ("accelerator", "precision", "limit_test_batches")
    trainer = Trainer(
        **{key: value for key, value in config.trainer.options().items() if key in keys},
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with expected_warnings():
        result = {**trainer.test(module, datamodule=data, verbose=False)[0], "checkpoint": str(path)}
    target = (path.parent.parent if path.parent.name == "checkpoints" else path.parent) / "evaluation.json"
    try:
        target.write_text(json.dumps(result, indent=1))
    except OSError as error:
        raise ResourceError(f"error: cannot write {target}: {error.strerror}") from None
    say("result", f"test accuracy {result['test/acc']:.2%}, in {target}")
    return result


def say(topic: str, line: str) -> None:
    """One line on what was chosen or done."""
    if is_first_process():
        print(f"{topic:<8} {line}", flush=True)


def make_folder(config: Config) -> Path:
    """The run's folder, new or empty; a run that is there is never written over, except by its own continuation.

    Continuing a run's folder stays in it, unless another `run_name` is given.

    Raises:
        CheckpointError: The folder holds a run.
        ResourceError: It cannot be written.
    """
    continued = Path(config.ckpt_path).expanduser() if config.ckpt_path else None
    if continued and continued.is_dir() and config.run_name is None:
        folder = continued
    else:
        folder = _fresh_name(Path(config.runs_dir).expanduser(), config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (continued and continued.resolve() == folder.resolve()):
            raise CheckpointError(
                f"error: {folder} already holds a run\n"
                f"  fix:   another run_name   or   ckpt_path={folder} to continue it"
            )
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ResourceError(
            f"error: cannot write into {folder}: {error.strerror}\n  fix:   runs_dir=A_FOLDER_YOU_MAY_WRITE"
        ) from None
    return folder


def _fresh_name(runs_dir: Path, config: Config) -> Path:
    """`run_name` if there is one, else time and a readable slug, numbered when two runs start in the same second."""
    if config.run_name:
        return runs_dir / config.run_name
    folder, number = runs_dir / _default_name(config), 1
    while folder.exists():
        number += 1
        folder = runs_dir / f"{_default_name(config)}-{number}"
    return folder


def _default_name(config: Config) -> str:
    slug = "-".join((config.model.name, config.init.name, config.norm.name, config.data.name, f"s{config.seed}"))
    return f"{datetime.now():%Y%m%d-%H%M%S}-{slug.replace(':', '.')}"


def _make_loggers(config: Config, folder: Path) -> tuple[list[Logger], str]:
    loggers: list[Logger] = [Journal(folder / "metrics.jsonl")]
    if config.logger == "csv":
        loggers.append(csv_logger(folder))
    if config.logger != "wandb" or not is_first_process():
        return loggers, ""
    options = config.wandb.model_dump()
    made, line = wandb_logger(folder, name=folder.name, config=config.model_dump(), **options)
    return [*loggers, made] if made else loggers, line


def _describe_data(config: Config, data: ImageDataModule) -> str:
    rest = len(data.train_indices) % data.batch_size
    last = (
        "no partial batch"
        if not rest
        else f"the last {rest} of each epoch's order left out"
        if data.drop_last
        else f"last batch {rest}"
    )
    counts = (
        f"{len(data.train_indices):,} train, {len(data.val_indices):,} val, {len(data.image_set.test_labels):,} test"
    )
    shape = "×".join(map(str, data.image_shape))
    return f"{config.data.name}: {counts} images {shape}; batches of {data.batch_size}, {last}"


def _draw(folder: Path, module: Classifier, data: ImageDataModule, monitor: GradientMonitor) -> None:
    """The run's pictures. A picture that cannot be drawn is reported and costs nothing else."""
    counts = module.confusion.compute().cpu().numpy()
    images, labels = data.image_set.test_images[:24], data.image_set.test_labels[:24].tolist()
    try:
        plots.confusion_matrix(counts, module.class_names, folder / "confusion_matrix.png")
        probabilities = module.predict(images).numpy()
        plots.sample_predictions(images.numpy(), labels, probabilities, module.class_names, folder / "predictions.png")
        if len(monitor.history):
            plots.gradient_norms(monitor.history, folder / "gradient_norms.png")
    except OSError as error:
        say("pictures", f"could not be written: {error}")


def _git_commit() -> str | None:
    """The checkout's commit, with a + when files were changed; None outside one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changes.stdout else "")
