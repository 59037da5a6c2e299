"""`isometry replay`: the batch in which a run met its first NaN, run again from the file that the run kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from isometry.diagnostics.history import read_history

Cli = Callable[..., tuple[int, str, str]]

TINY = ["data.limit_train_images=300", "data.batch_size=30", "model.depth=4", "model.width=4", "norm=none",
        "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "logger=none", "run_name=r"]  # fmt: skip
EXPLODING = [*TINY, "model.depth=8", "optimizer.lr=1e18", "scheduler=constant"]

# No number comes out for the half of a batch with the larger values.
FRAGILE = """
import torch
from torch import nn


class Fragile(nn.ReLU):
    gain = 2**0.5

    def forward(self, x):
        largest = x.flatten(1).amax(dim=1).view(-1, 1, 1, 1)
        return super().forward(torch.where(largest > largest.median(), torch.nan, x))
"""


@pytest.fixture(scope="module")
def exploded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended with NaN."""
    from isometry.cli import main

    runs = tmp_path_factory.mktemp("replay")
    assert main(["train", *EXPLODING, f"runs_dir={runs}"]) == 5
    return runs / "r"


def test_it_names_the_layer_that_the_run_named(exploded: Path, cli: Cli) -> None:
    (told,) = read_history(exploded / "gradients.jsonl").nonfinite
    code, out, err = cli("replay", str(exploded))
    assert (code, err) == (0, "")
    assert f"result   the first that is not finite is the output of {told.module}\n" in out
    assert f"batch    {told.batch_idx} of its epoch, 30 images, in {told.file}\n" in out
    assert out.count("\nsample   ") == 9  # eight, and that there are more
    assert out == cli("replay", str(exploded / str(told.file)))[1]  # again, from the file itself


def test_the_table_shows_where_it_grew(exploded: Path, cli: Cli) -> None:
    out = cli("replay", str(exploded))[1]
    first = next(line.split() for line in out.splitlines() if line.startswith("trunk.0.0"))
    assert float(first[2]) > 1e10  # RMS z
    assert [line.split()[2] for line in out.splitlines() if line.startswith("head")] == ["nan"]


def test_what_the_run_leaves_is_good(exploded: Path) -> None:
    assert json.loads((exploded / "diagnosis.json").read_text())["findings"]
    (saved,) = (exploded / "checkpoints").glob("*.ckpt")
    weights = torch.load(saved, weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_run_without_one_and_a_damaged_file_exit_4(exploded: Path, cli: Cli, tmp_path: Path) -> None:
    assert cli("replay")[0] == 2
    code, _, err = cli("replay", str(tmp_path))
    assert (code, "holds no nonfinite-*.pt" in err) == (4, True)
    content = bytearray(next(exploded.glob("nonfinite-*.pt")).read_bytes())
    (tmp_path / "torn.pt").write_bytes(content[: len(content) // 2])
    code, _, err = cli("replay", "torn.pt")
    assert (code, "torn.pt was refused" in err) == (4, True)


def test_samples_are_named_and_code_of_ones_own_has_to_be_trusted(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = cli("train", *TINY, "activation=fragile:Fragile")
    assert (code, "was not made" in err) == (5, True), err
    (told,) = read_history(tmp_path / "runs/r/gradients.jsonl").nonfinite
    assert 0 < len(told.samples) < 30
    assert cli("replay", "runs/r")[0] == 4
    out = cli("replay", "runs/r", "--trust")[1]
    assert f"sample   {told.samples[0]}: " in out
    assert f"the output of {told.module}" in out


def test_of_several_processes_that_batch_is_replayed_which_has_it(exploded: Path, cli: Cli, tmp_path: Path) -> None:
    """Each keeps its own, for the gradient of all is NaN; here the first one's batch is a good one."""
    (path,) = exploded.glob("nonfinite-*.pt")
    good = torch.load(path, weights_only=True)
    (saved,) = (exploded / "checkpoints").glob("*.ckpt")
    fresh = torch.load(saved, weights_only=True)
    torch.save({**good, "state_dict": fresh["state_dict"], "isometry": fresh["isometry"]}, tmp_path / "first.pt")
    assert "the forward pass is finite here" in cli("replay", "first.pt")[1]
    (tmp_path / "first.pt").rename(tmp_path / f"{path.stem}-rank0.pt")
    (tmp_path / f"{path.stem}-rank1.pt").write_bytes(path.read_bytes())
    assert f"in {path.stem}-rank1.pt" in cli("replay", str(tmp_path))[1]


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_it_is_run_again_in_the_precision_of_the_training(precision: str, cli: Cli) -> None:
    assert cli("train", *EXPLODING, f"trainer.precision={precision}")[0] == 5
    code, out, err = cli("replay", "runs/r")
    assert (code, "the first that is not finite is the output of" in out) == (0, True), err
