"""Fits by hand, and records that survive being written and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from isometry.diagnostics.history import (
    GradientRecord,
    LayerRecord,
    NonFiniteRecord,
    Record,
    UnitsRecord,
    encode,
    read_history,
)
from isometry.diagnostics.profile import LayerProfile, Profile, TimeProfile


def layer(depth: int, gradient: float | None, shape: tuple[int, ...] = (8,), activation: float = 1.0) -> LayerProfile:
    return LayerProfile(f"{depth}", depth, shape, activation, 0.0, gradient)


def profile(*layers: LayerProfile) -> Profile:
    return Profile(0, layers)


def geometric(factor: float, count: int, start: float = 1.0) -> list[float]:
    """Falling towards the input: the last value is `start`, each one before it `factor` times the next."""
    return [start * factor ** (count - 1 - i) for i in range(count)]


# ------------------------------------------------------------------------------------------------- over depth
@pytest.mark.parametrize("factor", [0.3, 0.7, 1.0, 1.2112, 10.0])
def test_a_geometric_sequence_is_its_own_fit(factor: float) -> None:
    fit = profile(*(layer(d, g) for d, g in enumerate(geometric(factor, 6, start=1e-9), 1))).backward
    assert fit is not None
    assert fit.gain == pytest.approx(factor, rel=1e-12)
    assert fit.quality == pytest.approx(1, abs=1e-9)
    assert fit.decades == pytest.approx(5 * math.log10(factor), abs=1e-12)
    assert fit.layers == 6


def test_forward_is_the_factor_of_z_in_its_own_direction() -> None:
    shown = profile(*(layer(d, 1.0, activation=0.5**d) for d in range(1, 6)))
    assert shown.forward_gain == pytest.approx(0.5, rel=1e-12)
    assert shown.forward is not None
    assert shown.forward.decades == pytest.approx(4 * math.log10(0.5), rel=1e-12)
    assert shown.backward_gain == pytest.approx(1, rel=1e-12)


def test_a_fit_by_hand_with_noise() -> None:
    """log10: 0, 1, 1 at depths 1, 2, 3. Slope ½, R² = 1 - (1/6)/(2/3) = ¾."""
    fit = profile(layer(1, 1.0), layer(2, 10.0), layer(3, 10.0)).backward
    assert fit is not None
    assert fit.gain == pytest.approx(10**-0.5)
    assert fit.quality == pytest.approx(0.75)
    assert fit.decades == pytest.approx(-1.0)


def test_a_level_line_is_a_perfect_fit_and_noise_around_it_none() -> None:
    level = profile(*(layer(d, 3e-7) for d in range(1, 8)))
    assert (level.backward_gain, level.fit_quality) == (1.0, 1.0)
    noisy = profile(*(layer(d, g) for d, g in enumerate((1.0, 2.0, 2.0, 1.0), 1)))
    assert noisy.backward_gain == pytest.approx(1, abs=1e-12)
    assert noisy.fit_quality == pytest.approx(0, abs=1e-12)


def test_a_change_of_width_is_a_step_and_no_slope() -> None:
    factor, wide, narrow = 0.9, geometric(0.9, 4), geometric(0.9, 5, start=1e4)
    rows = [layer(d, g, (64,)) for d, g in enumerate(wide, 1)] + [layer(d, g, (16,)) for d, g in enumerate(narrow, 5)]
    assert profile(*rows).backward_gain == pytest.approx(factor, rel=1e-12)
    assert profile(*rows).fit_quality == pytest.approx(1, abs=1e-9)
    as_one = profile(*(layer(row.depth, row.gradient_rms) for row in rows))  # the control
    assert as_one.backward_gain is not None
    assert as_one.backward_gain < 0.3


def test_groups_need_not_be_neighbours() -> None:
    """As a bottleneck's wide and narrow layers take turns."""
    rows = [layer(d, 0.5 ** (10 - d) * (1000.0 if d % 2 else 1.0), (d % 2,)) for d in range(1, 11)]
    assert profile(*rows).backward_gain == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("useless", [None, 0.0, math.nan, math.inf])
