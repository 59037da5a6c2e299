"""Published claims about gradients, measured again on two cores.

    python benchmarks/literature/reproduce.py [KEYS …] [--jobs 2] [--data datasets]
    python benchmarks/literature/reproduce.py --list

Runs the claims (all, or those named), prints a line for each as it ends, adds it to results.jsonl and writes the tables
of docs/literature.md anew from the newest result of every claim. What agrees was decided before: see `Claim.bounds`.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

import cifar
import depth
import memory
import page
import propagation
import scale
import torch
from claim import Claim

from isometry.jsonl import read_lines, to_line
from isometry.training.checkpoint_files import fingerprint

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
PAGE = HERE.parents[1] / "docs" / "literature.md"
SUBJECTS: dict[str, tuple[Claim, ...]] = {
    "Before the first step": propagation.CLAIMS + scale.CLAIMS,
    "Deep nets": depth.CLAIMS,
    "Recurrent nets": memory.CLAIMS,
    "For a GPU": cifar.CLAIMS,
}
CLAIMS = {claim.key: claim for claims in SUBJECTS.values() for claim in claims}


# ------------------------------------------------------------------------------------------ one measurement
def begin() -> None:
    """Of a process that measures: one thread, so that figures do not depend on the number of cores."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def measure(key: str, folder: str) -> dict[str, Any]:
    """The entry of one claim."""
    claim = CLAIMS[key]
    assert claim.measure is not None
    started = time.process_time()  # not the clock on the wall: others may work on the machine
    figures = dict(claim.measure(folder) if claim.data else claim.measure())
    return {
        "key": key,
        "figures": figures,
        "ours": claim.tell(figures),
        "agrees": claim.agrees(figures),
        "minutes": round((time.process_time() - started) / 60, 2),
        "date": datetime.date.today().isoformat(),
        "versions": fingerprint(),
        "machine": machine(),
        "commit": commit(),
    }


def machine() -> str:
    """In words."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.M)
        name = found[1] if found else name
    return f"{os.cpu_count()} cores, {name}, one thread"


def commit() -> str | None:
    """The checkout's, with a + when files were changed; None outside one."""
    told = []
    for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"]):
        try:
            told.append(subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True).stdout)
        except (OSError, subprocess.CalledProcessError):
            return None
    return told[0].strip() + ("+" if told[1] else "")


# -------------------------------------------------------------------------------------------------- all of them
def why_not(claim: Claim, folder: str) -> str:
    """Why a claim cannot be measured here; empty: it can."""
    if claim.measure is None:
        return f"needs a GPU: {claim.command}"
    raw = Path(folder).expanduser() / "MNIST" / "raw"
    if claim.data and not any(raw.glob("train-images-idx3-ubyte*")):
        return f"needs data={claim.data}: none in {raw}"
    return ""


def run(keys: Sequence[str], folder: str, jobs: int) -> Iterator[dict[str, Any]]:
    """The entries as they come; one of a measurement that broke off has an `error` in place of figures."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=begin) as pool:
        measured = {pool.submit(measure, key, folder): key for key in keys}
        for done in as_completed(measured):
            error = done.exception()
            yield done.result() if error is None else {"key": measured[done], "error": repr(error)}


def results() -> page.Results:
    return page.newest(read_lines(RESULTS) if RESULTS.is_file() else ())


def line(key: str, agrees: str, ours: str, minutes: str = "") -> str:
    return f"{key:<20} {agrees:<8} {minutes:>5}  {ours}"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="claims; none: all of them")
    parser.add_argument("--list", action="store_true", help="name the claims and what they take")
    parser.add_argument("--jobs", type=int, default=1, help="claims at a time, one thread each")
    parser.add_argument("--data", default="datasets", metavar="DIR", help="as data.dir: where MNIST/raw is")
    given = parser.parse_args()
    if unknown := sorted(set(given.keys) - set(CLAIMS)):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(CLAIMS)}")
    return given


def main() -> int:
    """Exit code: 1 where a measurement broke off. To disagree is no error."""
    given = options()
    chosen = [CLAIMS[key] for key in given.keys or CLAIMS]
    if given.list:
        print("\n".join(f"{claim.key:<20} {claim.minutes:>4} min  {claim.claim}" for claim in chosen))
        return 0
    broken = 0
    print(line("claim", "agrees", "ours", "min"))
    reasons = {claim.key: why_not(claim, given.data) for claim in chosen}
    try:
        for entry in run([key for key, reason in reasons.items() if not reason], given.data, given.jobs):
            if "error" in entry:
                broken += 1
                print(line(entry["key"], "broken", entry["error"]), flush=True)
                continue
            with open(RESULTS, "a", encoding="utf-8") as file:
                print(to_line(entry), file=file)
            agrees = "yes" if entry["agrees"] else "NO"
            print(line(entry["key"], agrees, entry["ours"], str(entry["minutes"])), flush=True)
    finally:  # what there is, also when the rest is broken off
        page.write(PAGE, page.text(SUBJECTS, results()))
    for key, reason in reasons.items():
        if reason:
            print(line(key, "not run", reason))
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
