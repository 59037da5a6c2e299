"""Every run that is broken on purpose provokes the finding in its header, that one alone, and its fix clears it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from isometry import build, checkup
from isometry.diagnostics.rules import RULES
from isometry.overrides import read

FOLDER = Path(__file__).parents[1] / "configs" / "fault"
FAULTS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def header(name: str, key: str) -> str:
    found = re.search(rf"^# {key}: +(.+)$", (FOLDER / f"{name}.yaml").read_text(), re.MULTILINE)
    assert found, f"{name} has no {key}"
    return found[1]


def diagnosed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The rules that hold after the run that these words start, without its validation and test."""
    logger = logging.getLogger("isometry")
    monkeypatch.setattr(logger, "level", logging.ERROR)
    config = read(words)
    images = build.image_set(config)
    steps = build.total_steps(config, build.datamodule(config, images).num_batches)
    trial = checkup.train_trial(config, images, steps)
    return tuple(finding.rule for finding in trial.diagnosis.findings)


@pytest.mark.parametrize("name", FAULTS)
def test_it_provokes_the_finding_in_its_header_and_no_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnosed([f"fault={name}"], monkeypatch) == (header(name, "Provokes"),)


@pytest.mark.parametrize("name", FAULTS)
def test_its_fix_clears_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnosed([f"fault={name}", *header(name, "Fix").split()], monkeypatch) == ()


def test_the_textbook_s_cases_are_there() -> None:
    assert len(FAULTS) >= 8
    assert {header(name, "Provokes") for name in FAULTS} <= {rule.__name__ for rule in RULES}
