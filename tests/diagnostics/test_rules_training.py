"""Rules on inputs, head, loss, updates, clips, as `test_rules_gradient.py`: beyond each threshold, and short of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hand_written import (
    ABOVE,
    BELOW,
    CHANCE,
    CLASSES,
    EACH,
    SAMPLES,
    and_also,
    classifier,
    clipped,
    dead,
    fallen,
    falling,
    flat,
    found,
    head,
    history,
    layer,
    profile,
    record,
    run,
    spiky,
    stack,
    with_losses,
    with_shares,
)

from isometry import probe
from isometry.diagnostics import rules_training as rules
from isometry.diagnostics.evidence import Evidence, flow
from isometry.diagnostics.findings import CRITICAL, WARNING, Finding
from isometry.diagnostics.history import History
from isometry.diagnostics.outputs import error_share, head_gradient
from isometry.diagnostics.profile import Profile
from isometry.diagnostics.rules import Rule, diagnose, judge
from isometry.diagnostics.rules_gradient import exploding_gradients
from isometry.diagnostics.rules_head import bad_output_head
from isometry.diagnostics.thresholds import limit


def large_output(size: float) -> Profile:
    """Inputs of size 100, and a last layer whose z has some size."""
    rows = list(stack())
    rows[-1] = replace(rows[-1], activation_rms=size)
    return profile(rows, input_mean=0.0, input_std=100.0)


def masked(loss: float = CHANCE, zeros: float = 0.5, total: float = 1.0) -> Profile:
    """A ReLU on the head: half of the outputs get no gradient, and their sum is not 0."""
    return classifier(loss=loss, unit_zeros=zeros, unit_sum=total)


def squashed(ratio: float = 0.1, loss: float = CHANCE, total: float = 0.0) -> Profile:
    return classifier(loss=loss, ratio=ratio, unit_sum=total)


def single(zeros: float) -> Profile:
    """One output, at which a share of the samples gets no gradient."""
    return profile([*stack(), replace(head(), shape=(1,), unit_sum=None, unit_zeros=zeros)], loss=1.0)


def wild(ratio: float, elasticity: float = 2.0) -> History:
    """Values whose first loss is so many times what a guess has, by their size or by that of the targets."""
    output = replace(head(unit_sum=1.0), shape=(1,), activation_rms=math.sqrt(ratio))
    return run(profile([*stack(), output], loss=ratio, guess=1.0, elasticity=elasticity), flat(ratio))


def shrinking(first: float, last: float) -> History:
    """Outputs of a loss that tells no guess, at first and later, while it falls by itself."""
    shown = [profile([*stack(), head(unit_sum=1.0, activation_rms=size)], loss=1.0) for size in (first, last)]
    return run([shown[0], *[shown[1]] * 5], falling(1e6, 1.0))


def squared(first: float, last: float, classes: int = 1, size: float = 3.0) -> list[Profile]:
    """A head before a squared error of 1, whose gradient is a share of what it would be without anything between."""

    def at(share: float) -> Profile:
        output = replace(head(), shape=(classes,), unit_sum=1.0, gradient_rms=2 * share / (SAMPLES * classes))
        output = replace(output, activation_rms=size)
        return profile([*stack(), output], loss=1.0)

    return [*[at(first)] * 3, *[at(last)] * 3]


def back(share: float) -> list[float]:
    """Half way down, and back to a share of the first loss."""
    return [1.0] * 20 + [min(0.4, share / 2)] * 20 + [share] * 20


def noisy(times: float) -> list[float]:
    """Grown from 1 to 2.5, which is so many standard deviations of a single loss."""
    step = 1.5 / times * 0.6745 * math.sqrt(2)
    return [level + step * (number % 3 == 1) for level in (1.0, 2.5) for number in range(30)]


def shocked(factor: float, last: float = 1.0, ratio: float = 0.5) -> History:
    """The first steps are large and make a multiple of the loss; later ones are usual."""
    losses = [1.0] * 5 + [factor] * 10 + [last] * 45
    return run(None, losses, ratio=(ratio, ratio, ratio, 1e-3, 1e-3, 1e-3))


def garbage(
    count: int = 1, loss: float = 100.0, total: float = 100.0, before: float = 1.0, after: float = 1.0,
    last: float = 1.0, soon: int = 0,
) -> History:  # fmt: skip
    """At steps 20, 40 … a loss and a gradient of many times the usual; soon after it is as it was."""
    losses, totals = [1.0] * 70 + [last] * 30, [1.0] * 100
    for step in range(20, 20 + 20 * count, 20):
        losses[step - 1], losses[step], totals[step] = before, loss, total
        losses[step + 1 : step + 11] = [3.0] * soon + [after] * (10 - soon)
    return run(None, losses, totals=tuple(totals[start : start + EACH] for start in range(0, 100, EACH)))


def garbage_often(count: int, steps: int = 480) -> History:
    """So many batches of garbage, evenly, in a training whose usual losses are next to nothing soon."""
    losses, totals = [1.0] * 20 + [1e-3] * (steps - 20), [1.0] * steps
    for k in range(count):
        step = 40 + k * (steps - 60) // count
        losses[step], totals[step] = 1000.0, 1000.0
    return run(None, losses, totals=tuple(totals[start : start + EACH] for start in range(0, steps, EACH)))


def grown(factor: float) -> History:
    """At the last record all weights are so many times as large as at the first."""
    made = run(None, flat())
    last = made.records[-1]
    layers = {name: replace(row, weight_norm=factor) for name, row in last.layers.items()}
    return history(*made.records[:-1], replace(last, layers=layers), *made.profiles)


# ---------------------------------------------------------------------------------------------- thresholds
EDGES: list[tuple[str, Rule, str, float, Callable[[float], History]]] = [
    # what, rule, threshold, the factor that fires, a run by the value
    (
        "large inputs",
        rules.bad_input_scale,
        "input.large_std",
        ABOVE,
        lambda v: run(profile(input_mean=0.0, input_std=v), flat()),
    ),
    (
        "far inputs",
        rules.bad_input_scale,
        "input.large_std",
        ABOVE,
        lambda v: run(profile(input_mean=-v, input_std=0.0), flat()),
    ),
    (
        "small inputs",
        rules.bad_input_scale,
        "input.small_std",
        BELOW,
        lambda v: run(profile(input_mean=0.0, input_std=v), flat()),
    ),
    (
        "large inputs that pass",
        rules.bad_input_scale,
        "input.large_output",
        ABOVE,
        lambda v: run(large_output(v), falling()),
    ),
    (
        "large inputs, slow",
        rules.bad_input_scale,
        "loss.slow",
        BELOW,
        lambda v: run(profile(input_mean=0.0, input_std=20.0), [1.0] * 30 + [1 - v] * 30),
    ),
    ("squashed logits", bad_output_head, "head.squashed", BELOW, lambda v: run(squashed(v))),
    (
        "squashed, loss above",
        bad_output_head,
        "head.chance",
        BELOW,
        lambda v: run(squashed(loss=CHANCE * (1 + v))),
    ),
    (
        "squashed, loss below",
        bad_output_head,
        "head.chance",
        BELOW,
        lambda v: run(squashed(loss=CHANCE * (1 - v))),
    ),
    ("squashed, sum", bad_output_head, "head.softmax", BELOW, lambda v: run(squashed(total=10 * v))),
    (
        "out of reach",
        bad_output_head,
        "head.out_of_reach",
        ABOVE,
        lambda v: run(replace(classifier(), link="tanh", out_of_reach=v), falling()),
    ),
    ("masked, sum", bad_output_head, "head.softmax", ABOVE, lambda v: run(masked(total=v))),
    ("masked, one output", bad_output_head, "head.masked", ABOVE, lambda v: run(single(v), flat())),
    ("masked, zeros", bad_output_head, "head.masked", ABOVE, lambda v: run(masked(zeros=v))),
    ("masked, large loss", bad_output_head, "head.large_loss", BELOW, lambda v: run(masked(loss=v * CHANCE))),
    ("masked, small loss", bad_output_head, "head.chance", BELOW, lambda v: run(masked(loss=(1 - v) * CHANCE))),
    (
        "large logits",
        rules.bad_init_scale,
        "head.large_loss",
        ABOVE,
        lambda v: run(classifier(loss=v * CHANCE), flat(v * CHANCE)),
    ),
    ("large values", rules.bad_init_scale, "head.large_values", ABOVE, wild),
    ("values that make the loss", rules.bad_init_scale, "head.makes_loss", ABOVE, lambda v: wild(200.0, v)),
    ("wild outputs", rules.bad_init_scale, "head.wild", ABOVE, lambda v: shrinking(v, 1.0)),
    ("wild outputs that shrink", rules.bad_init_scale, "head.shrinks", ABOVE, lambda v: shrinking(100.0, 100.0 / v)),
    ("garbage, often", rules.bad_batches, "spike.often", ABOVE, lambda v: garbage_often(math.floor(480 * v))),
    (
        "growing activations",
        rules.bad_init_scale,
        "depth.forward_decades",
        ABOVE,
        lambda v: run(profile(stack(forward=v)), flat()),
    ),
    (
        "shrinking activations",
        rules.bad_init_scale,
        "depth.forward_decades",
        ABOVE,
        lambda v: run(profile(stack(forward=-v)), flat()),
    ),
    (
        "growing activations, slow",
        rules.bad_init_scale,
        "depth.forward_extreme",
        ABOVE,
        lambda v: run(profile(stack(forward=v)), falling(2.0, 1.2)),
    ),
    (
        "noisy activations",
        rules.bad_init_scale,
        "depth.quality",
        ABOVE,
        lambda v: run(profile(stack(forward=6, quality=v)), flat()),
    ),
    ("large steps", rules.update_too_large, "update.large", ABOVE, lambda v: run(None, flat(), ratio=v)),
    ("small steps", rules.update_too_small, "update.small", BELOW, lambda v: run(None, flat(), ratio=v)),
    (
        "small steps, at a guess",
        rules.update_too_small,
        "update.small_at_chance",
        BELOW,
        lambda v: run(classifier(), flat(CHANCE), ratio=v),
    ),
    ("often clipped", rules.chronic_clipping, "clip.fraction", ABOVE, lambda v: run(None, flat(), **clipped(v, 0.01))),
    (
        "clipped to little",
        rules.chronic_clipping,
        "clip.coefficient",
        BELOW,
        lambda v: run(None, flat(), **clipped(1.0, v)),
    ),
    (
        "clipped, and stuck",
        rules.chronic_clipping,
        "loss.stuck",
        BELOW,
        lambda v: run(None, [1.0] * 30 + [1 - v] * 30, **clipped(1.0, 0.01)),
    ),
    (
        "spikes",
        rules.unstable_gradients,
        "spike.ratio",
        ABOVE,
        lambda v: run(None, flat(steps=200), totals=spiky(v, 15)),
    ),
    (
        "spikes, and it learns",
        rules.unstable_gradients,
        "spike.worst",
        ABOVE,
        lambda v: run(None, falling(steps=200), totals=spiky(v, 15)),
    ),
    (
        "spikes near the end",
        rules.unstable_gradients,
        "loss.converged",
        BELOW,
        lambda v: run(None, [1.0] * 100 + [1 - v] * 100, totals=spiky(500.0, 15)),
    ),
    (
        "a flipped sign",
        rules.unbounded_loss,
        "loss.unbounded",
        ABOVE,
        lambda v: run(None, [1.0] * 30 + [-v] * 30),
    ),
    ("a loss that grows", rules.diverging_loss, "loss.diverged", ABOVE, lambda v: run(None, [1.0] * 30 + [v] * 30)),
    ("a guess", rules.loss_at_chance, "loss.chance", ABOVE, lambda v: run(classifier(), [v * CHANCE] * 60)),
    ("a loss that is back", rules.diverging_loss, "loss.back", ABOVE, lambda v: run(None, back(v))),
    ("a loss that is noisy", rules.diverging_loss, "loss.noise", ABOVE, lambda v: run(None, noisy(v))),
    ("a steady loss", rules.loss_at_chance, "loss.chance_most", BELOW, lambda v: run(classifier(), [v * CHANCE] * 60)),
    ("squashed, no softmax", bad_output_head, "head.no_softmax", BELOW, lambda v: run(squashed(total=v))),
    ("squared, share", bad_output_head, "head.sigmoid", BELOW, lambda v: run(squared(v, v / 3), flat())),
    ("squared, least", bad_output_head, "head.sigmoid_least", ABOVE, lambda v: run(squared(v, v / 3), flat())),
    ("squared, flat", bad_output_head, "head.saturates", BELOW, lambda v: run(squared(0.2, 0.2 * v), flat())),
    ("squared, far out", bad_output_head, "head.flat", ABOVE, lambda v: run(squared(0.2, 0.02, 1, v), flat())),
    ("squared, slow", bad_output_head, "loss.slow", BELOW, lambda v: run(squared(0.2, 0.02), back(1 - v))),
    (
        "one-hot, above a guess",
        bad_output_head,
        "head.guess",
        BELOW,
        lambda v: run(squared(0.2, 0.1, CLASSES), [0.25] * 30 + [0.09 * (1 + v)] * 30),
    ),
    (
        "one-hot, below a guess",
        bad_output_head,
        "head.guess",
        BELOW,
        lambda v: run(squared(0.2, 0.1, CLASSES), [0.25] * 30 + [0.09 * (1 - v)] * 30),
    ),
    ("grown weights", rules.update_too_large, "update.grown", ABOVE, grown),
    ("shocked", rules.update_too_large, "loss.shock", ABOVE, lambda v: shocked(v)),
    ("shocked, slow", rules.update_too_large, "loss.slow", BELOW, lambda v: shocked(5.0, 1 - v)),
    ("shocked, steps", rules.update_too_large, "update.large", ABOVE, lambda v: shocked(5.0, ratio=v)),
    ("garbage, loss", rules.bad_batches, "spike.loss", ABOVE, lambda v: garbage(loss=v)),
    ("garbage, gradient", rules.bad_batches, "spike.ratio", ABOVE, lambda v: garbage(total=v)),
    ("garbage, before", rules.bad_batches, "spike.normal", BELOW, lambda v: garbage(before=v)),
    ("garbage, after", rules.bad_batches, "spike.normal", BELOW, lambda v: garbage(after=v)),
    ("garbage, near the end", rules.bad_batches, "loss.converged", BELOW, lambda v: garbage(3, last=1 - v)),
    (
        "no softmax",
        rules.loss_at_chance,
        "head.softmax",
        BELOW,
        lambda v: run(classifier(unit_sum=v, guess=None), [CHANCE] * 60),
    ),
]
NAMES = {rules.unbounded_loss: "diverging_loss", rules.bad_batches: "unstable_gradients"}


@pytest.mark.parametrize(("rule", "name", "fires", "make"), [edge[1:] for edge in EDGES], ids=[e[0] for e in EDGES])
def test_a_rule_fires_beyond_its_threshold_and_not_short_of_it(
    rule: Rule, name: str, fires: float, make: Callable[[float], History]
) -> None:
    beyond = found(rule, make(limit(name) * fires))
    assert beyond is not None
    assert (beyond.rule, beyond.severity) == (NAMES.get(rule, rule.__name__), CRITICAL)
    assert found(rule, make(limit(name) * (ABOVE if fires == BELOW else BELOW))) is None


# ------------------------------------------------------------------------------------------ garbage, squares
def test_garbage_while_it_learns_takes_three_batches() -> None:
    for count in (1, 2, 3, 4):
        assert (found(rules.bad_batches, garbage(count, last=0.3)) is not None) == (count >= limit("spike.count"))


def test_a_loss_that_stays_up_was_no_garbage_but_a_step() -> None:
    soon = int(limit("spike.soon"))
    assert found(rules.bad_batches, garbage(soon=soon - 1)) is not None
    assert found(rules.bad_batches, garbage(soon=soon)) is None


def test_large_steps_make_losses_jump_without_any_garbage() -> None:
    made = garbage()
    large = {name: replace(row, update_ratio=0.5) for name, row in made.records[0].layers.items()}
    jumping = history(*(replace(each, layers=large) for each in made.records), *made.profiles)
    assert found(rules.bad_batches, jumping) is None
    assert found(rules.bad_batches, made) is not None


def test_garbage_that_killed_the_units_is_named_and_not_they() -> None:
    diagnosis = judge(and_also(garbage(), dead(0.9)))
    assert [finding.rule for finding in diagnosis.findings] == ["unstable_gradients"]
    assert [remedy.action for remedy in diagnosis.findings[0].remedies] == ["check_data", "clip", "lower_lr"]


@pytest.mark.parametrize(
    ("between", "loss", "share"),
    [
        (torch.nn.Identity(), torch.nn.MSELoss(), 1.0),
        (torch.nn.Sigmoid(), torch.nn.MSELoss(), 0.25),
        (torch.nn.Tanh(), torch.nn.MSELoss(), 1.0),
        (torch.nn.Identity(), torch.nn.BCEWithLogitsLoss(), 0.5 / (2 * math.sqrt(math.log(2)))),
    ],
    ids=["squared", "sigmoid", "tanh", "binary"],
)
def test_what_stands_before_a_squared_error_shows_in_the_gradient(
    between: torch.nn.Module, loss: torch.nn.Module, share: float
) -> None:
    """Near z = 0, where σ' = 1/4 and tanh' = 1, whatever the targets are."""
    torch.manual_seed(0)
    first, targets = torch.nn.Linear(8, 5), torch.randint(2, (64, 5)).float()
    torch.nn.init.normal_(first.weight, std=1e-3)
    torch.nn.init.zeros_(first.bias)
    model = torch.nn.Sequential(first, between)
    measured = probe(model, (torch.randn(64, 8), targets), loss)
    assert error_share(measured) == pytest.approx(share, rel=0.02)


# ------------------------------------------------------------------------------------------------- inputs
def test_inputs_of_any_size_are_fine_where_it_learns_and_a_norm_takes_their_size_away() -> None:
    inputs = profile(input_mean=128.0, input_std=70.0, input_largest=255.0)
    assert found(rules.bad_input_scale, run(inputs, falling())) is None
    finding = found(rules.bad_input_scale, run(inputs, flat()))
    assert finding is not None
    assert finding.layers == ("net.1",)
    assert finding.evidence == {"mean": 128.0, "std": 70.0, "largest": 255.0}
    assert "mean 128 and standard deviation 70" in finding.explanation
    saturated = replace(with_shares("saturated", 0.99), input_mean=128.0, input_std=70.0)
    assert found(rules.bad_input_scale, run(saturated, falling())) is not None


def test_inputs_are_not_judged_before_a_loss_can_have_fallen() -> None:
    steps = int(limit("loss.steps"))
    for shown in (profile(input_mean=0.0, input_std=99.0), large_output(99.0)):
        young, old = (history(shown, record(0, [1.0]), record(count - 1, [1.0])) for count in (steps - 1, steps))
        assert found(rules.bad_input_scale, young) is None
        assert found(rules.bad_input_scale, old) is not None


@pytest.mark.parametrize("std", [None, math.nan, math.inf])
def test_inputs_that_are_indices_or_no_numbers_have_no_scale(std: float | None) -> None:
    assert found(rules.bad_input_scale, run(profile(input_mean=50.0, input_std=std), flat())) is None


def test_the_first_profile_tells_the_inputs_scale() -> None:
    later = [profile(input_mean=0.0, input_std=1.0), *[profile(input_mean=0.0, input_std=99.0)] * 5]
    assert found(rules.bad_input_scale, run(later, flat())) is None
    assert [finding.rule for finding in diagnose(later[1]).findings] == ["bad_input_scale"]  # of a probe


# --------------------------------------------------------------------------------------------------- head
def test_the_gradient_of_a_guess_has_ratio_1() -> None:
    assert head_gradient(head()) == pytest.approx(1.0)
    assert head_gradient(head(0.25)) == pytest.approx(0.25)
    pixels = replace(head(), shape=(10, 4, 4), kind="Conv2d", gradient_rms=(head().gradient_rms or 0.0) / 16)
    assert head_gradient(pixels) == pytest.approx(1.0)  # of a mean over pixels, too


@pytest.mark.parametrize(("early", "fires"), [("OOO...", True), ("OO....", False), (".OOOOO", False), ("OO", False)])
def test_the_first_three_profiles_of_a_training_have_to_show_a_bad_head(early: str, fires: bool) -> None:
    for wrong in (squashed(), masked(), classifier(activation="sigmoid")):
        made = run([wrong if mark == "O" else classifier() for mark in early])
        assert (found(bad_output_head, made) is not None) == fires
        assert "bad_output_head" in [finding.rule for finding in diagnose(wrong).findings]


def test_a_bad_head_says_which_kind_it_is_and_where() -> None:
    def told(shown: Profile) -> str:
        finding = found(bad_output_head, run(shown, falling()))  # it may learn: slower than it could
        assert finding is not None
        assert finding.layers == ("head",)
        return finding.explanation

    assert "0.10 of what cross-entropy of 10 logits" in told(squashed())
    assert "50% of the gradients" in told(masked())
    assert "ReLU" in told(masked())
    assert "go through softmax" in told(classifier(activation="softmax"))


def test_one_output_without_gradients_is_wrong_only_as_long_as_the_loss_hardly_falls() -> None:
    """A hinge has none for samples beyond its margin, and learns."""
    assert found(bad_output_head, run(single(0.9), falling(2.0, 1.5))) is not None
    assert found(bad_output_head, run(single(0.9), falling(2.0, 0.5))) is None
    assert found(bad_output_head, run(single(0.9))) is None  # losses unknown


def test_a_gradient_that_float16_has_lost_part_of_says_nothing_of_the_head() -> None:
    for lost, fires in ((0.5 * limit("fp16.underflow"), True), (limit("fp16.underflow"), False)):
        squashed = classifier(ratio=0.5 * limit("head.squashed"), underflow=lost)
        assert (found(bad_output_head, run(squashed, flat(CHANCE))) is not None) == fires


def test_heads_of_many_and_of_one_output_may_take_turns() -> None:
    """The layer next to the loss is another one in each pass of a net with several losses."""
    turns = [classifier(), single(0.0)] * 3
    assert found(bad_output_head, run(turns, flat())) is None
    assert found(bad_output_head, run(turns[1:], flat(steps=50))) is None


@pytest.mark.parametrize(
    "fine",
    [
        classifier(),
        classifier(ratio=0.5, loss=0.5),  # trained: its gradients are small
        classifier(activation="relu", loss=0.5),
        classifier(unit_zeros=0.9),  # of targets of which most are ignored; the sum is 0
        profile([*stack(), replace(head(0.1), shape=(1,), unit_sum=None)], loss=0.69),  # a single output
        profile([*stack(), replace(head(0.1), shape=(2,), activation="sigmoid", unit_sum=1.0)], loss=0.69),  # its BCE
        profile(loss=2.3),  # no head was seen
        replace(squashed(), loss=None),
    ],
    ids=["plain", "trained", "ReLU", "ignored", "one output", "two sigmoids", "no head", "no loss"],
)
def test_heads_that_are_as_their_loss_wants_them(fine: Profile) -> None:
    assert found(bad_output_head, run(fine)) is None


# -------------------------------------------------------------------------------------------- init and norm
def test_logits_that_start_large_are_named_with_their_size() -> None:
    made = run(classifier(loss=30.0, activation_rms=25.0), flat(30.0))
    finding = found(rules.bad_init_scale, made)
    assert finding is not None
    assert finding.layers == ("head",)
    assert finding.evidence == {"loss": 30.0, "outputs": 25.0}
    assert found(rules.bad_init_scale, run(classifier(loss=30.0), falling(30.0, 1.0))) is None


def test_a_wild_start_is_not_called_so_while_it_is_on_its_way_down() -> None:
    """A loss over which nothing is learned before it has come to that of a guess."""
    steps = int(limit("loss.chance_steps"))
    down = [CHANCE * max(1.0, 30 - 0.8 * step) for step in range(steps)]
    assert found(rules.bad_init_scale, run(classifier(loss=30 * CHANCE), down[: steps - EACH])) is None
    assert found(rules.bad_init_scale, run(classifier(loss=30 * CHANCE), down)) is not None


def test_values_that_are_small_are_no_wild_start() -> None:
    """Of maps that are 0 nearly everywhere any first loss is a multiple of what a guess has."""
    maps = profile([*stack(), head(unit_sum=1.0)], loss=1.0, guess=0.01)
    assert found(rules.bad_init_scale, run(maps, flat())) is None
    assert Evidence(run(maps, flat())).chance == 0.01


@pytest.mark.parametrize(
    ("links", "is_found"),
    [
        (("tanh", None, None), False),  # once may be chance
        (("tanh", "tanh", None), True),
        (("tanh", "sigmoid", "tanh"), False),
        (("relu", None, None), True),  # nothing else has its zeros
        (("identity", "relu", "identity"), True),  # no output below zero in two batches
        (("identity", "identity", "identity"), False),
    ],
)
def test_what_stands_behind_the_outputs_is_told_twice_or_is_a_relu(
    links: tuple[str | None, ...], is_found: bool
) -> None:
    shown = [replace(classifier(), link=link, out_of_reach=0.5 * (link != "identity")) for link in links]
    assert (found(bad_output_head, run([*shown, *[classifier()] * 3], falling())) is not None) == is_found


def test_where_nothing_stands_behind_the_outputs_their_zeros_are_no_relu_s() -> None:
    """Wild logits of one output that are right have no gradient."""
    told = [replace(single(0.6), link="identity", out_of_reach=0.0)] * 6
    assert found(bad_output_head, run(told, flat())) is None
    assert found(bad_output_head, run(single(0.6), flat())) is not None


def test_clipping_that_leaves_steps_too_small_counts_as_long_as_it_has_not_learned_well() -> None:
    slow = [1.0] * 30 + [0.8] * 30
    for ratio, is_found in ((0.99 * limit("update.small"), True), (1.01 * limit("update.small"), False)):
        made = run(None, slow, ratio=ratio, **clipped(1.0, 0.01))
        assert (found(rules.chronic_clipping, made) is not None) == is_found
    for last, is_found in ((0.3, True), (0.1, False)):  # of a loss of which it is not known what a guess has
        made = run(None, falling(2.0, last), ratio=1e-5, **clipped(1.0, 0.01))
        assert (found(rules.chronic_clipping, made) is not None) == is_found
    known = run(classifier(), falling(CHANCE, 0.3 * CHANCE), ratio=1e-5, **clipped(1.0, 0.01))
    assert found(rules.chronic_clipping, known) is None


def test_wild_outputs_count_at_once_where_the_loss_does_not_fall_and_not_where_its_guess_is_known() -> None:
    large = profile([*stack(), head(unit_sum=1.0, activation_rms=30.0)], loss=1.0)
    assert found(rules.bad_init_scale, run(large, flat())) is not None
    assert found(rules.bad_init_scale, run(large, falling())) is None  # they do not become smaller
    assert found(rules.bad_init_scale, run(replace(large, guess=500.0), flat())) is None


def test_several_heads_alike_may_share_a_mean() -> None:
    """Each of three has a third of the gradient of one; a softmax in between leaves a tenth, of ten classes."""
    third, tenth = squashed(0.3), squashed(0.1)
    beside = [replace(head(0.3), name=f"early.{number}", unit_sum=None, unit_zeros=None) for number in range(2)]
    for shown, alone, of_three in ((third, True, False), (tenth, True, True)):
        assert (found(bad_output_head, run(shown)) is not None) == alone
        heads = replace(shown, layers=(*shown.layers[:-1], *beside, shown.layers[-1]))
        assert (found(bad_output_head, run(heads)) is not None) == of_three


def test_values_whose_loss_is_divided_once_too_often_are_not_wild() -> None:
    """Outputs of size 2 and a loss of 1.7 times a guess's, both losses a hundredth of what squares would have."""
    shown = profile([*stack(), head(unit_sum=1.0, activation_rms=2.0)], loss=0.017, guess=0.01, elasticity=2.0)
    assert found(rules.bad_init_scale, run(shown, flat(0.017))) is None


