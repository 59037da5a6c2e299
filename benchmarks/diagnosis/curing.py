"""Carries out what our rules advise: does the training then reach what its healthy twin reaches?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import detectors
import labels
import traces
from cases import Case
from detectors import Trace
from measures import Share, share

from isometry.diagnostics.findings import Diagnosis, Remedy

RANKS = 3


def advice(found: Diagnosis) -> tuple[Remedy, ...]:
    """The first remedies, as `isometry diagnose` tries them; none without an alarm."""
    return () if found.healthy else found.remedies[:RANKS]


def cure_words(case: Case, remedy: Remedy) -> tuple[str, ...] | None:
    """All words of the broken training with the remedy; None where nobody knows how to carry it out."""
    own = remedy.overrides if case.kind == "project" else case.cures.get(remedy.action, ())
    return (*case.words, *case.fault, *own) if own else None


def cure_name(remedy: Remedy, words: Sequence[str]) -> str:
    """Of the trace: other words of the same remedy are another trace."""
    return f"cure-{remedy.action}-{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:8]}"


def is_cured(trace: Trace, rank: int) -> bool:
    """Whether the remedy of this rank, the first being 0, brings the training to the target."""
    given = advice(detectors.diagnosis(trace))
    if rank >= len(given):
        return False
    words = cure_words(trace.case, given[rank])
    if words is None:
        return False
    try:
        outcome = traces.run(trace.case, trace.seed, cure_name(given[rank], words), words, trace.folder)
    except Exception as error:  # advice that cannot be carried out is no cure
        print(f"{trace.case.name} {trace.seed}: {given[rank].action}: {type(error).__name__}: {error}", flush=True)
        return False
    return bool(outcome["score"] <= labels.cured_score(trace.case, trace.folder))


def cured_rank(trace: Trace) -> int | None:
    """Of the first remedy that cures; later ones are not tried."""
    return next((rank for rank in range(RANKS) if is_cured(trace, rank)), None)


def cured_ranks(broken: Sequence[Trace], processes: int) -> list[int | None]:
    if processes == 1:
        return [cured_rank(trace) for trace in broken]
    with ProcessPoolExecutor(processes, get_context("spawn"), traces.begin) as pool:
        return list(pool.map(cured_rank, broken))


def cure_shares(broken: Iterable[Trace], ranks: Iterable[int | None]) -> dict[str, Share]:
    """Over all broken trainings, those that were not found included."""
    pairs = [(trace.case.name, rank) for trace, rank in zip(broken, ranks, strict=True)]

    def of(most: int) -> Share:
        parts: dict[str, float] = {}
        wholes: dict[str, float] = {}
        for name, rank in pairs:
            parts[name] = parts.get(name, 0.0) + (rank is not None and rank < most)
            wholes[name] = wholes.get(name, 0.0) + 1
        return share(parts, wholes)

    return {"first remedy cures": of(1), f"one of the first {RANKS} cures": of(RANKS)}


def ranks_by_case(broken: Sequence[Trace], ranks: Sequence[int | None]) -> dict[str, list[int | None]]:
    """For the file of numbers: the remedy that cured each seed, the first being 1."""
    found: dict[str, list[int | None]] = {}
    for trace, rank in zip(broken, ranks, strict=True):
        found.setdefault(trace.case.name, []).append(None if rank is None else rank + 1)
    return found
