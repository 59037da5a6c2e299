"""The benchmarks of speed: what they make of their clocks, and that all of them still run. Nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[1] / "benchmarks" / "speed"
sys.path.insert(0, str(SPEED))

from pairs import Ratio, in_turn  # noqa: E402 (a folder of the benchmarks)


def test_a_ratio_is_the_median_over_neighbours() -> None:
    ratio = Ratio([2.0, 3.0, 8.0], [1.0, 3.0, 2.0])  # the machine slowed down
    assert (ratio.all, ratio.median) == ([2.0, 1.0, 4.0], 2.0)
    assert str(ratio) == "2.00 (1.00 … 4.00)"
    assert ratio.inverse().all == [0.5, 1.0, 0.25]


def test_the_two_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def one(name: str) -> float:
        order.append(name)
        return float(len(order))

    ratio = in_turn(lambda: one("ours"), lambda: one("theirs"), pairs=2)
    assert order == ["ours", "theirs"] * 3
    assert (ratio.ours, ratio.theirs) == ([3.0, 5.0], [4.0, 6.0])


@pytest.mark.slow
def test_all_of_them_run() -> None:
    words = [sys.executable, "-W", "ignore", str(SPEED), "--short"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if line.startswith("|---")]
    assert len(tables) == 9
    assert "nan" not in done.stdout
