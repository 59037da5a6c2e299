"""What is advised first where, that it changes something, and that a command line takes it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hand_written import (
    ABOVE,
    BELOW,
    BROKEN,
    CHANCE,
    NAN,
    and_also,
    classifier,
    clipped,
    dead,
    every,
    falling,
    flat,
    layer,
    over_time,
    profile,
    run,
    skipping,
    spiky,
    stack,
    with_shares,
)

from isometry.clashes import CLASHES
from isometry.diagnostics.actions import ACTIONS
from isometry.diagnostics.evidence import Evidence
from isometry.diagnostics.findings import CRITICAL, Finding, Remedy
from isometry.diagnostics.history import History, UnitsRecord
from isometry.diagnostics.remedies import _BY_RULE, remedies
from isometry.diagnostics.rules import judge
from isometry.diagnostics.thresholds import limit
from isometry.errors import ConfigError
from isometry.overrides import change, read


@cache
def settings(*words: str) -> dict[str, Any]:
    """The checked configuration as a run stores it."""
    return read(words).model_dump()


def advice(made: History, *words: str) -> list[Remedy]:
    """For the first finding, under a command line."""
    return list(judge(made, settings(*words)).findings[0].remedies)


def actions(found: list[Remedy]) -> list[str]:
    return [remedy.action for remedy in found]


def fitted(decades: float, expected: float, activation: str = "relu") -> History:
    """A net whose theory expects some factor per layer, and whose activations keep their size."""
    return run(profile(every(stack(decades), expected_backward=expected, activation=activation)), flat())


def recurrent(decades: float = -6.0, kind: str = "RNN") -> History:
    return run(profile([layer(1, kind=kind), layer(2), layer(3)], times=(over_time(decades),)), flat())


# ------------------------------------------------------------------------------- the first one, settings known
HE = ("init=he_normal", "init.std=null")  # what the scheme before had of its own is taken back
FIRST: list[tuple[str, History, list[str], str, tuple[str, ...]]] = [
    # what, a run, its command line, the first advice
    ("Xavier under ReLU", fitted(-6, 0.71), ["init=xavier_normal", "norm=none"], "init", ("init=he_normal",)),
    ("torch's default", fitted(-6, 0.41), ["init=pytorch_default", "norm=none"], "init", ("init=he_normal",)),
    (
        "tanh under Xavier",
        fitted(-6, 0.9, "tanh"),
        ["init=xavier_normal", "norm=none", "activation=tanh"],
        "init",
        ("init=orthogonal",),
    ),
    (
        "He at another gain",
        fitted(-6, 0.5),
        ["init=he_normal", "init.gain=0.5", "norm=none"],
        "init",
        ("init=he_normal", "init.gain=null"),
    ),
    ("He is right already", fitted(-6, 1.0), ["init=he_normal", "norm=none"], "norm", ("norm=batch",)),
    (
        "sigmoid under any init",
        fitted(-6, 0.24, "sigmoid"),
        ["init=xavier_normal", "norm=none", "activation=sigmoid"],
        "activation",
        ("activation=relu", "init=he_normal"),
    ),
    (
        "a norm is there already",
        fitted(-6, 1.0),
        ["init=he_normal", "norm=batch"],
        "skip",
        ("model=resnet", "model.depth=20", "model.shortcut=identity"),
    ),
    (
        "a ResNet without skips",
        fitted(-6, 1.0),
        ["model=resnet", "model.shortcut=none"],
        "skip",
        ("model.shortcut=identity",),
    ),
    ("a ResNet with skips", fitted(-6, 1.0), ["model=resnet"], "skip", ("model.residual=rezero",)),
    ("explodes under large weights", fitted(6, 3.0), ["init=large_normal", "norm=none"], "init", HE),
    ("explodes under He", fitted(6, 1.0), ["init=he_normal", "norm=none"], "norm", ("norm=batch",)),
    (
        "explodes with BatchNorm",
        fitted(6, 1.2),
        ["model.depth=50"],
        "skip",
        ("model=resnet", "model.depth=50", "model.shortcut=identity"),
    ),
    ("an RNN", recurrent(), ["model=lstm", "model.cell=rnn"], "cell", ("model.cell=lstm",)),
    (
        "an LSTM that forgets",
        recurrent(kind="LSTM"),
        ["model=lstm", "model.forget_bias=-5.0"],
        "forget_bias",
        ("model.forget_bias=1.0",),
    ),
    ("an exploding RNN", recurrent(6.0), ["model=lstm", "model.cell=rnn", "init=large_normal"], "init", HE),
    (
        "units born dead",
        and_also(run(None, flat()), dead(1.0)),
        ["init=large_normal"],
        "init",
        HE,
    ),
    (
        "units that died",
        and_also(run(None, flat()), UnitsRecord(20, 40, 1024, {"net.3": 0.9})),
        ["optimizer.lr=1.0"],
        "lower_lr",
        ("optimizer.lr=0.1",),
    ),
    (
        "saturated",
        BROKEN["saturated_units"](),
        ["init=large_normal", "activation=tanh"],
        "init",
        ("init=orthogonal", "init.std=null"),
    ),
    ("too large at first", BROKEN["bad_init_scale"](), ["init=large_normal"], "init", HE),
    ("constant", BROKEN["symmetric_init"](), ["init=constant"], "init", ("init=he_normal", "init.value=null")),
    ("large steps", BROKEN["update_too_large"](), ["optimizer.lr=5.0"], "lower_lr", ("optimizer.lr=0.05",)),
    ("small steps", BROKEN["update_too_small"](), ["optimizer.lr=2e-7"], "raise_lr", ("optimizer.lr=0.0002",)),
    ("a growing loss", BROKEN["diverging_loss"](), ["optimizer.lr=0.4"], "lower_lr", ("optimizer.lr=0.04",)),
    ("a flipped sign", run(classifier(), [2.3] * 5 + [-9.0] * 15), [], "loss_sign", ()),
    ("spikes", BROKEN["unstable_gradients"](), [], "clip", ("trainer.gradient_clip_val=1.0",)),
    (
        "clipped too tightly",
        BROKEN["chronic_clipping"](),
        ["trainer.gradient_clip_val=0.001"],
        "loosen_clip",
        ("trainer.gradient_clip_val=0.1",),  # a hundredth of each gradient was left
    ),
    ("AGC", BROKEN["chronic_clipping"](), ["clip=agc"], "loosen_clip", ("clip=none",)),
    ("NaN in a module", BROKEN["non_finite"](), [], "stable_ops", ()),
    ("NaN in the data", and_also(run(None, flat()), replace(NAN, inputs=True)), [], "check_data", ()),
    (
        "an fp16 that overflows",
        skipping([3] * 6, 3, losses=flat()),
        [],
        "precision",
        ("trainer.precision=bf16-mixed",),
    ),
    ("fp16 that underflows", BROKEN["fp16_underflow"](), [], "precision", ("trainer.precision=bf16-mixed",)),
    ("a cut graph", BROKEN["no_gradient"](), [], "connect", ()),
    ("a guess", BROKEN["loss_at_chance"](), [], "labels", ()),
    ("a squashed head", BROKEN["bad_output_head"](), [], "logits", ()),
    ("raw pixels", BROKEN["bad_input_scale"](), [], "scale_inputs", ()),
    ("a tiny batch", BROKEN["small_batch_norm"](), ["data.batch_size=2"], "norm", ("norm=group",)),
]


@pytest.mark.parametrize(
    ("made", "words", "action", "overrides"), [row[1:] for row in FIRST], ids=[r[0] for r in FIRST]
)
def test_the_likeliest_remedy_comes_first(
    made: History, words: list[str], action: str, overrides: tuple[str, ...]
) -> None:
    first = advice(made, *words)[0]
    assert (first.action, first.overrides) == (action, overrides)


def test_every_rule_has_a_first_remedy_here() -> None:
    assert {judge(made).findings[0].rule for _, made, *_ in FIRST} == set(_BY_RULE)


def test_what_follows_in_order() -> None:
    words = ["norm=none", "init=xavier_normal"]
    assert actions(advice(fitted(-6, 0.71), *words))[:3] == ["init", "norm", "skip"]
    assert actions(advice(fitted(6, 3.0), "init=large_normal", "norm=none")) == ["init", "norm", "skip", "clip"]
    rnn = advice(recurrent(), "model=lstm", "model.cell=rnn", "norm=none")
    assert [remedy.overrides for remedy in rnn if remedy.action == "norm"] == [("norm=layer",)]
    assert actions(advice(BROKEN["small_batch_norm"](), "data.batch_size=2")) == ["norm", "batch_size"]
    assert actions(advice(recurrent(6.0), "model=lstm", "model.cell=rnn")) == ["cell", "clip", "lower_lr"]


# ----------------------------------------------------------------------------------- what changes nothing
def test_a_remedy_that_is_there_already_is_left_out() -> None:
    assert "init" not in actions(advice(BROKEN["symmetric_init"](), "init=he_normal"))
    assert "clip" not in actions(advice(BROKEN["unstable_gradients"](), "trainer.gradient_clip_val=1.0"))
    assert "clip" in actions(advice(BROKEN["unstable_gradients"](), "trainer.gradient_clip_val=2.0"))
    assert "norm" not in actions(advice(fitted(-6, 1.0), "norm=layer"))  # a second norm changes nothing
    assert "precision" not in actions(advice(BROKEN["fp16_underflow"](), "trainer.precision=bf16-mixed"))
    assert "batch_size" not in actions(advice(BROKEN["small_batch_norm"](), "data.batch_size=64"))
    assert "cell" not in actions(advice(recurrent(kind="LSTM"), "model=lstm", "model.cell=lstm"))
    assert "forget_bias" not in actions(advice(recurrent(kind="GRU"), "model=lstm", "model.cell=gru"))


def test_no_two_remedies_are_the_same_change() -> None:
    """Each is trained: a ReLU net under Xavier has no use for another activation that is its own, with He's scheme."""
    raw = settings("norm=none", "init=xavier_normal")
    changed = [change(raw, remedy.overrides) for remedy in advice(fitted(-6, 0.71), "norm=none", "init=xavier_normal")]
    assert all(one != other for i, one in enumerate(changed) for other in changed[:i])


