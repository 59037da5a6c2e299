"""Sweeps for real: every point a process, what fails and what is killed, and a second try that does what is missing."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isometry.jsonl import read_lines
from isometry.overrides import expand
from isometry.sweep import Point, _run, sweep

Cli = Callable[..., tuple[int, str, str]]

# 270 digits and 18 steps of a tiny network; most of a run's seconds are Python's imports.
TINY = ["data.limit_train_images=300", "data.batch_size=30", "model=mlp", "model.width=4", "trainer.max_epochs=2",
        "trainer.limit_test_batches=1", "trainer.log_every_n_steps=3", "logger=none"]  # fmt: skip


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads((folder / "sweep.json").read_text())}


def digest(folder: Path) -> str:
    return str(json.loads((folder / "summary.json").read_text())["state_digest"])


# ----------------------------------------------------------------------------------------------- points
def test_every_combination_in_the_order_of_the_words() -> None:
    points = list(expand(["init=he_normal,zeros", "model=mlp", "model.depth=range(1,4)", "seed=7"]))
    assert [tuple(chosen.values()) for chosen, _ in points] == [
        ("he_normal", "1"), ("he_normal", "2"), ("he_normal", "3"), ("zeros", "1"), ("zeros", "2"), ("zeros", "3"),
    ]  # fmt: skip
    assert {tuple(fixed) for _, fixed in points} == {("model=mlp", "seed=7")}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["init=he_normal,zeros"], "sweep_name=NAME"),
        (["init=he_normla,hee", "sweep_name=x"], "he_normla"),
        (["nrom=batch,none", "sweep_name=x"], "norm"),
        (["seed=1", "sweep_name=a,b"], "sweep_name takes one value"),
        (["seed=1,2", "parallel.workers=1,2", "sweep_name=x"], "takes one value"),
        (["seed=1,2", "run_name=r", "sweep_name=x"], "names and resumes its runs itself"),
        (["optimizer.lr=interval(0,1)", "sweep_name=x"], "does not say which values"),
        (["seed=1,2", "sweep_name=x", "parallel.cluster=local", "parallel.resources={foo:1}"], "submitit"),
    ],
)
def test_a_command_that_is_wrong_as_a_whole_runs_nothing(cli: Cli, tmp_path: Path, words: list[str], says: str) -> None:
    code, _, err = cli("train", "-m", *words)
    assert code == 2
    assert says in err
    assert not list(tmp_path.glob("runs/x/*/output.log"))


def test_a_folder_that_cannot_be_is_said_to_be(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    code, _, err = cli("train", "-m", "seed=1,2", "sweep_name=x")
    assert (code, "cannot write into runs/x" in err) == (6, True), err


def test_a_single_run_still_takes_one_value(cli: Cli) -> None:
    code, _, err = cli("train", "seed=1,2")
    assert code == 2
    assert "python train.py -m" in err


# ---------------------------------------------------------------------------------------------- running
def test_points_that_fail_are_noted_the_others_run_and_a_second_try_does_what_is_missing(
    cli: Cli, tmp_path: Path
) -> None:
    # depth 0 is refused, a rate of 1e30 gives NaN.
    words = ["train", "-m", *TINY, "norm=none", "model.depth=2,0", "optimizer.lr=0.01,1e30", "sweep_name=x"]
    code, out, err = cli(*words)
    folder = tmp_path / "runs" / "x"
    found = outcomes(folder)
    assert {name: each["exit_code"] for name, each in found.items()} == {
        "model.depth=2,optimizer.lr=0.01": 0,
        "model.depth=2,optimizer.lr=1e+30": 5,
        "model.depth=0,optimizer.lr=0.01": 2,
        "model.depth=0,optimizer.lr=1e+30": 2,
    }
    assert code == 5  # that of the first that failed, in the order of the points
    assert "3 of 4 runs failed" in err
    assert "model.depth=2,optimizer.lr=1e+30" in err
    assert "not finite" in found["model.depth=2,optimizer.lr=1e+30"]["message"]
    assert re.search(r"\[4/4\] model\.depth=2,optimizer\.lr=1e\+30: exit code 5", out)
    good = folder / "model.depth=2,optimizer.lr=0.01" / "summary.json"
    written, before = good.stat().st_mtime_ns, digest(good.parent)

    code, out, err = cli(*words)
    assert code == 5
    assert "1 to do" in out
    assert good.stat().st_mtime_ns == written
    assert digest(good.parent) == before


def test_a_run_that_is_killed_is_noted_and_goes_on_at_the_next_try(tmp_path: Path) -> None:
    words = [*TINY, "model.depth=2", "checkpoint.every_n_steps=5", "trainer.max_epochs=40", "seed=1,2", "sweep_name=x"]
    train = [sys.executable, "-m", "isometry", "train"]
    driver = subprocess.Popen([*train, "-m", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    folder = tmp_path / "runs" / "x"
    kill_when(driver, folder / "seed=1" / "metrics.jsonl")
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 128 + signal.SIGKILL
    assert b"killed by SIGKILL" in err
    assert {name: each["exit_code"] for name, each in outcomes(folder).items()} == {"seed=1": 137, "seed=2": 0}

    done = subprocess.run([*train, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1 to do" in done.stdout
    assert "resumed" in (folder / "seed=1" / "output.log").read_text()
    whole = [word.replace("seed=1,2", "seed=1") for word in words if not word.startswith("sweep_name")]
    subprocess.run([*train, *whole, "run_name=whole"], cwd=tmp_path, capture_output=True, check=True)
    assert digest(folder / "seed=1") == digest(tmp_path / "runs" / "whole")


def kill_when(driver: subprocess.Popen[bytes], journal: Path, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill the driver's only child once the journal has ten lines."""
    while driver.poll() is None:
        if journal.is_file() and len(list(read_lines(journal))) > 10:
            children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
            os.kill(int(children[0]), number)
            return
        time.sleep(0.02)
    pytest.fail(f"the sweep ended early: {driver.communicate()}")


