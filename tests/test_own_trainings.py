"""docs/own_trainings.md, word for word: from an installed wheel, in another folder, where nobody has Hydra or W&B."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "own_trainings.md"

BEFORE = """
import sys

class Nobody:  # has these
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("hydra", "omegaconf", "wandb", "pydantic"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nobody())

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

class Deep(LightningModule):
    def __init__(self):
        super().__init__()
        layers = [layer for _ in range(20) for layer in (torch.nn.Linear(32, 32), torch.nn.Sigmoid())]
        self.net = torch.nn.Sequential(*layers, torch.nn.Linear(32, 4))

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

torch.manual_seed(0)
inputs, targets = torch.randn(4096, 32), torch.randint(4, (4096,))
module, loss_fn = Deep(), F.cross_entropy
batches = DataLoader(TensorDataset(inputs, targets), batch_size=64)
"""

AFTER = """
import isometry
print("FROM", isometry.__file__)
print("FOUND", diagnosis.findings[0].rule, monitor.diagnosis.verdict, diagnose("runs/mine").verdict)
"""


def _blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_five_lines_are_enough() -> None:
    first = _blocks()[0].strip().splitlines()
    assert len([line for line in first if line]) == 5


@pytest.mark.slow
def test_the_page_runs_from_an_installed_wheel_without_hydra(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, installed = tmp_path / "dist", tmp_path / "installed"
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = wheels.glob("isometry-*.whl")
    with zipfile.ZipFile(wheel) as held:
        names = held.namelist()
    assert "isometry/configs/train.yaml" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "notebooks/"))]
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(installed), str(wheel)]
    subprocess.run(install, check=True, timeout=300)

    (tmp_path / "script.py").write_text("\n".join([BEFORE, *_blocks(), AFTER]), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = dict(line.split(" ", 1) for line in ran.stdout.splitlines() if line.startswith(("FROM", "FOUND")))
    assert Path(said["FROM"]).is_relative_to(installed)
    assert said["FOUND"] == "vanishing_gradients critical: vanishing_gradients critical: vanishing_gradients"
