"""The suite's table as a whole, and one step of each kind of module."""

from __future__ import annotations

import math

import modules
import pytest
from cases import CASES

HELD_OUT = [case for case in CASES if case.part == "held-out"]
KINDS = sorted(set(modules.KINDS) - {"gan", "actor_critic"})  # which take their steps themselves


def test_no_name_stands_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_held_out_part_shares_no_architecture_with_the_other() -> None:
    assert not {case.architecture for case in HELD_OUT} & {case.architecture for case in CASES if case not in HELD_OUT}


def test_its_faults_are_called_as_in_the_other() -> None:
    known = {rule for case in CASES if case.part == "training" for rule in case.rules}
    assert {rule for case in HELD_OUT for rule in case.rules} <= known


def test_each_fault_changes_a_word_and_has_a_name() -> None:
    for case in CASES:
        assert bool(case.fault) == bool(case.rules)
        assert not set(case.fault) & set(case.words)
        if case.kind != "project":
            words = (case.words, [*case.words, *case.fault])
            healthy, broken = (modules.settings(case.kind, each) for each in words)
            assert bool(case.fault) == (healthy != broken)


def test_cures_are_told_in_known_words() -> None:
    for case in CASES:
        assert bool(case.cures) == bool(case.fault and case.kind != "project")
        for words in case.cures.values():
            modules.settings(case.kind, [*case.words, *case.fault, *words])


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_reaches_every_weight(kind: str) -> None:
    module, batches, _ = modules.make(kind, ["batch=8"], 1)
    loss = module.training_step(next(iter(batches)), 0)
    loss.backward()
    assert math.isfinite(loss.item())
    trained = [(name, p.grad) for name, p in module.named_parameters() if p.requires_grad]
    assert [name for name, gradient in trained if gradient is None or not gradient.isfinite().all()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_not_learnt_scores_badly(kind: str) -> None:
    module, _, _ = modules.make(kind, [], 1)
    assert 0.6 < module.eval().score()["score"] <= 1.0
