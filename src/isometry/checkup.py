"""What `isometry diagnose` does, in order: train a few steps, judge, probe the remedies, train the best, tell.

    isometry diagnose model=deep_cnn model.depth=50 init=xavier_normal norm=none activation=sigmoid

Writes `diagnosis.json` into the run's folder; exits with 8 on a critical finding where `diagnose.strict` asks for it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.seed import isolate_rng
from torch import nn

from . import build
from .config import Config
from .data.image_data import ImageData
from .data.sources import ImageSet
from .diagnostics.findings import Trial
from .diagnostics.probe import probe
from .diagnostics.profile import Profile
from .diagnostics.rules import diagnose
from .diagnostics.trials import train_briefly
from .errors import ConfigError, CriticalFinding, Interrupted
from .folder import enter_folder, leave_folder
from .machine import check_machine
from .overrides import change
from .reports import terminal
from .run import expected_warnings, say

Images = ImageSet | ImageData
TRAINED = 3  # remedies that are trained; all are probed
MIN_STEPS, MAX_STEPS = 20, 100  # of a trial: fewer than the rules want tell nothing
_OPTIONS = ("accelerator", "precision", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")


def checkup(config: Config) -> Path:
    """Diagnose a configuration and try what could cure it; the `diagnosis.json` that was written.

    Raises:
        CriticalFinding: A finding is critical and `diagnose.strict` is set; the file is written all the same.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    say("machine", check_machine(config))
    folder = enter_folder(config)
    log = logging.getLogger("isometry")
    level = log.level
    log.setLevel(logging.ERROR)  # the findings of each trial are in the table
    try:
        with expected_warnings():
            return _checkup_in(folder, config)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise Interrupted("interrupted; trials leave nothing behind") from None
    finally:
        log.setLevel(level)
        leave_folder(folder)


def _checkup_in(folder: Path, config: Config) -> Path:
    images = build.image_set(config)
    steps = _affordable_steps(config, images)
    say("trial", f"{config.model.name} for {steps} steps, as it is")
    before = train_trial(config, images, steps)
    print("\n".join(terminal.findings_lines(before.diagnosis)), flush=True)
    trials = list(_try_remedies(config, images, steps, before))
    if trials:
        print("\n".join(terminal.trial_table(before, trials, steps)), flush=True)
    path = folder / "diagnosis.json"
    path.write_text(
        json.dumps({**before.diagnosis.as_dict(), "steps": steps, "trials": _as_rows(before, trials)}, indent=1)
    )
    say("verdict", before.diagnosis.verdict)
    say("file", str(path))
    if config.diagnose.strict and not before.diagnosis.healthy:
        raise CriticalFinding(f"error: {before.diagnosis.verdict}, and diagnose.strict is set\n  look:  {path}")
    return path


def _affordable_steps(config: Config, images: Images) -> int:
    """So many that four trials fit into the time: a probe is one step without the optimizer."""
    with isolate_rng():
        network, batch = _at_the_start(config, images)
    probe(network, batch, F.cross_entropy)  # the first pass of a process is slow
    started = time.perf_counter()
    probe(network, batch, F.cross_entropy)
    seconds = 1.3 * (time.perf_counter() - started)
    return max(MIN_STEPS, min(MAX_STEPS, int(config.diagnose.seconds / (TRAINED + 1) / seconds)))


def _try_remedies(config: Config, images: Images, steps: int, before: Trial) -> Iterator[tuple[Trial, str]]:
    """(trial, verdict) of each remedy that the command line has words for."""
    trained = 0
    for overrides in dict.fromkeys(remedy.overrides for remedy in before.diagnosis.remedies if remedy.overrides):
        try:
            changed = change(config.model_dump(), overrides)
            profile = _probe(changed, images)
            if trained == TRAINED:
                yield Trial(overrides, profile), "not trained"
            elif _still(before, profile):
                yield Trial(overrides, profile), "not trained: the same finding before the first step"
            else:
                trained += 1
                after = train_trial(changed, images, steps, overrides)
                yield after, after.verdict(before)
        except ConfigError as error:
            yield Trial(overrides, None), f"refused: {str(error).splitlines()[0].removeprefix('error: ')}"


def _still(before: Trial, profile: Profile) -> bool:
    """Whether a probe alone shows what the training was diagnosed with."""
    rules = {finding.rule for finding in before.diagnosis.findings[:1]}
    return bool(rules & {finding.rule for finding in diagnose(profile).findings})


def train_trial(config: Config, images: Images, steps: int, overrides: tuple[str, ...] = ()) -> Trial:
    """One short training; `overrides` are those that the configuration holds already, for the record."""
    data = build.datamodule(config, images)
    module = build.classifier(config, data, steps)
    options = {key: value for key, value in config.trainer.options().items() if key in _OPTIONS}
    return train_briefly(module, data, steps, {**options, "devices": 1}, overrides, config.model_dump())


def _probe(config: Config, images: Images) -> Profile:
    with isolate_rng():
        network, batch = _at_the_start(config, images)
        return probe(network, batch, F.cross_entropy)


def _at_the_start(config: Config, images: Images) -> tuple[nn.Module, Any]:
    """The fresh network in train mode, and its first batch."""
    data = build.datamodule(config, images)
    network = build.classifier(config, data, 1).network.train()
    return network, next(iter(data.train_dataloader()))


def _as_rows(before: Trial, trials: Sequence[tuple[Trial, str]]) -> list[dict[str, Any]]:
    rows = []
    for trial, verdict in [(before, "as it is"), *trials]:
        loss = trial.last_loss if trial.losses else None
        rows.append(
            {"overrides": list(trial.overrides), "backward_gain": trial.gain, "last_loss": loss, "verdict": verdict}
        )
    return rows
