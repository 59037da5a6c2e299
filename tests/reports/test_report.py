"""Drawing a run from its folder: whatever of it is there, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from histories import history, record, recurrent, save, vanishing

from isometry.diagnostics.history import GradientRecord, History, LayerRecord, encode
from isometry.errors import CheckpointError
from isometry.reports import html, plots, report
from isometry.reports.report import draw


def names(paths: list[Path]) -> list[str]:
    assert all(path.is_file() for path in paths)
    return [path.name for path in paths]


def counted() -> GradientRecord:
    return GradientRecord(0, 1.0, 1.0, [1.0], None, {"a": LayerRecord(1.0, histogram={"-1": 3})})


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (recurrent(), ["depth_ribbon.png", "time_profile.png", "gradient_norms.png"]),
        (history(counted()), ["gradient_norms.png", "gradient_histogram.png"]),
        (history(), []),
    ],
)
def test_the_pictures_that_apply_and_the_page(made: History, expected: list[str], tmp_path: Path) -> None:
    save(tmp_path, made)
    assert names(draw(tmp_path)) == [*expected, "report.html"]
    assert (tmp_path / "report.html").read_text().count("data:image/png") == len(expected)


def test_a_run_without_gradients_has_its_page(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    assert names(draw(tmp_path)) == ["report.html"]


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    advice = r"\n  fix:   isometry report runs/NAME$"
    with pytest.raises(CheckpointError, match=rf"^error: .* holds no run: (?s:.*){advice}"):
        draw(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_history_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "gradients.jsonl").write_text('{"step": 1, "total": 2.0}\n')
    with pytest.raises(CheckpointError, match="is not a gradient history of this version"):
        draw(tmp_path)


def test_a_picture_that_fails_is_a_line_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(history: History, path: Path) -> None:
        raise RuntimeError("no font")

    pictures = {**report._PICTURES, "depth_ribbon": (fail, lambda history: True)}
    monkeypatch.setattr(report, "_PICTURES", pictures)
    save(tmp_path, vanishing())
    assert names(draw(tmp_path)) == ["gradient_norms.png", "report.html"]
    assert capsys.readouterr().out == "pictures depth_ribbon.png could not be drawn: no font\n"


def test_a_run_longer_than_the_history_is_drawn_from_what_was_kept(tmp_path: Path) -> None:
    lines = [record(step, [1.0, 2.0]) for step in range(1200)]
    (tmp_path / "gradients.jsonl").write_text("".join(f"{encode(one)}\n" for one in lines))
    assert 256 <= len(html.history_in(tmp_path)) <= 512
    assert names(draw(tmp_path)) == ["gradient_norms.png", "report.html"]


def test_drawing_loads_neither_torch_nor_lightning_nor_wandb(tmp_path: Path) -> None:
    save(tmp_path, history(counted()))
    rooms = [path.stem for path in Path(plots.__file__).parent.glob("*.py") if path.stem != "__init__"]
    assert len(rooms) >= 6
    code = "import sys, pathlib\n"
    code += "".join(f"import isometry.reports.{room}\n" for room in rooms)
    code += "assert not {'matplotlib', 'wandb'} & set(sys.modules), 'loaded at import'\n"
    code += "isometry.reports.report.draw(pathlib.Path(sys.argv[1]))\n"
    code += "print(sorted({'torch', 'pytorch_lightning', 'wandb'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")
