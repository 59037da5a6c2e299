"""The sentences and the table of a run, word for word."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from histories import exploding, history, profile, record, recurrent, vanishing

from isometry.diagnostics.history import UnitsRecord
from isometry.diagnostics.profile import Profile, TimeProfile
from isometry.reports.terminal import flow_beside_theory, flow_line, horizon, layer_table

XAVIER = 0.5**0.5


@pytest.mark.parametrize(
    ("gain", "count", "line"),
    [
        (XAVIER, 30, "gradient ×0.71 per layer, 4.4 decades lost over 30 layers"),
        (1.4, 20, "gradient ×1.40 per layer, 2.8 decades grown over 20 layers"),
        (0.99, 20, "gradient ×0.99 per layer, level over 20 layers"),
        (1.01, 20, "gradient ×1.01 per layer, level over 20 layers"),
        (1e-5, 8, "gradient ×1e-05 per layer, 35.0 decades lost over 8 layers"),
        (2e4, 3, "gradient ×2e+04 per layer, 8.6 decades grown over 3 layers"),
    ],
)
def test_the_flow_in_one_line(gain: float, count: int, line: str) -> None:
    assert flow_line(profile(0, gain, count)) == line


def test_nothing_is_said_where_nothing_can_be_fitted() -> None:
    assert flow_line(profile(0, 0.9, 2)) == ""
    assert flow_line(profile(0, 0.9, 5, top=0.0)) == ""
    assert flow_line(Profile(0, ())) == ""


def test_layers_that_are_not_finite_are_named() -> None:
    assert flow_line(exploding().profiles[-1]) == (
        "gradient ×3.00 per layer, 7.2 decades grown over 16 layers; "
        "not finite in network.layer0, network.layer1, network.layer2 and 1 more"
    )
    lost = profile(0, 0.9, 1)
    assert flow_line(replace(lost, layers=(replace(lost.layers[0], activation_rms=math.inf),))) == (
        "not finite in network.layer0"
    )


def test_theory_stands_beside_the_measured_factor() -> None:
    assert flow_beside_theory(vanishing().profiles[0]) == (
        "gradient ×0.71 per layer, 4.4 decades lost over 30 layers (theory ×0.71)"
    )
    assert flow_beside_theory(profile(0, 0.99, 20)).endswith("level over 20 layers (no closed form)")
    assert flow_beside_theory(profile(0, 0.9, 2)) == ""


def test_through_time_the_layer_that_changes_most_speaks() -> None:
    assert flow_line(recurrent().profiles[0]) == (
        "gradient through time in network.forward falls tenfold in 5 steps, ×4.1e-07 over 28 steps"
    )
    one = replace(profile(0, XAVIER, 30), times=(TimeProfile("lstm", tuple(0.99 ** (27 - t) for t in range(28))),))
    assert flow_line(one) == (
        "gradient ×0.71 per layer, 4.4 decades lost over 30 layers; "
        "gradient through time never falls tenfold within 28 steps, ×0.76 over 28 steps"
    )


@pytest.mark.parametrize(
    ("norms", "words"),
    [
        ((0.01, 0.1, 1.0), "falls tenfold in 1 step"),
        ((0.01, 0.2, 1.0), "falls tenfold in 2 steps"),
        ((3.0, 2.0, 1.0), "never falls tenfold within 3 steps"),
        ((1.0, 0.0), "no gradient at the last step"),
        ((), "no gradient at the last step"),
        ((math.nan, 1.0), "not finite"),
    ],
)
def test_the_horizon_in_words(norms: tuple[float, ...], words: str) -> None:
    assert horizon(TimeProfile("lstm", norms)) == words


def test_the_table_word_for_word() -> None:
    made = history(profile(100, 0.1, 4, top=1.0, expected=0.25), record(100, [1.0] * 4))
    layers = list(made.profiles[0].layers)
    layers[1] = replace(layers[1], shape=(16, 7, 7), gradient_rms=0.0, dead=None, saturated=0.5)
    layers[2] = replace(layers[2], name="network.layer3@2", gradient_rms=None, dead=None)
    made.profiles[0] = replace(
        made.profiles[0], layers=tuple(layers), unseen={"attention.out_proj": "called as F.linear"}
    )
    made.append(UnitsRecord(0, 100, 1000, {"network.layer1": 0.25}))
    assert layer_table(made, 80).splitlines() == [
        "layer             shape     RMS z RMS ∂L/∂z             ‖Δw‖/‖w‖   dead satur.",
        "network.layer0       64  1.00e+00  1.00e-03 ▏            1.0e-03    12%",
        "network.layer1   16×7×7  1.00e+00  0.00e+00 ×            1.0e-03    25%    50%",
        "network.layer3@2     64  1.00e+00      none              1.0e-03",
        "network.layer3       64  1.00e+00  1.00e+00 ██████████   1.0e-03    12%",
        "unseen: attention.out_proj: called as F.linear",
    ]


def test_a_bars_length_is_the_logarithm_and_noise_makes_no_slope() -> None:
    def bars(gain: float) -> list[int]:
        rows = layer_table(history(profile(0, gain, 11))).splitlines()[1:12]
        return [sum(" ▏▎▍▌▋▊▉█".find(character) for character in row if character in "▏▎▍▌▋▊▉█") for row in rows]

    assert bars(0.01) == [1 + round(79 * i / 10) for i in range(11)]
    assert bars(100.0) == [1 + round(79 * (10 - i) / 10) for i in range(11)]
    assert min(bars(0.999)) > 75  # 80 is full
    assert set(bars(1.0)) == {80}


def test_a_long_table_keeps_its_ends_and_says_what_it_leaves_out() -> None:
    whole = layer_table(history(profile(0, 0.97, 40))).splitlines()
    assert len(whole) == 1 + 40 + 1
    lines = layer_table(history(profile(0, 0.97, 300))).splitlines()
    names = [line.split()[0] for line in lines]
    assert names[1:16] == [f"network.layer{i}" for i in range(15)]
    assert lines[16] == "… 260 of 300 layers left out: here one in 27 is shown …"
    assert names[17:27] == [f"network.layer{i}" for i in range(41, 300, 27)]
    assert names[27:42] == [f"network.layer{i}" for i in range(285, 300)]
    assert lines[42] == "gradient ×0.97 per layer, 4.0 decades lost over 300 layers (no closed form)"


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_fits_its_width(width: int) -> None:
    made = exploding()
    long = [replace(layer, name=f"network.{'very.' * 20}deep{layer.depth}", shape=(2048, 1024, 1024))
            for layer in made.profiles[-1].layers]  # fmt: skip
    made.profiles[-1] = replace(made.profiles[-1], layers=tuple(long), unseen={"x" * 30: "words " * 30})
    lines = layer_table(made, width).splitlines()
    assert max(map(len, lines)) <= width
    assert "deep20" in lines[20]


def test_without_a_profile_there_is_no_table() -> None:
    assert layer_table(history(record(0, [1.0]))) == ""
