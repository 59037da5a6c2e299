"""What a loss says, by hand-written runs: where its guess is known, where it is not, and where the outputs are one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hand_written import (
    ABOVE,
    BELOW,
    CHANCE,
    EACH,
    SAMPLES,
    classifier,
    fallen,
    falling,
    flat,
    found,
    head,
    over_time,
    profile,
    run,
    stack,
)

from isometry.diagnostics import rules_gradient as gradient
from isometry.diagnostics import rules_training as training
from isometry.diagnostics.evidence import Evidence
from isometry.diagnostics.findings import CRITICAL
from isometry.diagnostics.profile import LEAST_SAMPLES, Profile
from isometry.diagnostics.rules import judge
from isometry.diagnostics.thresholds import limit


def outputs(spread: float | None, decades: float = 0.0, **columns: object) -> Profile:
    """Values whose loss tells no guess; they differ by so much of their size between inputs."""
    columns = {"unit_sum": 1.0, "sample_spread": spread, **columns}
    return profile([*stack(decades), head(**columns)], loss=1.0)  # type: ignore[arg-type]


WILD = falling(1e6, 1.0)  # a loss that starts wild, and falls by itself


# --------------------------------------------------------------------------------- outputs that are one for all inputs
@pytest.mark.parametrize(("factor", "is_blind"), [(BELOW, True), (ABOVE, False)])
def test_a_loss_that_tells_no_guess_is_one_as_long_as_the_outputs_are_the_same_for_all_inputs(
    factor: float, is_blind: bool
) -> None:
    evidence = Evidence(run(outputs(factor * limit("head.blind")), WILD))
    assert evidence.chance is None
    assert (evidence.is_blind, evidence.is_at_chance, evidence.is_stuck) == (is_blind,) * 3
    assert evidence.learns == (not is_blind)
    assert evidence.gone == (0.0 if is_blind else pytest.approx(1.0, abs=0.01))
    finding = found(training.loss_at_chance, run(outputs(factor * limit("head.blind")), WILD))
    assert (finding is not None) == is_blind
    if finding:
        assert (finding.severity, finding.evidence) == (CRITICAL, {"loss": evidence.recent_loss})


def test_a_gradient_that_vanishes_is_named_though_a_wild_loss_has_fallen() -> None:
    steep = 1.1 * limit("depth.vanishing_decades")
    assert found(gradient.vanishing_gradients, run(outputs(1e-6, steep), WILD)) is not None
    assert found(gradient.vanishing_gradients, run(outputs(0.5, steep), WILD)) is None
    assert found(gradient.vanishing_gradients, run(outputs(None, steep), WILD)) is None  # not known


def test_where_the_loss_tells_a_guess_it_says_more_than_the_outputs() -> None:
    """Of targets like 1000 and 1001 outputs differ by little, and fit all the same."""
    told = replace(outputs(1e-6), guess=1e6)
    assert not Evidence(run(told, WILD)).is_blind
    assert Evidence(run(told, WILD)).has_converged


def test_a_single_sample_has_nothing_to_differ_from() -> None:
    assert not Evidence(run(outputs(0.0, samples=1), WILD)).is_blind
    assert Evidence(run(outputs(0.0, samples=2), WILD)).is_blind


def test_a_loss_below_zero_is_a_guess_s_too_where_outputs_are_one() -> None:
    falls = [-5.0 - 0.01 * step for step in range(60)]
    assert Evidence(run(outputs(1e-6), falls)).learns is False
    assert Evidence(run(outputs(0.5), falls)).learns is None
    assert Evidence(run(outputs(1e-6), [*falls[:-20], *[math.nan] * 20])).is_broken


def test_outputs_that_were_one_only_at_first_are_no_guess_but_a_bad_start() -> None:
    """The input is lost on its way up, and what is learned later is little for the time that it took."""
    bad, good = outputs(0.5 * limit("head.blind"), -2.5), outputs(0.5)
    for losses, is_found in ((fallen(0.7), True), (fallen(0.95), False)):
        for rule in (gradient.vanishing_gradients, training.bad_init_scale):
            made = run([bad, bad, bad, good, good, good], losses)
            assert (found(rule, made) is not None) == is_found
            assert found(rule, run([bad, bad, good, good, good, good], losses)) is None


def test_a_head_that_starts_at_zero_is_no_bad_start() -> None:
    zero = outputs(0.0, activation_rms=0.0)
    assert found(training.bad_init_scale, run([zero, zero, zero, *[outputs(0.5)] * 3], fallen(0.2))) is None


def test_where_other_terms_start_wild_the_least_guess_since_is_one() -> None:
    """As of several heads: what the others had at first is no guess of the whole."""
    shown = [replace(classifier(), guess=each) for each in (300.0, 100.0, 30.0, 9.0, 3.0, 2.5)]
    assert Evidence(run(shown, WILD)).chance == 2.5
    steady = [replace(classifier(), guess=each) for each in (3.0, 2.0, 2.5, 1.0, 0.5, 0.5)]
    assert Evidence(run(steady, WILD)).chance == 2.5  # the others learn


# ---------------------------------------------------------------------------- outputs that make the loss by their size
def loud(*elasticities: float) -> list[Profile]:
    """Values whose loss tells no guess, and what one percent of their size is to it, in percent."""
    return [replace(outputs(0.5), elasticity=each) for each in elasticities]


@pytest.mark.parametrize(("factor", "is_wild"), [(ABOVE, True), (BELOW, False)])
def test_what_has_gone_while_outputs_made_the_loss_all_the_time_says_nothing(factor: float, is_wild: bool) -> None:
    edge = factor * limit("loss.elasticity")
    evidence = Evidence(run(loud(9.0, 4.0, 2.0, 2.0, 2.0, edge), WILD))
    assert (evidence.is_wild, evidence.learns, evidence.is_stuck) == (is_wild, not is_wild, is_wild)
    assert evidence.gone == (0.0 if is_wild else pytest.approx(1.0, abs=0.01))


def test_outputs_that_were_too_large_for_a_while_are_no_reason() -> None:
    """As those of a law's residual are, now and then, long after most of the loss has gone."""
    assert not Evidence(run(loud(9.0, 2.0, -0.3, 2.0, 2.0, 2.0), WILD)).is_wild
    assert not Evidence(run([*loud(9.0, 2.0, 2.0, 2.0, 2.0), outputs(0.5)], WILD)).is_wild  # not known


