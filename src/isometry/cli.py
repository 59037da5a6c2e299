"""The command line: parse, call, turn errors into exit codes. Nothing heavy is imported before the words are checked.

Exit codes: 0 done, 1 unexpected, 2 config or usage, 3 data, 4 checkpoint or run state, 5 numerical, 6 resources,
7 another process of the training, 8 critical finding where asked to be strict, 130 interrupted, 143 terminated (see
`errors.py`).
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Sequence

from .catalog import GROUPS, SWITCHES
from .config import is_import_path
from .errors import CheckpointError, ConfigError, CriticalFinding, Interrupted, IsometryError

_MULTIRUN = {"-m", "--multirun"}
USAGE = {
    "python train.py KEY=VALUE …": "train, test, log (the same: isometry train KEY=VALUE …)",
    "python train.py -m KEY=A,B,C … sweep_name=X": "every combination, as far as it is missing; then a comparison",
    "isometry diagnose KEY=VALUE …": "what is wrong with this training, and which change cures it: tried",
    "isometry diagnose RUN": "what was wrong with a run, from its folder alone",
    "isometry evaluate RUN KEY=VALUE …": "test accuracy of a checkpoint or run folder (--trust: with code of yours)",
    "isometry replay RUN": "the batch that gave the first NaN, run again: which layer, which samples (--trust)",
    "isometry report RUN": "pictures and report.html of a run, again, from its folder alone",
    "isometry compare RUN_OR_SWEEP …": "many runs: accuracy, verdict, gradient, which knob did what (target=0.95)",
    "isometry dashboard [RUN_OR_SWEEP …]": "a W&B workspace and report for them (entity=ME project=X --push)",
    "isometry strategies [FAMILY …]": "every name to choose, its options, what does not go together",
    "isometry new FOLDER NAME": "a project of your own: this checkout, renamed, with its tests",
    "python train.py --cfg KEY=VALUE …": "print the whole configuration, run nothing",
    "python train.py --help": "this page",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    try:
        if not words or {"-h", "--help", "help"} & set(words):
            print(help_page(), flush=True)
            return 0 if words else ConfigError.exit_code
        if words[0] not in COMMANDS:
            raise ConfigError(f"error: unknown command {words[0]}\n  fix:   isometry {' | '.join(COMMANDS)}")
        COMMANDS[words[0]](words[1:])
    except IsometryError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `isometry strategies | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Interrupted.exit_code
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        summary = str(error).splitlines()[0] if str(error) else ""
        print(f"error: unexpected {type(error).__name__}: {summary}", file=sys.stderr)
        for note in getattr(error, "__notes__", []):
            print(note, file=sys.stderr)
        print("  look:  HYDRA_FULL_ERROR=1 shows the traceback here", file=sys.stderr)
        return 1
    return 0


def train(words: Sequence[str]) -> None:
    from .overrides import read
    from .resume import resumed

    if _MULTIRUN & set(words):
        return _sweep([word for word in words if word not in _MULTIRUN])
    only_print = "--cfg" in words
    words = [word for word in words if word != "--cfg"]
    config = resumed(words) or read(words)
    if only_print:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(config.model_dump())), end="")
        return
    from . import run

    summary = run.train(config, words)
    run.say("result", f"test accuracy {summary['test/acc']:.2%} in {summary['duration_s']:.0f} s")
    run.say("folder", str(summary["folder"]))
    if config.diagnose.strict and str(summary["verdict"]).startswith("critical"):
        raise CriticalFinding(f"error: {summary['verdict']}, and diagnose.strict is set")


def _sweep(words: Sequence[str]) -> None:
    from .sweep import failure, sweep

    folder, outcomes = sweep(words)
    if len([each for each in outcomes if each.exit_code == 0]) > 1:
        try:
            compare([str(folder)])
        except Exception as error:  # of what failed before, more is to be said
            print(f"the comparison could not be made: {error!r}", file=sys.stderr)
    failed = failure(folder, outcomes)
    if failed:
        raise failed


def compare(words: Sequence[str]) -> None:
    from pathlib import Path

    from .reports.compare import compare

    options = dict(word.split("=", 1) for word in words if word.startswith(("target=", "out=")))
    places = [Path(word).expanduser() for word in words if not word.startswith(("target=", "out="))]
    if not places:
        raise ConfigError(
            "error: which runs?\n  fix:   isometry compare runs/SWEEP   or   isometry compare runs/ONE runs/OTHER"
        )
    try:
        target = float(options["target"]) if "target" in options else None
    except ValueError:
        raise ConfigError(f"error: target = {options['target']} is no number\n  fix:   target=0.95") from None
    is_sweep = len(places) == 1 and not (places[0] / "config.yaml").is_file()
    text, files = compare(places, target, Path(options.get("out") or (places[0] if is_sweep else "comparison")))
    print(f"\n{text}\n")
    for path in files:
        print(f"file     {path}")


def dashboard(words: Sequence[str]) -> None:
    from pathlib import Path

    from omegaconf import OmegaConf

    from .config import CONFIG_DIR
    from .reports import dashboard

    pushes = "--push" in words
    options = {
        "entity": "",
        "project": str(OmegaConf.load(CONFIG_DIR / "train.yaml").wandb.project),
        "out": "dashboard",
    }
    given = tuple(f"{key}=" for key in options)
    options |= dict(word.split("=", 1) for word in words if word.startswith(given))
    places = [Path(word).expanduser() for word in words if word != "--push" and not word.startswith(given)]
    if pushes and not options["entity"]:
        raise ConfigError("error: whose project is it?\n  fix:   entity=YOUR_W&B_NAME")
    for path in dashboard.write(options["entity"], options["project"], places, Path(options["out"]), pushes=pushes):
        print(f"file     {path}")


def evaluate(words: Sequence[str]) -> None:
    from .overrides import change

    words, trust = _without_trust(words)
    if not words or ("=" in words[0] and not os.path.exists(words[0])):
        raise ConfigError("error: which checkpoint?\n  fix:   isometry evaluate RUN_FOLDER_OR_FILE")
    place, others = words[0], words[1:]
    foreign = [word for word in others if not word.startswith(("data=", "data.", "trainer", "threads="))]
    if foreign:
        raise ConfigError(
            f"error: evaluate takes the network from the checkpoint: {', '.join(foreign)} has no place here\n"
            "  fix:   keys of data, trainer and threads, e.g. data.dir=PATH trainer=cpu"
        )
    from .training.checkpoint_files import BEST, find_checkpoint, read_checkpoint

    config = change(read_checkpoint(find_checkpoint(place, BEST))["isometry"]["config"], others)
    if is_import_path(config.data.name) and not trust:
        raise CheckpointError(
            f"error: {place} names code from outside isometry: {config.data.name}\n"
            "  fix:   --trust   if the code is yours"
        )
    from . import evaluation

    evaluation.evaluate(config, place, trust=trust)


def _without_trust(words: Sequence[str]) -> tuple[list[str], bool]:
    """The words but `--trust`, and whether it was there: code that a file names may then be imported."""
    return [word for word in words if word != "--trust"], "--trust" in words


def diagnose(words: Sequence[str]) -> None:
    if len(words) == 1 and "=" not in words[0]:
        return _diagnose_run(words[0])
    from .overrides import read

    config = read(words)
    from . import checkup

    checkup.checkup(config)


def _diagnose_run(place: str) -> None:
    """What the rules say of a run that is there."""
    from pathlib import Path

    from .diagnostics.rules import diagnose
    from .reports.terminal import findings_lines

    folder = Path(place).expanduser()
    if not (folder / "gradients.jsonl").is_file():
        raise CheckpointError(f"error: {folder} holds no gradients.jsonl\n  fix:   isometry diagnose runs/NAME")
    print("\n".join(findings_lines(diagnose(folder))))


def report(words: Sequence[str]) -> None:
    from pathlib import Path

    from .reports.report import draw

    if len(words) != 1:
        raise ConfigError("error: which run?\n  fix:   isometry report runs/NAME")
    for path in draw(Path(words[0]).expanduser()):
        print(f"file     {path}")


def replay(words: Sequence[str]) -> None:
    words, trust = _without_trust(words)
    if len(words) != 1:
        raise ConfigError("error: which run?\n  fix:   isometry replay runs/NAME, or its nonfinite-….pt")
    from .replay import replay

    replay(words[0], trust=trust)


def strategies(words: Sequence[str]) -> None:
    from .strategies import FAMILIES, page

    foreign = [word for word in words if word not in FAMILIES]
    if foreign:
        raise ConfigError(f"error: no family is called {', '.join(foreign)}\n  fix:   {' '.join(FAMILIES)}")
    print(page(words or tuple(FAMILIES)), flush=True)


def new(words: Sequence[str]) -> None:
    from pathlib import Path

    from .fork import fork

    if len(words) != 2:
        raise ConfigError("error: which folder, and which name?\n  fix:   isometry new ../my_project my_name")
    print("\n".join(fork(Path(words[0]).expanduser(), words[1])))


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "diagnose": diagnose,
    "evaluate": evaluate,
    "replay": replay,
    "report": report,
    "compare": compare,
    "dashboard": dashboard,
    "strategies": strategies,
    "new": new,
}


def help_page() -> str:
    """Usage, and every name there is to choose."""
    lines = [*(f"{words:<44}{what}" for words, what in USAGE.items()), ""]
    for family, names in {**GROUPS, **SWITCHES}.items():
        start = f"{'data.augment' if family == 'augment' else family}="
        lines += textwrap.wrap(" ".join(names), 118, initial_indent=f"{start:<17}", subsequent_indent=" " * 17)
    lines.append("\nAll keys with their units: configs/train.yaml and the folders beside it.")
    return "\n".join(lines)
