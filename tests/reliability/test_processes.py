"""Two processes (gloo, CPU) are as reliable as one: killed and continued to the bit, stopped together, never waiting.

Most cases fork both processes from one with torch loaded and tell them their ranks, as a launcher would: two seconds.
Lightning's launcher and torchrun themselves take fifteen a case, and are slow; they run this file as a script, which
plants what $FAULT says.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import COMMON, NETWORKS, Fault, kill, outcome, said

from isometry import build
from isometry.jsonl import read_lines
from isometry.overrides import read
from isometry.training.checkpoint_files import LATEST, committed, read_manifest

DDP = ["trainer=ddp", "trainer.accelerator=cpu"]
SAME = ["run_name=r", "resume=auto"]
WORDS = [*NETWORKS["deep_cnn"], *COMMON, *DDP, *SAME]
ONE_SAVE = "checkpoint.every_n_steps=1000"  # but for the one that a signal asks for
TIMEOUT = 8  # seconds that processes wait for one another, where one hangs
TIMEOUT_OF_JOB = 25  # in a job they begin to wait while others still import torch
DEADLINE = 120  # seconds, for all that must end some time
REACHED = "reached"  # a file that says so
DISTRIBUTED, TERMINATED = 7, 143  # exit codes


# --------------------------------------------------------------------------------------- two forked processes
def start(folder: Path, words: Sequence[str], faults: Mapping[int, Fault], spoiled: str = "") -> list[Any]:
    """Both processes of one command in `folder`, each with its own fault."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    processes = [
        harness._context().Process(target=_rank, args=(rank, port, str(folder), list(words), faults.get(rank), spoiled))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    return processes


def run(
    folder: Path, words: Sequence[str], faults: Mapping[int, Fault] | None = None, spoiled: str = ""
) -> list[int | None]:
    """The exit codes; None: it was still there long after, and is killed."""
    processes, end = start(folder, words, faults or {}, spoiled), time.monotonic() + DEADLINE
    for process in processes:
        process.join(max(end - time.monotonic(), 0))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def kill_together(folder: Path, words: Sequence[str], faults: Mapping[int, Fault], spoiled: str = "") -> None:
    """SIGKILL to both, as soon as one of them waits for it."""
    processes, end = start(folder, words, faults, spoiled), time.monotonic() + DEADLINE
    while not (folder / REACHED).exists() and time.monotonic() < end:
        time.sleep(0.02)
    for process in processes:
        process.kill()
    for process in processes:  # only now: one that is left would notice that the other is gone
        process.join()
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2, said(folder)


def _rank(rank: int, port: int, *command: Any) -> None:
    """In the forked process."""
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    from pytorch_lightning.utilities import rank_zero_only

    rank_zero_only.rank = rank  # Lightning read the environment when it was imported, before the fork
    harness._command(*command)


# ------------------------------------------------------------------------------------------------- faults
def fail() -> None:
    raise RuntimeError("something of the user's")


def hang() -> None:
    while True:
        time.sleep(1)


def wait_for_the_end() -> None:
    """For `kill_together`."""
    Path(REACHED).touch()
    hang()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def terminate_launcher() -> None:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(3)  # it hands the signal on, and ten steps are over soon


def kill_all() -> None:
    os.killpg(0, signal.SIGKILL)


ACTIONS = {action.__name__: action for action in (fail, hang, stop, terminate, terminate_launcher, kill, kill_all)}


# ----------------------------------------------------------------------------------------- known outcomes
@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """By network: the outcome of two processes that nobody stopped."""
    known: dict[str, dict[str, Any]] = {}

    def of(network: str) -> dict[str, Any]:
        if network not in known:
            folder = tmp_path_factory.mktemp("whole") / network
            assert run(folder, [*NETWORKS[network], *COMMON, *DDP, "run_name=r"]) == [0, 0], said(folder)
            known[network] = outcome(folder)
        return known[network]

    return of


# ---------------------------------------------------------------------------------------- killed, continued
POINTS = {  # at which process, and where, both are killed
    "deep_cnn": [(1, "batch", 13), (0, "backward", 6), (1, "batch", 4), (0, "write", 4), (0, "manifest", 4),
                 (0, "committed", 4), (1, "validation", 2), (0, "journal", 9)],
    "resnet": [(1, "batch", 14)],
    "lstm": [(0, "step", 7)],
}  # fmt: skip
QUICK = (1, "batch", 13)
CASES = [
    pytest.param(network, *point, marks=() if network == "deep_cnn" and point == QUICK else pytest.mark.slow)
    for network, points in POINTS.items()
    for point in points
]