def test_what_has_no_logarithm_is_left_out(useless: float | None) -> None:
    rows = [layer(d, g) for d, g in enumerate(geometric(0.5, 5), 1)]
    rows[2] = layer(3, useless)
    fit = profile(layer(0, useless), *rows).backward
    assert fit is not None
    assert fit.gain == pytest.approx(0.5, rel=1e-12)
    assert fit.layers == 5  # depths 1 to 5


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [layer(1, 1.0)],
        [layer(1, 1.0), layer(2, 0.5)],
        [layer(1, 1.0), layer(2, 0.5), layer(3, 0.0)],
        [layer(1, 1.0), layer(2, 0.5), layer(3, 0.25, (4,))],
        [layer(d, 1.0, (d,)) for d in range(1, 9)],  # no two of a kind
        [layer(1, 1.0), layer(1, 0.5), layer(1, 0.25)],  # side by side: no depth between them
    ],
)
def test_fewer_than_three_comparable_layers_have_no_gain(rows: list[LayerProfile]) -> None:
    shown = profile(*rows)
    assert (shown.backward, shown.backward_gain, shown.fit_quality) == (None, None, None)


def test_branches_side_by_side_share_a_depth() -> None:
    rows = [layer(d, size * 0.5 ** (4 - d)) for d in range(1, 5) for size in (4.0, 1.0, 0.25)]
    fit = profile(*rows).backward
    assert fit is not None
    assert fit.gain == pytest.approx(0.5, rel=1e-12)
    assert fit.layers == 4
    assert 0 < fit.quality < 1


@pytest.mark.parametrize("size", [1e-3, 1e3])
@pytest.mark.parametrize("depth", range(1, 9))
def test_a_side_branch_of_the_same_shape_is_no_part_of_the_way(depth: int, size: float) -> None:
    """A layer far off the line, wherever it stands: the slope is that of the others."""
    gradients = geometric(0.5, 8)
    gradients[depth - 1] *= size
    fit = profile(*(layer(d, g) for d, g in enumerate(gradients, 1))).backward
    assert fit is not None
    assert (fit.gain, fit.quality) == (pytest.approx(0.5, rel=1e-9), pytest.approx(1, abs=1e-9))


def test_where_much_lies_far_off_all_of_it_counts() -> None:
    """Four of eight layers a thousandfold above the others, no line at all: least squares of all, by numpy."""
    gradients = [g * (1e3 if d in (1, 3, 6, 8) else 1.0) for d, g in enumerate(geometric(0.5, 8), 1)]
    fit = profile(*(layer(d, g) for d, g in enumerate(gradients, 1))).backward
    slope = np.polyfit(range(1, 9), np.log10(gradients), 1)[0]
    assert fit is not None
    assert fit.gain == pytest.approx(10**-slope, rel=1e-9)
    assert fit.quality < 0.5


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_noise_leaves_no_layer_out(noise: float) -> None:
    random = np.random.default_rng(0)
    values = [0.1 * d + noise * random.uniform(-1, 1) for d in range(1, 31)]
    fit = profile(*(layer(d, 10**value) for d, value in enumerate(values, 1))).backward
    assert fit is not None
    assert fit.gain == pytest.approx(10 ** -np.polyfit(range(1, 31), values, 1)[0], rel=1e-9)


def test_over_time_every_step_counts() -> None:
    norms = [0.5 ** (20 - t) for t in range(20)]
    norms[7] *= 1e4
    fit = TimeProfile("rnn", tuple(norms)).fit
    assert fit is not None
    assert fit.gain == pytest.approx(10 ** -np.polyfit(range(20), np.log10(norms), 1)[0], rel=1e-9)


