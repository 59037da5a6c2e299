"""What a run's folder can look like when somebody wants to go on: torn, flipped, foreign, in use."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import COMMON, NETWORKS, Fault, outcome, run, said, start
from test_killed import never_stopped  # noqa: F401 (a fixture)

from isometry.training.checkpoint_files import LATEST, committed, manifest_of

WORDS = [*NETWORKS["deep_cnn"], *COMMON, "run_name=r", "resume=auto"]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was killed in its second epoch and has two checkpoints."""
    folder = tmp_path_factory.mktemp("stopped") / "k"
    assert run(folder, WORDS, Fault("batch", 16)) == -signal.SIGKILL
    assert len(committed(folder / "runs/r", LATEST)) == 2
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "k"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def exchange(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


def no_manifest(path: Path) -> None:
    manifest_of(path).unlink()


def torn_manifest(path: Path) -> None:
    truncate(manifest_of(path))


def foreign_manifest(path: Path) -> None:
    """Whole JSON, and nothing of what a manifest says."""
    manifest_of(path).write_text('{"sha256": 3, "weights": ["a", "b"]}')


DAMAGES: list[Callable[[Path], None]] = [
    truncate, empty, flip_a_bit, exchange, no_manifest, torn_manifest, foreign_manifest
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_is_passed_over_and_the_one_before_gives_the_same_bits(
    damage: Callable[[Path], None],
    folder: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    newest, before = committed(folder / "runs/r", LATEST)
    damage(newest)
    assert run(folder, WORDS) == 0, said(folder)
    assert f"from runs/r/checkpoints/{before.name}" in said(folder)
    assert ("passed over: " in said(folder)) == (damage is not no_manifest)
    assert outcome(folder) == never_stopped("deep_cnn")


def test_what_was_passed_over_makes_room_for_what_is_good(folder: Path) -> None:
    newest, before = committed(folder / "runs/r", LATEST)
    flip_a_bit(newest)
    words = [*WORDS, "checkpoint.every_n_steps=1000"]  # but for the one that the signal asks for
    assert run(folder, words, Fault("batch", 1, terminate)) == 143, said(folder)
    names = [path.name for path in committed(folder / "runs/r", LATEST)]
    assert names == [before.name.replace("0000006", "0000007"), before.name]  # the damaged one said it was of step 8


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_without_verification_a_flipped_bit_changes_the_run(folder: Path, never_stopped: Any) -> None:  # noqa: F811
    """The control: this is what the digests are for."""
    newest = committed(folder / "runs/r", LATEST)[0]
    content = bytearray(newest.read_bytes())
    weights = torch.load(newest, weights_only=True)["state_dict"]["network.head.weight"]
    place = content.find(weights.numpy().tobytes())
    content[place + 2] ^= 64
    newest.write_bytes(content)
    run(folder, WORDS, None, "verification")
    assert "passed over" not in said(folder)
    assert outcome(folder) != never_stopped("deep_cnn")


def test_where_none_is_whole_nothing_is_deleted_and_nothing_starts_anew(folder: Path) -> None:
    for path in committed(folder / "runs/r", LATEST):
        truncate(path)
    (folder / "runs/r/.lock").unlink()  # of the killed process
    before = {path: path.read_bytes() for path in (folder / "runs/r").rglob("*") if path.is_file()}
    assert run(folder, WORDS) == 4
    assert "no whole checkpoint to go on from" in said(folder)
    assert {path: path.read_bytes() for path in (folder / "runs/r").rglob("*") if path.is_file()} == before


def test_another_training_is_refused_with_the_keys_that_differ(folder: Path) -> None:
    assert run(folder, [*WORDS, "model.depth=4", "seed=2"]) == 4
    assert "model.depth: 3 there, 4 here" in said(folder)
    assert "seed: 1 there, 2 here" in said(folder)


def test_a_checkpoint_of_another_training_is_refused(folder: Path, tmp_path: Path) -> None:
    other = [word for word in WORDS if not word.startswith("model.width")]
    assert run(tmp_path / "other", [*other, "model.width=8"]) == 0
    for path in committed(folder / "runs/r", LATEST):
        foreign = committed(tmp_path / "other/runs/r", LATEST)[0]
        shutil.copy(foreign, path)
        shutil.copy(manifest_of(foreign), manifest_of(path))
    assert run(folder, WORDS) == 4
    assert "model.width: 8 there, 4 here" in said(folder)


def test_clocks_that_lie_change_nothing(folder: Path, never_stopped: Any) -> None:  # noqa: F811
    """The newest is that of the last step, whatever its file says, and no time that goes backwards is waited for."""
    newest, before = committed(folder / "runs/r", LATEST)
    os.utime(newest, (0, 0))
    os.utime(before, (2**32, 2**32))
    assert run(folder, WORDS, Fault("batch", 1, turn_back_the_clock)) == 0, said(folder)
    assert f"from runs/r/checkpoints/{newest.name}" in said(folder)
    assert outcome(folder) == never_stopped("deep_cnn")


def turn_back_the_clock() -> None:
    time.time = lambda: 0.0


def test_another_machine_is_told_what_no_longer_holds(folder: Path) -> None:
    assert run(folder, [*WORDS, "threads=2", "trainer.precision=bf16-mixed"]) == 0
    assert "threads 1 there, 2 here; precision 32-true there, bf16-mixed here" in said(folder)


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    owner = start(folder, WORDS, Fault("batch", 3, sleep_long))
    deadline = time.monotonic() + 60
    while not (folder / "runs/r/checkpoints").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        assert run(folder, WORDS) == 4
        assert f"in use by process {owner.pid}" in said(folder)
    finally:
        owner.kill()
        owner.join()
    assert run(folder, WORDS) == 0, said(folder)  # the lock of a killed process holds nobody up


def sleep_long() -> None:
    time.sleep(60)


def test_latest_and_a_name_continue_with_the_stored_configuration(folder: Path, never_stopped: Any) -> None:  # noqa: F811
    assert run(folder, ["resume=latest"]) == 0, said(folder)
    assert outcome(folder) == never_stopped("deep_cnn")