@pytest.mark.parametrize(("network", "rank", "point", "count"), CASES)
def test_killed_together_and_continued_they_have_the_same_bits(
    network: str, rank: int, point: str, count: int, tmp_path: Path, whole: Any
) -> None:
    folder, words = tmp_path / "k", [*NETWORKS[network], *COMMON, *DDP, *SAME]
    kill_together(folder, words, {rank: Fault(point, count, wait_for_the_end)})
    assert not (folder / "runs/r/summary.json").exists()
    assert run(folder, words) == [0, 0], said(folder)
    assert "resumed  at step" in said(folder)
    assert outcome(folder) == whole(network)


def test_without_seeds_for_each_batch_it_has_others(tmp_path: Path, whole: Any) -> None:
    """The control: dropout that goes on by torch's generator."""
    folder = tmp_path / "k"
    kill_together(folder, WORDS, {1: Fault("batch", 13, wait_for_the_end)}, "batch seeds")
    assert run(folder, WORDS, None, "batch seeds") == [0, 0], said(folder)
    assert outcome(folder)["state_digest"] != whole("deep_cnn")["state_digest"]


# ------------------------------------------------------------------------------------------------- SIGTERM
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_signal_to_one_process_makes_both_save_and_leave(rank: int, tmp_path: Path, whole: Any) -> None:
    folder = tmp_path / "k"
    codes = run(folder, [*WORDS, ONE_SAVE], {rank: Fault("backward", 3, terminate)})
    assert codes == [TERMINATED, 0], said(folder)
    assert read_manifest(committed(folder / "runs/r", LATEST)[0])["step"] == 4
    assert said(folder).count("terminated at step 4") == 2
    assert run(folder, [*WORDS, ONE_SAVE]) == [0, 0], said(folder)
    assert outcome(folder) == whole("deep_cnn")


@pytest.mark.parametrize(
    ("rank", "point"),
    [
        (0, "test"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, "test"), (0, "finish"), (1, "finish"))),
    ],
)
def test_after_the_training_a_signal_ends_both_at_once(rank: int, point: str, tmp_path: Path) -> None:
    """Lightning's own handler would wait for the other process, which waits for another thing of this one."""
    folder = tmp_path / "k"
    codes = run(folder, WORDS, {rank: Fault(point, 0, terminate)})
    assert (codes[rank], codes[1 - rank]) == (TERMINATED, DISTRIBUTED), said(folder)


# ------------------------------------------------------------------------------------ one process is lost
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_where_one_fails_the_other_says_so_and_the_cause_is_kept(rank: int, tmp_path: Path) -> None:
    folder = tmp_path / "k"
    codes = run(folder, WORDS, {rank: Fault("batch", 7, fail)})
    assert (codes[rank], codes[1 - rank]) == (1, DISTRIBUTED), said(folder)
    assert "error: unexpected RuntimeError: something of the user's" in said(folder)
    assert "error: the processes of this training lost each other" in said(folder)
    assert "python train.py resume=runs/r" in said(folder)
    assert "something of the user's" in (folder / "runs/r/error.log").read_text()  # and not that it was missed
    assert "gloo" not in (folder / "runs/r/error.log").read_text()


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_where_one_is_killed_the_other_ends_and_both_go_on_exactly(rank: int, tmp_path: Path, whole: Any) -> None:
    folder = tmp_path / "k"
    codes = run(folder, WORDS, {rank: Fault("batch", 13)})
    assert (codes[rank], codes[1 - rank]) == (-signal.SIGKILL, DISTRIBUTED), said(folder)
    assert "Traceback" not in said(folder)
    assert run(folder, WORDS) == [0, 0], said(folder)
    assert outcome(folder) == whole("deep_cnn")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "point"),
    [(0, "write"), *((rank, point) for rank in (0, 1) for point in ("batch", "validation", "test"))],
)
def test_where_one_stands_still_the_other_ends_in_time(rank: int, point: str, tmp_path: Path) -> None:
    """Stopped, so that not even its handlers run."""
    processes = start(tmp_path / "k", [*WORDS, f"trainer.ddp_timeout={TIMEOUT}"], {rank: Fault(point, 0, stop)})
    processes[1 - rank].join(DEADLINE)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert (codes[rank], codes[1 - rank]) == (None, DISTRIBUTED), said(tmp_path / "k")
    assert f"trainer.ddp_timeout = {TIMEOUT} s" in said(tmp_path / "k")
    assert not (tmp_path / "k/runs/r/error.log").exists()