def test_of_several_overrides_one_that_is_new_is_enough() -> None:
    made = fitted(-6, 0.24, "sigmoid")
    (first, *_) = advice(made, "init=he_normal", "norm=none", "activation=sigmoid")
    assert first.overrides == ("activation=relu", "init=he_normal")


def test_words_alone_are_never_left_out() -> None:
    assert actions(advice(BROKEN["bad_input_scale"]()))[0] == "scale_inputs"
    assert actions(advice(BROKEN["non_finite"]()))[::3] == ["stable_ops", "check_data"]


# --------------------------------------------------------------------------------------------- learning rates
@pytest.mark.parametrize("ratio", [0.2, 50.0, 1e9])
def test_the_rate_is_lowered_at_most_a_hundredfold_where_a_step_runs_away(ratio: float) -> None:
    """3e-3 of the weights' size is aimed at."""
    assert advice(run(None, flat(), ratio=ratio), "optimizer.lr=1.0")[0].overrides == ("optimizer.lr=0.01",)


@pytest.mark.parametrize(("ratio", "rate"), [(9e-5, "0.0001"), (1e-6, "0.001"), (1e-12, "1")])
def test_the_rate_is_raised_by_how_far_a_step_goes_and_at_most_a_millionfold(ratio: float, rate: str) -> None:
    made = run(None, flat(), ratio=ratio)
    assert advice(made, "optimizer.lr=1e-6")[0].overrides == (f"optimizer.lr={rate}",)


