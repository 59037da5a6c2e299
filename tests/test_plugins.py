"""A network, data and a logger of somebody's own, by import path: used, and not imported unless the user says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import isometry
from isometry.errors import CheckpointError
from isometry.overrides import change, read

Cli = Callable[..., tuple[int, str, str]]
QUICK = [
    "trainer.max_steps=4",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
    "trainer.limit_val_batches=1",
    "run_name=r",
]

MINE = """
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from isometry.data.image_data import ImageData
from isometry.data.sources import ImageSet


class Net(nn.Module):
    def __init__(self, image_shape, num_classes, norm, activation, *, width=8):
        super().__init__()
        self.first = nn.Linear(64, width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.head(self.first(images.flatten(1)).relu())


class Headless(nn.Linear):
    def __init__(self, image_shape, num_classes, norm, activation):
        super().__init__(64, num_classes)


def images(request):
    drawn = torch.randint(0, 256, (300, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSet(drawn[:200], torch.arange(200) % 2, drawn[200:], torch.arange(100) % 2, ("even", "odd"))


class Loaders(ImageData):
    def __init__(self, request):
        super().__init__()
        self.request, self.image_shape, self.class_names = request, (1, 8, 8), ("even", "odd")
        self.mean, self.std = torch.zeros(1), torch.ones(1)

    def loader(self, count):
        rows = TensorDataset(torch.randn(count, 1, 8, 8), torch.arange(count) % 2)
        return DataLoader(rows, self.request.batch_size // (self.trainer.world_size if self.trainer else 1))

    def train_dataloader(self):
        return self.loader(64 * 6)

    def val_dataloader(self):
        return self.loader(64)

    test_dataloader = val_dataloader


def logger(folder):
    return CSVLogger(folder, name="", version="mine")
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)


# The loaders here have no workers, which Lightning remarks on.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def test_a_network_data_and_a_logger_of_ones_own_are_used(cli: Cli) -> None:
    own = ["model=mine:Net", "model.arguments={width: 5}", "data=mine:images", "logger=mine:logger", "norm=none"]
    code, out, err = cli("train", *own, *QUICK)
    assert (code, err) == (0, "")
    assert f"model    mine:Net, {64 * 5 + 5 + 5 * 2 + 2:,} parameters, 2 steps" in out
    assert "data     mine:images: 180 train, 20 val, 100 test images 1×8×8" in out
    assert Path("runs/r/mine/metrics.csv").is_file()
    with pytest.raises(CheckpointError, match=r"names code from outside .*: mine:Net"):
        isometry.load("runs/r")
    assert isometry.load("runs/r", trust=True)(torch.zeros(3, 1, 8, 8)).shape == (3, 2)


def test_evaluate_imports_code_of_ones_own_only_when_it_is_trusted(cli: Cli) -> None:
    own = ["model=mine:Net", "model.arguments={width: 5}", "norm=none"]
    assert cli("train", "data=mine:images", *own, "logger=none", *QUICK)[0] == 0
    code, _, err = cli("evaluate", "runs/r")
    assert (code, "fix:   --trust   if the code is yours" in err) == (4, True)
    code, out, _ = cli("evaluate", "runs/r", "--trust")
    assert (code, "on mine:images" in out) == (0, True)


def test_loaders_of_ones_own_train_and_are_described(cli: Cli) -> None:
    code, out, err = cli("train", "data=mine:Loaders", "model=mlp", "logger=none", *QUICK[1:])
    assert (code, err) == (0, "")
    assert "data     mine:Loaders: 6 train, 1 val, 1 test batches of images 1×8×8" in out
    assert json.loads(Path("runs/r/summary.json").read_text())["steps"] == 6
    code, out, _ = cli("diagnose", "data=mine:Loaders", "model=mlp", "init=zeros", "diagnose.seconds=1", "run_name=d")
    assert (code, "critical: symmetric_init" in out) == (0, True)


@pytest.mark.parametrize("word", ["data.augment=shift", "data.limit_train_images=100"])
def test_what_would_not_reach_them_is_refused(word: str, cli: Cli) -> None:
    code, _, err = cli("train", "data=mine:Loaders", "logger=none", word)
    assert (code, "has loaders of its own" in err) == (2, True)
    assert "fix:   data.augment=none data.limit_train_images=null" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["model=mine:Headless"], "Headless has no `head`"),
        (["model=mine:Net", "model.arguments={depth: 3}"], "the model cannot be built: "),
        (["model=mine:Nothing"], "cannot import mine:Nothing"),
        (["model=resnet", "model.arguments={depth: 3}"], "fix:   model=module:name has it"),
        (["model=own"], "model = own is not known"),
        (["data=own"], "must be one of mnist_mini, "),
        (["logger=mine"], "must be one of wandb, csv, none, or a callable of yours: module:name"),
    ],
)
def test_mistakes_are_named(words: list[str], why: str, cli: Cli) -> None:
    code, _, err = cli("train", "data=mine:images", "logger=none", "run_name=r", *words)
    assert (code, why in err) == (2, True), err


def test_options_of_ones_own_network_do_not_stop_a_norm_with_groups(cli: Cli) -> None:
    assert read(["model=mine:Net", "norm=group"]).model.name == "mine:Net"  # type: ignore[attr-defined]


def test_a_stored_configuration_can_be_changed_to_ones_own() -> None:
    changed = change(read([]).model_dump(), ["model=mine:Net", "data=mine:images"])
    assert (changed.model.name, changed.data.name) == ("mine:Net", "mine:images")  # type: ignore[attr-defined]
    assert changed.data.augment == "none"


@pytest.mark.slow
def test_two_processes_share_the_rows_of_a_data_loader(tmp_path: Path) -> None:
    """Of 384 rows each is given 192, in batches of half the global size: as many steps as one process makes."""
    words = ["data=mine:Loaders", "model=mlp", "logger=none", "trainer=ddp", "trainer.accelerator=cpu", *QUICK[1:]]
    train = [sys.executable, "-m", "isometry", "train", *words]
    ran = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads((tmp_path / "runs/r/summary.json").read_text())["steps"] == 6
