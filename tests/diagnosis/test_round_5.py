"""The fifth round's nets of fields, maps, tables, bodies and laws, by hand."""

from __future__ import annotations

import math

import modules
import pytest
import torch
from knobs import Settings
from round_5 import losses, networks, tasks
from tasks import Task
from torch import Tensor, nn
from untrained import made

ANY = Task("values", torch.zeros(1, 1), torch.zeros(1, 1), 1)


# --------------------------------------------------------------------------------------------- networks
def test_the_lowest_waves_are_mixed_and_the_others_left_out() -> None:
    layer = networks.Spectrum(Settings(width=2), waves=4)
    layer.weight.data.zero_()
    layer.weight.data[:, :, :, 0] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # the channels change places
    place = 2 * math.pi * torch.arange(32) / 32
    low, high = torch.sin(3 * place), torch.sin(5 * place)
    field = torch.stack([low + high, torch.zeros(32)], dim=1)[None]
    torch.testing.assert_close(layer(field)[0], torch.stack([torch.zeros(32), low], dim=1), atol=1e-5, rtol=0)


def test_each_round_of_settling_reaches_one_cell_further_by_the_same_weights() -> None:
    reached, counts = [], set()
    for rounds in (1, 3):
        network, floor = made("settling", f"depth={rounds}", "norm=none"), torch.randn(1, 2, 8, 8)
        changed = floor.clone()
        changed[:, :, 0, 0] += 1.0
        cells = (network(changed) - network(floor)).abs().amax(dim=2)[0].view(8, 8) > 1e-9
        reached.append(int(cells.nonzero().max()))
        counts.add(sum(p.numel() for p in network.parameters()))
    assert reached[0] <= 2 < reached[1] <= 4  # the layer in front sees one cell around, too
    assert len(counts) == 1


def test_a_bell_is_one_at_its_centre() -> None:
    layer = networks.Splines(1, 1, "none", Settings(skip=False))
    nn.init.zeros_(layer.curves.bias)
    for bell in range(10):
        layer.curves.weight.data = torch.eye(10)[bell : bell + 1]
        assert layer(layer.centres[bell].view(1, 1)).item() == pytest.approx(1.0)
        assert layer(layer.centres[bell].view(1, 1) + 10.0).item() == pytest.approx(0.0, abs=1e-6)


def test_bodies_have_no_order() -> None:
    network, rows = made("bodies"), torch.randn(2, 5, 3)
    order = torch.randperm(5)
    torch.testing.assert_close(network(rows[:, order]), network(rows)[:, order])


def test_each_column_counts() -> None:
    network, rows = made("columns"), torch.randn(1, 8)
    for column in range(8):
        changed = rows.clone()
        changed[0, column] += 1.0
        assert not torch.allclose(network(changed), network(rows))


def test_a_membrane_is_held_at_its_border_and_bends_by_its_load() -> None:
    """Of w = 3(1-x²)(1-y²) the load is -Δw = 6((1-x²) + (1-y²)); differences of second order are exact for it."""
    network = made("law").double()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(network.head.bias, 3.0)
    places = torch.tensor([[1.0, 0.3], [-0.2, -1.0], [0.0, 0.0], [0.5, -0.4]]).double()
    x, y = (1 - places.square()).unbind(1)
    expected = torch.stack([3 * x * y, 6 * (x + y)], dim=1)
    torch.testing.assert_close(network(places), expected)


# ----------------------------------------------------------------------------------------- losses, tasks
def test_the_log_density_of_a_mean_and_the_log_of_a_variance() -> None:
    mean, variance, x = torch.randn(6, 1), torch.rand(6, 1) + 0.1, torch.randn(6, 1)
    expected = -torch.distributions.Normal(mean, variance.sqrt()).log_prob(x).mean()
    found = losses.spread_loss(ANY, torch.cat([mean, variance.log()], 1), x, Settings())
    torch.testing.assert_close(found, expected)


def test_grades_are_missed_by_as_many_levels() -> None:
    above = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])  # grades 2, 1, 4
    logits = 2 * above - 1
    assert losses.grades_score(ANY, logits, above, Settings()) == 0
    assert losses.grades_score(ANY, above, above, Settings(head="sigmoid")) == 0
    one_off = logits.clone()
    one_off[0, 2] = 1.0
    assert losses.grades_score(ANY, one_off, above, Settings()) == pytest.approx(1 / 3)  # the median, 2, is off by 3


def test_who_knows_the_membrane_s_solution_has_no_loss() -> None:
    """A net that is the solution: its differences of second order make the load, up to the square of their step."""
    task = tasks.membrane(0)

    class Solution(nn.Module):
        def forward(self, places: Tensor) -> Tensor:
            x, y = (math.pi * (places + 1) / 2).unbind(1)
            modes = ((a, b, size / ((a**2 + b**2) * math.pi**2 / 4)) for a, b, size in tasks.MODES)
            moved = sum(size * torch.sin(a * x) * torch.sin(b * y) for a, b, size in modes)
            return (moved / (1 - places.square()).prod(dim=1))[:, None]

    inside = task.inputs.abs().amax(dim=1) < 0.9  # elsewhere a step leaves the square
    network = networks.Law(Solution(), nn.Identity(), Settings()).double()
    found, true = network(task.inputs[inside].double()), task.targets[inside].double()
    torch.testing.assert_close(found[:, 0], true[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, 1], true[:, 0], atol=0.02, rtol=0)


def test_water_gets_where_it_can() -> None:
    """By a slow walk from cell to cell."""
    task = modules.task_of("floods", 0)
    for shown, labels in zip(task.inputs[:5], task.targets[:5].view(-1, 8, 8), strict=False):
        is_open, spring = shown[0] > 0, shown[1] > 0
        wet, edge = set(), [tuple(cell) for cell in spring.nonzero().tolist()]
        while edge:
            row, column = edge.pop()
            if (row, column) not in wet and 0 <= row < 8 and 0 <= column < 8 and is_open[row, column]:
                wet.add((row, column))
                edge += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        expected = torch.full((8, 8), tasks.LEFT_ALONE)
        expected[is_open] = 0
        for row, column in wet:
            expected[row, column] = 1
        assert _same(labels, expected)


def _same(found: Tensor, expected: Tensor) -> bool:
    return bool((found == expected).all())