@pytest.mark.parametrize(("sizes", "is_found"), [("1111G1", True), ("111111", False), ("G1", False), ("GG1111", True)])
def test_inputs_of_many_times_the_usual_size_are_garbage(sizes: str, is_found: bool) -> None:
    size = 1.01 * limit("spike.loss")
    made = run(
        [profile(input_mean=0.0, input_std=size if mark == "G" else 1.0) for mark in sizes],
        flat(steps=EACH * len(sizes)),
    )
    finding = found(rules.bad_batches, made)
    assert (finding is not None) == is_found
    if finding:
        assert finding.evidence == {"batches": sizes.count("G"), "largest": size}


def test_one_odd_batch_of_a_long_training_is_no_finding() -> None:
    least = math.ceil(40 * limit("spike.often"))
    for count, is_found in ((least, True), (least - 1, False)):
        sizes = [99.0] * count + [1.0] * (40 - count)
        made = run([profile(input_mean=0.0, input_std=size) for size in sizes], flat(steps=40 * EACH))
        assert (found(rules.bad_batches, made) is not None) == is_found


def test_wild_outputs_are_said_to_have_shrunk_only_where_the_loss_has_fallen() -> None:
    large = profile([*stack(), head(unit_sum=1.0, activation_rms=30.0)], loss=1.0)
    for made, said in ((shrinking(30.0, 1.0), "as they shrank"), (run(large, flat()), "has not fallen")):
        finding = found(rules.bad_init_scale, made)
        assert finding is not None
        assert said in finding.explanation


