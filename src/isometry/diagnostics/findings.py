"""What the rules say: findings, what could cure each, and the verdict over all of them. Plain records, no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from .profile import Profile

WARNING, CRITICAL = "warning", "critical"
LAST = 5  # steps whose median loss stands for the end of a trial
CLEARLY = 0.05  # share by which a loss has to be lower to count as lower


@dataclass(frozen=True)
class Remedy:
    """One change that could cure a finding.

    Args:
        action: Which kind of change, a name of `remedies.ACTIONS`.
        words: The change in words, for any module.
        overrides: The same as words of the command line; empty where no configuration is known.
    """

    action: str
    words: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One rule that holds.

    Args:
        rule: Its name, e.g. `vanishing_gradients`.
        severity: `critical`: the training cannot be expected to work. `warning`: odd, and it learns all the same.
        explanation: In plain words, with the numbers.
        layers: Where, by module path, in order of depth; empty where it is no matter of single layers.
        evidence: The statistics that were compared with thresholds.
        remedies: Likeliest cure first.
        since: Optimizer steps done when it was first seen.
        seen: The same when it was last seen.
    """

    rule: str
    severity: str
    explanation: str
    layers: tuple[str, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)
    remedies: tuple[Remedy, ...] = ()
    since: int = 0
    seen: int = 0


@dataclass(frozen=True)
class Diagnosis:
    """All findings, the likeliest cause first."""

    findings: tuple[Finding, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether no finding is critical."""
        return all(finding.severity != CRITICAL for finding in self.findings)

    @property
    def status(self) -> int:
        """`health/status`: 0 healthy, 1 with warnings, 2 critical."""
        return 2 if not self.healthy else int(bool(self.findings))

    @property
    def verdict(self) -> str:
        """`healthy`, or the first finding: `critical: vanishing_gradients`."""
        return f"{self.findings[0].severity}: {self.findings[0].rule}" if self.findings else "healthy"

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """Those of all findings, each once: what to try, and in which order."""
        found: dict[tuple[str, tuple[str, ...]], Remedy] = {}
        for remedy in chain.from_iterable(finding.remedies for finding in self.findings):
            found.setdefault((remedy.action, remedy.overrides), remedy)
        return tuple(found.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"verdict": self.verdict, "healthy": self.healthy, "findings": [asdict(each) for each in self.findings]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Diagnosis:
        """What `as_dict` was made of."""
        return cls(tuple(_finding(dict(each)) for each in plain["findings"]))


def _finding(plain: dict[str, Any]) -> Finding:
    remedies = (Remedy(each["action"], each["words"], tuple(each["overrides"])) for each in plain.pop("remedies"))
    return Finding(**plain | {"layers": tuple(plain["layers"]), "remedies": tuple(remedies)})


@dataclass(frozen=True)
class Trial:
    """One short training.

    Args:
        overrides: What was changed; empty for the training as it was.
        profile: Of the first step.
        losses: Of each step.
        diagnosis: What the rules say of it.
    """

    overrides: tuple[str, ...]
    profile: Profile | None
    losses: list[float] = field(default_factory=list)
    diagnosis: Diagnosis = field(default_factory=Diagnosis)

    @property
    def gain(self) -> float | None:
        """Factor per layer of ∂L/∂z before the first step."""
        return self.profile.backward_gain if self.profile else None

    @property
    def last_loss(self) -> float:
        """The median of the last steps; infinite where the loss was no number."""
        values = [loss if loss == loss else float("inf") for loss in self.losses[-LAST:]]
        return statistics.median(values) if values else float("inf")

    def verdict(self, before: Trial) -> str:
        """What the change did, against the training as it was."""
        is_lower = self.last_loss < before.last_loss * (1 - CLEARLY)
        rules = {finding.rule for finding in self.diagnosis.findings}
        is_clear = not any(finding.rule in rules for finding in before.diagnosis.findings)
        if is_lower:
            return "cures" if self.diagnosis.healthy else "helps"
        return "clears the finding, the loss is no lower yet" if is_clear else "does not help"


def changes(before: Diagnosis, after: Diagnosis, step: int) -> Iterator[str]:
    """A line for each finding that has come or gone, or has become critical."""
    old = {finding.rule: finding.severity for finding in before.findings}
    for finding in after.findings:
        if old.get(finding.rule) not in (finding.severity, CRITICAL):
            yield f"step {step}: {finding.severity}: {finding.rule}. {finding.explanation}{_advice(finding)}"
    for rule in old.keys() - {finding.rule for finding in after.findings}:
        yield f"step {step}: {rule} is over."


def _advice(finding: Finding) -> str:
    if not finding.remedies:
        return ""
    first = finding.remedies[0]
    return f" Try: {' '.join(first.overrides) or first.words}"


def some_names(names: Iterable[str]) -> str:
    """Up to three names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
