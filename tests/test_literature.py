"""docs/literature.md holds what was measured, its verdicts what the criteria say; and a wrong figure does not pass."""

from __future__ import annotations

import ast
import math
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from isometry import build
from isometry.jsonl import read_lines, to_line
from isometry.overrides import read

HERE = Path(__file__).parents[1] / "benchmarks" / "literature"
sys.path.insert(0, str(HERE))

import cifar  # noqa: E402
import depth  # noqa: E402
import memory  # noqa: E402
import page  # noqa: E402
import propagation  # noqa: E402
import reproduce  # noqa: E402
from claim import Claim, at_least, at_most, near  # noqa: E402
from test_architecture import code_lines  # noqa: E402

CLAIMS = list(reproduce.CLAIMS.values())
MEASURABLE = [claim for claim in CLAIMS if claim.measure]
RESULTS = reproduce.results()
QUICK = ("batch_norm_scale", "chrono_memory", "lsuv_variance", "orthogonal_products", "self_normalising")
MEDIUM = ("adding_problem", "batch_norm_depth", "clipping", "critical_tanh", "he_or_xavier")

every_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
every_result = pytest.mark.parametrize("key", sorted(RESULTS))


# ------------------------------------------------------------------------------------------- the claims
@every_claim
def test_a_claim_says_who_said_what_and_where_it_would_fail(claim: Claim) -> None:
    texts = (claim.claim, claim.source, claim.published, claim.protocol, claim.figure, claim.note)
    assert all(texts[:-1])
    assert not any("|" in text or "\n" in text for text in texts)  # they become cells of a table
    assert claim.claim.endswith(".")
    assert re.search(r"(19|20)\d\d", claim.source) or "community" in claim.source
    assert claim.bounds
    assert all(math.isfinite(bound.low) or math.isfinite(bound.high) for bound in claim.bounds)
    assert bool(claim.command) != bool(claim.measure)
    assert claim.minutes <= 4


def test_there_are_claims_enough_for_forty_minutes_of_two_cores() -> None:
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS) == sum(map(len, reproduce.SUBJECTS.values()))
    assert len(MEASURABLE) >= 15
    assert sum(claim.minutes for claim in MEASURABLE) <= 40


@every_claim
def test_the_words_of_a_protocol_are_those_of_the_command_line(claim: Claim) -> None:
    told = [words for words in re.findall(r"`([^`]+)`", claim.protocol) if words.startswith("model=")]
    for words in told:
        assert read(words.split())


def test_bounds_end_where_they_say() -> None:
    assert near("x", 2.0, 0.1).holds({"x": 1.8})
    assert not near("x", 2.0, 0.1).holds({"x": 2.21})
    assert near("x", -2.0, 0.1).holds({"x": -2.2})
    assert at_least("x", 1.0).holds({"x": math.inf})
    assert not at_most("x", 1.0).holds({"x": 1.001})
    assert not any(bound("x", 1.0).holds({"x": math.nan}) for bound in (at_least, at_most))


# --------------------------------------------------------------------------------------------- the page
def test_enough_was_measured() -> None:
    """What was not is "not run here" on the page."""
    assert set(RESULTS) <= {claim.key for claim in MEASURABLE}
    assert len(RESULTS) >= 15


def test_the_page_is_what_the_results_render() -> None:
    written = reproduce.PAGE.read_text(encoding="utf-8").partition(page.BEGIN)[2].partition(page.END)[0]
    assert written == f"\n{page.text(reproduce.SUBJECTS, RESULTS)}\n"


@every_result
def test_a_verdict_is_what_the_criterion_says_of_the_figures(key: str) -> None:
    claim, entry = reproduce.CLAIMS[key], RESULTS[key]
    figures = {name: float(value) for name, value in entry["figures"].items()}
    assert entry["agrees"] == claim.agrees(figures)
    assert entry["ours"] == claim.tell(figures)
    assert entry["agrees"] or claim.note  # who disagrees says why
    assert {"date", "versions", "machine", "commit"} <= set(entry)