def test_odd_inputs_are_fine_where_it_converges() -> None:
    odd = [profile(input_mean=0.0, input_std=size) for size in (1.0, 1.0, 1.0, 1.0, 99.0, 1.0)]
    assert found(rules.bad_batches, run(odd, fallen(0.95))) is None
    assert found(rules.bad_batches, run(odd, fallen(0.5))) is not None


def test_where_the_targets_make_the_loss_no_values_are_wild() -> None:
    """Of targets near 1000 that spread by 1 the first loss is a million times a guess's, and the outputs are small."""
    assert found(rules.bad_init_scale, wild(1e6, elasticity=2.0)) is not None
    assert found(rules.bad_init_scale, wild(1e6, elasticity=0.0)) is None
    assert found(rules.bad_init_scale, wild(1e6, elasticity=-0.1)) is None


def test_weights_may_grow_where_something_is_learned_and_from_zero() -> None:
    assert found(rules.update_too_large, grown(100.0)) is not None
    assert found(rules.update_too_large, with_losses(grown(100.0), falling())) is None
    from_zero = grown(100.0)
    first = from_zero.records[0]
    layers = {name: replace(row, weight_norm=0.0) for name, row in first.layers.items()}
    records = [replace(first, layers=layers), *from_zero.records[1:]]
    assert found(rules.update_too_large, history(*records, *from_zero.profiles)) is None


