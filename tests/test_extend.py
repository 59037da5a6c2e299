"""docs/extend.md, word for word: in a fork each recipe is followed, its command run, and the new thing looked for.

A recipe is a section. Each of its blocks with a language says in the line before it where it goes: a new file, the end
of one, or below a line that is there. Its last block is the command, which is cut short here by a few more words.
"""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import NAME, Fork, make_fork
from omegaconf import OmegaConf

PAGE = Path(__file__).parents[1] / "docs" / "extend.md"
STEP = re.compile(
    r"^(?P<how>A new file|At the end of|In),? `(?P<path>[^`]+)`(?:, below the line `(?P<line>[^`]+)`)?[^\n]*:\n\n"
    r"```\w+\n(?P<text>.*?)```$",
    flags=re.MULTILINE | re.DOTALL,
)
SHORT = {
    "run_name": "tried",
    "logger": "none",
    "trainer.max_steps": "4",
    "trainer.limit_val_batches": "1",
    "trainer.limit_test_batches": "1",
}


def recipes(page: str) -> dict[str, str]:
    """Each section with steps, by its title."""
    titled = (section.partition("\n") for section in page.split("\n## ")[1:])
    return {title: text for title, _, text in titled}


RECIPES = recipes(PAGE.read_text(encoding="utf-8"))


def follow(recipe: str, folder: Path) -> None:
    """Do in `folder` what the steps of a recipe say."""
    for step in STEP.finditer(recipe):
        path, text = folder / step["path"], step["text"]
        if step["how"] == "A new file":
            assert not path.exists(), path
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if step["how"] == "In":
            places = [number for number, line in enumerate(lines, 1) if line.strip().startswith(step["line"])]
            assert len(places) == 1, (path, step["line"])
            lines.insert(places[0], text)
        else:
            lines.append(f"\n\n{text}")
        path.write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class Tried:
    """A run of a recipe's command."""

    folder: Path
    out: str

    @property
    def config(self) -> Any:
        return OmegaConf.load(self.folder / "config.yaml")

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        path = next(self.folder.glob("checkpoints/best-*.ckpt"))
        return dict(torch.load(path, weights_only=True)["state_dict"])


def attempt(title: str, fork: Fork, data: Path) -> Tried:
    """Run the command of a recipe that was followed."""
    page = recipes((fork.folder / "docs" / "extend.md").read_text(encoding="utf-8"))
    (command,) = re.findall(r"\n\n```\n(.+)\n```", page[title])
    words = shlex.split(command.replace("data.dir=PATH", f"data.dir={data}"))
    if words[0] == "PYTHONPATH=..":
        words = ["env", f"PYTHONPATH={fork.path}:{fork.folder.parent}", *words[1:]]
    words[words.index("python")] = sys.executable
    name = title.lower().replace(" ", "_")
    given = {word.partition("=")[0] for word in words}
    short = {key: value for key, value in (SHORT | {"run_name": name}).items() if key not in given}
    ran = fork.run(*words, *(f"{key}={value}" for key, value in short.items()))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return Tried(fork.folder / "runs" / name, ran.stdout)


# ---------------------------------------------------------------------------- what shows that it was used
def model(tried: Tried) -> None:
    assert "model    highway, " in tried.out
    assert (tried.config.model.depth, tried.config.model.carry) == (10, 2.0)
    assert {"network.trunk.9.gate.weight", "network.head.weight"} <= set(tried.weights)
    assert tried.weights["network.trunk.9.gate.bias"].mean() == pytest.approx(-2.0, abs=0.05)
    assert '"network.trunk.9.gate"' in (tried.folder / "gradients.jsonl").read_text()  # the monitor sees it


def cells(tried: Tried) -> None:
    assert "data     cells: 270 train, 30 val, 40 test images 1×8×8; batches of 64" in tried.out


def frames(tried: Tried) -> None:
    assert "data     frames: 4 train, 1 val, 1 test batches of images 1×8×8" in tried.out
    assert 0 <= json.loads((tried.folder / "summary.json").read_text())["test/acc"] <= 1
    assert not (tried.folder / "predictions.png").exists()


def sparse(tried: Tried) -> None:
    """8 of 144 connections have weights; four steps have moved the others a little."""
    weight = tried.weights["network.trunk.1.0.weight"]
    assert weight[0].numel() == 144
    assert weight.pow(4).mean() / weight.square().mean() ** 2 > 15  # of normal weights 3, of these 3·144/8 = 54


def pixel(tried: Tried) -> None:
    names = set(tried.weights)
    assert "network.trunk.1.0.bias" in names  # for the norm adds none
    assert not [name for name in names if "running_mean" in name]


def rule(tried: Tried) -> None:
    found = json.loads((tried.folder / "diagnosis.json").read_text())["findings"]
    (own,) = [finding for finding in found if finding["rule"] == "uneven_updates"]
    assert own["evidence"]["times"] > 100
    assert own["remedies"]


def logger(tried: Tried) -> None:
    with closing(sqlite3.connect(tried.folder / "metrics.db")) as database:
        keys = {key for (key,) in database.execute("SELECT DISTINCT key FROM metrics")}
    assert {"grad_norm/total", "val/loss", "test/acc"} <= keys


