"""Whole trainings against what their headers claim (slow): one seed, three standard errors below the measured mean.

The standard error is that of one seed: the spread over seeds, and the binomial one of a test split of 2,000 images.
"""

from __future__ import annotations

import json
import math
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from isometry.config import CONFIG_DIR

Cli = Callable[..., tuple[int, str, str]]
PICTURES = Path(__file__).parents[2] / "shared" / "data" / "cifar10_images.tar.xz"
DIGITS = sorted(path.stem for path in CONFIG_DIR.glob("experiment/mnist_*.yaml"))


def bound(experiment: str) -> float:
    """Three standard errors below the mean that the header states, as a share."""
    header = (CONFIG_DIR / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    found = re.search(r"Measured: ([\d.]+) ± ([\d.]+) %", header)
    assert found, f"{experiment} does not say what was measured"
    mean, spread = float(found[1]) / 100, float(found[2]) / 100
    return mean - 3 * math.hypot(spread, math.sqrt(mean * (1 - mean) / 2000))


@pytest.mark.parametrize("experiment", DIGITS)
def test_every_experiment_says_what_was_measured(experiment: str) -> None:
    assert 0.9 < bound(experiment) < 1


@pytest.mark.slow
@pytest.mark.parametrize("experiment", DIGITS)
def test_an_experiment_reaches_its_bound(experiment: str, cli: Cli, tmp_path: Path) -> None:
    assert cli("train", f"experiment={experiment}", "logger=none", "run_name=r")[0] == 0
    summary = json.loads((tmp_path / "runs/r/summary.json").read_text())
    assert summary["test/acc"] >= bound(experiment)
    assert (summary["verdict"], summary["findings"]) == ("healthy", [])


@pytest.mark.slow
@pytest.mark.skipif(not PICTURES.is_file(), reason="needs the CIFAR-10 pictures beside the checkout")
def test_real_pictures_from_a_folder_are_learned(cli: Cli, tmp_path: Path) -> None:
    with tarfile.open(PICTURES) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = next(tmp_path.rglob("train")).parent
    words = [
        f"data.dir={folder}",
        "data.limit_train_images=6000",
        "trainer.log_every_n_steps=20",
        "logger=none",
        "run_name=r",
    ]
    assert cli("train", "experiment=cifar10_resnet", *words)[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "runs/r/metrics.jsonl").read_text().splitlines()]
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert losses[1] < losses[0] < 2.303  # below ln 10, and falling