def test_a_loss_that_was_below_a_guess_s_once_did_not_suffer_from_its_start() -> None:
    """A step that is too large has blown it up since."""
    shown, wild_loss = classifier(loss=5 * CHANCE), 5 * CHANCE
    assert found(rules.bad_init_scale, run(shown, [wild_loss] * 60)) is not None
    once = [wild_loss] * 10 + [0.5 * CHANCE] * 10 + [1e9] * 40
    assert found(rules.bad_init_scale, run(shown, once)) is None


def test_a_loss_that_outputs_make_by_their_size_jumps_by_itself() -> None:
    shown = profile([*stack(), head(unit_sum=1.0)], loss=1.0)
    calm, loud = (replace(shown, elasticity=each) for each in (0.1, 20.0))
    jumps = garbage(3)
    for each, is_found in ((calm, True), (loud, False)):
        made = history(*jumps.records, *(replace(each, step=profile.step) for profile in jumps.profiles))
        assert (found(rules.bad_batches, made) is not None) == is_found


def test_wild_logits_that_fall_to_those_of_a_guess_have_learned_nothing() -> None:
    """A loss that falls from 30 to 2.3 has lost nine tenths, and knows nothing."""
    evidence = Evidence(run(classifier(loss=30.0), falling(30.0, CHANCE)))
    assert evidence.fall == pytest.approx(0.0, abs=0.15)
    assert not evidence.learns


