"""Comparisons of made runs whose every number is known, and the files they become."""

from __future__ import annotations

import csv
import html
import json
import math
from pathlib import Path

import pytest
from histories import history, profile, record, save, vanishing
from omegaconf import OmegaConf
from PIL import Image

from isometry.errors import CheckpointError
from isometry.reports.compare import compare
from isometry.reports.comparison import Comparison, read_runs
from isometry.reports.heat_map import axes_of

OPTIONS = {"xavier_normal": {"gain": None, "fan": "average"}, "he_normal": {"gain": None, "fan": "in"}}


def save_run(
    folder: Path,
    init: str = "he_normal",
    depth: int = 10,
    seed: int = 1,
    accuracy: float | None = 0.9,
    gain: float = 1.0,
    validations: tuple[float, ...] = (),
) -> Path:
    """As a run leaves it; without an accuracy as one that has not come to its end."""
    folder.mkdir(parents=True)
    settings = {"init": {"name": init, **OPTIONS[init]}, "model": {"name": "mlp", "depth": depth}, "seed": seed}
    OmegaConf.save(
        OmegaConf.create({**settings, "run_name": folder.name, "wandb": {"tags": [folder.name]}}),
        folder / "config.yaml",
    )
    save(folder, history(profile(0, gain, 10), profile(50, 5.0, 10), record(0, [1e-2] * 10)))
    rows = [{"step": 10 * (i + 1), "val/acc": value} for i, value in enumerate(validations)]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [{"step": 0, "train/loss": 2.3}, *rows])
    )
    if accuracy is not None:
        summary = {"test/acc": accuracy, "verdict": "healthy", "samples_per_s": 1000.0 * depth}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two inits × two depths × two seeds. Accuracy is 0.5 + 0.2 (he) + 0.1 (depth 10) ± 0.01 by the seed."""
    for init in OPTIONS:
        for depth in (10, 20):
            for seed in (1, 2):
                accuracy = 0.5 + 0.2 * (init == "he_normal") + 0.1 * (depth == 10) + 0.01 * (-1) ** seed
                gain = 0.5**0.5 if init == "xavier_normal" else 1.0
                save_run(tmp_path / f"{init}-{depth}-{seed}", init, depth, seed, accuracy, gain, (0.1, accuracy))
    return tmp_path


def test_knobs_are_what_differs_but_seeds_places_and_options_that_follow_from_a_name(grid: Path) -> None:
    comparison = Comparison(read_runs([grid]))
    assert len(comparison.runs) == 8
    assert comparison.knobs == ["init.name", "model.depth"]  # init.fan differs with init.name and says nothing more
    assert [len(group.runs) for group in comparison.groups] == [2, 2, 2, 2]


def test_an_option_set_by_hand_is_a_knob_beside_its_name(tmp_path: Path) -> None:
    for number, gain in enumerate((1.0, 2.0)):
        for init in OPTIONS:
            folder = save_run(tmp_path / f"{init}{number}", init)
            config = OmegaConf.load(folder / "config.yaml")
            config.init.gain = gain
            OmegaConf.save(config, folder / "config.yaml")
    assert Comparison(read_runs([tmp_path])).knobs == ["init.name", "init.gain"]


def test_mean_deviation_gain_and_steps_of_a_group(grid: Path) -> None:
    comparison = Comparison(read_runs([grid]), asked_target=0.8)
    he10 = next(group for group in comparison.groups if group.values == ("he_normal", 10))
    assert he10.accuracy == pytest.approx((0.8, 0.02 / math.sqrt(2)))  # sample deviation of 0.79 and 0.81
    assert he10.backward_gain == pytest.approx(1.0)
    assert [run.steps_to(0.8) for run in he10.runs] == pytest.approx([math.nan, 20], nan_ok=True)
    assert math.isnan(he10.steps_to(0.8))  # one of them never got there
    assert he10.steps_to(0.7) == 20
    xavier = next(group for group in comparison.groups if group.values[0] == "xavier_normal")
    assert xavier.backward_gain == pytest.approx(0.5**0.5)  # of the first profile, not the last
    assert xavier.samples_per_s == 10_000


def test_what_a_knob_explains_is_its_share_of_the_sum_of_squares(grid: Path) -> None:
    comparison = Comparison(read_runs([grid]))
    # A balanced, additive design: (Δ/2)² each, over the sum of all three; the seed's is what is left.
    squares = {"init.name": 0.1**2, "model.depth": 0.05**2, "seed": 0.01**2}
    shares = comparison.explained(lambda run: run.accuracy)
    assert shares == pytest.approx({key: squares[key] / sum(squares.values()) for key in ("init.name", "model.depth")})
    gain = comparison.explained(lambda run: math.log(run.backward_gain))
    assert gain == pytest.approx({"init.name": 1.0, "model.depth": 0.0})


def test_of_a_random_search_nothing_is_said_and_nothing_is_drawn(tmp_path: Path) -> None:
    """A value that only one run has would explain that run whatever it does: η² = 1."""
    for number in range(30):
        save_run(tmp_path / f"{number:02}", depth=10 + number, accuracy=0.5 + 0.01 * number)
    comparison = Comparison(read_runs([tmp_path]))
    assert comparison.knobs == ["model.depth"]
    assert math.isnan(comparison.explained(lambda run: run.accuracy)["model.depth"])
    assert axes_of(comparison) == (None, None, None)
    _, files = compare([tmp_path], None, tmp_path)
    assert not any(path.suffix == ".png" for path in files)


def test_equal_runs_leave_no_spread_to_explain(tmp_path: Path) -> None:
    for number in range(6):
        save_run(tmp_path / str(number), depth=10 * (1 + number % 2), seed=number, accuracy=0.1025)
    assert math.isnan(Comparison(read_runs([tmp_path])).explained(lambda run: run.accuracy)["model.depth"])


@pytest.mark.parametrize(
    ("values", "levels"),
    [([10, 1, None, 2], [1, 2, 10, None]), (["b", "a"], ["b", "a"]), ([[[1, 2], [3]], [4]], ["[[1, 2], [3]]", "[4]"])],
)
def test_values_of_any_kind_are_ordered_and_drawn(tmp_path: Path, values: list[object], levels: list[object]) -> None:
    for number, value in enumerate(values):
        for seed in (1, 2):
            folder = save_run(tmp_path / f"{number}-{seed}", seed=seed)
            config = OmegaConf.load(folder / "config.yaml")
            config.model.option = value
            OmegaConf.save(config, folder / "config.yaml")
    comparison = Comparison(read_runs([tmp_path]))
    assert comparison.knobs == ["model.option"]
    assert comparison.levels("model.option") == levels
    assert compare([tmp_path], None, tmp_path)[1][-1].name == "heat_map.png"


def test_a_key_that_an_older_run_lacks_is_no_knob(grid: Path) -> None:
    config = OmegaConf.load(grid / "he_normal-10-1" / "config.yaml")
    config.new_in_this_version = 7
    OmegaConf.save(config, grid / "he_normal-10-1" / "config.yaml")
    assert Comparison(read_runs([grid])).knobs == ["init.name", "model.depth"]


def test_the_default_target_is_nine_tenths_of_the_best(grid: Path) -> None:
    assert Comparison(read_runs([grid])).target == pytest.approx(0.9 * 0.81)


def test_an_unfinished_run_has_a_verdict_and_no_accuracy(grid: Path) -> None:
    save_run(grid / "broken", depth=50, accuracy=None)
    save(grid / "broken", vanishing())
    comparison = Comparison(read_runs([grid]))
    broken = next(run for run in comparison.runs if run.name == "broken")
    assert math.isnan(broken.accuracy)
    assert broken.verdict == "critical: vanishing_gradients"
    assert "model.depth" in comparison.explained(lambda run: run.accuracy)
    text, _ = compare([grid], None, grid)
    assert "not finished" in text


def test_depth_lies_across_and_init_down(grid: Path) -> None:
    assert axes_of(Comparison(read_runs([grid]))) == ("model.depth", "init.name", None)


def test_single_runs_and_folders_of_runs_can_be_named_together(grid: Path, tmp_path: Path) -> None:
    other = save_run(tmp_path / "elsewhere" / "one", depth=99)
    runs = read_runs([grid, other, other])
    assert [run.name for run in runs].count("elsewhere/one") == 1
    assert len(runs) == 9


def test_runs_without_monitor_validation_or_readable_history_are_compared_all_the_same(grid: Path) -> None:
    for path in grid.glob("*/gradients.jsonl"):
        path.unlink()
    next(grid.glob("he_normal-10-1")).joinpath("gradients.jsonl").write_text('{"of another": "version"}\n')
    for path in grid.glob("*/metrics.jsonl"):
        path.write_text("")
    text, _ = compare([grid], None, grid)
    assert "80.00 ± 1.41" in text


def test_the_files_hold_every_run_and_need_no_network(grid: Path, tmp_path: Path) -> None:
    text, files = compare([grid], 0.75, tmp_path / "out")
    assert [path.name for path in files] == ["comparison.csv", "comparison.md", "comparison.html", "heat_map.png"]
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    first = next(row for row in rows if row["run"] == "he_normal-10-2")
    assert (first["init.name"], first["seed"], first["test_acc"]) == ("he_normal", "2", str(0.5 + 0.2 + 0.1 + 0.01))
    assert first["steps_to_target"] == "20.0"
    assert "| he_normal | 10 | 2 | 80.00 ± 1.41 | healthy | ×1.00 | 20 | 10,000 |" in files[1].read_text()
    page = files[2].read_text()
    assert "80.00 ± 1.41" in html.unescape(page)
    assert "http" not in page.replace("http-equiv", "")
    with Image.open(files[3]) as picture:
        assert min(picture.size) > 100
    assert "he_normal" in text


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="1 runs in"):
        read_runs([save_run(tmp_path / "only")])


def test_runs_that_differ_by_their_seed_alone_are_one_row(tmp_path: Path) -> None:
    for seed, accuracy in ((1, 0.8), (2, 0.9)):
        save_run(tmp_path / "s" / str(seed), seed=seed, accuracy=accuracy)
    text, files = compare([tmp_path / "s"], None, tmp_path / "s")
    assert "85.00 ± 7.07" in text
    assert not (tmp_path / "s" / "heat_map.png").exists()
    assert len(files) == 3