def test_looser_clipping_is_never_tighter() -> None:
    for value in (0.01, 1.0, 5.0, 100.0):
        for remedy in advice(run(None, flat(), **clipped(1.0, 0.01)), f"trainer.gradient_clip_val={value}"):
            if remedy.action == "loosen_clip":
                (override,) = remedy.overrides
                assert override == "trainer.gradient_clip_val=null" or float(override.partition("=")[2]) > value


# ----------------------------------------------------------------------------------------- without settings
@pytest.mark.parametrize("name", BROKEN)
def test_without_settings_there_are_only_words(name: str) -> None:
    (finding,) = judge(BROKEN[name]()).findings
    assert finding.remedies
    for remedy in finding.remedies:
        assert remedy.overrides == ()
        assert remedy.words[0].isupper()
        assert remedy.action in ACTIONS


def test_without_settings_the_profile_tells_what_is_there() -> None:
    def first(made: History) -> str:
        return judge(made).findings[0].remedies[0].action

    assert first(fitted(-6, 0.71)) == "init"
    assert first(fitted(-6, 1.0)) == "norm"
    assert first(fitted(-6, 0.24, "sigmoid")) == "activation"
    assert first(run(profile(stack(-6, forward=-3)), flat())) == "init"  # activations shrink, too
    unlike = [replace(row, shape=(row.depth,), activation_rms=0.7**row.depth) for row in stack(-6)]
    assert first(run(profile(unlike), flat())) == "init"
    attention = [replace(row, kind="MultiheadAttention") if row.depth % 2 else row for row in stack(6)]
    assert first(run(profile(attention), flat())) == "norm"
    residual, wild = (10 * math.log10(factor * limit("init.wild")) for factor in (BELOW, ABOVE))
    assert first(run(profile(stack(6, forward=residual)), flat())) == "norm"  # sums may have grown so, in ten layers
    assert first(run(profile(stack(6, forward=wild)), flat())) == "init"
    for factor, action in ((BELOW, "norm"), (ABOVE, "init")):  # theory knows of half of them
        told = [replace(row, expected_backward=factor * limit("init.off")) for row in stack(6, forward=1)]
        assert first(run(profile([*told[:6], *stack(6, forward=1)[6:]]), flat())) == action
    garbage = run(None, flat(steps=200), totals=spiky(50.0, 15))
    assert first(garbage) == "clip"
    half = and_also(BROKEN["non_finite"](), profile(every(stack(), underflow=0.0)))
    assert (first(BROKEN["non_finite"]()), first(half)) == ("stable_ops", "precision")
    normed = profile(stack(-6), batch_norm_samples=64)
    assert first(run(normed, flat())) == "skip"
    assert first(recurrent(kind="LSTM")) == first(recurrent(kind="GRUCell")) == "forget_bias"
    assert first(recurrent(kind="RNN")) == "init"
    assert first(recurrent(kind="Linear")) == "forget_bias"  # a recurrence of their own
    assert first(run(profile(stack(6)), flat())) == "init"  # a sine's activations never grow
    assert first(run(profile(every(stack(6), activation="relu")), flat())) == "norm"


