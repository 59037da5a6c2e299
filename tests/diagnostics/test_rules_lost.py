"""Rules on gradients that are lost, as `test_rules_gradient.py`: beyond each threshold, and short of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hand_written import (
    CHANCE,
    NAN,
    and_also,
    classifier,
    dead,
    every,
    fallen,
    falling,
    flat,
    found,
    history,
    layer,
    profile,
    rows,
    run,
    skipping,
    stack,
)

from isometry.diagnostics import rules_lost as lost
from isometry.diagnostics.evidence import NEEDED
from isometry.diagnostics.findings import CRITICAL, WARNING, Finding
from isometry.diagnostics.history import History
from isometry.diagnostics.profile import Profile
from isometry.diagnostics.thresholds import limit


def test_a_cut_trunk_is_critical_and_a_cut_corner_a_warning() -> None:
    def cut(*places: int) -> Finding | None:
        return found(lost.no_gradient, run(rows(stack(), *places, detached=True, gradient_rms=None), falling()))

    corner, first = cut(5), cut(0)
    assert corner is not None
    assert (corner.severity, corner.layers) == (WARNING, ("net.6",))
    assert first is not None
    assert first.severity == CRITICAL
    share = limit("no_gradient.share")
    enough = math.ceil(11 * share)
    many, fewer = cut(*range(1, 1 + enough)), cut(*range(1, enough))
    assert many is not None
    assert many.severity == CRITICAL
    assert many.evidence["layers"] == enough
    assert fewer is not None
    assert fewer.severity == WARNING
    assert cut() is None


@pytest.mark.parametrize(("recent", "fires"), [("...OOO", True), ("OOOO.O", False), ("OOOOO.", False)])
def test_a_layer_is_cut_when_the_last_three_profiles_say_so(recent: str, fires: bool) -> None:
    cut = profile(every(stack(), detached=True, gradient_rms=None))
    made = run([cut if mark == "O" else profile() for mark in recent])
    assert (found(lost.no_gradient, made) is not None) == fires
    assert found(lost.no_gradient, run([cut, cut])) is None  # a GAN's turns
    assert found(lost.no_gradient, history(cut)) is not None  # a probe


def test_a_module_called_twice_is_cut_where_both_calls_are() -> None:
    twice = [layer(1), layer(2, detached=True, gradient_rms=None), replace(layer(3), name="net.2@2")]
    assert found(lost.no_gradient, run(profile(twice), flat(), names=["net.1", "net.2"])) is None
    twice[2] = replace(twice[2], detached=True, gradient_rms=None)
    finding = found(lost.no_gradient, run(profile(twice), flat(), names=["net.1"]))
    assert finding is not None
    assert finding.layers == ("net.2",)


def test_layers_of_no_optimizer_are_named() -> None:
    names = [f"net.{depth}" for depth in range(3, 12)]
    finding = found(lost.no_gradient, run(profile(), flat(), names=names))
    assert finding is not None
    assert finding.layers == ("net.1", "net.2")
    assert finding.severity == CRITICAL  # the first layer is among them


def test_a_head_alone_may_be_tuned_as_long_as_that_is_enough() -> None:
    for share, severity in ((1.01, WARNING), (0.99, CRITICAL)):
        losses = [CHANCE * loss for loss in fallen(share * limit("loss.slow"))]
        finding = found(lost.no_gradient, run(classifier(), losses, names=["net.11", "head"]))
        assert finding is not None
        assert finding.severity == severity


@pytest.mark.parametrize("excuse", ["frozen", "unused"])
def test_frozen_and_unused_layers_are_not_without_an_optimizer(excuse: str) -> None:
    names = [f"net.{depth}" for depth in range(3, 12)]
    assert found(lost.no_gradient, run(profile(), flat(), names=names, **{excuse: ["net.1", "net.2"]})) is None


def test_a_layer_that_an_optimizer_has_in_some_of_the_last_records_is_its_own() -> None:
    own = tuple(["net.1"] if k == 3 else [f"net.{depth}" for depth in range(2, 12)] for k in range(6))
    assert found(lost.no_gradient, run(profile(), flat(), names=own)) is None
    made = run([profile()] * 2, names=["net.2"])
    assert found(lost.no_gradient, made) is None  # two records tell nothing


def test_layers_to_which_nothing_flows_on_purpose_are_not_cut() -> None:
    teacher = rows(stack(), 0, 1, 2, gradient_rms=None)
    made = run(teacher, flat(), names=[f"net.{depth}" for depth in range(4, 12)])
    assert found(lost.no_gradient, made) is None


def test_a_nan_is_critical_also_where_the_loss_falls() -> None:
    finding = found(lost.non_finite, and_also(run(None, falling()), NAN, replace(NAN, step=49, module="later")))
    assert finding is not None
    assert (finding.severity, finding.layers, finding.evidence) == (CRITICAL, ("net.3",), {"step": 29.0, "inputs": 0.0})
    data = found(lost.non_finite, and_also(run(None, flat()), replace(NAN, inputs=True)))
    assert data is not None
    assert "the batch itself" in data.explanation
    nowhere = found(lost.non_finite, and_also(run(None, flat()), replace(NAN, module=None, parameter=None)))
    assert nowhere is not None
    assert nowhere.layers == ("the loss",)


def test_a_scaler_that_skips_step_after_step_is_stuck() -> None:
    enough = limit("fp16.skipped")
    each = math.ceil(enough / 3)
    finding = found(lost.non_finite, skipping([0, 0, 0, each, each, each], each))
    assert finding is not None
    assert (finding.severity, finding.evidence) == (CRITICAL, {"skipped": 3.0 * each})
    assert found(lost.non_finite, skipping([each, each, each, each, each, each - 1], each)) is None  # one step went
    exactly = run(
        scale=1.0, skipped=(1, 1, int(enough) - 2), totals=([math.inf], [math.inf], [math.inf] * (int(enough) - 2))
    )
    assert found(lost.non_finite, exactly) is not None
    one_less = run(
        scale=1.0, skipped=(1, 1, int(enough) - 3), totals=([math.inf], [math.inf], [math.inf] * (int(enough) - 3))
    )
    assert found(lost.non_finite, one_less) is None


def test_infinities_without_a_scaler_are_none_that_it_skipped() -> None:
    made = run(scale=None, skipped=2, totals=[math.inf] * 2, total=1.0)
    assert found(lost.non_finite, made) is None


def test_of_fp16_the_median_layer_counts_and_the_worst_are_named() -> None:
    few = rows(every(stack(), underflow=0.0), 0, 1, 2, underflow=0.9)
    most = rows(every(stack(), underflow=0.0), *range(7), underflow=0.9)
    assert found(lost.fp16_underflow, run(few, flat())) is None
    finding = found(lost.fp16_underflow, run(most, flat()))
    assert finding is not None
    assert finding.layers == tuple(f"net.{depth}" for depth in range(1, 8))


def test_of_fp16_zeros_alone_are_lost_numbers() -> None:
    """All of ∂L/∂z rounded to zero has no share of small numbers; in float32, they come from elsewhere."""
    zeros = rows(every(stack(), underflow=0.0), *range(1, 8), gradient_rms=0.0)
    finding = found(lost.fp16_underflow, run(zeros, flat()))
    assert finding is not None
    assert finding.layers == tuple(f"net.{depth}" for depth in range(2, 9))
    assert found(lost.fp16_underflow, run(rows(stack(), *range(1, 8), gradient_rms=0.0), flat())) is None


def test_of_fp16_all_that_is_lost_from_the_start_counts_however_much_is_learned_later() -> None:
    usual, least = profile(every(stack(), underflow=0.6)), limit("fp16.all")
    nothing, nearly = (profile(every(stack(), underflow=share)) for share in (1.0, 0.99 * least))
    quick = fallen(1.01 * limit("loss.slow"))
    assert found(lost.fp16_underflow, run([*[nothing] * 3, *[usual] * 3], quick)) is not None
    assert found(lost.fp16_underflow, run([*[nothing] * 2, *[usual] * 4], quick)) is None
    assert found(lost.fp16_underflow, run([*[nearly] * 3, *[usual] * 3], quick)) is None
    assert found(lost.fp16_underflow, run([*[nothing] * 3, *[usual] * 3], fallen(0.95))) is None  # it has converged


# --------------------------------------------------------------------------------------------- multiplied by zero
def masked(*places: int, **columns: object) -> Profile:
    return rows(stack(), *places, gradient_rms=0.0, **columns)


def nearly_none() -> Profile:
    """Nothing at the first layer, and next to nothing at the others."""
    return profile([layer(1, gradient_rms=0.0), layer(2, gradient_rms=1e-31), layer(3)])


def test_layers_to_which_nothing_but_zeros_come_back_are_cut_off() -> None:
    finding = found(lost.no_gradient, and_also(run(masked(0, 1, 2), flat()), dead(0.0)))
    assert finding is not None
    assert (finding.severity, finding.layers) == (CRITICAL, ("net.1", "net.2", "net.3"))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: and_also(run([masked(0), *[profile()] * 5], flat()), dead(0.0)), "a branch that starts at zero"),
        (lambda: and_also(run([*[profile()] * 5, masked(0)], flat()), dead(0.0)), "it had gradients once"),
        (lambda: and_also(run(masked(0), flat()), dead(limit("units.dead"))), "dead units"),
        (lambda: run(masked(0), flat()), "not known yet whether units are dead"),
        (lambda: and_also(run(masked(0, underflow=1.0), flat()), dead(0.0)), "float16"),
        (
            lambda: and_also(run(profile([*masked(0).layers[:2], layer(3, gradient_rms=1e-31)]), flat()), dead(0.0)),
            "vanished",
        ),
        (lambda: and_also(run([masked(0)] * (NEEDED - 1)), dead(0.0)), "too soon"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_zeros_that_have_another_cause_are_not_cut_off(made: Callable[[], History], why: str) -> None:
    assert found(lost.no_gradient, made()) is None, why


def test_a_head_alone_of_a_loss_that_tells_no_guess_has_to_converge() -> None:
    for share, severity in ((0.95, WARNING), (0.7, CRITICAL)):
        finding = found(lost.no_gradient, run(profile(), fallen(share), names=["net.11"]))
        assert finding is not None
        assert finding.severity == severity
