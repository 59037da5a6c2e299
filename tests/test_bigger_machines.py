"""docs/bigger_machines.md: each line composes, to what the page says; the job scripts agree with themselves."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isometry.diagnostics import metrics, rules
from isometry.diagnostics.history import GradientRecord
from isometry.errors import ConfigError
from isometry.overrides import read

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "bigger_machines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
SCRIPTS = [block for block in BLOCKS if block.startswith("#!/bin/bash")]


def commands() -> list[str]:
    """The words after `train.py` of every line that trains, job scripts and plain text included."""
    found = re.findall(r"train\.py (?!-m)((?:[^\s`;#]+ *)+)", PAGE.replace("\\\n", " "))
    return list(dict.fromkeys(words.strip() for words in found))


@pytest.mark.parametrize("line", commands())
def test_every_line_composes(line: str) -> None:
    read(shlex.split(line))


def test_there_are_lines_to_compose() -> None:
    assert len(commands()) > 8
    assert len(SCRIPTS) == 1


def rows() -> list[tuple[str, str]]:
    return re.findall(r"^\| (?:`([^`]*)`|\(none\)) \| (`.*`) \|$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize(("words", "told"), rows(), ids=[words or "none" for words, _ in rows()])
def test_the_table_is_what_is_composed(words: str, told: str) -> None:
    trainer = read(words.split()).trainer.model_dump()
    for key, value in (pair.split("=") for pair in re.findall(r"`([^`]+)`", told)):
        assert str(trainer[key]).lower() == value, key


def test_the_table_has_rows() -> None:
    assert len(rows()) == 4


def test_what_the_page_says_is_refused_is_refused(monkeypatch: pytest.MonkeyPatch, cli: Any) -> None:
    for words, why in {
        "trainer.accelerator=cpu trainer.precision=16-mixed": "needs a GPU",
        "trainer.strategy=ddp trainer.devices=3": "3 processes cannot share it evenly",
    }.items():
        with pytest.raises(ConfigError, match=why):
            read(words.split())
    monkeypatch.setenv("SLURM_NTASKS", "8")
    code, _, err = cli("train", "logger=none")
    assert (code, "run_name=NAME" in err) == (2, True)


def test_the_keys_of_fp16_are_logged_under_fp16_alone() -> None:
    step: dict[str, Any] = {"step": 0, "total": 1.0, "total_clipped": 1.0, "totals": [1.0], "clip_fraction": None}
    scaled = set(metrics.of(GradientRecord(layers={}, scale=1024.0, **step), layer_series=False, several=False))
    plain = set(metrics.of(GradientRecord(layers={}, **step), layer_series=False, several=False))
    assert scaled - plain == set(re.findall(r"`(amp/\w+)`", PAGE))
    assert "grad_norm/total" in plain
    assert set(re.findall(r"rule `(\w+)`", PAGE)) <= {rule.__name__ for rule in rules.RULES}


def test_the_numbers_of_the_page() -> None:
    assert f"{50_000 * 3 * 32 * 32 / 1e6:.0f} MB" in PAGE
    assert f"{2.0**-24:.0e}" == "6e-08"  # fp16's smallest number above 0


def test_the_job_script_asks_for_as_many_processes_as_it_trains_with() -> None:
    script = SCRIPTS[0].replace("\\\n", " ")
    asked = {key: int(value) for key, value in re.findall(r"--(\S+)=(\d+)$", script, flags=re.MULTILINE)}
    config = read(shlex.split(re.findall(r"train\.py (.*)", script)[0]))
    assert asked["nodes"] == config.trainer.num_nodes
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] == config.trainer.devices
    assert (config.trainer.strategy, config.trainer.accelerator) == ("ddp", "gpu")


@pytest.mark.slow
def test_torchrun_trains_and_goes_on_as_the_page_says_on_two_cpus(tmp_path: Path) -> None:
    (line,) = re.findall(r"^torchrun (.*)$", PAGE, flags=re.MULTILINE)
    words = shlex.split(line.replace("-node 4", "-node 2").replace("devices=4", "devices=2"))
    words[words.index("train.py")] = str(ROOT / "train.py")
    short = ["model.depth=4", "trainer.max_steps=4", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    here = ["trainer.accelerator=cpu", "logger=none", *short]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *words, *here]
    ran = subprocess.run(torchrun, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("test accuracy") == 1  # the first process alone speaks
    assert json.loads((tmp_path / "runs" / "four" / "summary.json").read_text())["steps"] == 4
    script = torchrun.index(str(ROOT / "train.py")) + 1
    again = [*torchrun[:script], "resume=four", "trainer.max_steps=6"]
    ran = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads((tmp_path / "runs" / "four" / "summary.json").read_text())["steps"] == 6