@every_result
def test_a_planted_figure_makes_a_claim_disagree(key: str) -> None:
    claim = reproduce.CLAIMS[key]
    inside = {name: float(value) for name, value in RESULTS[key]["figures"].items()}
    for bound in claim.bounds:
        inside[bound.number] = bound.low if math.isfinite(bound.low) else bound.high
    assert claim.agrees(inside)
    for bound in claim.bounds:
        below, above = bound.low - 0.01 * abs(bound.low), bound.high + 0.01 * abs(bound.high)
        for wrong in (math.nan, *(value for value in (below, above) if math.isfinite(value))):
            assert not claim.agrees({**inside, bound.number: wrong})


def test_the_newest_result_of_a_claim_is_shown() -> None:
    claim = reproduce.CLAIMS["critical_tanh"]
    entries = [
        {"key": claim.key, "figures": {"critical": value}, "agrees": value < 2, "minutes": 1.0} for value in (1.7, 2.5)
    ]
    shown = page.table([claim], page.newest(entries))
    assert "2.500" in shown
    assert "1.700" not in shown
    assert "**no**" in shown
    assert "not run here" in page.table([claim], {})


# ------------------------------------------------------------------------------------------ measurements
@pytest.mark.parametrize("key", QUICK)
def test_a_quick_claim_agrees_when_it_is_measured(key: str) -> None:
    claim = reproduce.CLAIMS[key]
    assert claim.measure
    assert claim.agrees(claim.measure())


@pytest.mark.slow
@pytest.mark.parametrize("key", MEDIUM)
def test_a_slower_claim_agrees_when_it_is_measured(key: str) -> None:
    claim = reproduce.CLAIMS[key]
    assert claim.measure
    assert claim.agrees(claim.measure())


def test_another_net_or_another_figure_does_not_pass() -> None:
    claim = reproduce.CLAIMS["relu_xavier"]
    words = "model=mlp model.depth=12 model.width=128 norm=none"
    xavier, he = (propagation.backward_factor(f"{words} init={init}") for init in ("xavier_normal", "he_normal"))
    assert claim.agrees(xavier)
    assert not claim.agrees(he)
    assert not replace(claim, bounds=(near("factor", 1.0, 0.03),)).agrees(xavier)


def test_correlation_lengths_are_those_of_the_mean_field() -> None:
    """ξ = -1 / log χ with √χ = 0.871, 0.938 and 0.969 a layer."""
    for variance, factor in ((1.0, 0.871), (1.3, 0.938), (1.5, 0.969)):
        assert depth.correlation_length(variance) == pytest.approx(-1 / math.log(factor**2), rel=0.02)


def test_the_tasks_are_worth_what_guessing_costs() -> None:
    rng = torch.Generator().manual_seed(0)
    task = memory.adding(100)
    sequences, sums = task.draw(20_000, rng)
    assert sequences[:, :, 1].sum(1).eq(2).all()
    guess = torch.ones(len(sums), 1, 1)
    assert float(task.loss(guess, sums)) == pytest.approx(1 / 6, rel=0.03)

    task = memory.copying(100)
    sequences, said = task.draw(8, rng)
    assert torch.equal(sequences[:, :10].argmax(2), said[:, -10:])
    blank_then_any = torch.full((8, 120, 10), -100.0)
    blank_then_any[:, :-10, 0] = 0
    blank_then_any[:, -10:, 1:9] = 0
    assert float(task.loss(blank_then_any, said)) == pytest.approx(10 * math.log(8) / 120, rel=1e-4)

    task = memory.temporal_order(30)
    sequences, order = task.draw(5_000, rng)
    assert _first_and_second(sequences).equal(order)
    assert order.bincount().float().div(5_000).sub(0.25).abs().max() < 0.03
    assert float(F.cross_entropy(torch.zeros(5_000, 4), order)) == pytest.approx(math.log(4))


