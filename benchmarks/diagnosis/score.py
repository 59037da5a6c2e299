"""Scores our rules and the published detectors on the same trainings of the suite.

    python benchmarks/diagnosis/score.py --traces runs/suite [--cures] [--markdown README.md]
    python benchmarks/diagnosis/score.py --traces runs/suite --part held-out --date 2026-11-30 --cures

A broken training is a case's `fault`; healthy are the healthy cases and the twins of the broken ones. An alarm of ours
is a critical finding at the end of the training ("on the way": at any logged step); of the others, any alarm. The right
fault is named where what the first alarm means is among the case's rules, out of all broken trainings. Intervals: 95 %,
from draws of whole cases. Numbers go to TRACES/score.json as well. With --cures the remedies are carried out, those of
the first finding first, until one cures.

Thresholds are set on the training part. A scoring of the held-out part is entered in held_out.jsonl, so that everybody
sees how often, and with how many sets of thresholds, it was looked at. Once its misses were looked at, it is part of
the training part, and a new held-out part, of other architectures, takes its place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import curing
import detectors
from cases import CASES, SEEDS, Case
from detectors import Trace
from measures import Judged, Share, first_alarm, measures
from traces import begin

from isometry.diagnostics.thresholds import digest
from isometry.jsonl import read_lines, to_line

HELD_OUT = Path(__file__).with_name("held_out.jsonl")
COLUMNS = ("precision", "recall", "F1", "false positives", "right fault first", "right fault at all")


def judge(traces: Sequence[Trace]) -> dict[str, list[Judged]]:
    """Each detector's verdict on each training."""
    return {
        name: [Judged(trace.case, trace.is_broken, detector(trace)) for trace in traces]
        for name, detector in detectors.DETECTORS.items()
    }


def table(judged: Mapping[str, Sequence[Judged]], cures: Mapping[str, Share]) -> str:
    """As Markdown, with a line below for what there is of ours alone."""
    lines = [f"| detector | {' | '.join(COLUMNS)} | first alarm |", f"|---|{'---|' * (len(COLUMNS) + 1)}"]
    for name, runs in judged.items():
        scores, step = measures(runs), first_alarm(runs)
        at = "–" if step is None else f"step {step:g}"
        lines.append(f"| {name} | {' | '.join(str(scores[column]) for column in COLUMNS)} | {at} |")
    found = measures(judged["isometry"])["healthy with any finding"]
    own = {"healthy trainings with a finding of any severity": found, **cures}
    return "\n".join([*lines, "", "isometry: " + "; ".join(f"{name} {value}" for name, value in own.items()) + "."])


def heading(part: str, traces: Sequence[Trace], earlier: Sequence[Mapping[str, Any]]) -> str:
    """What was scored; of the held-out part also whether it was looked at before."""
    cases, broken = len({trace.case.name for trace in traces}), sum(trace.is_broken for trace in traces)
    text = f"{part}: {cases} cases, {broken} broken and {len(traces) - broken} healthy trainings"
    if any(line["digest"] != digest() for line in earlier):
        text += f"; reused: {len(earlier)} earlier scorings, of other thresholds or rules, too"
    return f"{text}. Shares with 95 % intervals over cases."


def numbers(judged: Mapping[str, Sequence[Judged]], cures: Mapping[str, Share]) -> dict[str, Any]:
    """The same for a file."""
    found: dict[str, Any] = {
        name: {key: asdict(each) for key, each in measures(runs).items()} | {"first alarm": first_alarm(runs)}
        for name, runs in judged.items()
    }
    found["isometry"] |= {key: asdict(each) for key, each in cures.items()}
    return found


def misses(judged: Sequence[Judged], traces: Sequence[Trace]) -> dict[str, dict[str, Any]]:
    """Where our verdict is not the right one: what to look at next."""
    return {
        f"{trace.case.name}/{trace.seed}/{trace.variant}": {
            "rules": trace.case.rules if trace.is_broken else [],
            "named": sorted(run.verdict.named),
        }
        for run, trace in zip(judged, traces, strict=True)
        if (run.is_broken and not run.names_first) or (not run.is_broken and run.verdict.alarm)
    }


def put_between(path: Path, part: str, text: str) -> None:
    """Replaces what stands between `<!-- diagnosis PART -->` and `<!-- /diagnosis PART -->`."""
    begin_mark, end_mark = f"<!-- diagnosis {part} -->", f"<!-- /diagnosis {part} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin_mark)
    _, closed, after = rest.partition(end_mark)
    if not found or not closed:
        raise SystemExit(f"{path} holds no {begin_mark} … {end_mark}")
    path.write_text(f"{before}{begin_mark}\n{text}\n{end_mark}{after}", encoding="utf-8")


def commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=HELD_OUT.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return described.stdout.strip()


def cases_digest(cases: Iterable[Case]) -> str:
    """Of all words of some cases: which held-out part a scoring was of."""
    told = [(case.name, case.words, case.fault, case.rules) for case in cases]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def scorings(path: Path, cases: str) -> list[Mapping[str, Any]]:
    """Earlier ones of the same held-out part."""
    return [line for line in read_lines(path) if line["cases"] == cases] if path.is_file() else []


def enter(path: Path, date: str, cases: str, found: Mapping[str, Any]) -> None:
    """One more scoring of the held-out part."""
    line = {"date": date, "commit": commit(), "digest": digest(), "cases": cases, "numbers": found}
    with open(path, "a", encoding="utf-8") as file:
        print(to_line(line), file=file)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True, help="what traces.py wrote")
    parser.add_argument("--part", choices=["training", "held-out"], default="training")
    parser.add_argument("--cures", action="store_true", help="carry out remedies: minutes, the first time")
    parser.add_argument("--jobs", type=int, default=2, help="processes for --cures")
    parser.add_argument(
        "--markdown", type=Path, help="file with `<!-- diagnosis PART -->` and `<!-- /diagnosis PART -->`"
    )
    parser.add_argument("--date", help="of a scoring of the held-out part")
    given = parser.parse_args()
    if given.part == "held-out" and not given.date:
        parser.error("a scoring of the held-out part is entered with its --date")
    return given


def main() -> None:
    given = options()
    begin()
    chosen = [case for case in CASES if case.part == given.part]
    traces = detectors.traces(chosen, SEEDS, given.traces)
    judged = judge(traces)
    cures: dict[str, Share] = {}
    found: dict[str, Any] = {}
    if given.cures:
        broken = [trace for trace in traces if trace.is_broken]
        ranks = curing.cured_ranks(broken, given.jobs)
        cures = curing.cure_shares(broken, ranks)
        found["cured by"] = curing.ranks_by_case(broken, ranks)
    part = cases_digest(chosen)
    earlier = scorings(HELD_OUT, part) if given.part == "held-out" else []
    text = f"{heading(given.part, traces, earlier)}\n\n{table(judged, cures)}"
    print(text)
    found = {**numbers(judged, cures), **found, "isometry is wrong on": misses(judged["isometry"], traces)}
    (given.traces / "score.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    if given.part == "held-out":  # before a page is written, which would make the commit a dirty one
        enter(HELD_OUT, given.date, part, numbers(judged, cures))
    if given.markdown:
        put_between(given.markdown, given.part, text)


if __name__ == "__main__":
    main()