def test_ctrl_c_saves_what_is_under_way_and_starts_nothing_more(tmp_path: Path) -> None:
    """As a terminal sends it: to the whole group of the sweep's process."""
    words = [*TINY, "model.depth=2", "trainer.max_epochs=400", "seed=1,2", "sweep_name=x"]
    command = [sys.executable, "-m", "isometry", "train", "-m", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    driver = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes)  # type: ignore[call-overload]
    folder = tmp_path / "runs" / "x"
    while not (folder / "seed=1" / "metrics.jsonl").is_file() and driver.poll() is None:
        time.sleep(0.02)
    beside = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (beside.returncode, "is in use by" in beside.stderr) == (4, True)
    os.killpg(driver.pid, signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert (driver.returncode, b"the same command" in err) == (130, True), (out, err)
    assert outcomes(folder)["seed=1"]["exit_code"] == 130
    assert not (folder / "seed=2").exists()
    assert list((folder / "seed=1" / "checkpoints").glob("latest-*.ckpt"))


class Stubborn:
    """A run that does not end before SIGKILL."""

    def __init__(self) -> None:
        self.got: list[signal.Signals] = []

    def exit_code(self) -> int | None:
        return 137 if signal.SIGKILL in self.got else None

    def stop(self, number: signal.Signals) -> None:
        self.got.append(number)


@pytest.mark.parametrize(
    ("sent", "handed_on"),
    [
        ([signal.SIGINT] * 3, [signal.SIGINT, signal.SIGINT, signal.SIGKILL]),
        ([signal.SIGTERM] * 3, [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]),
        ([signal.SIGHUP] * 3, [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]),
    ],
)
def test_a_second_signal_is_more_urgent_and_a_third_kills(
    tmp_path: Path, sent: list[signal.Signals], handed_on: list[signal.Signals]
) -> None:
    run, points = Stubborn(), [Point("a", []), Point("b", [])]
    asked: list[signal.Signals] = []
    outcome = next(_run(points, lambda point: asked.extend(sent) or run, tmp_path, 1, asked))
    assert run.got == handed_on
    assert (outcome.name, outcome.message) == ("a", "killed by SIGKILL")


def test_whatever_happens_to_the_sweep_nobody_is_left_behind(tmp_path: Path) -> None:
    run = Stubborn()

    def begin(point: Point) -> Stubborn:
        if point.name == "b":
            raise OSError("the disk is full")
        return run

    with pytest.raises(OSError, match="the disk is full"):
        list(_run([Point("a", []), Point("b", [])], begin, tmp_path, 2, []))
    assert run.got == [signal.SIGTERM]


def test_nothing_leaks_from_one_run_into_the_next(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "same")
    monkeypatch.setenv("WANDB_NAME", "same")
    monkeypatch.setenv("WANDB_RESUME", "must")  # with which W&B would refuse to start a run
    monkeypatch.setenv("ISOMETRY_RUN_FOLDER", str(tmp_path / "elsewhere"))
    offline = [word for word in TINY if word != "logger=none"] + ["wandb.mode=offline"]
    code, _, err = cli("train", "-m", *offline, "model.depth=2", "init=he_normal,lecun_normal", "sweep_name=x")
    assert (code, err) == (0, "")
    ids = {path.name.rpartition("-")[2] for path in (tmp_path / "runs/x").glob("*/wandb/offline-run-*")}
    assert len(ids) == 2
    assert "same" not in ids
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_two_at_once_and_a_clusters_jobs_give_the_same_bits_as_one_by_one(cli: Cli, tmp_path: Path) -> None:
    words = ["train", "-m", *TINY, "threads=1", "model.depth=2,3", "init=he_normal,orthogonal"]
    ways = {"serial": [], "two": ["parallel.workers=2"], "jobs": ["parallel.workers=2", "parallel.cluster=local"]}
    found = {}
    for name, own in ways.items():
        code, _, err = cli(*words, *own, f"sweep_name={name}")
        assert (code, err) == (0, "")
        folder = tmp_path / "runs" / name
        found[name] = {path.parent.name: digest(path.parent) for path in folder.glob("*/summary.json")}
        with (folder / "comparison.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 4
    assert len(set(found["serial"].values())) == 4
    assert found["serial"] == found["two"] == found["jobs"]


@pytest.mark.slow
def test_a_job_that_is_told_to_end_saves_first(tmp_path: Path) -> None:
    words = [*TINY, "model.depth=2", "trainer.max_epochs=4000", "seed=1,2", "sweep_name=x", "parallel.workers=2"]
    command = [sys.executable, "-m", "isometry", "train", "-m", *words, "parallel.cluster=local"]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    folder = tmp_path / "runs" / "x"
    while not all((folder / f"seed={seed}" / "metrics.jsonl").is_file() for seed in (1, 2)) and driver.poll() is None:
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    out, err = driver.communicate(timeout=90)
    assert driver.returncode == 143, (out, err)
    for seed in (1, 2):
        assert list((folder / f"seed={seed}" / "checkpoints").glob("latest-*.ckpt"))


def test_the_words_of_a_point_are_all_that_a_run_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a launcher that only notes them: what every run is told, and that threads are shared out."""
    told: list[list[str]] = []

    class Ended:
        def exit_code(self) -> int:
            return 6

        def stop(self, number: signal.Signals) -> None: ...

    monkeypatch.setattr("isometry.launch.Process", lambda words, log: told.append(list(words)) or Ended())
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.chdir(tmp_path)
    sweep(["seed=1,2", "sweep_name=x", "parallel.workers=2"])
    common = ["sweep_name=x", "parallel.workers=2"]
    assert {each["exit_code"] for each in outcomes(tmp_path / "runs/x").values()} == {6}
    assert told == [
        [*common, f"seed={seed}", 'wandb.group="x"', "threads=4", f'run_name="x/seed={seed}"', "resume=auto"]
        for seed in (1, 2)
    ]