@pytest.mark.parametrize("strategy", ["ddp", "auto"])
def test_the_timeout_reaches_the_process_group(strategy: str, tmp_path: Path) -> None:
    words = ["trainer.accelerator=cpu", "trainer.devices=2", f"trainer.strategy={strategy}", "trainer.ddp_timeout=77"]
    trainer = build.trainer(read(words), tmp_path, [], [])
    assert trainer.world_size == 2
    assert trainer.strategy._timeout.total_seconds() == 77


# ------------------------------------------------------------------------------------ another number of them
# Nothing that is drawn or computed for one process's share alone; 31 images are validated, which two cannot halve.
PLAIN = ["model=deep_cnn", "model.depth=3", "model.width=4", "norm=none", "optimizer.lr=0.01", "data.eval_batch_size=8",
         "data.limit_train_images=310", "data.batch_size=30", "data.augment=cutout", "trainer.max_epochs=2",
         "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=0.5", "trainer.log_every_n_steps=1",
         "trainer.limit_test_batches=1", "monitor.every_n_steps=1", "logger=none", "scheduler=plateau",
         "checkpoint.every_n_steps=2", "threads=1", *SAME]  # fmt: skip


def totals(folder: Path) -> list[float]:
    """Norm of the whole gradient, of each step."""
    return [total for row in read_lines(folder / "runs/r/gradients.jsonl") for total in row.get("totals", ())]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that nobody stopped."""
    folder = tmp_path_factory.mktemp("alone") / "k"
    assert harness.run(folder, PLAIN) == 0, said(folder)
    assert len(totals(folder)) == 10
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two that nobody stopped, with the same batches."""
    folder = tmp_path_factory.mktemp("together") / "k"
    assert run(folder, [*PLAIN, *DDP]) == [0, 0], said(folder)
    return folder


def values(folder: Path, key: str) -> list[float]:
    """Of the journal."""
    return [row[key] for row in outcome(folder)["journal"] if key in row]


def test_two_learn_and_count_what_one_does(alone: Path, together: Path) -> None:
    assert totals(together) == pytest.approx(totals(alone), rel=1e-4)
    assert values(together, "test/loss") == pytest.approx(values(alone, "test/loss"), rel=1e-5)
    assert values(together, "val/acc") == values(alone, "val/acc")
    right = [31 * share for share in values(together, "val/acc")]
    assert len(right) == 4
    assert right == pytest.approx([round(count) for count in right], abs=1e-4)  # of 31: none is counted twice


def test_the_loss_of_shares_of_unequal_size_is_that_of_one(alone: Path, together: Path) -> None:
    assert values(together, "val/loss") == pytest.approx(values(alone, "val/loss"), rel=1e-5)


