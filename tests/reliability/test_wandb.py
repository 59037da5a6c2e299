"""W&B's server, its process, its folder or the package itself is gone: the training is the same, and told so in a line.

The same: exit code 0, the same bits and the same journal as with `logger=none`, at the cost of no more than the
time-outs of `loggers.py`, which are shorter here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import harness
import pytest
from harness import COMMON, NETWORKS, Fault, outcome, said
from test_killed import never_stopped  # noqa: F401 (a fixture)

from isometry.training import loggers

WORDS = [*NETWORKS["deep_cnn"], *COMMON, "logger=wandb", "run_name=r", "resume=auto"]
KEY = {"WANDB_API_KEY": "a" * 40}
TIMEOUT = 1  # seconds for the server
GRACE = 3  # seconds for the process; where it is well, it must keep to them on a busy machine
BUSY = 15  # seconds that the training itself may take there


# ------------------------------------------------------------------------------------------- what happens
def run(
    folder: Path,
    fault: Fault | None = None,
    environment: dict[str, str] | None = None,
    before: Callable[[], None] = harness.nothing,
) -> int:
    """The exit code of one command whose process has this environment, and does this `before` it starts."""
    folder.mkdir(exist_ok=True)
    process = harness._context().Process(target=_command, args=(str(folder), fault, environment or {}, before))
    process.start()
    process.join(timeout=60)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"it hangs: {said(folder)}")
    return int(process.exitcode)


def _command(folder: str, fault: Fault | None, environment: dict[str, str], before: Callable[[], None]) -> None:
    os.environ.pop("WANDB_SERVICE", None)  # of a test before: each run starts a process of its own
    os.environ.update(environment)
    loggers.INIT_TIMEOUT = loggers.FINISH_TIMEOUT = TIMEOUT
    loggers.CALL_TIMEOUT = loggers.GRACE = GRACE
    os.chdir(folder)
    before()
    harness._command(folder, WORDS, fault, "")


def send(number: signal.Signals) -> None:
    """To the process that W&B started, and that does everything."""
    service = loggers._service()
    assert service is not None
    service.send_signal(number)


def lose_the_server() -> None:
    with urllib.request.urlopen(os.environ["WANDB_BASE_URL"] + "/die"):
        pass


def lose_the_package() -> None:
    sys.modules["wandb"] = None  # type: ignore[assignment]


def put_a_file_in_the_way() -> None:
    Path("runs/r").mkdir(parents=True)
    Path("runs/r/wandb").touch()


def take_the_right_to_write() -> None:
    Path("runs/r/wandb").mkdir(parents=True, mode=0o555)


BUCKET = {
    "id": "x", "name": "ab12cd34", "displayName": "r", "description": None, "config": "{}", "sweepName": None,
    "project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}, "historyLineCount": 0,
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """As much of a W&B server as lets a run start."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"upsertBucket": {"bucket": BUCKET, "inserted": True}} if b"UpsertBucket" in asked else {}
        self._answer({"data": answer})

    def do_GET(self) -> None:
        self._answer({})
        Thread(target=self.server.server_close).start()
        self.server.shutdown()

    def _answer(self, answer: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *arguments: object) -> None:
        """Silence."""


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """The environment of a run that logs to a server, which is there until it is told to die."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield {**KEY, "WANDB_BASE_URL": f"http://127.0.0.1:{serving.server_port}"}
        serving.shutdown()
        thread.join()


def lines_of(folder: Path) -> list[str]:
    """What was said of W&B, by us or by W&B itself."""
    return [line for line in said(folder).splitlines() if re.search("W&B|wandb", line)]


# ------------------------------------------------------------------------------------------- what comes of it
@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (lose_the_package, "halted"),
        (put_a_file_in_the_way, "Not a directory"),
        pytest.param(take_the_right_to_write, "", marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write")),
    ],
)
def test_what_keeps_it_from_starting_is_told_and_the_journal_has_everything(
    before: Callable[[], None],
    reason: str,
    tmp_path: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    assert run(tmp_path / "k", before=before) == 0, said(tmp_path / "k")
    (line,) = lines_of(tmp_path / "k")
    assert line.startswith("logging  W&B did not start (")
    assert reason in line
    assert line.endswith("the journal metrics.jsonl has every value")
    assert outcome(tmp_path / "k") == never_stopped("deep_cnn")


def test_a_server_that_is_not_there_makes_it_offline(tmp_path: Path, never_stopped: Any) -> None:  # noqa: F811
    started = time.monotonic()
    assert run(tmp_path / "k", environment=KEY) == 0, said(tmp_path / "k")
    assert TIMEOUT < time.monotonic() - started < 2 * TIMEOUT + GRACE + BUSY
    (line,) = lines_of(tmp_path / "k")
    assert "W&B offline (the server did not take the run: " in line
    assert re.search(r"upload: wandb sync runs/r/wandb/offline-run-\d+_\d+-\w{8}$", line)
    assert outcome(tmp_path / "k") == never_stopped("deep_cnn")


@pytest.mark.parametrize(
    ("point", "count"),
    [("batch", 7), pytest.param("test", 0, marks=pytest.mark.slow)],
    ids=["in mid-run", "at its end"],
)
def test_a_server_that_goes_away_leaves_the_upload_for_later(
    point: str,
    count: int,
    tmp_path: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    started = time.monotonic()
    with server() as environment:
        assert run(tmp_path / "k", Fault(point, count, lose_the_server), environment) == 0, said(tmp_path / "k")
    assert time.monotonic() - started < 2 * (TIMEOUT + GRACE) + BUSY
    online, stopped = lines_of(tmp_path / "k")
    assert online.startswith("logging  W&B online (an API key was found): http://127.0.0.1:")
    assert "metrics.jsonl has every value, upload what W&B has: wandb sync runs/r/wandb/run-" in stopped
    assert outcome(tmp_path / "k") == never_stopped("deep_cnn")


@pytest.mark.parametrize(
    ("number", "point", "count"),
    [
        pytest.param(number, *at, marks=() if (number, *at) == (signal.SIGKILL, "batch", 7) else pytest.mark.slow)
        for number in (signal.SIGKILL, signal.SIGSTOP)
        for at in (("batch", 0), ("batch", 7), ("test", 0))
    ],
)
def test_its_process_is_killed_or_hangs(
    number: signal.Signals,
    point: str,
    count: int,
    tmp_path: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    started = time.monotonic()
    assert run(tmp_path / "k", Fault(point, count, partial(send, number))) == 0, said(tmp_path / "k")
    assert time.monotonic() - started < TIMEOUT + GRACE + BUSY
    offline, *_, stopped = lines_of(tmp_path / "k")
    assert offline.startswith("logging  W&B offline (no API key)")
    assert stopped.startswith("W&B stopped (")
    assert said(tmp_path / "k").count("wandb sync") == 2
    assert outcome(tmp_path / "k") == never_stopped("deep_cnn")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_it_does_not_keep_python_from_leaving(number: signal.Signals, tmp_path: Path) -> None:
    """W&B waits for its process at the exit of an interpreter; a forked one of the others above does not do that."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import faults, test_wandb
