"""Checkpoints: whole or not there, harmless, recognised when damaged, and equal to what was saved."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from isometry.errors import CheckpointError, ResourceError
from isometry.training.checkpoint_files import BEST, DurableCheckpointIO, digest, find_checkpoint, read_checkpoint


def content() -> dict[str, Any]:
    state = {"w": torch.arange(2000.0), "n": torch.tensor(3)}
    return {"state_dict": state, "global_step": 7, "epoch": 1, "isometry": {"config": {}, "digest": digest(state)}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoints" / "best-epoch001-step0000007.ckpt"
    DurableCheckpointIO().save_checkpoint(content(), path)
    return path


def test_what_is_loaded_is_what_was_saved(saved: Path) -> None:
    loaded = read_checkpoint(saved)
    assert torch.equal(loaded["state_dict"]["w"], torch.arange(2000.0))
    assert loaded["isometry"] == content()["isometry"]


def test_a_plain_weights_only_load_suffices(saved: Path) -> None:
    assert torch.load(saved, weights_only=True)["global_step"] == 7


def test_the_manifest_is_written_and_nothing_else_stays(saved: Path) -> None:
    manifest = json.loads((saved.parent / f"{saved.name}.json").read_text())
    assert (manifest["step"], manifest["size"], manifest["digest"]) == (
        7,
        saved.stat().st_size,
        digest(content()["state_dict"]),
    )
    assert sorted(path.name for path in saved.parent.iterdir()) == [saved.name, f"{saved.name}.json"]


def test_every_truncation_is_recognised(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), len(whole) // 16):
        saved.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="is damaged"):
            read_checkpoint(saved)


def test_a_lone_file_that_is_torn_or_something_else_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    (saved.parent / f"{saved.name}.json").unlink()
    starts = [whole[:length] for length in range(0, len(whole), len(whole) // 16)]
    for wrong in (*starts, b"hello\n", b"\x80\x02}q\x00.", whole[::-1]):
        saved.write_bytes(wrong)
        with pytest.raises(CheckpointError, match=r"was refused|not written by isometry"):
            read_checkpoint(saved)


@pytest.mark.parametrize("alone", [False, True], ids=["with manifest", "file alone"])
def test_a_flipped_bit_in_the_weights_is_recognised(saved: Path, alone: bool) -> None:
    whole = bytearray(saved.read_bytes())
    place = whole.find(torch.arange(2000.0).numpy().tobytes()[400:440])
    whole[place + 2] ^= 1
    saved.write_bytes(whole)
    if alone:
        (saved.parent / f"{saved.name}.json").unlink()
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(saved)


def test_torch_alone_would_load_the_flipped_bit(saved: Path) -> None:
    """The control: this is why there is a digest."""
    whole = bytearray(saved.read_bytes())
    whole[whole.find(torch.arange(2000.0).numpy().tobytes()[400:440]) + 2] ^= 1
    saved.write_bytes(whole)
    assert not torch.equal(torch.load(saved, weights_only=True)["state_dict"]["w"], torch.arange(2000.0))


class Malicious:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch harmed",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "isometry": Malicious()}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="not plain weights"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "harmed").exists()


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match="was not written by isometry"):
        read_checkpoint(tmp_path / "foreign.ckpt")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"sha256": 3}'])
def test_a_damaged_manifest_is_recognised(saved: Path, text: str) -> None:
    (saved.parent / f"{saved.name}.json").write_text(text)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(saved)


def test_the_newest_whole_checkpoint_of_a_run_is_found(saved: Path) -> None:
    later = saved.with_name("best-epoch002-step0000009.ckpt")
    later.write_bytes(saved.read_bytes())  # no manifest: the write did not end
    assert find_checkpoint(saved.parents[1], BEST) == saved
    assert find_checkpoint(saved, "any") == saved
    with pytest.raises(CheckpointError, match="no finished latest checkpoint"):
        find_checkpoint(saved.parents[1], "latest")
    with pytest.raises(CheckpointError, match="neither a file nor a run's folder"):
        find_checkpoint(saved.parents[1] / "nowhere", BEST)


def test_a_damaged_latest_manifest_does_not_hide_the_best(saved: Path) -> None:
    for step, best in ((7, saved.name), (9, "best-of-another.ckpt")):
        content_of = content() | {"resume": {"best": best}, "global_step": step}
        DurableCheckpointIO().save_checkpoint(content_of, saved.with_name(f"latest-epoch001-step{step:07d}.ckpt"))
    later = saved.with_name("best-epoch002-step0000008.ckpt")
    DurableCheckpointIO().save_checkpoint(content(), later)
    saved.with_name("latest-epoch001-step0000009.ckpt.json").write_text("{")
    assert find_checkpoint(saved.parents[1], BEST) == saved


def test_a_failed_write_keeps_what_was_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = saved.read_bytes()
    with pytest.raises(ResourceError, match="No space left"):
        DurableCheckpointIO().save_checkpoint(content() | {"global_step": 8}, saved)
    assert saved.read_bytes() == before
    assert len(list(saved.parent.iterdir())) == 2


def test_removing_takes_the_manifest_along(saved: Path) -> None:
    DurableCheckpointIO().remove_checkpoint(saved)
    assert not list(saved.parent.iterdir())


def test_digest_sees_names_types_shapes_and_bytes() -> None:
    base = {"a": torch.zeros(4), "b": [1, "x"]}
    others = [
        {"c": torch.zeros(4), "b": [1, "x"]},
        {"a": torch.zeros(4, dtype=torch.int32), "b": [1, "x"]},
        {"a": torch.zeros(2, 2), "b": [1, "x"]},
        {"a": -torch.zeros(4), "b": [1, "x"]},  # equal as numbers, not as bits
        {"a": torch.zeros(4), "b": [1, "y"]},
    ]
    assert digest(base) == digest({"a": torch.zeros(4), "b": [1, "x"]})
    assert len({digest(other) for other in [base, *others]}) == 6