def plugin(tried: Tried) -> None:
    assert "data     my_lab.ideas:stripes: 270 train, 30 val, 100 test images 1×8×8" in tried.out
    names = [tried.config[key].name for key in ("model", "init", "norm", "activation", "data")]
    assert all(name.startswith("my_lab.ideas:") for name in names)
    weight = tried.weights["network.trunk.0.weight"]
    assert weight.shape == (32, 64)
    assert weight.abs().mean() == pytest.approx(1.2 / 8, rel=0.05)  # ±gain/√fan_in, with the activation's gain
    assert weight.abs().std() < 0.03  # 0.09 under He's scheme
    assert len([name for name in tried.weights if name.startswith("network.")]) == 6  # no norm has any
    assert "val/loss" in (tried.folder / "table" / "metrics.csv").read_text()


USED: dict[str, Callable[[Tried], None]] = {
    "Model": model,
    "Dataset in memory": cells,
    "Dataset as a DataLoader": frames,
    "Initializer": sparse,
    "Norm": pixel,
    "Rule": rule,
    "Logger": logger,
    "Plugin outside the repository": plugin,
}
QUICK = ("Dataset as a DataLoader", "Plugin outside the repository")  # the others alike: see the slow tests


# ------------------------------------------------------------------------------------------------- tests
@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 300 + 40 pictures as both recipes want them."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 300), ("test", 40)):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 2
    np.savez(folder / "cells.npz", **arrays)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array[:, None] if name.endswith("images") else array)
    return folder


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Fork:
    """A fork in which the whole page was followed."""
    fork = make_fork(tmp_path_factory.mktemp("extended"))
    for recipe in recipes((fork.folder / "docs" / "extend.md").read_text(encoding="utf-8")).values():
        follow(recipe, fork.folder)
    return fork


def test_every_block_of_the_page_is_a_step_or_a_command() -> None:
    assert list(RECIPES) == list(USED)
    for title, recipe in RECIPES.items():
        blocks = re.findall(r"^```(\w*)\n.*?^```$", recipe, flags=re.MULTILINE | re.DOTALL)
        assert blocks.pop() == "", title
        assert len(blocks) == len(list(STEP.finditer(recipe))), title


@pytest.mark.parametrize(("title", "words"), [
    ("Model", "Three places"), ("Dataset in memory", "Three places"), ("Dataset as a DataLoader", "Three places"),
    ("Initializer", "Two places"), ("Norm", "Two places"), ("Rule", "Four places, and a fifth for the test"),
    ("Logger", "Two places"),
])  # fmt: skip
def test_the_page_counts_its_places(title: str, words: str) -> None:
    files = {step["path"] for step in STEP.finditer(RECIPES[title])}
    numbers = {"Two": 2, "Three": 3, "Four": 5}
    assert words.replace("\n", " ") in RECIPES[title].replace("\n", " ")
    assert len(files) == numbers[words.split()[0]]


def test_a_step_without_its_line_is_noticed(tmp_path: Path) -> None:
    """The control: the page cannot name a line that is not there."""
    (tmp_path / "file.py").write_text("one\ntwo\n")
    with pytest.raises(AssertionError):
        follow("In `file.py`, below the line `three`:\n\n```python\nfour\n```\n", tmp_path)
    follow("In `file.py`, below the line `one`:\n\n```python\nfour\n```\n", tmp_path)
    assert (tmp_path / "file.py").read_text() == "one\nfour\ntwo\n"


def test_every_new_name_is_on_the_command_line_at_once(everything: Fork) -> None:
    helped = everything.run(sys.executable, "-m", NAME, "strategies").stdout
    for name in ("highway", "cells", "frames", "sparse", "init.connections", "pixel", "sqlite"):
        assert f"  {name} " in helped
    refused = everything.run(sys.executable, "train.py", "init=sparse", "init.connections=0")
    assert "init.connections = 0 is not allowed (must be >= 1" in refused.stderr


@pytest.mark.parametrize("title", QUICK)
def test_a_recipe_works(title: str, everything: Fork, data: Path) -> None:
    USED[title](attempt(title, everything, data))


@pytest.mark.slow
@pytest.mark.parametrize("title", list(USED))
def test_a_recipe_works_alone(title: str, data: Path, tmp_path: Path) -> None:
    fork = make_fork(tmp_path)
    follow(recipes((fork.folder / "docs" / "extend.md").read_text(encoding="utf-8"))[title], fork.folder)
    USED[title](attempt(title, fork, data))


@pytest.mark.slow
def test_the_houses_own_checks_hold_for_what_was_added(everything: Fork) -> None:
    """Lint, types, and the tests that read catalog, rules and imports; the README asks for the new names, by test."""
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        ran = everything.run(sys.executable, "-m", *tool, timeout=900)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    tests = ["tests/test_config.py", "tests/test_architecture.py", "tests/diagnostics/test_rules.py"]
    ran = everything.run(*pytest_, *tests, timeout=1800)
    assert ran.returncode == 0, ran.stdout[-6000:]
    asked = everything.run(*pytest_, "tests/test_readme.py", timeout=1800).stdout
    assert {re.sub(r".*::", "", line.split(" - ")[0]) for line in asked.splitlines() if line.startswith("FAILED")} == {
        *(f"test_the_table_of_switches_is_the_catalog[{name}]" for name in ("init", "norm", "model", "data", "logger")),
        "test_every_module_is_in_the_tree",
    }
