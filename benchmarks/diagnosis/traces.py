"""Runs the cases of the suite and keeps what was measured of each training, for rules to be scored on.

    python benchmarks/diagnosis/traces.py --out runs/suite [--part training] [--only NAME …] [--jobs 2]

OUT/CASE/SEED/VARIANT holds gradients.jsonl, published.jsonl and outcome.json; VARIANT is `twin` (the healthy words),
`fault` (with the words that break them) or, run by the scorer, `cure-…`. What is there is kept, so a run that was cut
off goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import modules
import torch
from cases import CASES, SEEDS, Case
from knobs import Settings
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.plugins import MixedPrecision
from statistics_published import FILE, PublishedStatistics
from tasks import Task, images
from torch import Tensor

from isometry import GradientMonitor, build
from isometry.overrides import read

STEPS = 100
EVALUATED = 500  # held-aside digits for the project's models


class Losses(Callback):
    """What was differentiated, step by step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.values.append(float(loss))


class ProjectRun:
    """The project's own Classifier on its bundled digits, from words of its command line."""

    def __init__(self, words: Sequence[str], seed: int) -> None:
        self.config = config = read([*words, f"seed={seed}", "data.augment=none"])
        steps = config.trainer.max_steps or STEPS
        self.data = build.datamodule(config, images())
        self.module = build.classifier(config, self.data, steps)
        self.batches = self.data
        self.options: dict[str, Any] = {
            "max_steps": steps,
            "gradient_clip_val": config.trainer.gradient_clip_val,
            "gradient_clip_algorithm": config.trainer.gradient_clip_algorithm,
            "accumulate_grad_batches": config.trainer.accumulate_grad_batches,
        }

    def score(self) -> dict[str, float]:
        pictures, labels = next(iter(self.data.test_dataloader()))
        task = Task("classes", pictures, labels, len(self.data.class_names))
        with torch.no_grad():
            logits = self.module(pictures[:EVALUATED])
        return modules.task_score(task, logits, labels[:EVALUATED], Settings())


class PlainRun:
    """A plain LightningModule."""

    def __init__(self, kind: str, words: Sequence[str], seed: int) -> None:
        self.module, self.batches, s = modules.make(kind, words, seed)
        self.options: dict[str, Any] = {"max_steps": s.steps}
        if self.module.automatic_optimization:
            self.options |= {
                "gradient_clip_val": s.clip or None,
                "gradient_clip_algorithm": s.clip_by,
                "accumulate_grad_batches": s.accumulate,
            }
        else:
            self.options["max_steps"] *= 2  # both optimizers' steps are counted
        if s.precision == "fp16-scaled":
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**s.loss_exponent)
            self.options["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]

    def score(self) -> dict[str, float]:
        return self.module.score()


def run(case: Case, seed: int, variant: str, words: Sequence[str], folder: Path) -> dict[str, Any]:
    """One training of a case and its outcome, in `folder`/CASE/SEED/VARIANT; the same words give the same trace.

    Args:
        case: Says which kind of module it is.
        seed: Of the weights and of the order of the data.
        variant: Name of the trace.
        words: All words of the run; the last one of a key counts.
        folder: Where all traces lie.
    """
    place = trace_folder(case, seed, variant, folder)
    if (place / "outcome.json").exists():
        return json.loads((place / "outcome.json").read_text())
    shutil.rmtree(place, ignore_errors=True)  # half a trace
    place.mkdir(parents=True)
    started = time.perf_counter()
    seed_everything(seed, verbose=False)
    words = last_of_each(words)
    made = ProjectRun(words, seed) if case.kind == "project" else PlainRun(case.kind, words, seed)
    before, losses = evaluate(made), Losses()
    trainer = Trainer(
        **made.options,
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[GradientMonitor(100, place / "gradients.jsonl"), PublishedStatistics(place / FILE), losses],
    )
    trainer.fit(made.module, made.batches)
    outcome = {
        **evaluate(made),
        "initial_score": before["score"],
        "first_loss": losses.values[0],
        "last_loss": losses.values[-1],
        "steps": trainer.global_step,
        "seconds": round(time.perf_counter() - started, 2),
    }
    (place / "outcome.json").write_text(json.dumps(outcome, default=str))
    return outcome


def evaluate(made: ProjectRun | PlainRun) -> dict[str, float]:
    made.module.eval()
    found = made.score()
    made.module.train()
    return found


def trace_folder(case: Case, seed: int, variant: str, folder: Path) -> Path:
    return folder / case.name / str(seed) / variant


def last_of_each(words: Iterable[str]) -> tuple[str, ...]:
    """Hydra refuses a group that is chosen twice."""
    return tuple(f"{key}={value}" for key, value in dict(word.split("=", 1) for word in words).items())


def variants(case: Case) -> dict[str, tuple[str, ...]]:
    """The words of a case's own runs."""
    broken = {"fault": last_of_each([*case.words, *case.fault])} if case.fault else {}
    return {"twin": last_of_each(case.words)} | broken


def begin() -> None:
    """In each process: one thread, and no chatter."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "isometry"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _run(job: tuple[Case, int, str, tuple[str, ...], Path]) -> tuple[str, dict[str, Any]]:
    case, seed, variant, _, _ = job
    return f"{case.name} {seed} {variant}", run(*job)


def run_all(jobs: Sequence[tuple[Case, int, str, tuple[str, ...], Path]], processes: int) -> None:
    """Every (case, seed, variant, words, folder), over some processes."""
    with ProcessPoolExecutor(processes, get_context("spawn"), begin) as pool:
        for done in as_completed([pool.submit(_run, job) for job in jobs]):
            name, outcome = done.result()
            print(f"{name:<48} score {outcome['score']:.3f}   {outcome['seconds']:5.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=["training", "held-out"])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = [case for case in CASES if options.part in (None, case.part)]
    chosen = [case for case in chosen if not options.only or case.name in options.only]
    started = time.perf_counter()
    jobs = [
        (case, seed, variant, words, options.out)
        for case in chosen
        for seed in SEEDS
        for variant, words in variants(case).items()
    ]
    missing = [job for job in jobs if not (trace_folder(*job[:3], options.out) / "outcome.json").exists()]
    run_all(missing, options.jobs)
    print(f"{len(missing)} runs of {len(jobs)}, {math.ceil(time.perf_counter() - started)} s")


if __name__ == "__main__":
    main()
