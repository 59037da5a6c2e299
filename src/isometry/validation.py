"""Judging a composed configuration: each value against the schema, then values that are fine alone and wrong together.

All problems are reported at once, each as the rule, what was given, where it came from and what to write instead.
Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from .clashes import CLASHES, Choice
from .config import Config, expand_switches
from .errors import ConfigError
from .mistakes import explain, message, spell

Contradiction = tuple[str, str, list[str]]  # key, rule, fixes


def validate(raw: Mapping[str, Any], given: Mapping[str, str] | None = None) -> Config:
    """The checked configuration.

    Args:
        raw: The composed configuration as plain containers.
        given: For each key that was set by hand, where: `{"model.depth": "command line"}`.

    Raises:
        ConfigError: All problems at once, in words.
    """
    given = given or {}
    try:
        config = Config.model_validate(expand_switches(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(problem, raw, given) for problem in error.errors())) from None
    found = [*clashes(config, given), *_contradictions(config)]
    problems = [message(key, rule, given, fixes) for key, rule, fixes in found]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


# What may differ when a training goes on; everything else is what is trained, and on what.
_FREE = {"trainer", "run_name", "runs_dir", "resume", "init_from", "logger", "wandb", "monitor", "early_stopping"}
_FREE |= {"checkpoint", "nonfinite", "threads", "data.dir", "data.download_deadline", "data.eval_batch_size"}
_FREE |= {"sweep_name", "parallel", "diagnose"}


def differing_identity(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, stored value, value now) for each key that must not change when a training is continued."""
    differing = []
    for section in sorted({*stored, *now} - _FREE):
        old, new = stored.get(section), now.get(section)
        if isinstance(old, dict) and isinstance(new, dict):
            keys = sorted(key for key in {*old, *new} if f"{section}.{key}" not in _FREE)
            differing += [
                (f"{section}.{key}", old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)
            ]
        elif old != new:
            differing.append((section, old, new))
    return differing


def clashes(config: Config, given: Mapping[str, str]) -> Iterator[Contradiction]:
    """The choices of `config` that the catalog says do not go together; blamed is the one that was set by hand."""
    for clash in CLASHES:
        pair = (clash.one, clash.other)
        if all(_is_chosen(choice, config) for choice in pair):
            blamed = next((choice for choice in reversed(pair) if choice.key in given), clash.one)
            values = " and ".join(f"{choice.key}={spell(_value(choice.key, config))}" for choice in pair)
            yield blamed.key, f"{values} do not go together: {clash.reason}", list(clash.fixes)


def _is_chosen(choice: Choice, config: Config) -> bool:
    value = _value(choice.key, config)
    return value is not ... and (value in choice.values) != choice.otherwise


def _value(key: str, config: Config) -> Any:
    """What the configuration says for a key of the catalog's clashes; `...`: the chosen model has no such key."""
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name or "name", ...)


def _contradictions(config: Config) -> Iterator[Contradiction]:
    """All that do not go together in `config`."""
    data, trainer = config.data, config.trainer
    if config.model.name == "resnet" and (config.model.depth - 2) % 6:
        lower = config.model.depth - (config.model.depth - 2) % 6
        yield (
            "model.depth",
            f"model.depth = {config.model.depth} is not allowed (a CIFAR ResNet has 6n+2 layers)",
            [f"model.depth={max(lower, 8)}", f"model.depth={lower + 6}"],
        )
    if config.norm.name == "group":
        yield from _group_norm_divides(config)
    if config.scheduler.name == "step" and config.scheduler.milestones != sorted(set(config.scheduler.milestones)):
        yield "scheduler.milestones", "scheduler.milestones must rise", ["scheduler.milestones=[0.5,0.75]"]
    if data.image_size and data.name != "image_folder":
        yield "data.image_size", f"data.image_size is used by data=image_folder alone, not by data={data.name}", []
    if trainer.accelerator == "cpu" and trainer.precision == "16-mixed":
        yield (
            "trainer.precision",
            "trainer.precision = 16-mixed needs a GPU (fp16 has no fast or safe path on a CPU)",
            ["trainer.precision=bf16-mixed", "trainer.precision=32-true"],
        )
    if trainer.sync_batchnorm and trainer.accelerator == "cpu":
        yield "trainer.sync_batchnorm", "trainer.sync_batchnorm works on GPUs only", ["trainer.sync_batchnorm=false"]
    if config.scheduler.name == "plateau" and trainer.check_val_every_n_epoch > 1:
        yield (
            "trainer.check_val_every_n_epoch",
            "scheduler=plateau looks at val/loss after every epoch: it needs trainer.check_val_every_n_epoch = 1",
            ["trainer.check_val_every_n_epoch=1"],
        )
    yield from _batch_shares(config)


def _group_norm_divides(config: Config) -> Iterator[Contradiction]:
    """Widths of later stages are multiples of the first, so dividing the first is enough."""
    key = "hidden_size" if config.model.name == "lstm" else "width"
    width, groups = getattr(config.model, key, 0), config.norm.groups  # a network of the user's may have no such key
    if width % groups:
        divisor = max(n for n in range(1, groups) if width % n == 0)
        yield (
            "norm.groups",
            f"norm.groups = {groups} does not divide model.{key} = {width}",
            [f"norm.groups={divisor}", f"model.{key}={width - width % groups + groups}"],
        )


def _batch_shares(config: Config) -> Iterator[Contradiction]:
    data, trainer = config.data, config.trainer
    processes = (trainer.devices if isinstance(trainer.devices, int) else 1) * trainer.num_nodes
    if data.batch_size % processes:
        yield (
            "data.batch_size",
            f"data.batch_size = {data.batch_size} is the global batch: {processes} processes cannot share it evenly",
            [f"data.batch_size={-(-data.batch_size // processes) * processes}"],
        )
    elif config.norm.name == "batch" and data.batch_size // processes == 1:
        yield (
            "data.batch_size",
            "norm=batch needs at least 2 images per process: one has no variance",
            [f"data.batch_size={2 * processes}", "norm=group"],
        )
