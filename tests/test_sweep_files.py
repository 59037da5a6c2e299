"""The files for `wandb sweep`: what an agent would start is a command that runs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from isometry.overrides import read

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs" / "sweep").glob("*.yaml"))


def content(path: Path) -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.create(path.read_text().replace("${", "$ {")))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def extremes(parameter: dict[str, Any]) -> list[Any]:
    """All values of a list, the ends of a range."""
    if "value" in parameter:
        return [parameter["value"]]
    return list(parameter.get("values") or (parameter["min"], parameter["max"]))


def arguments(chosen: dict[str, Any]) -> list[str]:
    """`${args_no_hyphens}`, as W&B's agent writes them (wandb 0.31: `key=value`, in no order)."""
    return [f"{key}={value}" for key, value in chosen.items()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_and_every_end_of_a_range_is_a_valid_command(path: Path) -> None:
    parameters = content(path)["parameters"]
    for values in itertools.product(*map(extremes, parameters.values())):
        read(arguments(dict(zip(parameters, values, strict=True))))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_searches_for_what_a_run_logs_and_starts_train_py(path: Path) -> None:
    sweep = content(path)
    assert sweep["method"] == path.stem
    assert sweep["metric"] == {"name": "val/acc", "goal": "maximize"}
    command = [word.replace("$ {", "${") for word in sweep["command"]]
    assert command == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    assert (ROOT / sweep["program"]).is_file()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_command_of_an_agent_runs_under_the_agents_id(path: Path, tmp_path: Path) -> None:
    sweep = content(path)
    chosen = {key: extremes(parameter)[0] for key, parameter in sweep["parameters"].items()}
    chosen |= {"data.limit_train_images": 100, "data.batch_size": 20, "trainer.max_epochs": 1}
    words = [*arguments(chosen), "trainer.limit_test_batches=1", "wandb.mode=offline", f"runs_dir={tmp_path}"]
    agent = {"WANDB_SWEEP_ID": "abcd1234", "WANDB_RUN_ID": "ef567890", "WANDB_ENTITY": "me", "WANDB_PROJECT": "p"}
    command = [sys.executable, str(ROOT / sweep["program"]), *words]
    done = subprocess.run(command, env=os.environ | agent, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert [path.name.rpartition("-")[2] for path in folder.glob("wandb/offline-run-*")] == ["ef567890"]
    assert "test/acc" in json.loads((folder / "summary.json").read_text())
