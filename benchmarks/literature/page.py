"""The tables of docs/literature.md, from the claims and the newest result of each; and the file they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from claim import Claim

BEGIN, END = "<!-- literature -->", "<!-- /literature -->"
COLUMNS = ("claim, source", "published", "ours", "agrees", "protocol; agrees where", "minutes", "command")
Results = Mapping[str, Mapping[str, Any]]


def newest(entries: Iterable[Mapping[str, Any]]) -> Results:
    """The last entry of every key."""
    return {entry["key"]: entry for entry in entries}


def text(subjects: Mapping[str, Sequence[Claim]], results: Results) -> str:
    """A sentence that counts, and a table for each subject."""
    tables = [f"### {title}\n\n{table(claims, results)}" for title, claims in subjects.items()]
    return "\n\n".join([count([claim for claims in subjects.values() for claim in claims], results), *tables])


def count(claims: Sequence[Claim], results: Results) -> str:
    measured = [results[claim.key] for claim in claims if claim.key in results]
    agreeing = sum(entry["agrees"] for entry in measured)
    minutes = sum(entry["minutes"] for entry in measured)
    return (
        f"{len(measured)} claims measured, {agreeing} reproduced, in {minutes:.0f} minutes of one core; "
        f"{len(claims) - len(measured)} not run here."
    )


def table(claims: Sequence[Claim], results: Results) -> str:
    rows = [f"| {' | '.join(cells(claim, results.get(claim.key)))} |" for claim in claims]
    return "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", *rows])


def cells(claim: Claim, entry: Mapping[str, Any] | None) -> list[str]:
    """One row."""
    told, where = f"{claim.claim} {claim.source}", f"{claim.protocol}; {claim.criterion}"
    note = f" {claim.note}" if claim.note else ""
    if entry is None:
        ours, agrees, minutes = "not run here", "–", "–"
    else:
        ours, agrees, minutes = claim.tell(entry["figures"]), "yes" if entry["agrees"] else "**no**", _minutes(entry)
    return [told, claim.published, ours, agrees, where + note, minutes, f"`{claim.reproduced_by}`"]


def _minutes(entry: Mapping[str, Any]) -> str:
    return f"{entry['minutes']:.1f}" if entry["minutes"] >= 0.1 else "< 0.1"


def write(path: Path, inner: str) -> None:
    """Puts `inner` between the marks of a page."""
    before, found, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{path} holds no {BEGIN} … {END}")
    path.write_text(f"{before}{BEGIN}\n{inner}\n{END}{after}", encoding="utf-8")
