"""The verdict over all rules: causes before what follows from them, since when, from what, and with which numbers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hand_written import (
    BROKEN,
    CHANCE,
    EACH,
    HEALTHY,
    NAN,
    and_also,
    classifier,
    dead,
    every,
    falling,
    flat,
    history,
    over_time,
    profile,
    record,
    run,
    stack,
)

import isometry
from isometry.diagnostics import rules, rules_gradient, rules_head, rules_lost, rules_training, thresholds
from isometry.diagnostics.findings import CRITICAL, WARNING, Diagnosis, Finding, Remedy, changes
from isometry.diagnostics.history import History, encode
from isometry.diagnostics.remedies import _BY_RULE
from isometry.diagnostics.rules import EFFECTS, RULES, SYMPTOMS, diagnose, follow, judge
from isometry.diagnostics.thresholds import THRESHOLDS, Threshold, digest, limit

SHARED = {"unbounded_loss": "diverging_loss", "bad_batches": "unstable_gradients"}  # two rules, one name
NAMES = [SHARED.get(rule.__name__, rule.__name__) for rule in RULES]


def names(diagnosis: Diagnosis) -> list[str]:
    return [finding.rule for finding in diagnosis.findings]


def finding(rule: str, severity: str = CRITICAL) -> Finding:
    return Finding(rule, severity, "")


# ------------------------------------------------------------------------------------------------- order
def test_every_rule_is_asked_and_has_remedies() -> None:
    rooms = [vars(room) for room in (rules_gradient, rules_head, rules_lost, rules_training)]
    public = {
        name for room in rooms for name, value in room.items() if getattr(value, "__annotations__", {}).get("return")
        == "Finding | None" and not name.startswith("_")
    }  # fmt: skip
    assert {rule.__name__ for rule in RULES} == public
    assert set(_BY_RULE) == set(NAMES) == set(BROKEN)


def test_each_effect_comes_after_its_cause_and_every_name_is_a_rule() -> None:
    assert set(NAMES) >= SYMPTOMS | set(EFFECTS) | set.union(*EFFECTS.values())
    for cause, effects in EFFECTS.items():
        assert all(NAMES.index(cause) < NAMES.index(effect) for effect in effects)
    assert NAMES[-1] == "loss_at_chance"  # it says the least


@pytest.mark.parametrize(
    ("cause", "effect"), [(cause, effect) for cause, effects in EFFECTS.items() for effect in sorted(effects)]
)
def test_an_effect_is_left_out_beside_its_cause(cause: str, effect: str) -> None:
    pair = [finding(cause), finding(effect)]
    assert [each.rule for each in rules._causes(pair)] == [cause]
    assert [each.rule for each in rules._causes(pair[1:])] == [effect]
    other = finding("small_batch_norm" if cause != "small_batch_norm" else "fp16_underflow")
    if effect not in EFFECTS.get(other.rule, ()):
        assert [each.rule for each in rules._causes([other, finding(effect)])] == [other.rule, effect]


@pytest.mark.parametrize("symptom", sorted(SYMPTOMS))
def test_a_symptom_is_left_out_after_any_cause(symptom: str) -> None:
    assert [each.rule for each in rules._causes([finding("fp16_underflow"), finding(symptom)])] == ["fp16_underflow"]
    assert [each.rule for each in rules._causes([finding(symptom)])] == [symptom]


def test_warnings_come_last() -> None:
    found = [finding("no_gradient", WARNING), finding("fp16_underflow"), finding("update_too_large")]
    assert [each.rule for each in rules._causes(found)] == ["fp16_underflow", "update_too_large", "no_gradient"]


def test_a_warning_hides_nothing_that_is_critical() -> None:
    """A corner of the net that is cut off is no reason for a NaN, nor a batch of two."""
    corner = [replace(row, detached=True, gradient_rms=None) if row.depth == 6 else row for row in stack()]
    for shown in (profile(corner), profile(batch_norm_samples=2)):
        made = and_also(run(shown, falling(2.0, 0.1)), NAN)
        assert judge(made).verdict == "critical: non_finite"
        assert not judge(made).healthy


def test_inputs_that_saturate_the_net_and_make_its_gradients_vanish_are_named_alone() -> None:
    rows = every(stack(-6), saturated=0.9, activation="tanh")
    made = run(profile(rows, input_mean=0.0, input_std=500.0), flat(), ratio=0.5)
    assert names(judge(made)) == ["bad_input_scale"]
    without = run(profile(rows, input_mean=0.0, input_std=1.0), flat(), ratio=0.5)
    assert names(judge(without)) == ["vanishing_gradients", "update_too_large"]


def test_a_vanishing_gradient_is_named_and_a_loss_at_chance_only_without_it() -> None:
    assert names(judge(run(classifier(stack(-6)), flat(CHANCE)))) == ["vanishing_gradients"]
    assert names(judge(run(classifier(), flat(CHANCE)))) == ["loss_at_chance"]


def test_large_steps_are_named_and_not_the_units_that_they_killed_nor_the_nan() -> None:
    made = and_also(run(None, falling(2.0, 1e6), ratio=0.9), dead(0.9), NAN)
    assert names(judge(made)) == ["update_too_large"]


def test_an_explosion_through_time_is_named_and_not_its_steps() -> None:
    made = run(profile(stack(count=3), times=(over_time(5.0),)), flat(), ratio=0.9)
    assert names(judge(made)) == ["exploding_through_time"]


def test_two_causes_are_both_named_in_the_order_of_the_rules() -> None:
    made = run(profile(every(stack(-6), weight_spread=0.0), batch_norm_samples=2), flat())
    assert names(judge(made)) == ["small_batch_norm", "symmetric_init"]  # vanishing follows from either
    made = run(profile(every(stack(-6), underflow=0.9)), flat(), **{"clip_fraction": 1.0, "total_clipped": 0.01})
    assert names(judge(made)) == ["fp16_underflow", "vanishing_gradients", "chronic_clipping"]


# ------------------------------------------------------------------------------------------------- verdict
def test_the_verdict_and_status_by_hand() -> None:
    nothing, warned = Diagnosis(), Diagnosis((finding("small_batch_norm", WARNING),))
    broken = Diagnosis((finding("non_finite"), finding("small_batch_norm", WARNING)))
    assert [each.verdict for each in (nothing, warned, broken)] == [
        "healthy", "warning: small_batch_norm", "critical: non_finite",
    ]  # fmt: skip
    assert [each.status for each in (nothing, warned, broken)] == [0, 1, 2]
    assert [each.healthy for each in (nothing, warned, broken)] == [True, True, False]


def test_a_diagnosis_is_json() -> None:
    diagnosis = diagnose(BROKEN["vanishing_gradients"](), {})
    plain = json.loads(json.dumps(diagnosis.as_dict()))
    assert plain["verdict"] == "critical: vanishing_gradients"
    assert plain["findings"][0]["remedies"][0]["action"] == diagnosis.findings[0].remedies[0].action
    assert plain["findings"][0]["since"] == diagnosis.findings[0].since


@pytest.mark.parametrize("name", BROKEN)
def test_before_a_loss_can_have_fallen_all_is_a_warning(name: str) -> None:
    made, steps = BROKEN[name](), int(limit("loss.steps"))

    def after(count: int) -> Diagnosis:
        """The run with its records crowded into so many steps."""
        last = len(made.records) - 1
        records = [replace(each, step=(count - 1) * k // last) for k, each in enumerate(made.records)]
        return judge(history(*records, *made.profiles[:0], *made.units, *made.nonfinite, *(
            replace(each, step=(count - 1) * k // last) for k, each in enumerate(made.profiles)
        )))  # fmt: skip

    assert {each.severity for each in after(steps - 1).findings} <= {WARNING}
    assert [(each.rule, each.severity) for each in after(steps).findings] == [(name, CRITICAL)]


def test_a_loss_that_is_no_number_and_a_probe_are_critical_at_once() -> None:
    lost = history(profile(), record(3, [2.0] + [math.nan] * 3), NAN)
    assert judge(lost).verdict == "critical: non_finite"
    assert judge(history(profile(stack(-6)))).verdict == "critical: vanishing_gradients"


def test_a_warning_that_becomes_critical_is_as_old_as_the_warning() -> None:
    young, old = (history(profile(stack(-6)), *(record(k, [1.0]) for k in range(count))) for count in (3, 20))
    shown = [profile(stack(-6), step=k) for k in (1, 2)]
    before = judge(and_also(young, *shown))
    assert [(each.severity, each.since) for each in before.findings] == [(WARNING, 2)]
    after = judge(and_also(old, *shown), before=before)
    assert [(each.severity, each.since) for each in after.findings] == [(CRITICAL, 2)]


# --------------------------------------------------------------------------------------------------- since
def test_a_finding_says_since_when_it_is_there() -> None:
    made = run(None, flat(steps=100), ratio=(2e-3,) * 4 + (0.5,) * 6)
    seen = dict(follow(made))
    assert list(seen) == [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]
    assert [step for step, diagnosis in seen.items() if diagnosis.findings] == [69, 79, 89, 99]  # three of five
    assert [diagnosis.findings[0].since for diagnosis in seen.values() if diagnosis.findings] == [69] * 4
    assert diagnose(made).findings[0].since == 69
    assert judge(made).findings[0].since == 99  # nobody knows what was before
    assert judge(made, before=seen[89]).findings[0].since == 69


def test_a_finding_that_comes_again_is_as_old_as_its_second_time() -> None:
    ratios = (0.5,) * 4 + (2e-3,) * 30 + (0.5,) * 5
    seen = dict(follow(run(None, flat(steps=390), ratio=ratios)))
    since = {step: [each.since for each in diagnosis.findings] for step, diagnosis in seen.items()}
    assert since[39] == [29]
    assert since[339] == []
    assert since[389] == [369]


def test_a_finding_outlasts_its_signs_while_the_loss_stays_where_it_was() -> None:
    """Steps are too large up to step 39, and no longer; the loss has not come down, and then it has."""
    ratios = (0.5,) * 4 + (2e-3,) * 20
    seen = dict(follow(run(None, flat(steps=240), ratio=ratios)))
    over = limit("finding.outlasts") * 40 - 1
    assert [step for step, now in seen.items() if not now.healthy] == [step for step in seen if 29 <= step <= over]
    assert {now.findings[0].seen for step, now in seen.items() if 39 <= step <= over} == {39}
    for gone, healthy in ((0.95 * limit("loss.recovered"), False), (1.05 * limit("loss.recovered"), True)):
        losses = flat(steps=60) + [1 - gone] * 40
        assert diagnose(run(None, losses, ratio=ratios[:10])).healthy == healthy


def test_a_warning_does_not_outlast_its_signs() -> None:
    fine = run(None, flat(steps=40))
    old = Diagnosis((Finding("update_too_large", WARNING, "", since=19, seen=29),))
    assert judge(fine, before=old).findings == ()
    critical = Diagnosis((replace(old.findings[0], severity=CRITICAL),))
    assert judge(fine, before=critical) == critical


def test_following_sees_no_record_before_it_was_made() -> None:
    made = and_also(run(None, flat(), ratio=2e-3), dead(0.9, until=45), replace(NAN, step=29))
    seen = {step: names(diagnosis) for step, diagnosis in follow(made)}
    assert seen == {9: [], 19: [], 29: ["non_finite"], 39: ["non_finite"], 49: ["dead_units"], 59: ["dead_units"]}


def test_following_sees_profiles_without_records_and_the_other_way_round() -> None:
    made = history(profile(step=0), record(3, [1.0]), profile(step=5))
    assert [step for step, _ in follow(made)] == [0, 3, 5]
    assert list(follow(history())) == []
    assert diagnose(history()) == Diagnosis()


def test_the_order_in_which_records_were_added_does_not_matter() -> None:
    made = BROKEN["diverging_loss"]()
    turned = history(*reversed(made.profiles), *reversed(made.records))
    assert judge(turned) == judge(made)


@pytest.mark.parametrize("name", [*BROKEN, *HEALTHY])
def test_following_a_run_ends_where_judging_it_does(name: str) -> None:
    made = {**BROKEN, **HEALTHY}[name]()
    assert names(diagnose(made)) == names(judge(made))


def test_changes_are_told_once_each() -> None:
    remedy = Remedy("clip", "Clip the gradient's norm", ("trainer.gradient_clip_val=1.0",))
    warned, worse = (replace(finding("small_batch_norm", each), explanation="Tiny.") for each in (WARNING, CRITICAL))
    cured = Finding("non_finite", CRITICAL, "NaN.", remedies=(remedy,))
    told = [
        list(changes(Diagnosis(before), Diagnosis(after), 7))
        for before, after in [((), (warned,)), ((warned,), (warned,)), ((warned,), (worse,)), ((worse,), (warned,)),
                              ((worse,), ()), ((), (cured,))]
    ]  # fmt: skip
    assert told == [
        ["step 7: warning: small_batch_norm. Tiny."],
        [],
        ["step 7: critical: small_batch_norm. Tiny."],
        [],
        ["step 7: small_batch_norm is over."],
        ["step 7: critical: non_finite. NaN. Try: trainer.gradient_clip_val=1.0"],
    ]


# -------------------------------------------------------------------------------------------- from what
def save(folder: Path, made: History) -> None:
    records = [*made.records, *made.profiles, *made.units, *made.nonfinite]
    (folder / "gradients.jsonl").write_text("".join(encode(each) + "\n" for each in records))


@pytest.mark.parametrize("name", [*BROKEN, *HEALTHY])
def test_a_saved_run_has_the_verdict_of_the_history(name: str, tmp_path: Path) -> None:
    made = {**BROKEN, **HEALTHY}[name]()
    save(tmp_path, made)
    assert names(diagnose(tmp_path)) == names(diagnose(str(tmp_path))) == names(diagnose(made))


def test_a_folder_brings_its_settings(tmp_path: Path) -> None:
    save(tmp_path, BROKEN["update_too_large"]())
    words = diagnose(tmp_path).findings[0].remedies
    assert {remedy.overrides for remedy in words} == {()}
    (tmp_path / "config.yaml").write_text("optimizer:\n  lr: 0.5\nnorm:\n  name: none\n")
    first = diagnose(tmp_path).findings[0].remedies[0]
    assert first.overrides == ("optimizer.lr=0.005",)
    given = diagnose(tmp_path, {"optimizer": {"lr": 3.0}}).findings[0].remedies[0]
    assert given.overrides == ("optimizer.lr=0.03",)


def test_a_folder_without_a_history_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gradients\.jsonl"):
        diagnose(tmp_path)


def test_a_probe_s_profile_is_judged_alone() -> None:
    assert diagnose(profile(stack(-6))).verdict == "critical: vanishing_gradients"
    assert diagnose(profile()).verdict == "healthy"
    assert diagnose(replace(profile(), layers=())).verdict == "healthy"
    assert isometry.diagnose is diagnose


# ------------------------------------------------------------------------------------------------ thresholds
def test_each_threshold_has_a_source_and_a_value() -> None:
    for name, threshold in THRESHOLDS.items():
        assert re.fullmatch(r"[a-z0-9_]+\.[a-z_]+", name)
        assert len(threshold.source) > 10
        assert math.isfinite(threshold.value)
        assert limit(name) == threshold.value


def test_rules_ask_for_every_threshold_in_the_table_and_for_no_other() -> None:
    room = Path(thresholds.__file__).parent
    sources = "".join(path.read_text() for path in room.glob("*.py") if path.name != "thresholds.py")
    asked = re.findall(r"\blimit\((.*?)\)", sources)
    assert {text.strip("\"'") for text in asked} == set(THRESHOLDS)
    assert all(text[0] == '"' for text in asked)  # none is put together of parts, which this test would not see


def test_the_digest_changes_with_a_value_and_not_with_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    value = limit("update.large")
    monkeypatch.setitem(THRESHOLDS, "update.large", Threshold(value, "somewhere else"))
    assert digest() == before
    monkeypatch.setitem(THRESHOLDS, "update.large", Threshold(value * 1.01, "somewhere else"))
    assert digest() != before
    monkeypatch.setitem(THRESHOLDS, "update.large", Threshold(value, ""))
    monkeypatch.setitem(THRESHOLDS, "another", Threshold(1.0, ""))
    assert digest() != before


# ------------------------------------------------------------------------------------------------ light, long
def test_a_verdict_loads_neither_torch_nor_lightning(tmp_path: Path) -> None:
    save(tmp_path, BROKEN["vanishing_gradients"]())
    (tmp_path / "config.yaml").write_text("norm:\n  name: none\n")
    code = "import sys, isometry\nprint(isometry.diagnose(sys.argv[1]).verdict)\n"
    code += "print(sorted({'torch', 'pytorch_lightning', 'numpy', 'wandb'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "critical: vanishing_gradients\n[]\n", "")


@pytest.mark.parametrize("logged", [60, 60_000])
@pytest.mark.parametrize(("losses", "expected"), [((2.0, 0.1), []), ((1.0, 1.0), ["vanishing_gradients"])])
def test_a_run_of_any_length_is_judged(logged: int, losses: tuple[float, float], expected: list[str]) -> None:
    made, shown, each = History(), profile(stack(-6)), record(0, [1.0])
    for step, loss in enumerate(falling(*losses, logged)):
        made.append(replace(shown, step=step))
        made.append(replace(each, step=step, losses=[loss], totals=[1.0]))
    assert len(made.records) <= 512
    assert names(judge(made)) == expected


def test_a_run_with_many_steps_between_its_records_is_judged() -> None:
    spiking, calm = ([1.0] * 14 + [50.0]) * 66 + [1.0] * 10, [1.0] * 1000

    def shown(*totals: list[float]) -> History:
        return history(*(record(1000 * k, flat(1.0, 1000), totals=each) for k, each in enumerate(totals)))

    assert names(judge(shown(*[calm] * 25, *[spiking] * 5))) == ["unstable_gradients"]
    assert names(judge(shown(*[spiking] * 5, *[calm] * 25))) == []  # long over


def test_a_finding_is_seen_in_a_thinned_history_as_in_a_whole_one() -> None:
    """A run of 2,000 logged steps whose loss rises in the second half."""
    losses = [*falling(2.0, 0.5, 1000), *falling(0.5, 40.0, 1000)]
    made = History()
    for step, loss in enumerate(losses):
        made.append(record(EACH * step, [loss] * EACH))
    assert names(judge(made)) == ["diverging_loss"]


def test_what_to_try_is_told_once_and_in_the_order_of_the_findings() -> None:
    init, norm, other = Remedy("init", "", ("init=he",)), Remedy("norm", ""), Remedy("init", "", ("init=lsuv",))
    first = Finding("vanishing_gradients", CRITICAL, "", remedies=(init, norm))
    second = Finding("dead_units", CRITICAL, "", remedies=(norm, other, init))
    assert Diagnosis((first, second)).remedies == (init, norm, other)
    assert Diagnosis().remedies == ()
