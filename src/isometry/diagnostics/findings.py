"""What the rules say: findings, what could cure each, and the verdict over all of them. Plain records, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

WARNING, CRITICAL = "warning", "critical"


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
    """

    rule: str
    severity: str
    explanation: str
    layers: tuple[str, ...] = ()
    evidence: Mapping[str, float] = ()  # type: ignore[assignment]
    remedies: tuple[Remedy, ...] = ()
    since: int = 0


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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"verdict": self.verdict, "healthy": self.healthy, "findings": [asdict(each) for each in self.findings]}
