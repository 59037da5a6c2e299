"""What is really drawn: the points, marks, cells and words of each figure, taken from the figure itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from histories import exploding, history, profile, record, recurrent, vanishing
from matplotlib.figure import Figure

from isometry.diagnostics.history import History, LayerRecord
from isometry.diagnostics.profile import Profile, TimeProfile
from isometry.reports import plots

Draw = Callable[[Callable[[History, Path], None], History], Figure]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Draw:
    """Hands the figure over instead of writing it, for speed; `test_report` writes them."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: figures.append(self))

    def drawn(picture: Callable[[History, Path], None], made: History) -> Figure:
        picture(made, tmp_path / "picture.png")
        return figures[-1]

    return drawn


def curves(axes: Any, style: str = "-") -> list[tuple[list[float], list[float]]]:
    """Data of the lines, without the marks."""
    lines = [line for line in axes.lines if line.get_linestyle() == style]
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in lines]


def marks(axes: Any) -> list[float]:
    return [float(x) for line in axes.lines if line.get_marker() == "x" for x in line.get_xdata()]


def test_the_ribbon_has_a_line_per_chosen_step_in_each_panel(draw: Draw) -> None:
    figure = draw(plots.depth_ribbon, vanishing())
    activation, gradient, update = figure.axes
    assert [len(curves(axes)) for axes in figure.axes] == [6, 6, 6]
    xs, ys = curves(gradient)[0]
    assert xs == list(range(30))
    assert ys == pytest.approx([math.log10(0.01 * 0.5 ** ((29 - i) / 2)) for i in range(30)])
    assert curves(activation)[0][1] == [0.0] * 30
    assert curves(update)[0][1] == pytest.approx([-3.0] * 30)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        f"step {s}" for s in (0, 50, 100, 150, 200, 450)
    ]
    lightness = [sum(line.get_color()[:3]) for line in gradient.lines[:6]]
    assert lightness == sorted(lightness, reverse=True)


def test_the_ribbon_says_the_factor_and_draws_the_fit_of_both_ends(draw: Draw) -> None:
    gradient = draw(plots.depth_ribbon, vanishing()).axes[1]
    assert gradient.get_title() == "gradient ×0.71 per layer (theory ×0.71) at step 450; ×0.71 at step 0"
    dashed = curves(gradient, "--")
    assert len(dashed) == 2
    assert dashed[0][1] == pytest.approx(curves(gradient)[0][1])  # without noise the fit is the line
    single = draw(plots.depth_ribbon, history(profile(0, 0.5, 5))).axes[1]
    assert single.get_title() == "gradient ×0.50 per layer (no closed form) at step 0"
    none = draw(plots.depth_ribbon, history(profile(0, 0.5, 2))).axes[1]
    assert none.get_title() == "gradient that reaches z: no factor per layer"


def test_a_change_of_shape_is_a_step_of_the_fitted_line(draw: Draw) -> None:
    layers = tuple(
        replace(layer, shape=(8,), gradient_rms=layer.gradient_rms * 50) if layer.depth > 5 else layer
        for layer in profile(0, 0.5, 10).layers
        if layer.gradient_rms
    )
    pieces = curves(draw(plots.depth_ribbon, history(Profile(0, layers))).axes[1], "--")
    assert [xs for xs, _ in pieces] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    for _, ys in pieces:
        assert np.diff(ys) == pytest.approx([math.log10(2)] * 4)


def test_numbers_below_float32_are_drawn_and_broken_ones_are_marks(draw: Draw) -> None:
    tiny = profile(0, 0.01, 21, top=1.0)
    layers = [replace(layer) for layer in tiny.layers]
    layers[3] = replace(layers[3], gradient_rms=0.0)
    layers[5] = replace(layers[5], gradient_rms=math.nan)
    layers[7] = replace(layers[7], gradient_rms=None)
    axes = draw(plots.depth_ribbon, history(replace(tiny, layers=tuple(layers)))).axes[1]
    ys = curves(axes)[0][1]
    assert ys[0] == pytest.approx(-40)
    assert [i for i, y in enumerate(ys) if math.isnan(y)] == [3, 5, 7]
    assert marks(axes) == [3, 5]  # where no gradient came back there is a gap and no mark
    assert axes.get_ylim()[0] < -40