@pytest.mark.parametrize(("first_sigmoid", "action"), [(3, "activation"), (5, "activation"), (6, "norm")])
def test_the_activation_of_most_hidden_layers_counts(first_sigmoid: int, action: str) -> None:
    """Of ten: gates have a sigmoid, too, and that is as it should be."""
    mixed = [replace(row, activation="relu" if row.depth < first_sigmoid else "sigmoid") for row in stack(-6)]
    assert judge(run(profile(mixed), flat())).findings[0].remedies[0].action == action


def test_a_guess_is_made_for_what_the_net_itself_is_like() -> None:
    def first(made: History) -> str:
        (finding,) = judge(made).findings
        assert finding.rule == "loss_at_chance"
        return finding.remedies[0].action

    assert first(run(classifier(), flat(CHANCE))) == "labels"
    assert first(run(classifier(every(stack(), activation="sigmoid")), flat(CHANCE))) == "activation"
    wild, tame = (limit("head.large_loss") * CHANCE * factor for factor in (1.01, 0.99))
    assert first(run(classifier(), [wild] * 5 + flat(CHANCE)[5:])) == "init"
    assert first(run(classifier(), [tame] * 5 + flat(CHANCE)[5:])) == "labels"


def test_outputs_that_grew_through_the_trunk_want_a_norm_and_those_of_the_head_another_init() -> None:
    """The first loss is 30 times a guess's: from the head alone, from wild weights, or from sums."""

    def first(trunk: float, head_size: float) -> str:
        shown = classifier(stack(forward=trunk), loss=30 * CHANCE, activation_rms=head_size)
        finding = next(each for each in judge(run(shown, flat(30 * CHANCE))).findings if each.rule == "bad_init_scale")
        return finding.remedies[0].action

    assert first(trunk=1.0, head_size=12.0) == "norm"
    assert first(trunk=0.0, head_size=1.0) == "init"
    assert first(trunk=1.0, head_size=10 * ABOVE * limit("init.wild")) == "init"
    assert first(trunk=1.0, head_size=10 * BELOW * limit("init.wild")) == "norm"