def test_norms_are_fitted_over_layers_of_any_shape() -> None:
    """‖∂L/∂z‖ is what counts there: RMS times the root of the size."""
    rows = [layer(d, 0.5 ** (9 - d) / math.sqrt(d), (d,)) for d in range(1, 9)]
    assert profile(*rows).backward is None
    fit = profile(*rows).backward_norms
    assert fit is not None
    assert fit.gain == pytest.approx(0.5, rel=1e-12)
    assert fit.decades == pytest.approx(7 * math.log10(0.5), rel=1e-12)
    assert profile(*rows[:2]).backward_norms is None


def test_a_thousand_layers_fit_as_well() -> None:
    fit = profile(*(layer(d, g) for d, g in enumerate(geometric(0.5, 1000), 1))).backward
    assert fit is not None
    assert fit.gain == pytest.approx(0.5)
    assert fit.decades == pytest.approx(999 * math.log10(0.5))


# ---------------------------------------------------------------------------------------------- over time
def test_decay_over_time_and_its_horizon_by_hand() -> None:
    shown = TimeProfile("rnn", tuple(0.5 ** (9 - t) for t in range(10)))
    assert shown.fit is not None
    assert shown.fit.gain == pytest.approx(0.5, rel=1e-12)
    assert shown.fit.decades == pytest.approx(9 * math.log10(0.5), rel=1e-12)
    assert shown.horizon == 4  # ½⁴ = 1/16 is the first below a tenth


@pytest.mark.parametrize(
    ("norms", "horizon"),
    [
        ((1.0, 1.0, 1.0), None),
        ((0.1, 1.0, 1.0), 2),
        ((5.0, 0.1, 1.0), 1),  # the first time, though it rises again
        ((0.0, 0.0, 1.0), 1),
        ((1.0, 1.0, 0.0), None),  # no gradient at the last step: nothing to fall from
        ((3.0,), None),
    ],
)
def test_horizon_by_hand(norms: tuple[float, ...], horizon: int | None) -> None:
    assert TimeProfile("rnn", norms).horizon == horizon


def test_steps_without_gradient_are_left_out_of_the_fit_over_time() -> None:
    shown = TimeProfile("rnn", (0.0, math.nan, 0.25, 0.5, 1.0))
    assert shown.fit is not None
    assert shown.fit.gain == pytest.approx(0.5, rel=1e-12)
    assert TimeProfile("rnn", (0.0, 0.5, 1.0)).fit is None


# --------------------------------------------------------------------------------------------- expectation
def expecting(depth: int, backward: float | None, shape: tuple[int, ...] = (8,)) -> LayerProfile:
    forward = None if backward is None else 2 * backward
    return LayerProfile(
        f"{depth}", depth, shape, 1.0, 0.0, 1.0, expected_backward=backward, expected_forward=forward
    )  # fmt: skip


def test_the_expected_gain_is_the_geometric_mean_of_the_links() -> None:
    shown = profile(expecting(1, 0.5), expecting(2, 2.0), expecting(3, 8.0), expecting(4, None))
    assert shown.expected_backward_gain == pytest.approx(2.0)  # the last layer has no next one
    assert shown.expected_forward_gain == pytest.approx(4.0)


def test_one_unknown_link_leaves_nothing_to_expect() -> None:
    shown = profile(expecting(1, 0.5), expecting(2, None), expecting(3, 0.5), expecting(4, None))
    assert (shown.expected_backward_gain, shown.expected_forward_gain) == (None, None)
    assert profile(expecting(1, 0.5)).expected_backward_gain is None
    assert profile().expected_backward_gain is None


def test_links_between_different_shapes_are_not_asked() -> None:
    """As they are not fitted: 7 would be the factor of a change of width."""
    shown = profile(expecting(1, 7.0, (4,)), expecting(2, 0.5), expecting(3, 0.5), expecting(4, None, (2,)))
    assert shown.expected_backward_gain == pytest.approx(0.5)


def test_a_second_call_of_a_module_has_the_module_s_path() -> None:
    rows = [LayerProfile(name, 1, (8,), 1.0, 0.0, 1.0) for name in ("a.b", "a.b@2", "a.b@12", "a@b")]
    assert [row.module for row in rows] == ["a.b", "a.b", "a.b", "a@b"]