def test_only_the_first_profile_tells_the_scale_of_an_init() -> None:
    assert found(rules.bad_init_scale, run([profile(), *[profile(stack(forward=6))] * 5], flat())) is None


def test_the_first_profiles_tell_what_a_guess_has_if_all_of_them_do() -> None:
    """Targets of variance 0.5: a loss from 30 to 0.5 has learned nothing, one to 0.2 has."""
    told = [profile(guess=0.5 + offset) for offset in (-0.1, 0.0, 0.2)]
    evidence = Evidence(run([*told, *[profile(guess=9.0)] * 3], falling(30.0, 0.5)))
    assert evidence.chance == 0.5
    assert not evidence.learns
    assert Evidence(run(told * 2, falling(30.0, 0.2))).learns
    by_chance = [*told[:2], profile()]  # another loss looked like a squared error, twice
    assert Evidence(run(by_chance * 2, falling(30.0, 0.5))).chance is None
    assert Evidence(run(by_chance * 2, falling(30.0, 0.5))).learns


def test_classes_of_unequal_number_are_guessed_better_than_by_ln_k() -> None:
    uneven = replace(classifier(), guess=0.8)
    assert Evidence(run(uneven, flat(0.8))).chance == 0.8
    assert found(rules.loss_at_chance, run(uneven, flat(0.8))) is not None
    assert found(rules.loss_at_chance, run(classifier(), flat(0.8))) is None


