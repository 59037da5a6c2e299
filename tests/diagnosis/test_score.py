"""Shares and intervals against closed forms and a slow reference; verdicts, cures and the held-out book."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import curing
import detectors
import labels
import measures
import pytest
import score
import traces
from baselines import Alarm
from detectors import Trace, Verdict
from entry import Case
from measures import Judged, Share, share
from statistics_published import FILE

from isometry.diagnostics.findings import CRITICAL, WARNING, Diagnosis, Finding, Remedy
from isometry.jsonl import to_line

BROKEN = Case(
    "broken", "dense", "dense", ("lr=0.1",), ("init=zeros",), ("symmetric_init", "bad_init_scale"),
    cures={"init": ("init=he",), "norm": ("norm=layer",)},
)  # fmt: skip
HEALTHY = Case("healthy", "dense", "dense", ("lr=0.1",))


def alarm(rule: str = "symmetric_init", *others: str, step: int = 4) -> Verdict:
    return Verdict(step, frozenset({rule}), frozenset({rule, *others}), True)


def judged(**counts: int) -> list[Judged]:
    """So many broken runs with (tp) and without (fn) alarm, healthy ones with (fp) and without (tn); a case each."""
    cases = {"tp": (True, alarm()), "fn": (True, Verdict()), "fp": (False, alarm()), "tn": (False, Verdict())}
    return [
        Judged(Case(f"{kind}{n}", "a", "dense", (), rules=("symmetric_init",)), *cases[kind])
        for kind, count in counts.items()
        for n in range(count)
    ]


def test_shares_in_closed_form() -> None:
    found = measures.measures(judged(tp=6, fn=2, fp=3, tn=9))
    values = {name: each.value for name, each in found.items()}
    assert values == pytest.approx({
        "precision": 6 / 9, "recall": 6 / 8, "F1": 2 * (6 / 9) * (6 / 8) / (6 / 9 + 6 / 8), "false positives": 3 / 12,
        "right fault first": 6 / 8, "right fault at all": 6 / 8, "healthy with any finding": 3 / 12,
    })  # fmt: skip


def test_the_right_fault_is_counted_among_all_broken_runs() -> None:
    runs = [
        Judged(BROKEN, True, alarm("bad_init_scale")),  # an acceptable name
        Judged(BROKEN, True, alarm("dead_units", "symmetric_init")),  # second
        Judged(BROKEN, True, alarm("dead_units")),
        Judged(BROKEN, True, Verdict()),
        Judged(BROKEN, False, alarm("symmetric_init")),  # its twin: no merit
    ]
    found = measures.measures(runs)
    assert found["right fault first"].value == 1 / 4
    assert found["right fault at all"].value == 2 / 4
    assert found["recall"].value == 3 / 4


def test_negative_control_a_detector_that_always_and_one_that_never_calls() -> None:
    everything = measures.measures(judged(tp=10, fp=10))
    nothing = measures.measures(judged(fn=10, tn=10))
    assert (everything["recall"].value, everything["precision"].value, everything["false positives"].value) == (
        1,
        0.5,
        1,
    )
    assert (nothing["recall"].value, nothing["F1"].value, nothing["false positives"].value) == (0, 0, 0)
    assert nothing["precision"] == Share(None, None, None)
    assert str(nothing["precision"]) == "–"


def test_an_interval_is_that_of_the_binomial_where_each_case_is_one_run() -> None:
    found = share({str(n): float(n < 40) for n in range(100)}, dict.fromkeys(map(str, range(100)), 1.0))
    spread = 1.96 * math.sqrt(0.4 * 0.6 / 100)
    assert found.value == 0.4
    assert (found.low, found.high) == pytest.approx((0.4 - spread, 0.4 + spread), abs=0.012)


def test_seeds_of_one_case_are_drawn_together() -> None:
    """Three runs a case that always agree say no more than one: √3 wider than of as many single runs."""
    together = share({str(n): 3.0 * (n < 20) for n in range(40)}, dict.fromkeys(map(str, range(40)), 3.0))
    single = share({str(n): float(n < 60) for n in range(120)}, dict.fromkeys(map(str, range(120)), 1.0))
    widths = [(each.high or 0) - (each.low or 0) for each in (together, single)]
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(3), rel=0.1)


def test_an_interval_against_a_slow_reference() -> None:
    """Cases of unequal size, drawn one by one."""
    wholes = {str(n): float(n % 4) for n in range(30)}  # some without any
    parts = {name: float(min(int(name) % 3, whole)) for name, whole in wholes.items()}
    rng, drawn = random.Random(1), []
    for _ in range(10_000):
        names = rng.choices(list(wholes), k=30)
        drawn.append(sum(parts[name] for name in names) / sum(wholes[name] for name in names))
    drawn.sort()
    found = share(parts, wholes)
    assert found.value == sum(parts.values()) / sum(wholes.values())
    assert (found.low, found.high) == pytest.approx((drawn[250], drawn[9750]), abs=0.01)


def test_intervals_are_the_same_every_time() -> None:
    runs = judged(tp=6, fn=2, fp=3, tn=9)
    assert measures.measures(runs) == measures.measures(runs)


def test_the_median_step_is_over_broken_runs_with_an_alarm() -> None:
    steps = [1, 8, 64]
    runs = [Judged(BROKEN, True, alarm(step=step)) for step in steps]
    runs += [Judged(BROKEN, True, Verdict()), Judged(HEALTHY, False, alarm(step=99))]
    assert measures.first_alarm(runs) == 8
    assert measures.first_alarm(runs[3:]) is None


# ------------------------------------------------------------------------------------------- verdicts
def finding(rule: str, severity: str = CRITICAL, since: int = 0, *remedies: Remedy) -> Finding:
    return Finding(rule, severity, "", since=since, remedies=remedies)


def test_our_alarm_is_a_critical_finding() -> None:
    warned = detectors.of_diagnosis(Diagnosis((finding("dead_units", WARNING),)))
    assert not warned.alarm
    assert warned.warned
    found = detectors.of_diagnosis(
        Diagnosis((finding("no_gradient", since=8), finding("loss_at_chance", since=2), finding("dead_units", WARNING)))
    )
    assert found == Verdict(2, frozenset({"no_gradient"}), frozenset({"no_gradient", "loss_at_chance"}), True)
    assert detectors.of_diagnosis(Diagnosis()) == Verdict()


def test_a_published_alarm_counts_for_all_it_could_mean() -> None:
    found = detectors.of_alarms([Alarm(2, "learning rate"), Alarm(4, "DeadRelu")])
    assert found.step == 2
    assert found.first == {"update_too_large", "update_too_small"}
    assert found.named == {"update_too_large", "update_too_small", "dead_units"}
    assert detectors.of_alarms([]) == Verdict()


def test_a_case_has_a_healthy_run_and_a_broken_one() -> None:
    found = detectors.traces([BROKEN, HEALTHY], (1, 2), Path("suite"))
    told = [(trace.case.name, trace.seed, trace.variant, trace.is_broken) for trace in found]
    assert told == [
        ("broken", 1, "twin", False), ("broken", 1, "fault", True), ("broken", 2, "twin", False),
        ("broken", 2, "fault", True), ("healthy", 1, "twin", False), ("healthy", 2, "twin", False),
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------- cures
def advise(monkeypatch: pytest.MonkeyPatch, *actions: str) -> None:
    remedies = [Remedy(action, action, (f"{action}=new",)) for action in actions]
    found = Diagnosis((finding("symmetric_init", CRITICAL, 0, *remedies),))
    monkeypatch.setattr(detectors, "diagnosis", lambda trace: found)


def outcomes(monkeypatch: pytest.MonkeyPatch, scores: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Trainings come to a score by the last of their words; (words of those that ran)."""
    ran: list[tuple[str, ...]] = []

    def run(case: Case, seed: int, variant: str, words: tuple[str, ...], folder: Path) -> dict[str, float]:
        ran.append(tuple(words))
        return {"score": scores[words[-1]]}

    monkeypatch.setattr(traces, "run", run)
    monkeypatch.setattr(labels, "cured_score", lambda case, folder: 0.25)
    return ran