def test_units_saturate_by_their_start_or_by_the_steps() -> None:
    saturated = with_shares("saturated", 0.9)
    for ratio, action in ((2e-3, "init"), (ABOVE * limit("update.large"), "lower_lr")):
        made = run([saturated] * 6, None, ratio=(ratio,) * 3 + (2e-3,) * 3)
        (finding,) = (each for each in judge(made).findings if each.rule == "saturated_units")
        assert finding.remedies[0].action == action


# ------------------------------------------------------------------------------------------ all of them work
COMMAND_LINES = [
    ["model=deep_cnn"],
    ["model=mlp"],
    ["model=resnet"],
    ["model=resnet", "model.shortcut=none"],
    ["model=resnet", "norm=none", "model.residual=fixup"],
    ["model=lstm"],
    ["model=lstm", "model.cell=rnn"],
    ["norm=none", "activation=sigmoid", "init=xavier_normal"],
    ["init=orthogonal", "init.gain=2"],
    ["init=small_normal", "init.std=0.001", "norm=none"],
    ["norm=group", "norm.groups=4"],
    ["activation=leaky_relu", "activation.slope=0.5"],
    ["clip=agc"],
    ["trainer.gradient_clip_val=0.01"],
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_a_command_line_takes_every_override_that_is_advised(words: list[str]) -> None:
    """Or refuses it for a reason that is written down."""
    raw, reasons = settings(*words), [clash.reason for clash in CLASHES]
    advised = set()
    for rule, make in BROKEN.items():
        if "time" in rule and "lstm" not in words[0]:
            continue  # there is no time in it
        advised |= {remedy.overrides for finding in judge(make(), raw).findings for remedy in finding.remedies}
    for overrides in advised - {()}:
        try:
            changed = change(raw, overrides).model_dump()
        except ConfigError as error:
            assert any(reason in str(error) for reason in reasons)  # noqa: PT017
        else:
            assert changed != raw


def test_every_action_is_advised_by_some_rule() -> None:
    evidence = Evidence(run(None, falling()))
    numbers = [{"recent": 1.0}, {"recent": -1.0}, {"recent": 1.0, "inputs": 1.0}, {"recent": 1.0, "skipped": 9.0}]
    numbers.append({"recent": 1.0, "guess": 0.1})
    lines = [None, *(settings(*words) for words in COMMAND_LINES)]
    found = {
        remedy.action
        for rule in _BY_RULE
        for known in numbers
        for line in lines
        for remedy in remedies(Finding(rule, CRITICAL, "", evidence=known), evidence, line)
    }
    assert found == set(ACTIONS)