@pytest.mark.parametrize(("losses", "severity"), [(falling(), WARNING), (flat(), CRITICAL), (None, CRITICAL)])
def test_a_tiny_batch_is_a_warning_where_it_learns(losses: list[float] | None, severity: str) -> None:
    enough = int(limit("batch_norm.samples"))
    finding = found(rules.small_batch_norm, run(profile(batch_norm_samples=enough), losses))
    assert finding is not None
    assert (finding.severity, finding.evidence) == (severity, {"samples": float(enough)})
    assert found(rules.small_batch_norm, run(profile(batch_norm_samples=enough + 1), losses)) is None
    assert found(rules.small_batch_norm, run(profile(batch_norm_samples=None), losses)) is None


def test_two_samples_have_to_learn_well() -> None:
    two = int(limit("batch_norm.two"))
    for samples, last, severity in ((two, 0.2, CRITICAL), (two, 0.1, WARNING), (two + 1, 1.2, WARNING)):
        finding = found(rules.small_batch_norm, run(profile(batch_norm_samples=samples), falling(2.0, last)))
        assert finding is not None
        assert finding.severity == severity


def test_a_tiny_batch_that_learns_and_spikes_is_to_blame_for_it() -> None:
    """Garbage in a calm training, and statistics of three samples: the verdict names what explains both."""
    spiked = garbage(4, last=0.3)
    assert found(rules.bad_batches, spiked) is not None
    for samples, severity in ((3, CRITICAL), (None, None)):
        made = history(*spiked.records, profile(batch_norm_samples=samples))
        finding = found(rules.small_batch_norm, made)
        assert (finding.severity if finding else None) == severity


@pytest.mark.parametrize("kind", ["LSTM", "GRUCell", "RNN"])
def test_raw_inputs_pin_the_gates_of_a_cell_however_fast_it_learns(kind: str) -> None:
    raw = {"input_mean": 0.0, "input_std": 20.0}
    cell = [layer(1, kind=kind), *stack()[1:]]
    assert found(rules.bad_input_scale, run(profile(cell, **raw), falling(2.0, 0.4))) is not None
    assert found(rules.bad_input_scale, run(profile(cell, **raw), falling(2.0, 0.1))) is None  # it has converged
    assert found(rules.bad_input_scale, run(profile(**raw), falling(2.0, 0.4))) is None
    assert found(rules.bad_input_scale, run(profile([stack()[0], *cell[1:]], **raw), falling(2.0, 0.4))) is None


def test_large_steps_that_end_at_a_guess_s_loss_were_too_large() -> None:
    """For the first three records; smaller ones later, without a shock at first."""
    hit = (0.2,) * 3 + (2e-3,) * 3
    assert found(rules.update_too_large, run(classifier(), flat(CHANCE), ratio=hit)) is not None
    assert found(rules.update_too_large, run(classifier(), flat(CHANCE), ratio=(0.2,) * 2 + (2e-3,) * 4)) is None
    assert (
        found(rules.update_too_large, run(classifier(), falling(CHANCE, 0.7 * CHANCE), ratio=(0.2,) * 3 + (2e-3,) * 3))
        is None
    )


def test_what_was_never_alive_has_no_scale() -> None:
    """Behind layers that are silent from the start z is the bias: no slope is a matter of the weights' scale."""
    small = profile(stack(forward=-6))
    assert found(rules.bad_init_scale, and_also(run(small, flat()), dead(limit("units.all_dead")))) is None
    few = and_also(run(small, flat()), dead(BELOW * limit("units.all_dead")))
    assert found(rules.bad_init_scale, few) is not None
    later = and_also(run(small, flat()), replace(dead(1.0), step=10))
    assert found(rules.bad_init_scale, later) is not None


# ------------------------------------------------------------------------------------------------- updates
SIZES = {
    "O": {"ratio": 0.5, "clip_fraction": 1.0, "total_clipped": 0.01},
    ".": {"ratio": 2e-3, "clip_fraction": 0.0, "total_clipped": 1.0},
}


@pytest.mark.parametrize(
    ("recent", "fires"),
    [("....O", False), ("...OO", False), ("..OOO", True), ("O..OO", True), ("OOOO.", False)],
)
@pytest.mark.parametrize("rule", [rules.update_too_large, rules.chronic_clipping])
def test_three_of_five_records_have_to_show_it_the_last_among_them(rule: Rule, recent: str, fires: bool) -> None:
    columns = {key: tuple(SIZES[mark][key] for mark in f"..{recent}") for key in SIZES["O"]}
    assert (found(rule, run(None, flat(steps=70), **columns)) is not None) == fires


@pytest.mark.parametrize(("recent", "fires"), [("....O", False), ("...OO", True), ("OOOO.", False)])
def test_two_small_steps_are_enough_as_a_short_schedule_has_no_more(recent: str, fires: bool) -> None:
    ratios = tuple(1e-6 if mark == "O" else 2e-3 for mark in f"..{recent}")
    assert (found(rules.update_too_small, run(None, flat(steps=70), ratio=ratios)) is not None) == fires


def test_one_odd_record_of_a_run_that_learns_is_no_finding() -> None:
    for odd in ({"ratio": 5.0}, {"ratio": 1e-9}, clipped(1.0, 1e-6), {"totals": [1.0] * (EACH - 1) + [1e9]}):
        columns = {key: (*[usual(key)] * 5, value) for key, value in odd.items()}
        assert judge(run(None, falling(), **columns)).findings == ()


def usual(key: str) -> object:
    return {"ratio": 2e-3, "clip_fraction": 0.0, "total": 1.0, "total_clipped": 1.0, "totals": [1.0] * EACH}[key]


def test_the_median_layer_tells_how_far_a_step_goes() -> None:
    """A bias that starts at 0, or a norm's, moves by its own size: that is not all of the net."""
    few = [replace(each, layers=_with_ratios(each.layers, 3, 9.0)) for each in run(None, flat()).records]
    most = [replace(each, layers=_with_ratios(each.layers, 6, 9.0)) for each in run(None, flat()).records]
    assert found(rules.update_too_large, history(profile(), *few)) is None
    finding = found(rules.update_too_large, history(profile(), *most))
    assert finding is not None
    assert finding.evidence == {"update_ratio": 9.0}


def _with_ratios(layers: dict[str, object], count: int, ratio: float) -> dict[str, object]:
    return {
        name: replace(row, update_ratio=ratio) if i < count else row  # type: ignore[type-var]
        for i, (name, row) in enumerate(layers.items())
    }


def test_layers_that_are_no_weight_layers_do_not_count() -> None:
    made = run(None, flat(), ratio=5.0, names=["norm.1", "norm.2"])
    assert found(rules.update_too_large, made) is None
    assert found(rules.update_too_large, history(*made.records)) is not None  # nobody knows which they are


def test_large_steps_right_before_the_loss_is_no_number_are_the_cause() -> None:
    broken = [2.0] * 10 + [math.nan] * 20
    made = run(None, broken, ratio=(1e-3, 0.7, math.nan))
    finding = found(rules.update_too_large, made)
    assert finding is not None
    assert finding.evidence == {"update_ratio": 0.7}
    assert found(rules.update_too_large, run(None, broken, ratio=(1e-3, 1e-3, math.nan))) is None
    assert found(rules.update_too_large, run(None, flat(steps=30), ratio=(1e-3, 0.7, 1e-3))) is None


