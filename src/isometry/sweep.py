"""Many runs from one command: `python train.py -m init=he_normal,zeros model.depth=10,50 sweep_name=x`.

Every combination of the listed values is a run in a folder and a process of its own, so nothing leaks from one into the
next: no W&B run, environment variable or random state. Each is the command `… resume=auto`: a finished one has nothing
to do, a broken one goes on; one that fails is noted and the others go on. `sweep.json` says how each ended.

Hydra's own multirun runs in one process, which the first `SystemExit` ends, and knows nothing of an earlier try.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from .config import Config
from .errors import ConfigError, Interrupted, IsometryError, ResourceError, Terminated
from .launch import Started, launcher
from .lock import lock, unlock
from .overrides import expand, read

RECORD = "sweep.json"
LOG = "output.log"
_POLL = 0.1  # seconds
_LONGEST = 150  # characters of a folder's name, before it is cut
# One for the whole sweep.
_NOT_SWEPT = {"sweep_name", "parallel", "runs_dir", "run_name", "resume"}
# What may change between two tries of a run that is finished.
_ASIDE = ("sweep_name=", "parallel.", "threads=", "wandb.", "logger=")


@dataclass(frozen=True)
class Point:
    """Args:
    name: Of its folder: the values that were chosen for it.
    words: Its command line.
    """

    name: str
    words: list[str]


@dataclass(frozen=True)
class Outcome:
    """How a run ended; one object of `sweep.json`.

    Args:
        name: The point's.
        words: The point's.
        exit_code: As of `python train.py`; above 128 the signal that killed it.
        message: The first line of its error.
        seconds: That this try took.
    """

    name: str
    words: list[str]
    exit_code: int
    message: str = ""
    seconds: float = 0.0


def sweep(words: Sequence[str]) -> tuple[Path, list[Outcome]]:
    """Run what `words` list, as far as it is missing; the sweep's folder, and how each run ended.

    Args:
        words: Of the command line; `key=a,b,c` and `key=range(1,4)` list values.

    Raises:
        ConfigError: The sweep has no name, or no point of it is a valid configuration.
        CheckpointError: Another process is at work on this sweep.
        ResourceError: Its folder cannot be written.
        Interrupted: Ctrl-C, after the runs under way were saved.
        Terminated: SIGTERM, likewise.
    """
    points = list(_points(words))
    config, outcomes = _checked(points)
    if config.sweep_name is None:
        raise ConfigError("error: a sweep has a name, by which it is found again\n  fix:   sweep_name=NAME")
    folder = Path(config.runs_dir).expanduser() / config.sweep_name
    start, threads = launcher(config, folder)
    owner = _enter(folder)
    try:
        earlier = _recorded(folder)
        outcomes |= {point.name: earlier[point.name] for point in points if _is_finished(folder, point, earlier)}
        missing = [point for point in points if point.name not in outcomes]
        _announce(len(points), outcomes, missing, folder, config.parallel.workers, threads)
        common = [f"wandb.group={_quoted(config.sweep_name)}"] if config.wandb.group is None else []
        common += [f"threads={threads}"] if threads else []

        def begin(point: Point) -> Started:
            (folder / point.name).mkdir(exist_ok=True)
            place = _quoted(f"{config.sweep_name}/{point.name}")
            return start([*point.words, *common, f"run_name={place}", "resume=auto"], folder / point.name / LOG)

        _work(points, missing, outcomes, earlier, folder, begin, config.parallel.workers)
    finally:
        unlock(folder, owner)
    return folder, [outcomes[point.name] for point in points]


def _enter(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return lock(folder)
    except OSError as error:
        raise ResourceError(
            f"error: cannot write into {folder}: {error.strerror}\n  fix:   runs_dir=A_FOLDER_YOU_MAY_WRITE"
        ) from None


def _work(
    points: Sequence[Point],
    missing: Sequence[Point],
    outcomes: dict[str, Outcome],
    earlier: Mapping[str, Outcome],
    folder: Path,
    begin: Callable[[Point], Started],
    workers: int,
) -> None:
    """Run the missing points; each that ends joins `outcomes`, is written down and told.

    Raises:
        Interrupted: Ctrl-C.
        Terminated: SIGTERM.
    """
    began, before, names = time.monotonic(), len(outcomes), {point.name for point in points}
    others = [each for name, each in earlier.items() if name not in names]

    def record() -> None:
        ordered = [outcomes.get(point.name) or earlier.get(point.name) for point in points]
        _write(folder, [each for each in (*ordered, *others) if each])

    with _asked_to_stop() as asked, closing(_run(missing, begin, folder, workers, asked)) as ended:
        for outcome in ended:
            outcomes[outcome.name] = outcome
            record()
            left = len(points) - len(outcomes)
            seconds = (time.monotonic() - began) / (len(outcomes) - before) * left
            print(f"[{len(outcomes)}/{len(points)}] {_line(folder, outcome)}; {_duration(seconds)} left", flush=True)
    record()
    if asked:
        kind = Interrupted if asked[0] == signal.SIGINT else Terminated
        raise kind(f"the sweep is {kind.__name__.lower()}, what was under way is saved\n  continue:  the same command")


def failure(folder: Path, outcomes: Sequence[Outcome]) -> IsometryError | None:
    """The error that lists the runs that failed, with the exit code of the first; None: all are done."""
    failed = [each for each in outcomes if each.exit_code]
    if not failed:
        return None
    lines = "\n".join(f"  {each.name}\n    exit code {each.exit_code}: {each.message}" for each in failed)
    error = IsometryError(
        f"error: {len(failed)} of {len(outcomes)} runs failed\n{lines}\n"
        f"  look:  {LOG} in the run's folder, {folder}/…\n  fix:   the same command tries these again, and only these"
    )
    error.exit_code = failed[0].exit_code
    return error


# --------------------------------------------------------------------------------------------- points
def _points(words: Sequence[str]) -> Iterator[Point]:
    """All combinations, each with a name of its own that says what was chosen."""
    names: set[str] = set()
    for chosen, fixed in expand(words):
        for key in chosen:
            if key.partition(".")[0] in _NOT_SWEPT:
                raise ConfigError(f"error: {key} takes one value for the whole sweep\n  where: command line")
        for word in fixed:
            if word.startswith(("run_name=", "resume=")):
                raise ConfigError(f"error: {word}: a sweep names and resumes its runs itself\n  fix:   leave it out")
        own = [f"{key}={value}" for key, value in chosen.items()]
        name = re.sub(r"[^\w.=,+-]", ".", ",".join(own), flags=re.ASCII) or "run"
        if name in names or len(name) > _LONGEST:
            name = f"{name[:_LONGEST]}-{hashlib.sha256(repr(own).encode()).hexdigest()[:8]}"
        names.add(name)
        yield Point(name, [*fixed, *own])


def _checked(points: Sequence[Point]) -> tuple[Config, dict[str, Outcome]]:
    """A valid configuration, for what holds for all, and those that are none."""
    valid, refused, reason = None, {}, None
    for point in points:
        try:
            valid = read(point.words)
        except ConfigError as error:
            reason = reason or error
            refused[point.name] = Outcome(point.name, point.words, error.exit_code, _first_line(str(error)))
    if valid is None:
        assert reason
        raise reason
    return valid, refused


def _recorded(folder: Path) -> dict[str, Outcome]:
    """How each run ended at its last try."""
    with suppress(OSError, ValueError, TypeError, KeyError):  # there was none
        return {each["name"]: Outcome(**each) for each in json.loads((folder / RECORD).read_text())}
    return {}


def _is_finished(folder: Path, point: Point, earlier: Mapping[str, Outcome]) -> bool:
    """Whether an earlier try has brought it to its end, with the same words."""
    before = earlier.get(point.name)
    is_same = before is not None and before.exit_code == 0 and _what(before.words) == _what(point.words)
    return is_same and (folder / point.name / "summary.json").is_file()


def _what(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith(_ASIDE)]


def _quoted(text: str) -> str:
    """For Hydra, to whom `=` and `,` mean something."""
    return json.dumps(text, ensure_ascii=False)


# -------------------------------------------------------------------------------------------- running
@dataclass
class _Running:
    """A point under way, since when, and how much its log held before."""

    point: Point
    started: Started
    began: float
    said: int


def _run(
    missing: Sequence[Point], begin: Callable[[Point], Started], folder: Path, workers: int, asked: list[signal.Signals]
) -> Generator[Outcome]:
    """Start the points in order, so many at once, until none is left or the sweep is asked to stop."""
    waiting, running = list(missing), list[_Running]()
    told = 0  # signals that were handed on
    try:
        while running or (waiting and not asked):
            while waiting and len(running) < workers and not asked:
                point = waiting.pop(0)
                log = folder / point.name / LOG
                said = log.stat().st_size if log.is_file() else 0
                running.append(_Running(point, begin(point), time.monotonic(), said))
            while told < len(asked):
                _hand_on(running, asked, told)
                told += 1
            time.sleep(_POLL)
            for each in list(running):
                code = each.started.exit_code()
                if code is not None:
                    running.remove(each)
                    yield _outcome(folder, each, code)
    finally:  # whatever happened here, nobody is left behind
        for each in running:
            each.started.stop(signal.SIGTERM)


def _hand_on(running: Sequence[_Running], asked: Sequence[signal.Signals], index: int) -> None:
    """The first signal lets a run save; the second, Ctrl-C to it, lets it leave at once; the third does not ask."""
    number = [signal.SIGINT if asked[0] == signal.SIGINT else signal.SIGTERM, signal.SIGINT, signal.SIGKILL][
        min(index, 2)
    ]
    for each in running:
        each.started.stop(signal.Signals(number))
    if index == 0:
        print("\nsaving the runs under way; again leaves at once", flush=True)


def _outcome(folder: Path, each: _Running, code: int) -> Outcome:
    name, message = each.point.name, ""
    if code:
        message = _message(folder / name / LOG, each.said, code)
    elif not (folder / name / "summary.json").is_file():
        code, message = 1, "it ended without a summary"
    return Outcome(name, each.point.words, code, message, round(time.monotonic() - each.began, 1))


@contextmanager
def _asked_to_stop() -> Iterator[list[signal.Signals]]:
    """Notes Ctrl-C, SIGTERM and a terminal that is closed, each time."""
    asked: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(signal.Signals(number))

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --------------------------------------------------------------------------------------------- telling
def _write(folder: Path, outcomes: Sequence[Outcome]) -> None:
    fresh = folder / f"{RECORD}.tmp"
    fresh.write_text(json.dumps([asdict(each) for each in outcomes], indent=1))
    fresh.replace(folder / RECORD)


def _announce(
    total: int, known: Mapping[str, Outcome], missing: Sequence[Point], folder: Path, workers: int, threads: int | None
) -> None:
    at_once = f", {workers} at once" if workers > 1 else ""
    share = f" with {threads} of the CPU threads each" if threads else ""
    print(f"sweep    {total} runs in {folder}: {len(missing)} to do{at_once}{share}", flush=True)
    for outcome in known.values():
        if outcome.exit_code:
            print(f"refused  {_line(folder, outcome)}", flush=True)


def _line(folder: Path, outcome: Outcome) -> str:
    """`init=zeros,seed=1: 11.35 %, critical: symmetric_init; 14 s`."""
    if outcome.exit_code:
        told = f"exit code {outcome.exit_code}: {outcome.message}"
    else:
        summary = json.loads((folder / outcome.name / "summary.json").read_text())
        told = f"test accuracy {summary['test/acc']:.2%}, {summary['verdict'] or 'not watched'}"
    return f"{outcome.name}: {told}; {_duration(outcome.seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _message(log: Path, start: int, code: int) -> str:
    """The last error in what a run said since `start`, or the signal that left it no time for one."""
    if code > 128 and code - 128 in set(signal.Signals) and code not in (Interrupted.exit_code, Terminated.exit_code):
        return f"killed by {signal.Signals(code - 128).name}"
    lines = log.read_bytes()[start:].decode(errors="replace").splitlines() if log.is_file() else []
    errors = [line for line in lines if line.startswith(("error:", "interrupted", "terminated"))]
    return _first_line((errors or lines or ["it said nothing"])[-1])


def _first_line(text: str) -> str:
    return text.splitlines()[0].removeprefix("error: ")