def test_a_level_line_is_not_blown_up_to_a_slope(draw: Draw) -> None:
    low, high = draw(plots.depth_ribbon, history(profile(0, 0.999, 20))).axes[1].get_ylim()
    assert high - low >= 2


def test_300_layers_have_at_most_12_names_without_the_prefix(draw: Draw) -> None:
    axes = draw(plots.depth_ribbon, history(profile(0, 0.97, 300))).axes[2]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert (len(names), names[0], names[-1]) == (12, "layer0", "layer299")
    assert axes.get_title() == "update ratio: none was recorded"


def test_the_time_profile_has_a_panel_per_layer_and_the_horizon_in_words(draw: Draw) -> None:
    forward, backward = draw(plots.time_profile, recurrent()).axes
    assert [text.get_text() for text in forward.get_legend().get_texts()] == [
        "step 0: falls tenfold in 5 steps",
        "step 50: falls tenfold in 5 steps",
        "step 100: falls tenfold in 6 steps",
    ]
    assert backward.get_legend().get_texts()[0].get_text() == "step 0: never falls tenfold within 28 steps"
    xs, ys = curves(forward)[0]
    assert xs == list(range(28))
    assert ys == pytest.approx([(27 - t) * math.log10(0.58) for t in range(28)])


def test_a_recurrent_layer_that_is_all_zero_is_all_marks(draw: Draw) -> None:
    made = history(Profile(0, (), (TimeProfile("$lstm$", (0.0,) * 5),)))
    axes = draw(plots.time_profile, made).axes[0]
    assert marks(axes) == [0, 1, 2, 3, 4]
    assert axes.get_title() == "gradient at each time step of $lstm$"  # a name, not mathematics


def cells(axes: Any) -> list[Any]:
    return [np.ma.filled(mesh.get_array(), np.nan) for mesh in axes.collections]


def test_totals_of_every_step_and_after_clipping(draw: Draw) -> None:
    made = history(*(record(step, [3.0, 4.0], totals=[10.0] * 4 + [5.0], total_clipped=1.0, clip_fraction=0.5)
                     for step in (4, 9)))  # fmt: skip
    top, bottom = draw(plots.gradient_norms, made).axes[:2]
    every, logged, clipped = curves(top)
    assert every == (list(range(10)), pytest.approx(([1.0] * 4 + [math.log10(5)]) * 2))
    assert logged == ([4, 9], pytest.approx([math.log10(5)] * 2))
    assert clipped == ([4, 9], [0.0, 0.0])
    assert cells(bottom)[0] == pytest.approx(np.log10([[3, 3], [4, 4]]))


def test_a_skipped_step_is_a_mark_and_does_not_own_the_axis(draw: Draw) -> None:
    skipped = record(10, [1.0], total=math.inf, totals=[math.inf], total_clipped=math.inf, skipped=1)
    top = draw(plots.gradient_norms, history(record(0, [1.0]), skipped, record(20, [2.0]))).axes[0]
    assert marks(top) == [10]
    assert -1 < top.get_ylim()[0] < top.get_ylim()[1] < 1


def test_each_optimizer_has_its_line_and_its_rows(draw: Draw) -> None:
    critic = {"critic": LayerRecord(0.1)}
    made = history(*(
        one
        for step in range(0, 40, 10)
        for one in (record(step, [1.0, 1.0]), replace(record(step + 1, [0.1]), optimizer=1, layers=critic))
    ))  # fmt: skip
    top, bottom = draw(plots.gradient_norms, made).axes[:2]
    assert [line.get_label() for line in top.lines] == [
        f"{which} steps{suffix}".replace("every steps", "every step")
        for suffix in (", optimizer 0", ", optimizer 1")
        for which in ("every", "logged")
    ]
    assert [block.shape for block in cells(bottom)] == [(2, 4), (1, 4)]
    assert not any(np.isnan(block).any() for block in cells(bottom))
    assert [label.get_text() for label in bottom.get_yticklabels()] == ["layer0", "layer1", "critic"]


