"""Each published rule at, above and below its threshold, on lines written by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import baselines
import baselines_table as table
import pytest
from baselines import BASELINES, Alarm

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 99)
LAYER = {
    "gradient_mean_abs": 1e-3, "gradient_zeros": 0.0, "gradient_p5": -2e-3, "gradient_p95": 2e-3, "gradient_norm": 0.1,
    "size": 100, "norm": 1.0, "mean": 0.0, "variance": 0.01, "small": 0.0, "update_ratio": 1e-3, "update_scale": 1e-3,
}  # fmt: skip
RELU = {
    "kind": "relu", "nonpositive": 0.5, "beyond_5": 0.0, "silent_units": 0.0, "inactive_units": 0.0,
    "outside_units": None, "bounded_units": None, "mean": 0.5, "variance": 1.0, "std": 1.0, "input_variance": 1.0,
    "input_std": 1.0,
}  # fmt: skip
TANH = {**RELU, "kind": "tanh", "outside_units": 0.0, "bounded_units": 0.0}


def line(step: int, **own: Any) -> dict[str, Any]:
    """Of a training that nobody complains of: the loss falls by a third a line."""
    loss = 0.67 ** STEPS.index(step) if step in STEPS else 1.0
    healthy = {
        "step": step, "optimizer": 0, "lr": 0.01, "loss": loss, "mean_loss": loss, "gradient_norm": 0.2,
        "nonfinite": False, "weights": {"a": LAYER, "b": LAYER}, "activations": {"act": RELU},
    }  # fmt: skip
    return {**healthy, **own}


def lines(steps: tuple[int, ...] = STEPS, **own: Any) -> list[dict[str, Any]]:
    return [line(step, **own) for step in steps]


def layers(**own: Any) -> dict[str, Any]:
    """The weights of a line, the second layer being different."""
    return {"a": LAYER, "b": {**LAYER, **own}}


def activations(base: dict[str, Any], **own: Any) -> dict[str, Any]:
    return {"act": {**base, **own}}


def kinds(tool: str, told: list[dict[str, Any]]) -> set[str]:
    return {alarm.rule for alarm in BASELINES[tool](told)}


@pytest.mark.parametrize("tool", BASELINES)
def test_a_healthy_training_raises_no_alarm(tool: str) -> None:
    assert BASELINES[tool](lines()) == []


@pytest.mark.parametrize("tool", BASELINES)
def test_no_line_no_alarm(tool: str) -> None:
    assert BASELINES[tool]([]) == []


@pytest.mark.parametrize("tool", BASELINES)
def test_a_nan_raises_an_alarm_at_its_step(tool: str) -> None:
    told = lines()
    told[3] |= {"nonfinite": True, "loss": math.nan, "mean_loss": math.nan, "gradient_norm": math.nan}
    assert BASELINES[tool](told)[0].step == 4


SM = "SageMaker Debugger"


@pytest.mark.parametrize(
    ("kind", "holds", "holds_not"),
    [
        ("VanishingGradient", {"gradient_mean_abs": 0.99e-7}, {"gradient_mean_abs": 1e-7}),
        ("WeightUpdateRatio large", {"update_ratio": 10.1}, {"update_ratio": 10.0}),
        ("WeightUpdateRatio small", {"update_ratio": 0.9e-8}, {"update_ratio": 1.1e-8}),
        ("PoorWeightInitialization", {"gradient_p5": -4e-4, "gradient_p95": 5.9e-4}, {"gradient_p95": 0.001 - 2e-3}),
    ],
)
def test_sagemaker_looks_at_every_layer(kind: str, holds: dict[str, float], holds_not: dict[str, float]) -> None:
    assert kinds(SM, lines(weights=layers(**holds))) == {kind}
    assert kinds(SM, lines(weights=layers(**holds_not))) == set()


def test_the_sagemaker_update_of_a_weight_that_is_zero() -> None:
    """The ε below keeps the ratio finite: nothing to complain of where it is unknown but small."""
    assert kinds(SM, lines(weights=layers(update_ratio=None, norm=0.0))) == {"WeightUpdateRatio small"}


@pytest.mark.parametrize(
    ("kind", "base", "key"),
    [("DeadRelu", RELU, "inactive_units"), ("SaturatedActivation", TANH, "outside_units")],
)
def test_sagemaker_wants_more_than_half_of_the_units(kind: str, base: dict[str, Any], key: str) -> None:
    assert kinds(SM, lines(activations=activations(base, **{key: 0.51}))) == {kind}
    assert kinds(SM, lines(activations=activations(base, **{key: 0.5}))) == set()


def test_only_a_relu_dies_for_sagemaker() -> None:
    assert kinds(SM, lines(activations=activations(TANH, inactive_units=1.0))) == set()


@pytest.mark.parametrize(("variance", "fires"), [(10.0, False), (10.1, True)])
def test_sagemaker_compares_the_variances_of_relus_inputs(variance: float, fires: bool) -> None:
    own = {"act": RELU, "act2": {**RELU, "input_variance": variance}}
    assert kinds(SM, lines(activations=own)) == ({"PoorWeightInitialization"} if fires else set())
    own["act2"] |= {"kind": "gelu"}
    assert kinds(SM, lines(activations=own)) == set()


def test_sagemaker_looks_at_the_start_in_its_first_ten_steps_only() -> None:
    wrong = layers(gradient_p5=0.0, gradient_p95=0.0)
    steps = [alarm.step for alarm in baselines.sagemaker(lines(weights=wrong))]
    assert steps == [0, 1, 2, 4, 8]


@pytest.mark.parametrize(("best", "fires"), [(3, True), (4, False)])
def test_a_loss_that_stands_at_the_start_has_five_steps(best: int, fires: bool) -> None:
    told = [line(step, loss=0.5 if step == best else 1.0) for step in (0, best, 8)]
    assert ("PoorWeightInitialization" in kinds(SM, told)) == fires


@pytest.mark.parametrize(("loss", "fires"), [(0.5, True), (0.501, True), (0.499, False)])
def test_the_loss_of_ten_steps_before_must_be_undercut(loss: float, fires: bool) -> None:
    told = [line(20, loss=9.0), line(40, loss=0.5), line(45, loss=0.01), line(50, loss=loss)]
    assert kinds(SM, told) == ({"LossNotDecreasing"} if fires else set())


AT = "AUTOTRAINER"
FLAT = {"loss": 1.0, "mean_loss": 1.0}


@pytest.mark.parametrize(
    ("first", "last", "kind"),
    [
        (0.99e-4, 0.1, "gradient vanish"),
        (0.99e-4, 0.098, "slow convergence"),  # ratio 1.01e-3
        (1e-4, 1.0, "slow convergence"),  # the first alone is not small enough
        (7.1, 0.1, "gradient explode"),
        (7.0, 0.1, "slow convergence"),
        (0.0, 0.0, "slow convergence"),  # no ratio
        (1.0, 0.0, "gradient explode"),
    ],
)
def test_autotrainer_compares_the_first_layer_with_the_last(first: float, last: float, kind: str) -> None:
    weights = {"a": {**LAYER, "gradient_norm": first}, "b": {**LAYER, "gradient_norm": last}}
    assert baselines.autotrainer(lines(weights=weights, **FLAT)) == [Alarm(32, kind)]  # 30 % of 99 steps


def test_autotrainer_trusts_a_training_that_reaches_its_target() -> None:
    weights = {"a": {**LAYER, "gradient_norm": 1e-9}, "b": LAYER}
    told = lines(weights=weights)
    assert baselines.autotrainer(told) == []
    for each in told:
        each["mean_loss"] = 0.6 + 0.4 * each["mean_loss"]  # learns, and stays above 0.3
    assert baselines.autotrainer(told) == [Alarm(32, "gradient vanish")]


@pytest.mark.parametrize(("share", "kind"), [(0.7, "dying ReLU"), (0.69, "slow convergence")])
def test_autotrainer_counts_zeros_over_all_elements(share: float, kind: str) -> None:
    weights = {"a": {**LAYER, "gradient_zeros": 0.5, "size": 0}, "b": {**LAYER, "gradient_zeros": share, "size": 30}}
    assert kinds(AT, lines(weights=weights, **FLAT)) == {kind}


@pytest.mark.parametrize(("fall", "slow"), [(0.0099, True), (0.0101, False)])
def test_autotrainer_calls_slow_what_never_falls_by_a_hundredth(fall: float, slow: bool) -> None:
    told = [line(step, mean_loss=1 - fall * (place > 3)) for place, step in enumerate(STEPS)]
    assert kinds(AT, told) == ({"slow convergence"} if slow else set())


def test_autotrainer_does_not_take_a_turned_sign_for_success() -> None:
    told = [line(step, mean_loss=-1.0 - place) for place, step in enumerate(STEPS)]
    assert kinds(AT, told) == {"slow convergence"}


@pytest.mark.parametrize(("swing", "fires"), [(0.031, True), (0.029, False)])
def test_autotrainer_calls_oscillating_what_swings_in_a_fifth_of_its_checks(swing: float, fires: bool) -> None:
    told = [line(step, mean_loss=1.0 if place == 0 else 0.1 + swing * (place % 2)) for place, step in enumerate(STEPS)]
    assert kinds(AT, told) == ({"oscillating loss"} if fires else set())


@pytest.mark.parametrize(("loss", "fires"), [(1000.0, True), (999.0, False)])
def test_autotrainer_takes_a_huge_loss_for_a_nan(loss: float, fires: bool) -> None:
    told = lines()
    told[1]["mean_loss"] = loss
    assert kinds(AT, told) == ({"gradient explode"} if fires else set())


DD = "DeepDiagnosis"


@pytest.mark.parametrize(("share", "fires"), [(0.7, True), (0.69, False)])
def test_deepdiagnosis_looks_for_dead_nodes_at_the_end(share: float, fires: bool) -> None:
    told = lines(activations=activations(RELU, nonpositive=share))
    assert baselines.deepdiagnosis(told) == ([Alarm(99, "dead node")] if fires else [])


@pytest.mark.parametrize(("share", "fires"), [(0.51, True), (0.5, False)])
def test_deepdiagnosis_looks_for_saturation_in_each_fifth_line(share: float, fires: bool) -> None:
    told = lines(activations=activations(TANH, beyond_5=share))
    assert baselines.deepdiagnosis(told) == ([Alarm(8, "saturated activation")] if fires else [])


@pytest.mark.parametrize(("size", "fires"), [(0.99e-7, True), (1e-7, False)])
def test_deepdiagnosis_and_vanishing_gradients(size: float, fires: bool) -> None:
    told = lines(weights=layers(gradient_mean_abs=size))
    assert baselines.deepdiagnosis(told) == ([Alarm(0, "vanishing gradient")] if fires else [])


def test_deepdiagnosis_stops_at_what_it_sees_first_and_names_a_cause() -> None:
    seen = activations(TANH, beyond_5=1.0)
    poor = lines(activations=seen, weights=layers(variance=10.1, gradient_norm=11.0))
    fast = lines(activations=seen, weights=layers(gradient_norm=11.0))  # lr‖g‖/‖w‖ = 0.11
    assert baselines.deepdiagnosis(poor) == [Alarm(8, "saturated activation"), Alarm(8, "poor weight")]
    assert baselines.deepdiagnosis(fast) == [Alarm(8, "saturated activation"), Alarm(8, "learning rate")]


def test_deepdiagnosis_raises_no_alarm_for_a_cause_alone() -> None:
    assert baselines.deepdiagnosis(lines(weights=layers(variance=100.0, gradient_norm=1e6))) == []


def test_deepdiagnosis_and_a_loss_that_does_not_change() -> None:
    assert baselines.deepdiagnosis(lines(mean_loss=1.0)) == [Alarm(8, "loss not changing")]


@pytest.mark.parametrize("own", [{"activations": activations(RELU, mean=0.0)}, {"weights": layers(gradient_zeros=1.0)}])
def test_deepdiagnosis_takes_all_zeros_for_a_numerical_error(own: dict[str, Any]) -> None:
    assert baselines.deepdiagnosis(lines(**own)) == [Alarm(0, "numerical error")]


TDC = "TheDeepChecker"


@pytest.mark.parametrize(
    ("kind", "own", "below"),
    [
        ("vanishing", {"weights": layers(gradient_mean_abs=0.9e-6)}, {"weights": layers(gradient_mean_abs=1e-6)}),
        ("exploding", {"weights": layers(gradient_mean_abs=1.1e6)}, {"weights": layers(gradient_mean_abs=1e6)}),
        ("large updates", {"weights": layers(update_scale=0.11)}, {"weights": layers(update_scale=0.1)}),
        ("small updates", {"weights": layers(update_scale=0.9e-4)}, {"weights": layers(update_scale=1e-4)}),
        ("small updates", {"weights": layers(update_scale=0.0)}, {"weights": layers(update_scale=1e-4)}),
        ("dead weights", {"weights": layers(small=0.96)}, {"weights": layers(small=0.95)}),
        ("dead layer", {"activations": activations(RELU, silent_units=0.51)},
         {"activations": activations(RELU, silent_units=0.5)}),
        ("saturated layer", {"activations": activations(TANH, bounded_units=0.51)},
         {"activations": activations(TANH, bounded_units=0.5)}),
        ("activations out of range", {"activations": activations(RELU, std=2.1)},
         {"activations": activations(RELU, std=2.0)}),
        ("activations out of range", {"activations": activations(RELU, std=0.49)},
         {"activations": activations(RELU, std=0.5)}),
    ],
)  # fmt: skip
def test_thedeepchecker_is_patient(kind: str, own: dict[str, Any], below: dict[str, Any]) -> None:
    """Five lines in a row, which span the forty steps of five checks."""
    assert baselines.thedeepchecker(lines(**own)) == [Alarm(64, kind), Alarm(99, kind)]
    assert baselines.thedeepchecker(lines(**below)) == []
    once = lines(**own)
    once[6] = line(32)
    assert baselines.thedeepchecker(once) == []


def test_thedeepchecker_counts_for_each_layer() -> None:
    told = lines()
    for place, each in enumerate(told):
        each["weights"] = {"a": LAYER, "b": LAYER} | {"ab"[place % 2]: {**LAYER, "small": 1.0}}
    assert baselines.thedeepchecker(told) == []


@pytest.mark.parametrize(("factor", "kind"), [(0.49, "vanishing"), (0.51, None), (1.99, None), (2.01, "exploding")])
def test_thedeepchecker_follows_a_gradient_over_its_window(factor: float, kind: str | None) -> None:
    told = [
        line(step, weights=layers(gradient_mean_abs=factor**place)) for place, step in enumerate((50, 60, 70, 80, 90))
    ]
    for place, each in enumerate(told):
        each["mean_loss"] = 0.5**place
    assert baselines.thedeepchecker(told) == ([Alarm(90, kind)] if kind else [])


@pytest.mark.parametrize(("fall", "fires"), [(0.049, True), (0.051, False)])
def test_thedeepchecker_wants_the_loss_to_fall_by_a_twentieth(fall: float, fires: bool) -> None:
    told = [line(10 * n, mean_loss=2.0 * (1 - fall * n / 4)) for n in range(5)]
    assert kinds(TDC, told) == ({"loss not falling"} if fires else set())


@pytest.mark.parametrize(("last", "fires"), [(1.0, True), (0.99, False)])
def test_thedeepchecker_calls_diverging_what_doubles(last: float, fires: bool) -> None:
    told = [line(10 * n, mean_loss=loss) for n, loss in enumerate((2.0, 0.5, 0.7, 0.8, last))]
    assert kinds(TDC, told) == ({"diverging loss"} if fires else set())


@pytest.mark.parametrize(("count", "fires"), [(50, True), (49, False)])
def test_thedeepchecker_calls_fluctuating_what_turns_in_most_of_fifty_checks(count: int, fires: bool) -> None:
    told = [line(10 * n, mean_loss=0.9**n * (1 + 0.3 * (-1) ** n)) for n in range(count)]
    assert ("fluctuating loss" in kinds(TDC, told)) == fires


@pytest.mark.parametrize(("own", "fires"), [({"variance": 0.0}, True), ({"variance": 0.0, "size": 1}, False)])
def test_thedeepchecker_looks_for_equal_weights_at_the_start(own: dict[str, float], fires: bool) -> None:
    told = [line(0, weights=layers(**own)), *lines(STEPS[1:])]
    assert kinds(TDC, told) == ({"symmetric weights"} if fires else set())


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        (0.99e-4, "global norm small"),
        (1e-4, None),
        (10.0, None),
        (10.1, "global norm large"),
        (math.inf, "global norm large"),
    ],
)
def test_global_norm(norm: float, kind: str | None) -> None:
    told = [*lines(STEPS[:4]), line(8, gradient_norm=norm)]
    assert baselines.global_norm(told) == ([Alarm(8, kind)] if kind else [])


def test_optimizers_are_judged_each_by_itself() -> None:
    """A critic's loss is not compared with a generator's; alarms are in the order of steps."""
    turns = [(step, step // 10 % 2) for step in range(30, 60)]
    told = [line(step, optimizer=turn, loss=1.0 + turn - step / 1000) for step, turn in turns]
    assert baselines.sagemaker(told) == []
    assert kinds(SM, [{**each, "optimizer": 0} for each in told]) == {"LossNotDecreasing"}
    broken = [line(step, optimizer=step % 2, weights=layers(gradient_mean_abs=0.0)) for step in (60, 61, 62)]
    assert [alarm.step for alarm in baselines.sagemaker(broken)] == [60, 61, 62]


def test_every_kind_of_alarm_has_a_meaning_among_our_rules() -> None:
    ours = {
        "vanishing_gradients", "exploding_gradients", "vanishing_through_time", "exploding_through_time", "dead_units",
        "saturated_units", "bad_init_scale", "symmetric_init", "update_too_large", "update_too_small", "diverging_loss",
        "unstable_gradients", "chronic_clipping", "non_finite", "no_gradient", "fp16_underflow", "loss_at_chance",
        "bad_output_head", "bad_input_scale", "small_batch_norm",
    }  # fmt: skip
    assert {rule for meant in table.MEANINGS.values() for rule in meant} <= ours
    assert Alarm(0, "DeadRelu").meanings == ("dead_units",)


def test_lines_are_read_with_their_nans(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text('{"step": 1, "weights": {"a": {"norm": "NaN", "size": "Infinity"}}}\n')
    (read,) = baselines.read_lines(tmp_path / "lines.jsonl")
    assert math.isnan(read["weights"]["a"]["norm"])
    assert read["weights"]["a"]["size"] == math.inf
