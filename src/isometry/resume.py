"""Which run goes on, in which configuration, and from where: `resume=auto | latest | RUN`.

auto      the command is whole: it starts the run `run_name`, or continues it where it is there already
latest    the run below `runs_dir` that was saved last, in its own configuration with the words on top
RUN       a run's folder or its name, likewise
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from .config import CONFIG_DIR, Config
from .errors import CheckpointError, ConfigError
from .overrides import change, read, values
from .validation import differing_identity

if TYPE_CHECKING:
    from .data.image_data import ImageData  # torch: not while words are checked

AUTO, LATEST = "auto", "latest"


def resumed(words: Sequence[str]) -> Config | None:
    """The configuration of the run that `words` continue; None where they do not say `resume=`.

    Raises:
        CheckpointError: There is no such run, or it is another training.
        ConfigError: The words contradict each other.
    """
    if not any(word.startswith("resume=") for word in words):
        return None
    given = values(words)
    wanted = given["resume"]
    if wanted is None:
        return None
    if wanted == AUTO:
        return _whole_command(words)
    if given.get("run_name") or given.get("init_from"):
        raise ConfigError(f"error: resume={wanted} names the run: leave run_name and init_from out")
    runs_dir = Path(str(given.get("runs_dir") or OmegaConf.load(CONFIG_DIR / "train.yaml").runs_dir)).expanduser()
    folder = _newest(runs_dir) if wanted == LATEST else _find(runs_dir, str(wanted))
    stored = _stored(folder)
    config = change({**stored, "runs_dir": str(folder.parent), "run_name": folder.name}, words)
    return _same_training(folder, stored, config)


def _whole_command(words: Sequence[str]) -> Config:
    config = read(words)
    if config.run_name is None:
        raise ConfigError("error: resume=auto must know which run\n  fix:   run_name=NAME")
    folder = Path(config.runs_dir).expanduser() / config.run_name
    if not (folder / "config.yaml").is_file():
        return config
    return _same_training(folder, _stored(folder), config)


def _same_training(folder: Path, stored: Mapping[str, Any], config: Config) -> Config:
    refused = differing_identity(stored, config.model_dump())
    if refused:
        lines = "\n".join(f"  {key}: {old} there, {new} here" for key, old, new in refused)
        raise CheckpointError(
            f"error: {folder} is another training\n{lines}\n"
            "  fix:   leave these words out, or start a new run from its weights with init_from="
        )
    return config


def _find(runs_dir: Path, name: str) -> Path:
    for folder in (Path(name).expanduser(), runs_dir / name):
        if (folder / "config.yaml").is_file():
            return folder
    raise CheckpointError(f"error: {name} is no run's folder, and no run's name in {runs_dir}")


def _newest(runs_dir: Path) -> Path:
    """By when a checkpoint came in last."""
    found = [place for depth in ("*", "*/*") for place in runs_dir.glob(f"{depth}/checkpoints")]
    runs = [place for place in found if (place.parent / "config.yaml").is_file()]
    if not runs:
        raise CheckpointError(f"error: resume=latest: there is no run in {runs_dir}")
    return max(runs, key=lambda place: place.stat().st_mtime).parent


def _stored(folder: Path) -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


# ------------------------------------------------------------------------------------------- from where
@dataclass(frozen=True)
class Start:
    """Args:
    path: The checkpoint; None: from the first step.
    sizes: Of the files that grow, at that point.
    notes: What a user should know.
    """

    path: Path | None
    sizes: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def start_of(folder: Path, config: Config, data: ImageData) -> Start:
    """The newest whole checkpoint of a run.

    Raises:
        CheckpointError: There are checkpoints and none is whole, or it is another training's, or of other data.
    """
    from .training import checkpoint_files as files  # torch: not while words are checked

    if not files.committed(folder, files.LATEST):
        return Start(None, notes=("no checkpoint is there yet: from the start",))
    path, content, refused = files.newest_whole(folder)
    _same_training(path, content["isometry"]["config"], config)
    notes = [f"passed over: {reason}" for reason in refused] + _same_data(path, content["isometry"], data)
    then, now = dict(content["isometry"]["fingerprint"]), dict(files.fingerprint())
    then["precision"] = content["isometry"]["config"]["trainer"]["precision"]
    now["precision"] = config.trainer.precision
    changed = [f"{key} {then.get(key)} there, {value} here" for key, value in now.items() if then.get(key) != value]
    if changed:
        notes.append(f"not to the bit what it would have been without a stop: {'; '.join(changed)}")
    notes.append(f"at step {content['global_step']:,}, from {path}")
    return Start(path, content["resume"]["sizes"], tuple(notes))


def _same_data(path: Path, then: Mapping[str, Any], data: ImageData) -> list[str]:
    """A note where the same keys stand for other images now, as their mean and deviation tell.

    Raises:
        CheckpointError: The network would not even fit them.
    """
    for key, now in (("class_names", list(data.class_names)), ("image_shape", list(data.image_shape))):
        if then[key] != now:
            raise CheckpointError(
                f"error: {path} was trained on other data\n  {key}: {then[key]} there, {now} here\n"
                "  fix:   the data it was trained on, or a new run from its weights with init_from="
            )
    before, after = [*then["mean"], *then["std"]], [*data.mean.tolist(), *data.std.tolist()]
    if all(math.isclose(old, new, rel_tol=1e-6) for old, new in zip(before, after, strict=False)):
        return []
    return ["not what it would have been without a stop: the training images have changed, by their mean and deviation"]


def finished_summary(folder: Path, steps: int) -> dict[str, Any] | None:
    """What `summary.json` says of a run that has done all its `steps`, or stopped early; None of one that has not."""
    with suppress(OSError, ValueError):
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        if summary["total_steps"] == steps:
            return summary
    return None
