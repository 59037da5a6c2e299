"""The verdict: all rules in the order of cause and effect, over a history, a probe's profile or a saved run.

    diagnose(probe(model, batch, loss_fn))   diagnose(monitor.history)   diagnose("runs/NAME")

No torch: a verdict can be had from a saved run. The order decides which of several findings is named first: what is
wrong with inputs and weights comes before what follows from it, and a loss at chance, which says no more than that
something is wrong, comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import rules_gradient as gradient
from . import rules_lost as lost
from . import rules_training as training
from .evidence import Evidence
from .findings import CRITICAL, WARNING, Diagnosis, Finding
from .history import History, read_history
from .profile import Profile
from .remedies import remedies
from .rules_head import bad_output_head
from .thresholds import limit

Rule = Callable[[Evidence], Finding | None]

RULES: tuple[Rule, ...] = (
    training.bad_input_scale,
    training.small_batch_norm,
    gradient.symmetric_init,
    training.unbounded_loss,
    lost.fp16_underflow,
    bad_output_head,
    lost.no_gradient,
    gradient.vanishing_through_time,
    gradient.exploding_through_time,
    gradient.exploding_gradients,
    training.bad_batches,
    gradient.vanishing_gradients,
    training.bad_init_scale,
    training.update_too_large,
    gradient.dead_units,
    gradient.saturated_units,
    training.chronic_clipping,
    training.update_too_small,
    training.unstable_gradients,
    lost.non_finite,
    training.diverging_loss,
    training.loss_at_chance,
)

# What says no more than that something is wrong is left out where a finding before it says what.
SYMPTOMS = {
    "bad_init_scale",
    "unstable_gradients",
    "update_too_small",
    "non_finite",
    "diverging_loss",
    "loss_at_chance",
}
# What follows from a cause is no finding of its own.
_ALL = {"exploding_gradients", "vanishing_gradients", "update_too_large", "dead_units", "saturated_units"}
EFFECTS = {
    "bad_input_scale": _ALL,
    "symmetric_init": _ALL,
    "unstable_gradients": {"update_too_large", "dead_units", "saturated_units"},
    "fp16_underflow": {"bad_output_head"},
    "no_gradient": {"vanishing_gradients"},
    "small_batch_norm": {"vanishing_gradients", "exploding_gradients"},
    "vanishing_gradients": {"dead_units", "saturated_units"},
    "exploding_gradients": {"update_too_large", "dead_units", "saturated_units"},
    "exploding_through_time": {"update_too_large", "dead_units"},
    "update_too_large": {"dead_units", "saturated_units"},
}


def diagnose(what: Profile | History | str | Path, settings: Mapping[str, Any] | None = None) -> Diagnosis:
    """What is wrong with a training, and what could cure it.

    Args:
        what: A probe's profile, a monitor's history, or the folder of a run.
        settings: The run's configuration as nested mappings, with which remedies become words of the command line;
            a run's folder brings its own.

    Raises:
        FileNotFoundError: The folder holds no `gradients.jsonl`.
    """
    if isinstance(what, str | Path):
        return diagnose(read_history(Path(what) / "gradients.jsonl"), settings or settings_in(Path(what)))
    if isinstance(what, Profile):
        history = History()
        history.append(what)
        return judge(history, settings)
    diagnosis = Diagnosis()
    for _, now in follow(what, settings):
        diagnosis = now
    return diagnosis


def judge(history: History, settings: Mapping[str, Any] | None = None, before: Diagnosis | None = None) -> Diagnosis:
    """The verdict over a history as it stands.

    Args:
        history: So far.
        settings: As for `diagnose`.
        before: The verdict one record earlier; what it has found already is as old as it says.
    """
    evidence, old = Evidence(history), before or Diagnosis()
    since = {finding.rule: finding.since for finding in old.findings}
    now = max([0, *(record.step for record in evidence.records), *(profile.step for profile in evidence.profiles)])
    found: list[Finding] = []
    for rule in RULES:
        finding = rule(evidence)
        if finding is not None:
            severity = finding.severity if evidence.is_old_enough else WARNING
            advice = remedies(finding, evidence, settings)
            born = since.get(finding.rule, now)
            found.append(replace(finding, severity=severity, since=born, seen=now, remedies=advice))
        elif rule.__name__ not in {each.rule for each in found} and not _is_over(rule.__name__, evidence):
            found += _outlasting(old, rule.__name__, now)
    return Diagnosis(tuple(_causes(found)))


def _is_over(rule: str, evidence: Evidence) -> bool:
    """Whether what a rule found can be over: a third of the loss is gone; one that had grown is back where it began."""
    return evidence.has_recovered or (rule == "diverging_loss" and evidence.is_back)


def _outlasting(before: Diagnosis, rule: str, now: int) -> Iterator[Finding]:
    """A critical finding of which nothing is seen any more, though little of the loss has gone.

    What kept a training from learning has cost it that time: a loss that comes down a little since is no recovery yet.
    """
    for finding in before.findings:
        is_recent = now + 1 <= limit("finding.outlasts") * (finding.seen + 1)
        if finding.rule == rule and finding.severity == CRITICAL and is_recent:
            yield finding


def _causes(found: Sequence[Finding]) -> list[Finding]:
    """Critical ones first; effects and symptoms only where no cause comes before them."""
    causes: list[Finding] = []
    for finding in found:
        heavier = [cause for cause in causes if cause.severity == CRITICAL or finding.severity == WARNING]
        explained = SYMPTOMS.union(*(EFFECTS.get(cause.rule, set()) for cause in heavier)) if heavier else set()
        if finding.rule not in explained:
            causes.append(finding)
    return sorted(causes, key=lambda finding: finding.severity == WARNING)


def follow(history: History, settings: Mapping[str, Any] | None = None) -> Iterator[tuple[int, Diagnosis]]:
    """(step, verdict) after each record of a history: what a monitor said while it ran."""
    steps = sorted({each.step for each in history.records} | {each.step for each in history.profiles})
    diagnosis = Diagnosis()
    for step in steps:
        diagnosis = judge(_until(history, step), settings, diagnosis)
        yield step, diagnosis


def _until(history: History, step: int) -> History:
    """What was known after the step."""
    part = History()
    part.records = [record for record in history.records if record.step <= step]
    part.profiles = [profile for profile in history.profiles if profile.step <= step]
    part.units = [record for record in history.units if record.until <= step + 1]
    part.nonfinite = [record for record in history.nonfinite if record.step <= step]
    return part


def settings_in(folder: Path) -> Mapping[str, Any] | None:
    """The configuration in a run's folder; None where there is none."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.load(path))
    return plain if isinstance(plain, dict) else None  # type: ignore[return-value]