FAULT = Trace(BROKEN, 1, "fault", Path("suite"))


def test_a_cure_is_tried_only_where_those_before_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    advise(monkeypatch, "init", "norm")
    ran = outcomes(monkeypatch, {"init=he": 0.26, "norm=layer": 0.25})
    assert curing.cured_rank(FAULT) == 1
    assert ran == [("lr=0.1", "init=zeros", "init=he"), ("lr=0.1", "init=zeros", "norm=layer")]
    ran = outcomes(monkeypatch, {"init=he": 0.1})
    assert curing.cured_rank(FAULT) == 0
    assert len(ran) == 1


def test_an_action_that_the_case_does_not_know_cures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    advise(monkeypatch, "clip", "skip", "connect", "init")  # the fourth is beyond the three
    assert outcomes(monkeypatch, {"init=he": 0.0}) == []
    assert curing.cured_rank(FAULT) is None


def test_a_projects_case_takes_the_words_of_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    project = Case("p", "mlp", "project", ("model=mlp",), ("init=zeros",), ("symmetric_init",))
    with_words, without = Remedy("init", "", ("init=he_normal",)), Remedy("labels", "")
    assert curing.cure_words(project, with_words) == ("model=mlp", "init=zeros", "init=he_normal")
    assert curing.cure_words(project, without) is None


def test_a_finding_without_alarm_and_a_training_that_fails_cure_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detectors, "diagnosis", lambda trace: Diagnosis((finding("dead_units", WARNING),)))
    assert curing.cured_rank(FAULT) is None
    advise(monkeypatch, "init")
    outcomes(monkeypatch, {})  # a KeyError
    assert curing.cured_rank(FAULT) is None
    assert "broken 1: init: KeyError" in capsys.readouterr().out


