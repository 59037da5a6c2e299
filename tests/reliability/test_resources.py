"""A full disk, a lost right to write, numbers that are none: it goes on where it can, and nothing good is lost."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import COMMON, NETWORKS, Fault, nothing, outcome, run, said
from test_killed import never_stopped  # noqa: F401 (a fixture)

from isometry.jsonl import Appender, read_lines
from isometry.training.checkpoint_files import LATEST, committed, read_checkpoint

WORDS = [*NETWORKS["deep_cnn"], *COMMON, "run_name=r", "resume=auto"]


def refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


def take_more_than_there_is(library: str) -> None:
    bytearray(1 << 60) if library == "Python" else torch.empty(1 << 60)


@pytest.mark.parametrize("library", ["Python", "torch"])
def test_a_memory_that_is_full_is_told_and_what_was_saved_is_good(
    library: str,
    tmp_path: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    folder = tmp_path / "k"
    assert run(folder, WORDS, Fault("batch", 10, partial(take_more_than_there_is, library))) == 6, said(folder)
    assert "error: the memory is full: " in said(folder)
    assert "fix:   a smaller data.batch_size" in said(folder)
    assert "Traceback" not in said(folder)
    assert run(folder, WORDS) == 0, said(folder)
    assert "from the start" not in said(folder).rpartition("resumed")[2]
    assert outcome(folder) == never_stopped("deep_cnn")


@pytest.mark.parametrize("point", ["write", "rename", "manifest"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_twice_costs_two_checkpoints(
    point: str,
    number: int,
    tmp_path: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    folder = tmp_path / "k"
    assert run(folder, WORDS, Fault(point, 1, partial(refuse, number), times=2)) == 0, said(folder)
    assert said(folder).count("the training goes on; older checkpoints are kept") == 2
    assert os.strerror(number) in said(folder)
    assert outcome(folder) == never_stopped("deep_cnn")


def test_a_disk_that_goes_on_refusing_ends_the_run_and_what_was_saved_is_good(
    tmp_path: Path,
    never_stopped: Any,  # noqa: F811
) -> None:
    folder = tmp_path / "k"
    assert run(folder, WORDS, Fault("write", 2, partial(refuse, errno.ENOSPC), times=1000)) == 6
    assert "No space left on device" in said(folder)
    read_checkpoint(committed(folder / "runs/r", LATEST)[0])
    assert run(folder, WORDS) == 0  # there is room again
    assert outcome(folder) == never_stopped("deep_cnn")


def test_lines_wait_for_a_disk_that_is_full_for_a_while(tmp_path: Path, never_stopped: Any) -> None:  # noqa: F811
    folder = tmp_path / "k"
    assert run(folder, WORDS, Fault("append", 5, partial(refuse, errno.ENOSPC), times=20)) == 0, said(folder)
    assert "its lines wait in memory" in said(folder)
    assert outcome(folder) == never_stopped("deep_cnn")


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that takes four bytes and no more, and then takes everything."""
    lines = Appender(tmp_path / "a.jsonl")
    lines.append('{"step": 1}')
    real, is_full = lines._file, True

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def write(self, content: bytes) -> int:
            assert real is not None
            return int(real.write(content[:4] if is_full else content))

    lines._file = Full()  # type: ignore[assignment]
    lines.append('{"step": 2}')
    assert [line["step"] for line in read_lines(tmp_path / "a.jsonl")] == [1]
    is_full = False
    lines.append('{"step": 3}')
    lines.close()
    assert [line["step"] for line in read_lines(tmp_path / "a.jsonl")] == [1, 2, 3]


def test_lines_that_are_never_written_are_said_to_be_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    lines = Appender(tmp_path / "file" / "a.jsonl")  # no folder can be there
    lines.append("{}")
    lines.append("{}")
    lines.close()
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in told] == ["its lines wait in memory", "2 lines are lost"]


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    """After the fourth step one is a NaN: what was saved before stays, and stays the newest."""
    folder = tmp_path / "k"
    assert run(folder, WORDS, Fault("weights", 3, nothing)) == 5, said(folder)
    assert "not saved at step 4: weights or optimizer hold a NaN or an infinity" in said(folder)
    newest = read_checkpoint(committed(folder / "runs/r", LATEST)[0])
    assert newest["global_step"] == 2
    assert all(bool(value.isfinite().all()) for value in newest["state_dict"].values())


# ------------------------------------------------------------------------------------------- numbers
FAILING = [*NETWORKS["deep_cnn"], *[word for word in COMMON if "=dropping" not in word], "activation=dropping:Rare"]


def test_a_nan_ends_the_run_before_the_step_and_what_was_saved_is_good(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    command = [*FAILING, "run_name=r", "resume=auto"]
    assert run(folder, command) == 5
    assert "was not made: its loss or gradient is not finite" in said(folder)
    saved = read_checkpoint(committed(folder / "runs/r", LATEST)[0])
    assert all(tensor.isfinite().all() for tensor in saved["state_dict"].values())
    assert run(folder, command) == 5  # the same batch again
    assert run(folder, [*command, "nonfinite=skip"]) == 0, said(folder)  # and past it


def test_skipped_steps_are_skipped_again_after_a_kill(tmp_path: Path) -> None:
    command = [*FAILING, "nonfinite=skip", "run_name=r", "resume=auto"]
    assert run(tmp_path / "whole", command) == 0, said(tmp_path / "whole")
    wanted = outcome(tmp_path / "whole")
    counts = [row["health/skipped_steps"] for row in wanted["journal"] if "health/skipped_steps" in row]
    assert len(counts) > 1
    assert counts == [*range(1, len(counts) + 1)]
    for batch in (7, 8):
        run(tmp_path / "k", command, Fault("batch", batch))
    assert run(tmp_path / "k", command) == 0, said(tmp_path / "k")
    assert outcome(tmp_path / "k") == wanted