def _first_and_second(sequences: Tensor) -> Tensor:
    """Read off: the symbols 0 and 1 stand nowhere else."""
    symbols = sequences.argmax(2)
    told = symbols[symbols < 2].view(-1, 2)
    return 2 * told[:, 0] + told[:, 1]


# ------------------------------------------------------------------------------------------ the command line
@pytest.mark.parametrize("claim", cifar.CLAIMS, ids=lambda claim: claim.key)
def test_the_commands_for_a_gpu_are_the_papers_protocol(claim: Claim) -> None:
    config = read(shlex.split(claim.reproduced_by)[2:])
    batches = 49_000 // config.data.batch_size
    assert build.total_steps(config, batches) == 64_000
    assert config.scheduler.milestones == [0.5, 0.75]
    optimizer, data, model = config.optimizer, config.data, config.model
    assert (optimizer.name, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ("sgd", 0.1, 0.9, 1e-4)
    assert (data.name, data.batch_size, data.augment) == ("cifar10", 128, "crop_flip")
    assert (model.depth, model.width, model.shortcut, config.norm.name) == (int(claim.key[7:]), 16, "identity", "batch")
    assert (config.scheduler.warmup > 0) == (model.depth == 110)


def test_what_cannot_run_here_says_what_it_needs(tmp_path: Path) -> None:
    assert "GPU" in reproduce.why_not(reproduce.CLAIMS["resnet_20"], str(tmp_path))
    assert "needs data=mnist" in reproduce.why_not(reproduce.CLAIMS["row_lstm"], str(tmp_path))
    assert not reproduce.why_not(reproduce.CLAIMS["relu_he"], str(tmp_path))


def test_a_command_enters_its_result_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, written = tmp_path / "results.jsonl", tmp_path / "literature.md"
    earlier = {"key": "batch_norm_scale", "figures": {"inputs": 2.0, "weights": 2.0}, "agrees": False, "minutes": 1.0}
    results.write_text(to_line(earlier) + "\n")
    written.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    monkeypatch.setattr(reproduce, "RESULTS", results)
    monkeypatch.setattr(reproduce, "PAGE", written)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "batch_norm_scale", "resnet_20"])

    def here(keys: Sequence[str], folder: str, jobs: int) -> list[dict[str, object]]:
        return [reproduce.measure(key, folder) for key in keys]

    monkeypatch.setattr(reproduce, "run", here)  # its processes take seconds to start
    assert reproduce.main() == 0
    entries = list(read_lines(results))
    assert [entry["agrees"] for entry in entries] == [False, True]
    told = written.read_text()
    assert told.startswith("before\n")
    assert told.endswith("\nafter\n")
    assert "1 claims measured, 1 reproduced" in told
    assert "old" not in told.split()
    out = capsys.readouterr().out
    assert re.search(r"^batch_norm_scale +yes", out, flags=re.M)
    assert re.search(r"^resnet_20 +not run +needs a GPU", out, flags=re.M)


def test_a_measurement_that_breaks_off_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "literature.md"
    written.write_text(f"{page.BEGIN}\n{page.END}\n")
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(reproduce, "PAGE", written)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "relu_he", "batch_norm_scale"])
    entries = [{"key": "relu_he", "error": "RuntimeError()"}, reproduce.measure("batch_norm_scale", "")]
    monkeypatch.setattr(reproduce, "run", lambda keys, folder, jobs: entries)
    assert reproduce.main() == 1
    assert [entry["key"] for entry in read_lines(tmp_path / "results.jsonl")] == ["batch_norm_scale"]
    assert re.search(r"^relu_he +broken +RuntimeError", capsys.readouterr().out, flags=re.M)


def test_an_unknown_claim_is_answered_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "relu_heh"])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert "relu_he," in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- the house
@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.stem)
def test_the_modules_are_small_and_say_what_they_are_for(path: Path) -> None:
    assert len(code_lines(path)) <= 250
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, node.name