def test_other_words_are_another_trace() -> None:
    remedy = Remedy("init", "")
    names = {curing.cure_name(remedy, words) for words in (["a=1"], ["a=2"], ["a=1"])}
    assert len(names) == 2
    assert all(name.startswith("cure-init-") for name in names)


def test_shares_of_cures_are_out_of_all_broken_trainings() -> None:
    found = curing.cure_shares([FAULT] * 4, [0, 2, None, 0])
    assert found["first remedy cures"].value == 2 / 4
    assert found["one of the first 3 cures"].value == 3 / 4
    assert curing.ranks_by_case([FAULT] * 3, [0, 2, None]) == {"broken": [1, 3, None]}


# --------------------------------------------------------------------------------- the whole program
def write_suite(folder: Path, cases: list[Case]) -> None:
    """Histories and lines of trainings in which nothing happens but that a broken one has a gradient of zero."""
    for trace in detectors.traces(cases, (1, 2), folder):
        trace.place.mkdir(parents=True)
        (trace.place / "gradients.jsonl").write_text("")
        told = [
            {"step": step, "optimizer": 0, "lr": 0.1, "loss": 0.5**n, "mean_loss": 0.5**n, "nonfinite": False,
             "gradient_norm": 0.0 if trace.is_broken else 1.0, "weights": {}, "activations": {}}
            for n, step in enumerate((0, 1, 2, 4))
        ]  # fmt: skip
        (trace.place / FILE).write_text("".join(f"{to_line(each)}\n" for each in told))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    held_out = Case(
        "other", "pyramid", "pyramid", ("lr=0.1",), ("init=zeros",), ("vanishing_gradients",), part="held-out"
    )
    monkeypatch.setattr(score, "CASES", (BROKEN, HEALTHY, held_out))
    monkeypatch.setattr(score, "SEEDS", (1, 2))
    monkeypatch.setattr(score, "HELD_OUT", tmp_path / "held_out.jsonl")
    monkeypatch.setattr(score, "begin", lambda: None)
    monkeypatch.setattr(score, "commit", lambda: "abc")
    write_suite(tmp_path / "suite", [BROKEN, HEALTHY, held_out])

    def call(*words: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["score.py", "--traces", str(tmp_path / "suite"), *words])
        score.main()
        return json.loads((tmp_path / "suite" / "score.json").read_text())  # type: ignore[no-any-return]

    return call


def test_the_table(program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- diagnosis training -->\nold\n<!-- /diagnosis training -->\nafter\n")
    found = program("--markdown", str(page))
    assert found["global norm"]["recall"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["global norm"]["false positives"]["value"] == 0
    assert found["global norm"]["first alarm"] == 0
    assert found["isometry"]["recall"]["value"] == 0  # nothing is in its histories
    assert found["isometry is wrong on"] == {
        f"broken/{seed}/fault": {"rules": ["symmetric_init", "bad_init_scale"], "named": []} for seed in (1, 2)
    }
    printed = capsys.readouterr().out
    assert "training: 2 cases, 2 broken and 4 healthy trainings." in printed
    assert "| global norm | 100 % [100, 100] | 100 % [100, 100] |" in printed
    assert (
        page.read_text()
        == f"before\n<!-- diagnosis training -->\n{printed.strip()}\n<!-- /diagnosis training -->\nafter\n"
    )
    assert not (tmp_path / "held_out.jsonl").exists()


def test_a_page_without_marks_is_left_alone(program: Any, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("text")
    with pytest.raises(SystemExit, match="holds no <!-- diagnosis training -->"):
        program("--markdown", str(tmp_path / "page.md"))
    assert (tmp_path / "page.md").read_text() == "text"


def test_scorings_of_the_held_out_part_are_entered(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        program("--part", "held-out", "--date", "2026-11-30")
    assert "reused" not in capsys.readouterr().out  # the same thresholds
    monkeypatch.setattr(score, "digest", lambda: "other")
    program("--part", "held-out", "--date", "2026-12-01")
    assert "reused: 2 earlier scorings" in capsys.readouterr().out
    lines = [json.loads(each) for each in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert [line["date"] for line in lines] == ["2026-11-30", "2026-11-30", "2026-12-01"]
    assert [line["commit"] for line in lines] == ["abc"] * 3
    assert lines[0]["digest"] == lines[1]["digest"] != lines[2]["digest"] == "other"
    assert lines[0]["numbers"]["global norm"]["recall"]["value"] == 1
    monkeypatch.setattr(score, "cases_digest", lambda cases: "of another part")
    program("--part", "held-out", "--date", "2026-12-02")
    assert "reused" not in capsys.readouterr().out


def test_another_word_makes_another_part() -> None:
    case = Case("a", "dense", "dense", ("depth=3",), ("lr=3",), ("update_too_large",))
    same, other = replace(case, note="other"), replace(case, fault=("lr=4",))
    assert score.cases_digest([case]) == score.cases_digest([same]) != score.cases_digest([other])


def test_a_held_out_scoring_without_date_is_refused(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program("--part", "held-out")
    assert "--date" in capsys.readouterr().err
