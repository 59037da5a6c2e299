"""docs/many_runs.md: its commands are read with the README's (test_readme.py), its search is run here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "many_runs.md").read_text(encoding="utf-8")


def test_the_search_runs_as_it_stands_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna is no dependency: where it is not installed, nobody would see that the page is wrong."""
    pytest.importorskip("optuna")
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    small = '"trainer.max_steps=3", "data.limit_train_images=100", "data.batch_size=20", "trainer.limit_test_batches=1"'
    small += ', "trainer.log_every_n_steps=1", "logger=none"'
    block = block.replace('"trainer.max_epochs=2"', small).replace("n_trials=20", "n_trials=2")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for _ in range(2):
        exec(block, names)  # the page's own text
    assert [trial.state.name for trial in names["study"].trials] == ["COMPLETE"] * 4
    accuracies = [json.loads(path.read_text())["val/acc"] for path in (tmp_path / "runs/search").glob("*/summary.json")]
    assert names["study"].best_value == max(accuracies)
    assert len(accuracies) == 4