def test_of_large_steps_the_least_is_told() -> None:
    finding = found(rules.update_too_large, run(None, flat(), ratio=(1.0, 1.0, 1.0, 0.5, 0.9, 70.0)))
    assert finding is not None
    assert finding.evidence == {"update_ratio": 0.5}


@pytest.mark.parametrize(
    ("after", "loss", "recovers", "fires"),
    [
        (0.99 / limit("collapse.ratio"), 1.2, False, True),
        (1.01 / limit("collapse.ratio"), 1.2, False, False),  # not small enough
        (0.01, 1.0, False, False),  # the loss is not higher: somebody has changed its scale, or it has converged
        (0.01, 1.2, True, False),
    ],
)
def test_a_step_that_kills_the_gradient_was_too_large(after: float, loss: float, recovers: bool, fires: bool) -> None:
    killed = int(limit("collapse.steps")) + 5
    rest = 60 - killed
    totals = [1.0] * killed + [after] * (rest // 3 if recovers else rest) + [1.0] * (rest - rest // 3) * recovers
    losses = flat()[:killed] + flat(loss)[killed:]
    made = run(None, losses, totals=tuple(totals[EACH * k : EACH * (k + 1)] for k in range(6)))
    finding = found(rules.update_too_large, made)
    assert (finding is not None) == fires
    if finding:
        assert finding.evidence["gradient"] == pytest.approx(after)
        assert f"{rest} steps later" in finding.explanation


def test_gradients_that_were_never_there_were_killed_by_no_step() -> None:
    made = run(None, [1.0 + 0.01 * step for step in range(60)], totals=[0.0] * EACH)
    assert found(rules.update_too_large, made) is None


def test_small_steps_are_fine_while_the_rate_rises_and_at_its_end() -> None:
    rising = tuple(1e-3 * (1 + k) for k in range(6))
    assert found(rules.update_too_small, run(None, flat(), ratio=1e-6, lr=rising)) is None
    assert found(rules.update_too_small, run(None, flat(), ratio=1e-6, lr=0.1)) is not None
    at_the_end = run(None, flat(), ratio=(2e-3, 2e-3, 2e-3, 1e-6, 1e-6, 1e-6), lr=(0.1, 0.1, 0.1, 1e-5, 1e-5, 1e-5))
    assert found(rules.update_too_small, at_the_end) is None
    all_the_time = run(None, flat(), ratio=1e-6, lr=(0.1, 0.1, 0.1, 1e-5, 1e-5, 1e-5))
    assert found(rules.update_too_small, all_the_time) is not None


def test_steps_are_tried_for_a_while_before_they_are_called_too_small() -> None:
    steps = int(limit("loss.steps"))

    def after(count: int) -> History:
        return history(profile(), record(0, [1.0], ratio=1e-6), record(count - 1, [1.0] * (count - 1), ratio=1e-6))

    assert found(rules.update_too_small, after(steps)) is not None
    assert found(rules.update_too_small, after(steps - 1)) is None


def test_without_clipping_there_is_no_chronic_one() -> None:
    assert found(rules.chronic_clipping, run(None, flat(), total=1.0, total_clipped=0.01)) is None


# -------------------------------------------------------------------------------------------------- spikes
@pytest.mark.parametrize(("spikes", "fires"), [(0, True), (-1, False)])
def test_spikes_are_counted_and_a_small_share_is_none(spikes: int, fires: bool) -> None:
    count = int(limit("spike.count")) + spikes
    norms = [1.0] * 100
    for i in range(count):
        norms[20 + 10 * i] = 50.0
    totals = tuple(norms[start : start + EACH] for start in range(0, 100, EACH))
    assert (found(rules.unstable_gradients, run(None, flat(steps=100), totals=totals)) is not None) == fires


def test_spikes_in_a_long_run_need_their_share() -> None:
    every_nth = int(1 / limit("spike.share"))
    rare, often = (run(None, flat(steps=4000), totals=spiky(50.0, nth, 400)) for nth in (every_nth * 2, every_nth // 2))
    assert found(rules.unstable_gradients, rare) is None
    finding = found(rules.unstable_gradients, often)
    assert finding is not None
    assert finding.evidence["largest"] == pytest.approx(50.0)


def test_the_first_ten_steps_and_what_is_no_number_are_no_spikes() -> None:
    start = [1e4] * 5 + [1.0] * 5
    bad = [1.0, math.inf, math.nan, 1.0, math.inf, 1.0, math.nan, 1.0, 1.0, 1.0]
    made = run(None, flat(steps=100), totals=(start, *[bad] * 9))
    assert found(rules.unstable_gradients, made) is None


def test_steps_that_a_scaler_skipped_at_first_hide_no_later_spike() -> None:
    spikes = spiky(50.0, 15)
    made = run(None, flat(steps=200), totals=([math.inf] * 6 + [1.0] * 4, *spikes[1:]))
    assert found(rules.unstable_gradients, run(None, flat(steps=200), totals=spikes)) is not None
    assert found(rules.unstable_gradients, made) is not None


def test_gradients_that_fall_and_flare_up_to_what_they_were_are_no_spikes() -> None:
    small = [1e-3] * (EACH - 1) + [1.0]
    made = run(None, falling(2.0, 1.0, 200), totals=([1.0] * EACH, *[small] * 19))
    assert found(rules.unstable_gradients, made) is None


@pytest.mark.parametrize(("last", "is_found"), [(1.1, False), (1.9, False), (2.1, True), (9.0, True)])
def test_a_loss_that_comes_down_again_to_where_it_began_does_not_diverge(last: float, is_found: bool) -> None:
    """That of an actor and its critic rises as the values do, and falls once they are right."""
    hill = [1.0] * 10 + [0.1] * 10 + [10.0] * 20 + [last] * 20
    assert (found(rules.diverging_loss, run(None, hill)) is not None) == is_found
    assert (judge(run(None, hill)).healthy) == (not is_found)  # nor does what was found on the hill outlast it
    assert found(rules.diverging_loss, run(None, [1.0] * 10 + [0.1] * 30 + [1.1] * 20)) is not None  # its peak is now


@pytest.mark.parametrize(("last", "is_found"), [(-9.0, False), (0.5, False), (1.9, False), (2.1, True)])
def test_a_loss_that_started_below_zero_diverges_above_it(last: float, is_found: bool) -> None:
    """What is maximised runs away first, and breaks later."""
    losses = [-1.0] * 20 + [-9.0] * 20 + [last] * 20
    assert (found(rules.diverging_loss, run(None, losses)) is not None) == is_found


def test_steps_that_hardly_move_are_no_proof_of_what_little_evidence_says() -> None:
    """At a guess's loss one decade of gradient is evidence, unless nothing was done to learn."""
    for ratio, is_found in ((2e-3, True), (1e-5, False)):
        made = run(classifier(stack(1.5)), flat(CHANCE), ratio=ratio)
        assert (found(exploding_gradients, made) is not None) == is_found
        assert (found(rules.update_too_small, made) is not None) == (not is_found)


def test_batches_of_which_many_have_no_loss_at_all_are_not_garbage() -> None:
    """As those of two samples have in a likelihood of who is next: the usual ones are those that have."""
    losses = [0.0 if step % 3 else 1.0 for step in range(100)]
    losses[0] = losses[50] = 2.0
    totals = tuple([1e-3 if loss == 0 else 1.0 for loss in losses[k : k + EACH]] for k in range(0, 100, EACH))
    assert found(rules.bad_batches, run(None, losses, totals=totals)) is None
    losses[50] = 200.0
    assert found(rules.bad_batches, run(None, losses, totals=totals)) is not None


def test_gradients_that_jump_and_stay_are_no_spikes() -> None:
    """They are a training that has left for good: the loss says so."""
    jump = ([1.0] * EACH, [1.0] * 5 + [1e4] * 5, *[[1e4] * EACH] * 18)
    losses = [1.0] * 15 + [1e4] * 185
    assert found(rules.unstable_gradients, run(None, losses, totals=jump)) is None
    assert found(rules.diverging_loss, run(None, losses, totals=jump)) is not None
    again = ([1.0] * EACH, *[[1.0] * 5 + [1e4] + [1.0] * 4] * 19)
    assert found(rules.unstable_gradients, run(None, flat(steps=200), totals=again)) is not None


@pytest.mark.parametrize("sizes", [(1.0, 300.0), (300.0, 1.0)])
def test_the_gradients_of_two_optimizers_are_no_spikes_of_each_other(sizes: tuple[float, float]) -> None:
    """A critic's gradients may be hundreds of times a generator's, and their losses need not fall."""
    made = history(
        *(profile(step=20 * k) for k in range(10)),
        *(
            record(20 * k + index, flat(1.0, EACH), optimizer=index, totals=[size] * EACH)
            for k in range(10)
            for index, size in enumerate(sizes)
        ),
    )
    assert [finding.rule for finding in judge(made).findings] == []


# ---------------------------------------------------------------------------------------------------- loss
def test_a_cross_entropy_below_zero_has_a_flipped_sign_at_once() -> None:
    made = run(classifier(), [2.3] * 5 + [-1.0] * 15)
    finding = found(rules.unbounded_loss, made)
    assert finding is not None
    assert "no cross-entropy is negative" in finding.explanation
    assert finding.evidence == {"first": 2.3, "recent": -1.0}
    log_likelihood = run(profile(), [2.3] * 5 + [-1.0] * 15)
    assert judge(log_likelihood).findings == ()  # of a density it may be negative


def test_four_losses_are_too_few_for_a_sign() -> None:
    assert found(rules.unbounded_loss, history(classifier(), record(0, [2.3, 1.0, -9.0, -99.0]))) is None


def test_a_loss_that_starts_negative_is_no_share_of_anything() -> None:
    evidence = Evidence(run(None, [-1.0] * 60))
    assert evidence.fall is None
    assert evidence.learns is None


def test_a_loss_that_comes_back_from_its_best_but_not_to_the_start_has_not_diverged() -> None:
    """Overfitting noise, a warm restart: best 0.1, now 0.5, first 2."""
    assert found(rules.diverging_loss, run(None, [2.0] * 20 + [0.1] * 20 + [0.5] * 20)) is None
    assert found(rules.diverging_loss, run(None, [2.0] * 20 + [0.1] * 20 + [1.9] * 20)) is not None


def test_a_loss_that_is_noisy_has_not_diverged() -> None:
    noisy = [2.0 if step % 2 else 0.2 for step in range(50)]
    evidence = Evidence(run(None, noisy))
    assert (evidence.first_loss, evidence.best_loss, evidence.recent_loss) == (0.2, 0.2, 2.0)
    assert rules.diverging_loss(evidence) is None


def test_a_loss_that_is_no_number_has_diverged() -> None:
    finding = found(rules.diverging_loss, run(None, [2.0] * 10 + [math.nan] * 10))
    assert finding is not None
    assert finding.evidence["recent"] == math.inf
    assert "grown from 2 to inf" in finding.explanation


def test_so_many_steps_at_chance_and_not_before() -> None:
    steps = int(limit("loss.chance_steps"))

    def after(count: int) -> Finding | None:
        made = history(classifier(), *(record(step, [CHANCE]) for step in range(count)))
        return found(rules.loss_at_chance, made)

    finding = after(steps)
    assert finding is not None
    assert finding.evidence == {"loss": CHANCE, "chance": pytest.approx(CHANCE)}
    assert after(steps - 1) is None


def test_the_best_of_many_noisy_losses_may_lie_below_that_of_a_guess() -> None:
    enough = int(limit("loss.chance_long"))

    def noisy(steps: int, share: float = 1.0) -> list[float]:
        made = [CHANCE * share * (1 + (0.0, 0.1, -0.1, 0.05, -0.05)[step % 5]) for step in range(steps)]
        return [0.96 * loss if 20 <= step < 25 else loss for step, loss in enumerate(made)]

    assert found(rules.loss_at_chance, run(classifier(), noisy(enough))) is not None
    assert found(rules.loss_at_chance, run(classifier(), noisy(enough - EACH))) is None  # slow ones begin so
    assert found(rules.loss_at_chance, run(classifier(), noisy(enough, 0.96))) is None  # in the end, too


def test_a_loss_that_comes_down_to_that_of_a_guess_may_go_on() -> None:
    down = [CHANCE * max(1.0, 2 - 0.02 * step) for step in range(80)]
    assert found(rules.loss_at_chance, run(classifier(), down[:60])) is None
    assert found(rules.loss_at_chance, run(classifier(), down)) is not None


def test_a_loss_that_is_worse_than_a_guess_or_was_better_is_not_at_chance() -> None:
    assert found(rules.loss_at_chance, run(classifier(), flat(3 * CHANCE))) is None
    assert found(rules.loss_at_chance, run(classifier(), [CHANCE] * 20 + [1.0] * 20 + [CHANCE] * 20)) is None
    assert found(rules.loss_at_chance, run(classifier(), flat(CHANCE), lr=tuple(1e-3 * k for k in range(6)))) is None


def test_rules_have_nothing_to_say_of_nothing() -> None:
    for rule in {edge[1] for edge in EDGES} | {rules.small_batch_norm}:
        assert found(rule, history()) is None


def test_the_slope_of_norms_stands_in_where_no_two_layers_are_alike() -> None:
    shown = profile(stack(-3))
    assert flow(shown) == shown.backward
    tapering = profile([replace(row, shape=(row.depth,)) for row in shown.layers])
    assert flow(tapering) == tapering.backward_norms
