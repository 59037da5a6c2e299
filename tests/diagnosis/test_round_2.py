"""The second round: its tasks, networks and losses by hand, and one step of each kind."""

from __future__ import annotations

import math

import modules
import pytest
import torch
from knobs import Settings
from round_2 import losses, networks, sequences, tasks
from tasks import TRAIN, Task
from torch import Tensor
from untrained import made


# --------------------------------------------------------------------------------------------- networks
def test_waves_do_not_look_ahead() -> None:
    network, signal = made("gated_waves"), torch.randn(2, 1, 20)
    changed = signal.clone()
    changed[:, :, 12:] += 1.0
    before, after = network(signal), network(changed)
    torch.testing.assert_close(after[:, :, :12], before[:, :, :12])
    assert not torch.allclose(after[:, :, 12], before[:, :, 12])


def test_a_set_has_no_order() -> None:
    network, points = made("point_set"), torch.randn(3, 3, 30)
    torch.testing.assert_close(network(points[:, :, torch.randperm(30)]), network(points))


def test_nodes_may_be_numbered_anew() -> None:
    network, inputs = made("graph"), modules.task_of("communities", 16).inputs[:4]
    order = torch.randperm(16)
    edges = inputs[:, order][:, :, 4:][:, :, order]
    again = torch.cat([inputs[:, order, :4], edges], dim=2)
    torch.testing.assert_close(network(again), network(inputs)[:, order])


def test_a_closed_gate_carries_and_decays_keep() -> None:
    layer, x = networks.Highway(Settings(width=4, forget_bias=100.0)), torch.randn(3, 4)
    torch.testing.assert_close(layer(x), x)
    cell = sequences.Decay(Settings(width=4, forget_bias=-100.0))  # all is forgotten at once
    signal = torch.randn(1, 5, 4)
    torch.testing.assert_close(cell(signal)[:, -1:], cell(signal[:, -1:]))


def test_maxout_takes_the_larger_unit() -> None:
    layer = networks.Maxout(1, Settings(width=1))
    layer.layer.weight.data, layer.layer.bias.data = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    assert layer(torch.tensor([[3.0], [-2.0]])).flatten().tolist() == [3.0, 2.0]


def test_squares_of_a_mixer_hold_neighbouring_pixels() -> None:
    seen: list[Tensor] = []
    trunk = networks.Patches(Settings(depth=1, width=4))
    trunk.enter.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    picture = torch.arange(784.0).view(1, 1, 28, 28)
    trunk(picture)
    torch.testing.assert_close(seen[0][0, 5], picture[0, 0, 7:14, 7:14].flatten())


# ----------------------------------------------------------------------------------------------- losses
def task(kind: str, outputs: int = 2) -> Task:
    return Task(kind, torch.zeros(1), torch.zeros(1), outputs)


def test_pairs_at_chance_and_apart() -> None:
    targets, s = torch.arange(8), Settings()
    alike = torch.ones(8, 2, 4)
    assert losses.pairs_loss(task("pairs"), alike, targets, s).item() == pytest.approx(math.log(8))
    assert losses.pairs_score(task("pairs"), alike, targets, s) == 1.0
    apart = torch.eye(8)[:, None, :].repeat(1, 2, 1)
    assert losses.pairs_score(task("pairs"), apart, targets, s) == 0.0
    assert losses.pairs_loss(task("pairs"), apart, targets, s).item() < 0.1


def test_two_tasks_at_once() -> None:
    targets, s = torch.tensor([[0.0, -1.0], [1.0, 1.0]]), Settings()
    right, both = torch.tensor([[50.0, 0.0, -1.0], [0.0, 50.0, 1.0]]), task("both", 3)
    assert losses.both_loss(both, right, targets, s).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.both_score(both, right, targets, s) == 0.0
    right[:, 2] = 0.0  # the mean of the values
    assert losses.both_score(both, right, targets, s) == pytest.approx(0.5)


def test_a_code_without_news_costs_nothing() -> None:
    pictures, s = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), Settings()
    logits = 40 * (2 * pictures - 1)
    outputs = torch.cat([logits, torch.zeros(2, 4)], dim=1)  # mean 0, variance 1
    assert losses.code_loss(task("code"), outputs, pictures, s).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.code_score(task("code"), outputs, pictures, s) == pytest.approx(0.0, abs=1e-6)
    outputs[:, 2:4] = 1.0  # two numbers one deviation away
    assert losses.code_loss(task("code"), outputs, pictures, s).item() == pytest.approx(1.0)
    assert losses.code_score(task("code"), torch.zeros(2, 6), pictures, s) == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------------ tasks
def test_pairs_are_of_one_class_and_one_part() -> None:
    pairs = tasks.like_pairs(0)
    labels = pairs.targets.tolist()
    classes = {picture.numpy().tobytes(): label for picture, label in zip(pairs.inputs[:, 0], labels, strict=True)}
    others = [classes[picture.numpy().tobytes()] for picture in pairs.inputs[:, 1]]
    assert others == labels
    held_aside = {picture.numpy().tobytes() for picture in pairs.inputs[TRAIN:, 1]}
    assert not held_aside & {picture.numpy().tobytes() for picture in pairs.inputs[:TRAIN, 0]}


def test_tags_look_both_ways() -> None:
    tags = tasks.tags(30)
    for text, row in zip(tags.inputs[:5].tolist(), tags.targets[:5].tolist(), strict=True):
        for place, tag in enumerate(row):
            before = [letter for letter in text[: place + 1] if letter < 2]
            behind = [letter for letter in text[place:] if letter < 2]
            assert tag == 2 * (before[-1] if before else 0) + (behind[0] if behind else 0)


def test_a_translation_is_told_one_letter_late() -> None:
    words = tasks.reversals(6)
    assert torch.equal(words.inputs[:, :6].flip(1), words.targets)
    assert torch.equal(words.inputs[:, 7:], words.targets[:, :-1])


def test_graphs_are_undirected_and_some_nodes_alone() -> None:
    edges = tasks.communities(16).inputs[:, :, 4:]
    assert torch.equal(edges, edges.transpose(1, 2))
    assert 0.0 < (edges.sum(dim=2) == 0).float().mean() < 0.2


def test_slants() -> None:
    stroke = torch.eye(28)
    leans = tasks.slant(torch.stack([stroke, stroke.flip(1), stroke[14].expand(28, 28)]))
    assert leans.tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-4)
