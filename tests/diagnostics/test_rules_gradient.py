"""Rules on the gradient and its units, by hand-written runs: just beyond each threshold, just short of it, and why not.

Thresholds are read, not written down here, so that fitting one anew breaks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hand_written import (
    ABOVE,
    BELOW,
    BROKEN,
    CHANCE,
    HEALTHY,
    and_also,
    classifier,
    dead,
    every,
    fallen,
    falling,
    flat,
    found,
    head,
    history,
    layer,
    over_time,
    profile,
    record,
    rows,
    run,
    stack,
    times,
    with_losses,
    with_shares,
)

from isometry.diagnostics import rules_gradient as rules
from isometry.diagnostics import rules_lost as lost
from isometry.diagnostics.evidence import NEEDED, RECENT, Evidence
from isometry.diagnostics.findings import CRITICAL
from isometry.diagnostics.history import History
from isometry.diagnostics.profile import Profile, TimeProfile
from isometry.diagnostics.rules import Rule, diagnose, judge
from isometry.diagnostics.thresholds import limit


def through_time(*shown: TimeProfile) -> Profile:
    return profile(stack(count=3), times=shown)


def evenly(gain: float, steps: int = 16) -> TimeProfile:
    """By the same factor in each step back."""
    return TimeProfile("rnn", tuple(gain ** (steps - 1 - t) for t in range(steps)))


NEARLY_CHAOTIC = evenly(0.99 * limit("time.chaotic_gain"), 40)  # what grows faster counts also where the loss falls


# ---------------------------------------------------------------------------------------------- thresholds
EDGES: list[tuple[Rule, str, float, Callable[[float], History]]] = [
    # rule, threshold, the factor that fires, a run by the value
    (rules.vanishing_gradients, "depth.vanishing_decades", ABOVE, lambda v: run(profile(stack(v)), fallen(0.6))),
    (rules.vanishing_gradients, "depth.slow_decades", ABOVE, lambda v: run(profile(stack(v)), fallen(0.3))),
    (rules.vanishing_gradients, "depth.stuck_decades", ABOVE, lambda v: run(profile(stack(v)), flat())),
    (rules.vanishing_gradients, "depth.quality", ABOVE, lambda v: run(profile(stack(-6, quality=v)), flat())),
    (rules.exploding_gradients, "depth.exploding_decades", ABOVE, lambda v: run(profile(stack(v)), flat())),
    (rules.vanishing_gradients, "depth.chance_decades", ABOVE, lambda v: run(classifier(stack(-v)), flat(CHANCE))),
    (rules.exploding_gradients, "depth.chance_decades", ABOVE, lambda v: run(classifier(stack(v)), flat(CHANCE))),
    (rules.exploding_gradients, "depth.quality", ABOVE, lambda v: run(profile(stack(6, quality=v)), flat())),
    (
        rules.vanishing_through_time,
        "time.vanishing_decades",
        ABOVE,
        lambda v: run(through_time(over_time(v)), flat()),
    ),
    (
        rules.vanishing_through_time,
        "time.horizon",
        BELOW,
        lambda v: run(through_time(over_time(-6, steps=4000, tenfold_within=round(4000 * v))), flat()),
    ),
    (
        rules.vanishing_through_time,
        "time.extreme_decades",
        ABOVE,
        lambda v: run(through_time(over_time(v)), falling(2.0, 1.2)),
    ),
    (
        rules.vanishing_through_time,
        "time.short_decades",
        ABOVE,
        lambda v: run(through_time(over_time(v, tenfold_within=2)), falling(2.0, 1.2)),
    ),
    (
        rules.vanishing_through_time,
        "time.short_horizon",
        BELOW,
        lambda v: run(through_time(over_time(-3.5, steps=8000, tenfold_within=round(8000 * v))), falling(2.0, 1.2)),
    ),
    (
        rules.exploding_through_time,
        "time.exploding_decades",
        ABOVE,
        lambda v: run(through_time(over_time(v)), flat()),
    ),
    (
        rules.exploding_through_time,
        "time.exploding_gain",
        ABOVE,
        lambda v: run(through_time(evenly(v)), flat()),
    ),
    (
        rules.exploding_through_time,
        "time.steep_decades",
        ABOVE,
        lambda v: run(through_time(evenly(10 ** (v / 7), steps=8)), flat()),
    ),
    (rules.dead_units, "units.dead", ABOVE, lambda v: and_also(run(None, flat()), dead(v))),
    (rules.saturated_units, "units.saturated", ABOVE, lambda v: run(with_shares("saturated", v), flat())),
    (rules.saturated_units, "units.born_saturated", ABOVE, lambda v: run(with_shares("saturated", v), falling())),
    (rules.symmetric_init, "units.spread", BELOW, lambda v: run(rows(stack(), 2, weight_spread=v), flat())),
    (lost.fp16_underflow, "fp16.underflow", ABOVE, lambda v: run(profile(every(stack(), underflow=v)), flat())),
    # what counts as learning, as the rules see it
    (
        rules.exploding_through_time,
        "loss.learns",
        BELOW,
        lambda v: run(through_time(NEARLY_CHAOTIC), fallen(v)),
    ),
    (
        rules.exploding_through_time,
        "time.chaotic_gain",
        ABOVE,
        lambda v: run(through_time(evenly(v, 40)), fallen(0.9)),
    ),
    # strong evidence counts though the loss falls
    (rules.vanishing_gradients, "loss.slow", BELOW, lambda v: run(profile(stack(-2.5)), fallen(v))),
    (rules.vanishing_gradients, "loss.converged", BELOW, lambda v: run(profile(stack(-6)), fallen(v))),
    (
        rules.vanishing_gradients,
        "loss.slow",
        BELOW,
        lambda v: run([profile(stack(-6)), *[profile()] * 5], fallen(v)),
    ),
    (
        rules.exploding_gradients,
        "loss.slow",
        BELOW,
        lambda v: run([profile(stack(4)), *[profile()] * 5], fallen(v)),
    ),
    (lost.fp16_underflow, "loss.slow", BELOW, lambda v: run(profile(every(stack(), underflow=0.9)), fallen(v))),
    (rules.dead_units, "units.all_dead", ABOVE, lambda v: and_also(run(None, falling()), dead(v))),
    (rules.dead_units, "loss.converged", BELOW, lambda v: and_also(run(None, fallen(v)), dead(1.0))),
]


@pytest.mark.parametrize(("rule", "name", "fires", "make"), EDGES, ids=[f"{e[0].__name__}: {e[1]}" for e in EDGES])
def test_a_rule_fires_beyond_its_threshold_and_not_short_of_it(
    rule: Rule, name: str, fires: float, make: Callable[[float], History]
) -> None:
    beyond = found(rule, make(limit(name) * fires))
    assert beyond is not None
    assert (beyond.rule, beyond.severity) == (rule.__name__, CRITICAL)
    assert found(rule, make(limit(name) * (ABOVE if fires == BELOW else BELOW))) is None


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_run_has_its_finding_and_no_other(name: str) -> None:
    diagnosis = judge(BROKEN[name]())
    assert [(finding.rule, finding.severity) for finding in diagnosis.findings] == [(name, CRITICAL)]
    assert diagnosis.verdict == f"critical: {name}"
    assert not diagnosis.healthy
    assert all(map(math.isfinite, diagnosis.findings[0].evidence.values()))


@pytest.mark.parametrize("name", HEALTHY)
def test_what_only_looks_odd_is_no_finding(name: str) -> None:
    diagnosis = judge(HEALTHY[name]())
    assert [(finding.rule, finding.explanation) for finding in diagnosis.findings] == []
    assert diagnosis.verdict == "healthy"


def test_what_was_not_so_at_the_start_takes_three_decades_or_a_guess_s_loss() -> None:
    """Stuck, by two decades: of a net that judges another one the loss may rise for a while, and come down."""
    for decades, at_first, is_found in ((-2.0, -2.0, True), (-2.0, 0.0, False), (-3.1, 0.0, True)):
        first, later = profile(stack(at_first)), profile(stack(decades))
        assert (found(rules.vanishing_gradients, run([first, *[later] * 5], flat())) is not None) == is_found
    guess = [classifier(), *[classifier(stack(-2.0))] * 5]
    assert found(rules.vanishing_gradients, run(guess, flat(CHANCE))) is not None


def severities(made: History) -> list[tuple[str, str]]:
    return [(finding.rule, finding.severity) for finding in judge(made).findings]


FAR_FROM_A_GUESS = {"logits of size 30": lambda: run(classifier(loss=23.0, ratio=1.4, activation_rms=30.0), flat(23.0))}


# Is the loss scaled, or are logits squashed? Only a start near a guess tells.
UNDECIDED = {("bad_output_head", 1e4), ("bad_output_head", 1e-4)}


@pytest.mark.parametrize("factor", [1e4, 1e-4])
@pytest.mark.parametrize("name", [*BROKEN, *HEALTHY, *FAR_FROM_A_GUESS])
def test_a_loss_multiplied_by_a_constant_has_the_same_verdict(name: str, factor: float) -> None:
    made = {**BROKEN, **HEALTHY, **FAR_FROM_A_GUESS}[name]()
    is_same = severities(times(made, factor)) == severities(made)
    assert is_same == ((name, factor) not in UNDECIDED)


# --------------------------------------------------------------------------------------------- persistence
ODD: dict[str, tuple[Rule, Profile]] = {
    "vanishing": (rules.vanishing_gradients, profile(stack(-6))),
    "exploding": (rules.exploding_gradients, profile(stack(6))),
    "vanishing in time": (rules.vanishing_through_time, through_time(over_time(-6))),
    "exploding in time": (rules.exploding_through_time, through_time(over_time(6))),
    "saturated": (rules.saturated_units, with_shares("saturated", 0.9)),
    "symmetric": (rules.symmetric_init, profile(every(stack(), weight_spread=0.0))),
    "fp16": (lost.fp16_underflow, profile(every(stack(), underflow=0.9))),
}
FINE = profile(stack(count=3), times=(over_time(-1.5),))


@pytest.mark.parametrize(
    ("recent", "fires"),
    [("...OO", False), ("....O", False), ("OOOO.", False), ("O..OO", True), ("..OOO", True), (".O.OO", True)],
)
@pytest.mark.parametrize("name", ODD)
def test_three_of_five_profiles_have_to_show_it_the_last_among_them(name: str, recent: str, fires: bool) -> None:
    assert (RECENT, NEEDED) == (5, 3)  # what the patterns are made for
    rule, odd = ODD[name]
    growing = (rules.exploding_gradients, rules.exploding_through_time)
    first = odd if rule in (*growing, rules.vanishing_through_time) else FINE  # it has to have been so from the start
    made = run([first, FINE, *(odd if mark == "O" else FINE for mark in recent)])  # losses unknown
    assert (found(rule, made) is not None) == fires


@pytest.mark.parametrize("name", ODD)
def test_of_a_probe_one_profile_is_enough(name: str) -> None:
    rule, odd = ODD[name]
    assert rule.__name__ in [finding.rule for finding in diagnose(odd).findings]


@pytest.mark.parametrize("name", ODD)
def test_one_odd_profile_in_a_training_is_none(name: str) -> None:
    rule, odd = ODD[name]
    assert found(rule, run([FINE, FINE, odd], flat(steps=30))) is None
    assert found(rule, run([FINE, FINE, odd])) is None


@pytest.mark.parametrize("name", ODD)
def test_an_odd_profile_at_the_end_of_a_run_that_learns_is_no_finding(name: str) -> None:
    assert judge(run([FINE] * 5 + [ODD[name][1]], falling())).findings == ()


# ----------------------------------------------------------------------------------------- what learns is fine
LEARNS_ALL_THE_SAME = (
    "exploding_gradients", "vanishing_through_time", "exploding_through_time", "dead_units",
    "saturated_units", "bad_init_scale", "update_too_large", "update_too_small",
    "unstable_gradients", "chronic_clipping", "fp16_underflow", "loss_at_chance", "bad_input_scale", "diverging_loss",
)  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_training_that_learns_is_not_called_broken(name: str) -> None:
    """But for what is wrong all the same: a cut graph, a squashed head, a NaN, units that stay equal, a gradient that
    has not reached the first layers to this day, batches of two.
    """
    made = BROKEN[name]()
    learning = with_losses(made, falling(2.3, 0.3, 10 * len(made.records)))
    assert severities(learning) == ([] if name in LEARNS_ALL_THE_SAME else [(name, CRITICAL)])


def test_a_slow_fall_counts_once_it_is_clear_of_the_noise() -> None:
    noisy = [1.0 + 0.6 * (-1) ** step for step in range(30)] + [0.88 + 0.6 * (-1) ** step for step in range(30)]
    quiet = [1.0] * 30 + [0.88] * 30
    exploding = through_time(NEARLY_CHAOTIC)
    assert found(rules.exploding_through_time, run(exploding, noisy)) is not None
    assert found(rules.exploding_through_time, run(exploding, quiet)) is None


def test_one_odd_loss_at_the_start_or_the_end_is_not_what_it_falls_from_or_to() -> None:
    assert Evidence(run(None, [50.0, 1.0, 1.0, *flat(steps=57)])).learns is False
    assert Evidence(run(None, [*flat(steps=58), 1e-3, 1e-3])).learns is False


def test_a_net_that_starts_trained_learns_though_its_loss_has_little_to_fall() -> None:
    vanishing = classifier(stack(-6.0), loss=0.1, ratio=0.1)
    assert found(rules.vanishing_gradients, run(vanishing, flat(0.1))) is None
    assert found(rules.vanishing_gradients, run(vanishing, flat(2.3))) is not None


def test_losses_of_several_optimizers_need_not_fall() -> None:
    two = run(profile(stack(-6)), flat(), optimizer=(0, 1, 0, 1, 0, 1))
    assert Evidence(two).losses == []
    assert Evidence(two).learns is None


def test_one_layer_of_equal_units_is_fine_where_it_learns_and_two_are_not() -> None:
    least = int(limit("units.equal_layers"))
    for count in (least - 1, least):
        made = run(rows(stack(), *range(2, 2 + count), weight_spread=0.0), falling())
        assert (found(rules.symmetric_init, made) is not None) == (count == least)


def test_underflow_that_comes_with_convergence_is_none() -> None:
    """Gradients get small as the loss does: only one that was there from the start has cost anything."""
    underflow = profile(every(stack(), underflow=0.9))
    assert found(lost.fp16_underflow, run([FINE, *[underflow] * 5], fallen(0.3))) is None
    assert found(lost.fp16_underflow, run(underflow, fallen(0.3))) is not None


# ------------------------------------------------------------------------------------------------- depth
def test_vanishing_from_the_start_is_told_though_the_slope_is_gone_when_nothing_was_learned() -> None:
    first = [profile(stack(-6)), *[profile()] * 5]
    finding = found(rules.vanishing_gradients, run(first, flat()))
    assert finding is not None
    assert finding.evidence["decades"] == pytest.approx(-6)  # of the first profile
    early = history(first[0], record(0, [1.0]), replace(profile(), step=18), record(18, [1.0] * 18))
    assert found(rules.vanishing_gradients, early) is None


def test_one_odd_profile_at_the_start_of_a_run_of_unknown_losses_is_none() -> None:
    """As that of a GAN, or of a module that optimizes by hand: nobody knows whether it learns."""
    made = run([profile(stack(-6)), *[profile()] * 5])
    assert found(rules.vanishing_gradients, made) is None


def test_an_explosion_that_comes_later_is_the_steps_fault() -> None:
    assert found(rules.exploding_gradients, run([profile(), *[profile(stack(6))] * 5], flat())) is None
    assert found(rules.exploding_gradients, run([profile(stack(6)), *[profile()] * 5], flat())) is not None
    assert found(rules.exploding_gradients, run([profile(stack(6)), *[profile()] * 5])) is None


def test_gradients_that_vanish_after_units_have_died_or_saturated_are_an_effect() -> None:
    later = [profile(), *[profile(stack(-6))] * 5]
    assert found(rules.vanishing_gradients, run(later, flat())) is not None
    assert found(rules.vanishing_gradients, and_also(run(later, flat()), dead(0.9))) is None
    saturated = [replace(each, layers=every(each.layers, saturated=0.9)) for each in later]
    assert found(rules.vanishing_gradients, run(saturated, flat())) is None


def test_layers_of_ever_different_shape_are_judged_by_their_norms() -> None:
    tapering = tuple(replace(each, shape=(100 - each.depth,)) for each in stack(-6))
    assert profile(tapering).backward is None
    assert found(rules.vanishing_gradients, run(profile(tapering), flat())) is not None


def test_batch_norm_without_skips_is_short_of_exploding() -> None:
    grown = profile(stack(19 * math.log10(1.2112), count=21))
    assert found(rules.exploding_gradients, run(grown, flat())) is None


def test_the_layers_out_of_reach_the_numbers_and_theory_are_told() -> None:
    expected = every(stack(-6), expected_backward=0.25)
    finding = found(rules.vanishing_gradients, run(profile(expected), flat()))
    assert finding is not None
    assert finding.layers[:2] == ("net.1", "net.2")
    assert "net.11" not in finding.layers
    assert finding.evidence["decades"] == pytest.approx(-6)
    assert finding.evidence["gain"] == pytest.approx(10**-0.6)
    assert finding.evidence["theory"] == pytest.approx(0.25)
    assert all(text in finding.explanation for text in ("×0.25 per layer", "6.0 decades", "theory", "at step 59"))
    unknown = found(rules.vanishing_gradients, run(profile(stack(-6)), flat()))
    assert unknown is not None
    assert "theory" not in unknown.explanation


# -------------------------------------------------------------------------------------------------- time
@pytest.mark.parametrize(
    "norms",
    [
        [10.0 ** (-9 + 0.3 * min(t, 30)) for t in range(42)],  # as long as it lasts, then all at once
        [10.0 ** (-9 + 0.3 * t) for t in range(30)] + [0.0],  # the last step is padding
    ],
    ids=["late", "padded"],
)
def test_a_gradient_that_is_lost_late_in_a_long_sequence_breaks_nothing(norms: list[float]) -> None:
    lost = through_time(TimeProfile("rnn", tuple(norms)))
    for losses in (flat(), falling(2.0, 1.2), falling()):
        judge(run(lost, losses))


def test_an_extreme_loss_over_time_counts_once_the_loss_is_seen_to_fall_slowly() -> None:
    lost = through_time(over_time(-10.0))
    assert found(rules.vanishing_through_time, run(lost, falling(2.0, 1.2))) is not None
    assert found(rules.vanishing_through_time, run(lost, falling(2.0, 0.2))) is None  # it needs no long memory
    early = history(replace(lost, step=0), record(0, [2.0, 1.9, 1.8]))
    assert found(rules.vanishing_through_time, early) is None
    recovered = [lost, lost, through_time(over_time(-3.0)), *[lost] * 3]
    assert found(rules.vanishing_through_time, run(recovered, falling(2.0, 1.2))) is None


def each_step(gain: float, steps: int = 40) -> TimeProfile:
    """A loss at each step, as large everywhere; of the last one `gain` is left one step before."""
    return TimeProfile("rnn", (1.0,) * steps, tuple(gain ** (steps - 1 - t) for t in range(steps)))


def test_where_there_is_a_loss_at_each_step_the_last_one_has_to_look_back_at_all() -> None:
    most, least = limit("loss.converged"), limit("time.least_gain")
    forgets, looks_back = profile(times=(each_step(least * BELOW),)), profile(times=(each_step(least * ABOVE),))
    for losses in (fallen(0.99 * most), flat()):
        finding = found(rules.vanishing_through_time, run(forgets, losses))
        assert finding is not None
        assert finding.evidence["horizon"] == 2
        assert found(rules.vanishing_through_time, run(looks_back, losses)) is None
    assert found(rules.vanishing_through_time, run(forgets, fallen(1.01 * most))) is None
    hidden = replace(forgets, times=(replace(forgets.times[0], last_norms=()),))  # by all losses it reaches everywhere
    assert found(rules.vanishing_through_time, run(hidden, fallen(0.3))) is None


def test_a_gradient_that_comes_to_vanish_over_time_does_so_for_another_reason() -> None:
    odd = profile(times=(over_time(-6.0),))
    assert found(rules.vanishing_through_time, run([odd] * 6, flat())) is not None
    assert found(rules.vanishing_through_time, run([FINE, *[odd] * 5], flat())) is None


def test_an_explosion_from_the_start_counts_where_nothing_is_learned_since() -> None:
    odd = profile(times=(over_time(4.0),))
    assert found(rules.exploding_through_time, run([odd] * 3 + [FINE] * 3, flat())) is not None
    assert found(rules.exploding_through_time, run([odd] * 2 + [FINE] * 4, flat())) is None
    assert found(rules.exploding_through_time, run([odd] * 3 + [FINE] * 3, fallen(0.07))) is None


def test_a_healthy_lstm_is_short_of_vanishing() -> None:
    assert found(rules.vanishing_through_time, run(through_time(over_time(-2.1, steps=28)), flat())) is None


def test_an_explosion_over_time_that_ends_in_nan_is_told_after_one_profile() -> None:
    broken = [2.0] * 5 + [math.nan] * 15
    made = run([through_time(over_time(4.0)), FINE], broken)
    assert found(rules.exploding_through_time, made) is not None
    assert found(rules.exploding_through_time, run([through_time(over_time(4.0)), FINE], flat(steps=20))) is None
    assert found(rules.exploding_through_time, run([FINE, FINE], broken)) is None


def test_over_time_the_layers_with_it_and_the_worst_of_them_are_told() -> None:
    shown = [over_time(-5.0, name="a"), over_time(-7.0, name="b"), over_time(-2.0, name="c")]
    finding = found(rules.vanishing_through_time, run(through_time(*shown), flat()))
    assert finding is not None
    assert finding.layers == ("a", "b")
    assert finding.evidence == {"decades": pytest.approx(-7.0), "horizon": 4.0, "steps": 40.0}
    assert "of b shrinks by 7.0 decades" in finding.explanation
    exploding = found(rules.exploding_through_time, run(through_time(over_time(5.0)), flat()))
    assert exploding is not None
    assert "grows by 5.0 decades" in exploding.explanation


def test_a_loss_that_asks_for_none_of_the_last_steps_has_a_horizon_by_the_fit() -> None:
    """Nothing arrives at the last of 17 steps: tenfold within a quarter of them, 4.25, is a gain of 0.58."""
    edge = 10 ** (-1 / (limit("time.horizon") * 17))
    for gain, steps, fires in ((0.99 * edge, 17, True), (1.01 * edge, 17, False)):
        norms = (*(gain ** (steps - 2 - t) for t in range(steps - 1)), 0.0)
        lost = TimeProfile("rnn", norms)
        assert lost.horizon is None
        assert lost.fit is not None
        assert (found(rules.vanishing_through_time, run(through_time(lost), flat())) is not None) == (
            fires and lost.fit.decades <= limit("time.vanishing_decades")
        )
    assert 15 * math.log10(edge) < 0.8 * limit("time.vanishing_decades")  # so that the horizon alone decides


def test_what_grows_through_the_layers_of_a_net_without_recurrence_grows_not_through_time() -> None:
    """Attention has positions, too, and their gradient is as large as the layers make it."""
    plain, cell, again = stack(6.0), [*stack(6.0)[:-1], layer(11, kind="GRU")], list(stack(6.0))
    again[4] = replace(again[4], name="net.4@2")
    for rows_, named in ((plain, False), (cell, True), (again, True), (stack(), True)):
        made = run(profile(rows_, times=(over_time(6.0),)), flat())
        assert (found(rules.exploding_through_time, made) is not None) == named


def test_what_large_steps_or_dead_units_have_shrunk_has_another_name() -> None:
    later = [profile(), *[profile(stack(-6))] * 5]
    assert found(rules.vanishing_gradients, run(later, flat())) is not None
    assert found(rules.vanishing_gradients, run(later, flat(), ratio=ABOVE * limit("update.large"))) is None
    in_time = run(through_time(over_time(-6.0)), flat())
    assert found(rules.vanishing_through_time, in_time) is not None
    assert found(rules.vanishing_through_time, and_also(in_time, dead(1.0))) is None


def test_at_a_guess_s_loss_less_is_evidence_unless_steps_drove_it_there() -> None:
    for decades, rule in ((-1.5, rules.vanishing_gradients), (1.5, rules.exploding_gradients)):
        stuck = classifier(stack(decades))
        assert found(rule, run(stuck, flat(CHANCE))) is not None
        assert found(rule, run(stuck, flat(CHANCE), ratio=ABOVE * limit("update.large"))) is None
        assert found(rule, run(stuck, flat(CHANCE, steps=40))) is None  # not for 50 steps yet
        for share, fires in ((0.99 * limit("units.saturated"), True), (limit("units.saturated"), False)):
            pinned = classifier([replace(row, saturated=share) for row in stack(decades)], saturated=0.0)
            assert (found(rule, run(pinned, flat(CHANCE))) is not None) == fires  # that is why


# ------------------------------------------------------------------------------------------------- units
def test_the_last_two_windows_have_to_show_dead_units() -> None:
    def after(*shares: float) -> History:
        windows = [dead(share, until=10 * (i + 1)) for i, share in enumerate(shares)]
        return and_also(run(None, flat()), *windows)

    assert found(rules.dead_units, after(0.1, 0.9)) is None
    assert found(rules.dead_units, after(0.9, 0.1)) is None
    finding = found(rules.dead_units, after(0.1, 0.9, 0.8))
    assert finding is not None
    assert finding.layers == ("net.3",)
    assert finding.evidence["dead"] == 0.8


def test_dead_units_of_a_probe_are_in_its_profile_and_of_a_training_in_its_windows() -> None:
    shown = with_shares("dead", 0.9)
    assert [finding.rule for finding in diagnose(shown).findings] == ["dead_units"]
    assert found(rules.dead_units, run(shown, flat())) is None


def test_the_head_may_saturate() -> None:
    made = classifier(every(stack(), saturated=0.0), activation="sigmoid", saturated=1.0)
    assert found(rules.saturated_units, run(made, flat())) is None
    hidden = classifier(every(stack(), saturated=0.9), activation="sigmoid", saturated=1.0)
    finding = found(rules.saturated_units, run(hidden, flat()))
    assert finding is not None
    assert "head" not in finding.layers
    assert len(finding.layers) == 11


def test_born_saturated_means_in_each_of_the_first_profiles() -> None:
    full, half = with_shares("saturated", 0.99), with_shares("saturated", 0.6)
    assert found(rules.saturated_units, run([full, full, full, half, half, half], falling())) is not None
    assert found(rules.saturated_units, run([full, half, full, full, full, full], falling())) is None


def test_a_probe_may_meet_a_layer_that_starts_at_zero_and_a_training_may_not_keep_it() -> None:
    single = rows(stack(), 10, weight_spread=0.0)
    assert found(rules.symmetric_init, history(single)) is None
    assert found(rules.symmetric_init, history(rows(stack(), *range(6), weight_spread=0.0))) is not None
    finding = found(rules.symmetric_init, run(single, flat()))
    assert finding is not None
    assert finding.layers == ("net.11",)


def test_layers_whose_units_cannot_be_compared_are_not_symmetric() -> None:
    assert found(rules.symmetric_init, run(profile(every(stack(), weight_spread=None)), flat())) is None


def test_no_more_than_three_names_are_listed() -> None:
    finding = found(rules.symmetric_init, run(profile(every(stack(), weight_spread=0.0)), flat()))
    assert finding is not None
    assert "net.1, net.2, net.3 and 8 more" in finding.explanation


def test_rules_have_nothing_to_say_of_nothing() -> None:
    for rule in (lost.no_gradient, lost.non_finite, rules.vanishing_gradients, rules.symmetric_init):
        assert found(rule, history()) is None
    assert found(rules.vanishing_gradients, history(profile([head()]))) is None


def test_a_state_that_is_dead_from_the_start_forgets_for_that_reason() -> None:
    made = run(through_time(over_time(-6)), flat())
    assert found(rules.vanishing_through_time, made) is not None
    assert found(rules.vanishing_through_time, and_also(made, dead(limit("units.dead")))) is None