# ------------------------------------------------------------------------------------------- write and read
FULL = Profile(
    7,
    (
        LayerProfile(
            "a",
            1,
            (4, 2, 2),
            0.5,
            -0.25,
            1e-36,
            3,
            0.5,
            0.125,
            0.75,
            1.5,
            kind="Conv2d",
            samples=32,
            activation="relu",
            weight_spread=0.875,
            unit_sum=0.0,
            unit_zeros=0.25,
            underflow=0.5,
            detached=True,
        ),
        LayerProfile("a@2", 2, (), math.nan, -math.inf, math.inf),
        LayerProfile("b", 2, (8,), 1e30, 0.0, None, dead=0.0),
    ),
    (TimeProfile("rnn", (1e-187, 0.0, math.inf, 1.0)),),
    {"attention.out_proj": "it was not called as a module"},
    jacobian=1.0625,
    loss=2.25,
    input_mean=-0.5,
    input_std=math.inf,
    input_largest=255.0,
    batch_norm_samples=16,
)


@pytest.mark.parametrize(
    ("record", "home"),
    [
        (FULL, "profiles"),
        (Profile(0, ()), "profiles"),
        (
            GradientRecord(
                3, math.inf, 1.0, [1.0, math.inf], 0.5,
                {
                    "a": LayerRecord(math.inf, 1, 2, 0.25, 3.0, 1e-3, {"-3": 17, "0": 2}),
                    "b": LayerRecord(0.0, update_ratio=None, weight_norm=0.0),
                },
                optimizer=1, frozen=["c"], unused=["d"], skipped=2, scale=65536.0, monitor_ms=0.5,
                losses=[2.25, math.nan], lr=0.125,
            ),
            "records",
        ),
        (GradientRecord(0, 0.0, 0.0, [0.0], None, {}), "records"),
        (UnitsRecord(0, 4, 1024, {"a": 0.5, "b": 0.0}), "units"),
        (NonFiniteRecord(5, 1, "net.3", None, [0, 7], False, "nonfinite-step0000005.pt"), "nonfinite"),
        (NonFiniteRecord(5, 1, None, "net.3.weight", [], True, None), "nonfinite"),
    ],
    ids=["profile", "empty profile", "step", "empty step", "units", "nonfinite", "nonfinite batch"],
)  # fmt: skip
def test_records_survive_being_written_and_read(record: Record, home: str, tmp_path: Path) -> None:
    path = tmp_path / "gradients.jsonl"
    path.write_text(encode(record) + "\n" + encode(Profile(99, ())) + "\n")
    found: Sequence[Record] = getattr(read_history(path), home)
    assert repr(found[0]) == repr(record)  # by their texts: NaN is not equal to itself


def test_nan_and_infinity_are_numbers_again_and_names_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "gradients.jsonl"
    path.write_text(encode(FULL) + "\n")
    assert "NaN" in path.read_text()
    assert "Infinity" in path.read_text()
    (found,) = read_history(path).profiles
    assert math.isnan(found.layers[1].activation_rms)
    assert found.layers[1].activation_mean == -math.inf
    assert found.layers[1].gradient_rms == math.inf
    assert found.layers[0].shape == (4, 2, 2)
    assert hash(found.layers[0]) == hash(FULL.layers[0])  # tuples, not lists


def test_saved_numbers_keep_six_digits() -> None:
    assert "1.23457e-33" in encode(profile(layer(1, 1.23456789e-33)))


@pytest.mark.parametrize("read", [lambda p: p.backward_gain, lambda p: p.forward_gain, lambda p: p.fit_quality])
def test_a_saved_profile_gives_the_same_fit(read: Callable[[Profile], float | None], tmp_path: Path) -> None:
    shown = profile(*(layer(d, 0.7**-d * (1 + d % 3 / 10), activation=1.3**d) for d in range(1, 9)))
    path = tmp_path / "gradients.jsonl"
    path.write_text(encode(shown) + "\n")
    assert read(read_history(path).profiles[0]) == pytest.approx(read(shown), rel=1e-5)
