"""What each detector says of a finished training: our rules from its history, the published ones from their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from baselines import BASELINES, Alarm, read_lines
from cases import Case
from statistics_published import FILE
from traces import trace_folder, variants

from isometry.diagnostics.findings import CRITICAL, Diagnosis
from isometry.diagnostics.history import read_history
from isometry.diagnostics.rules import diagnose, follow
from isometry.overrides import read


@dataclass(frozen=True)
class Trace:
    """One training of the suite; broken where the variant is `fault`."""

    case: Case
    seed: int
    variant: str
    folder: Path  # of all traces

    @property
    def place(self) -> Path:
        return trace_folder(self.case, self.seed, self.variant, self.folder)

    @property
    def is_broken(self) -> bool:
        return self.variant == "fault"


@dataclass(frozen=True)
class Verdict:
    """Args:
    step: Optimizer steps done at the first alarm; None: no alarm.
    first: What the first alarm could mean, in our words.
    named: The same of all alarms.
    warned: Whether anything was found at all, an alarm or less.
    """

    step: int | None = None
    first: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    warned: bool = False

    @property
    def alarm(self) -> bool:
        return self.step is not None


def traces(cases: Iterable[Case], seeds: Iterable[int], folder: Path) -> list[Trace]:
    """Of each case and seed the healthy training and, where there is one, the broken one."""
    return [Trace(case, seed, name, folder) for case in cases for seed in seeds for name in variants(case)]


# ------------------------------------------------------------------------------------------- our own
def settings(trace: Trace) -> dict[str, Any] | None:
    """The configuration of a project's training, with which remedies become words of the command line."""
    return read(variants(trace.case)[trace.variant]).model_dump() if trace.case.kind == "project" else None


def diagnosis(trace: Trace) -> Diagnosis:
    """At the end of the training."""
    return diagnose(read_history(trace.place / "gradients.jsonl"), settings(trace))


def isometry(trace: Trace) -> Verdict:
    """What is said at the end."""
    return of_diagnosis(diagnosis(trace))


def isometry_live(trace: Trace) -> Verdict:
    """Whatever was said on the way, as the published tools are judged: an alarm counts also where it was withdrawn."""
    said = [now for _, now in follow(read_history(trace.place / "gradients.jsonl"), settings(trace))]
    alarming = [of_diagnosis(now) for now in said if not now.healthy]
    named = frozenset().union(*(verdict.named for verdict in alarming))
    if not alarming:
        return Verdict(warned=any(now.findings for now in said))
    return Verdict(alarming[0].step, alarming[0].first, named, True)


def of_diagnosis(found: Diagnosis) -> Verdict:
    critical = [finding for finding in found.findings if finding.severity == CRITICAL]
    if not critical:
        return Verdict(warned=bool(found.findings))
    return Verdict(
        min(finding.since for finding in critical),
        frozenset({found.findings[0].rule}),
        frozenset(finding.rule for finding in critical),
        True,
    )


# --------------------------------------------------------------------------------------- the others
def published(name: str, trace: Trace) -> Verdict:
    return of_alarms(BASELINES[name](read_lines(trace.place / FILE)))


def of_alarms(alarms: list[Alarm]) -> Verdict:
    if not alarms:
        return Verdict()
    named = frozenset().union(*(alarm.meanings for alarm in alarms))
    return Verdict(alarms[0].step, frozenset(alarms[0].meanings), named, True)


DETECTORS: dict[str, Callable[[Trace], Verdict]] = {
    "isometry": isometry,
    "isometry, on the way": isometry_live,
    **{name: partial(published, name) for name in BASELINES},
}
