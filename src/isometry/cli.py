"""The command line: parse, call, turn errors into exit codes. Nothing heavy is imported before the words are checked.

Exit codes: 0 done, 1 unexpected, 2 config or usage, 3 data, 4 checkpoint or run state, 5 numerical, 6 resources,
130 interrupted (see `errors.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from .catalog import GROUPS, SWITCHES
from .errors import ConfigError, Interrupted, IsometryError

USAGE = """\
python train.py KEY=VALUE …                 train, test, log (the same: isometry train KEY=VALUE …)
isometry evaluate ckpt_path=RUN KEY=VALUE … test accuracy of a checkpoint or run folder

python train.py --cfg KEY=VALUE …           print the whole configuration, run nothing
python train.py --help                      this page
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    command = words.pop(0) if words and words[0] in COMMANDS else None
    if command is None or {"-h", "--help", "help"} & set(words):
        print(help_page())
        return 0 if command or {"-h", "--help", "help"} & set(words) else 2
    try:
        COMMANDS[command](words)
    except IsometryError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Interrupted.exit_code
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        summary = str(error).splitlines()[0] if str(error) else ""
        print(
            f"error: unexpected {type(error).__name__}: {summary}\n"
            "  look:  error.log in the run's folder; HYDRA_FULL_ERROR=1 shows the traceback here",
            file=sys.stderr,
        )
        return 1
    return 0


def train(words: Sequence[str]) -> None:
    from .overrides import read

    only_print = "--cfg" in words
    words = [word for word in words if word != "--cfg"]
    config = read(words)
    if only_print:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(config.model_dump())), end="")
        return
    from . import run

    summary = run.train(config, words)
    run.say("result", f"test accuracy {summary['test/acc']:.2%} in {summary['duration_s']:.0f} s")
    run.say("folder", str(summary["folder"]))


def evaluate(words: Sequence[str]) -> None:
    from .overrides import change, values

    given = values(words)
    place = given.pop("ckpt_path", None)
    if not place:
        raise ConfigError("error: which checkpoint?\n  fix:   isometry evaluate ckpt_path=RUN_FOLDER_OR_FILE")
    from .training.checkpoints import BEST, find_checkpoint, read_checkpoint

    stored = read_checkpoint(find_checkpoint(place, BEST))["isometry"]["config"]
    config = change(stored, given)
    from . import run

    run.evaluate(config, place)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"train": train, "evaluate": evaluate}


def help_page() -> str:
    """Usage, and every name there is to choose."""
    lines = [USAGE]
    for family, strategies in {**GROUPS, **SWITCHES}.items():
        lines.append(f"{'data.augment' if family == 'augment' else family}=")
        lines += [f"  {name:<16} {strategy.summary}" for name, strategy in strategies.items()]
    lines.append("\nAll keys with their units: configs/train.yaml and the folders beside it.")
    return "\n".join(lines)