@pytest.mark.parametrize("first", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_with_another_number_it_goes_on_over_the_same_data_and_says_so(first: int, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "k"
    if first == 2:
        kill_together(folder, [*PLAIN, *DDP], {1: Fault("batch", 13, wait_for_the_end)})
        assert harness.run(folder, PLAIN) == 0, said(folder)
    else:
        assert harness.run(folder, PLAIN, Fault("batch", 13)) == -signal.SIGKILL, said(folder)
        assert run(folder, [*PLAIN, *DDP]) == [0, 0], said(folder)
    told = f"not to the bit what it would have been without a stop: {first} processes there, {3 - first} here"
    assert told in said(folder)
    assert totals(folder) == pytest.approx(totals(alone), rel=1e-4)
    assert outcome(folder)["test/loss"] == pytest.approx(outcome(alone)["test/loss"], rel=1e-5)


def test_another_order_of_the_data_would_be_seen(alone: Path, tmp_path: Path) -> None:
    """The control."""
    assert harness.run(tmp_path / "k", [*PLAIN, "seed=2", "init_seed=1"]) == 0, said(tmp_path / "k")
    assert totals(tmp_path / "k") != pytest.approx(totals(alone), rel=1e-2)


# ------------------------------------------------------------------------------------- the launchers themselves
LAUNCHERS = {"lightning": [], "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]}


@contextmanager
def session(folder: Path, launcher: str, words: Sequence[str], fault: str) -> Iterator[subprocess.Popen[bytes]]:
    """A job in a process group of its own, of which nothing is left behind."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, *LAUNCHERS[launcher], __file__, *words]
    environment = {**os.environ, "FAULT": fault}
    with open(folder / "out.txt", "ab") as out:
        job = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield job
    finally:
        for process in at_work(folder):  # torchrun gives each a group of its own
            os.kill(process, signal.SIGKILL)
        job.wait()


def launch(folder: Path, launcher: str, words: Sequence[str], fault: str = "") -> int:
    """The exit code of a whole job, of which soon no process is left."""
    with session(folder, launcher, words, fault) as job:
        code, end = job.wait(DEADLINE), time.monotonic() + TIMEOUT_OF_JOB
        while at_work(folder) and time.monotonic() < end:
            time.sleep(0.1)
        assert at_work(folder) == [], said(folder)
        return code


def at_work(folder: Path) -> list[int]:
    """The processes whose working directory is `folder`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(place / "cwd") == str(folder) and (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


# Under Lightning the first process is the job: it notices the other's end by itself, or is killed by a thread of
# Lightning's that looks after the others; who stops it may continue it. torchrun has one code for all failures.
LOST = [
    ("lightning", "0 batch 13 fail", (1,)),
    *(("lightning", f"0 batch 13 {action}", (-signal.SIGKILL,)) for action in ("kill", "hang")),
    *(
        ("lightning", f"1 batch 13 {action}", (DISTRIBUTED, -signal.SIGKILL))
        for action in ("fail", "kill", "hang", "stop")
    ),
    *(("torchrun", f"1 batch 13 {action}", (1,)) for action in ("fail", "kill", "hang", "stop")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "fault", "codes"), LOST)
def test_a_job_that_loses_a_process_ends_in_time(
    launcher: str, fault: str, codes: tuple[int, ...], tmp_path: Path
) -> None:
    code = launch(tmp_path, launcher, [*WORDS, f"trainer.ddp_timeout={TIMEOUT_OF_JOB}"], fault)
    assert code in codes, said(tmp_path)
    if fault.endswith(("hang", "stop")):  # else the launcher may end the other one before it has noticed
        assert "error: the processes of this training lost each other" in said(tmp_path)
    assert committed(tmp_path / "runs/r", LATEST)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["terminate", "terminate_launcher"])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_job_that_is_terminated_is_saved_and_goes_on_exactly(
    launcher: str, whom: str, tmp_path: Path, whole: Any
) -> None:
    """One process, or the one that has started it: the first of the two, or torchrun, as a scheduler does."""
    words = [*WORDS, ONE_SAVE]
    code = launch(tmp_path, launcher, words, f"1 backward 3 {whom}")
    assert code == (1 if launcher == "torchrun" else TERMINATED), said(tmp_path)
    assert read_manifest(committed(tmp_path / "runs/r", LATEST)[0])["step"] == 4
    assert launch(tmp_path, launcher, words) == 0, said(tmp_path)
    assert outcome(tmp_path) == whole("deep_cnn")


@pytest.mark.slow
def test_a_job_that_is_killed_as_a_group_goes_on_exactly(tmp_path: Path, whole: Any) -> None:
    assert launch(tmp_path, "lightning", WORDS, "1 batch 13 kill_all") == -signal.SIGKILL, said(tmp_path)
    assert launch(tmp_path, "lightning", WORDS) == 0, said(tmp_path)
    assert "resumed  at step 6" in said(tmp_path)
    assert outcome(tmp_path) == whole("deep_cnn")


def _main() -> int:
    """One process of a job, under whichever launcher; $FAULT: rank, point, count, action."""
    import faults

    from isometry.cli import main

    faults.draw_nothing()
    rank, point, count, action = (os.environ["FAULT"] or "none none 0 none").split()
    if os.environ.get("LOCAL_RANK", "0") == rank:
        faults.plant(point, range(int(count), int(count) + 1), ACTIONS[action])
    return main(["train", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(_main())
