"""Whole trainings against their bounds (slow): one seed each, three standard errors of the measured mean below it.

The measured means stand in the experiment's header. The standard error is that of one seed's accuracy, its spread over
seeds, and not that of the mean of three.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]
PICTURES = Path(__file__).parents[2] / "shared" / "data" / "cifar10_images.tar.xz"
BOUNDS: dict[str, float] = {}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", list(BOUNDS))
def test_an_experiment_reaches_its_bound(experiment: str, cli: Cli, tmp_path: Path) -> None:
    assert cli("train", f"experiment={experiment}", "logger=none", "run_name=r")[0] == 0
    accuracy = json.loads((tmp_path / "runs/r/summary.json").read_text())["test/acc"]
    assert accuracy >= BOUNDS[experiment]


@pytest.mark.slow
@pytest.mark.skipif(not PICTURES.is_file(), reason="needs the CIFAR-10 pictures beside the checkout")
def test_real_pictures_from_a_folder_are_learned(cli: Cli, tmp_path: Path) -> None:
    with tarfile.open(PICTURES) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = next(tmp_path.rglob("train")).parent
    words = [f"data.dir={folder}", "data.limit_train_images=6000", "trainer.max_epochs=2", "logger=none", "run_name=r"]
    assert cli("train", "experiment=cifar10_resnet", *words)[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "runs/r/metrics.jsonl").read_text().splitlines()]
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert losses[1] < losses[0] < 2.303  # below ln 10, and falling