from isometry.cli import main
faults.plant("batch", range(7, 8), lambda: test_wandb.send({int(number)}))
test_wandb.loggers.FINISH_TIMEOUT = {TIMEOUT}
test_wandb.loggers.CALL_TIMEOUT = test_wandb.loggers.GRACE = {GRACE}
sys.exit(main(["train", *test_wandb.WORDS]))
"""
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("reports", [False, True], ids=["ours", "as W&B would have it"])
def test_offline_no_host_is_looked_for(reports: bool, tmp_path: Path) -> None:
    """Nor is W&B's own; the control lets it report on itself."""
    code = f"""
import socket, sys
def look_up(host, *args, **kwargs):
    print("asked for", host, flush=True)
    raise OSError("no network")
socket.getaddrinfo = look_up
from isometry.cli import main
sys.exit(main(["train", *{WORDS}]))
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment |= {"PYTHONPATH": str(Path(__file__).parent)} | ({"WANDB_ERROR_REPORTING": "true"} if reports else {})
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert "W&B offline (no API key)" in done.stdout
    assert ("asked for" in done.stdout) == reports


def test_a_signal_while_it_finishes_is_not_taken_for_a_failure_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from isometry.errors import Terminated

    def terminated(exit_code: int) -> None:
        raise Terminated("terminated")

    logger: Any = type("Logger", (), {"experiment": type("Run", (), {"finish": staticmethod(terminated)})})()
    with pytest.raises(Terminated):
        loggers.finish_wandb(logger, 0)
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------------- the same run again
@pytest.mark.parametrize("environment", [{}, pytest.param(KEY, marks=pytest.mark.slow)], ids=["offline", "no server"])
def test_a_run_that_goes_on_keeps_its_id(environment: dict[str, str], tmp_path: Path, never_stopped: Any) -> None:  # noqa: F811
    folder = tmp_path / "k"
    assert run(folder, Fault("batch", 7, harness.kill)) == -signal.SIGKILL
    time.sleep(1)  # the names of its folders count in seconds
    assert run(folder, environment=environment) == 0, said(folder)
    names = sorted(path.name for path in folder.glob("runs/r/wandb/offline-run-*"))
    assert len(names) == 2
    assert len({name.rpartition("-")[2] for name in names}) == 1
    assert outcome(folder) == never_stopped("deep_cnn")