def test_where_the_loss_tells_a_guess_sizes_do_not_count() -> None:
    told = [replace(each, guess=1e6) for each in loud(*[2.0] * 6)]
    assert not Evidence(run(told, WILD)).is_wild
    assert Evidence(run(told, WILD)).has_converged


@pytest.mark.parametrize(("factor", "is_found"), [(ABOVE, True), (BELOW, False)])
def test_outputs_that_make_more_of_a_loss_than_squares_do_are_a_bad_start(factor: float, is_found: bool) -> None:
    finding = found(training.bad_init_scale, run(loud(factor * limit("head.loud"), *[1.0] * 5), WILD))
    assert (finding is not None) == is_found
    if finding:
        assert (finding.severity, finding.layers) == (CRITICAL, ("head",))
    assert found(training.bad_init_scale, run(loud(9.0, 1.0, 1.0, 0.0, 1.0, 1.0), WILD)) is None  # it has calmed down


# ------------------------------------------------------------------------------------------------- how well it learns
def test_of_a_known_guess_half_has_to_go_of_an_unknown_one_nine_tenths() -> None:
    for shown, half, most in ((classifier(), True, True), (outputs(0.5), False, True)):
        size = CHANCE if shown.guess else 1.0
        assert Evidence(run(shown, [size * loss for loss in fallen(0.6)])).learns_well == half
        assert Evidence(run(shown, [size * loss for loss in fallen(0.95)])).learns_well == most


def softmax(ratio: float, samples: int, loss: float) -> Profile:
    """Logits of which the loss tells no guess, with a gradient of so many times that of cross-entropy's mean."""
    usual = head(ratio).gradient_rms or 0.0
    return profile([*stack(), head(ratio, samples=samples, gradient_rms=usual * SAMPLES / samples)], loss=loss)


@pytest.mark.parametrize(
    ("ratio", "samples", "chance"),
    [
        (1.0, LEAST_SAMPLES, CHANCE),  # of mixed labels, say
        (4.0, LEAST_SAMPLES - 1, 4 * CHANCE),  # a weight; so few tell nothing
        (4.0, LEAST_SAMPLES, None),  # so many would have told: it is another loss, as of alignments (CTC)
    ],
)
def test_probabilities_of_another_loss_have_no_known_guess(ratio: float, samples: int, chance: float | None) -> None:
    evidence = Evidence(run(softmax(ratio, samples, ratio * CHANCE), flat(ratio * CHANCE)))
    assert evidence.is_softmax
    assert evidence.chance == (None if chance is None else pytest.approx(chance))


def test_losses_that_are_unknown_say_nothing_of_outputs() -> None:
    assert Evidence(run(outputs(1e-6))).learns is None
    assert Evidence(run(outputs(1e-6), flat(steps=2 * EACH))).is_at_chance is False  # too soon
    assert judge(run([replace(outputs(0.5), times=(over_time(-1.5),))], WILD)).healthy