def test_a_layer_that_appears_late_is_blank_before_and_a_broken_one_red(draw: Draw) -> None:
    late = record(10, [1.0, 1.0, 0.0])
    figure = draw(plots.gradient_norms, history(record(0, [1.0]), late, record(20, [math.nan, 1.0, 1.0])))
    rows = cells(figure.axes[1])[0]
    assert np.isnan(rows).tolist() == [[False, False, False], [True, False, False], [True, False, False]]
    mesh = figure.axes[1].collections[0]
    red = mesh.cmap(mesh.norm(rows[2, 1]))
    assert red == mesh.cmap(mesh.norm(rows[0, 2]))
    assert red[0] > 0.7
    assert red[1] < 0.2
    assert figure.axes[2].get_ylabel() == "red: zero, NaN or infinite"


def test_a_layer_that_appears_late_has_its_row_where_it_belongs(draw: Draw) -> None:
    whole = record(10, [1.0, 1.0, 1.0])
    without = replace(whole, step=0, layers={name: whole.layers[name] for name in ("network.layer0", "network.layer2")})
    axes = draw(plots.gradient_norms, history(without, whole)).axes[1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer0", "layer1", "layer2"]
    assert np.isnan(cells(axes)[0]).tolist() == [[False, False], [True, False], [False, False]]


@pytest.mark.parametrize("norms", [[0.0] * 5, [math.nan] * 5, [1e-3] * 1000])
def test_one_record_of_any_kind_can_be_drawn(norms: list[float], draw: Draw) -> None:
    figure = draw(plots.gradient_norms, history(record(0, norms)))
    figure.draw_without_rendering()  # what matplotlib warns of in the layout is an error here
    assert cells(figure.axes[1])[0].shape == (len(norms), 1)


def test_what_exploded_can_be_drawn(draw: Draw) -> None:
    assert marks(draw(plots.gradient_norms, exploding()).axes[0]) == [100]
    assert marks(draw(plots.depth_ribbon, exploding()).axes[1]) == [0, 1, 2, 3]


def test_the_histogram_shows_shares_of_the_last_record_that_has_one(draw: Draw) -> None:
    with_counts = record(10, [1.0])
    with_counts.layers["network.layer0"] = LayerRecord(1.0, histogram={"-3": 30, "-1": 10})
    with_counts.layers["b"] = LayerRecord(1.0, histogram={"-2": 7})
    earlier = replace(with_counts, step=0, layers={"old": LayerRecord(1.0, histogram={"5": 1})})
    axes = draw(plots.gradient_histogram, history(earlier, with_counts, record(20, [1.0]))).axes[0]
    assert cells(axes)[0] == pytest.approx(np.array([[0.75, np.nan, 0.25], [np.nan, 1, np.nan]]), nan_ok=True)
    assert axes.get_xlim() == (-3, 0)
    assert plots.last_histograms(vanishing()) == {}


def test_the_confusion_matrix_shows_shares_of_the_true_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: figures.append(self))
    plots.confusion_matrix(np.array([[3, 1], [0, 4]]), ["$a", "b$"], tmp_path / "c.png")
    axes = figures[0].axes[0]
    assert np.array(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert axes.get_title() == "test set: accuracy 87.50%"
    images = np.zeros((2, 1, 4, 4), np.uint8)
    guesses = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    plots.sample_predictions(images, [0, 1], guesses, ["a", "b"], tmp_path / "p.png")
    assert [axes.get_title() for axes in figures[1].axes[:3]] == ["a 90%", "a 80%\n(is b)", ""]
