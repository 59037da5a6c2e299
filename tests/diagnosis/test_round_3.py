"""The third round: its tasks, networks and losses by hand, and one step of each kind."""

from __future__ import annotations

import math

import pytest
import torch
from knobs import Settings
from round_3 import losses, networks, sequences, tasks
from tasks import TRAIN, Task
from torch import Tensor
from untrained import made


# --------------------------------------------------------------------------------------------- networks
def test_a_flow_can_be_turned_and_tells_its_volume() -> None:
    layer, point = networks.Coupling(1, Settings(width=8)), torch.randn(1, 2)
    new, volume = layer(point)
    torch.testing.assert_close(layer.back(new), point)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0].sum(dim=0), point)[:, 0]
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, volume[0])


def test_a_stretch_tells_its_volume() -> None:
    stretch = networks.Stretch(2)
    stretch.stretch.data = torch.tensor([math.log(2.0), math.log(3.0)])
    assert stretch(torch.tensor([[1.0, 1.0, 0.5]])).tolist()[0] == pytest.approx([2.0, 3.0, 0.5 + math.log(6.0)])


def test_one_step_of_euler() -> None:
    network = networks.Euler(Settings(depth=2, width=1, branch_gain=0.5, skip=True), 1)
    for layer in (network.enter, network.layer, network.leave):
        layer.weight.data.fill_(1.0)
        layer.bias.data.zero_()
    assert network(torch.tensor([[4.0]])).item() == pytest.approx(4.0 * 1.5**2)  # x + x / 2, twice


def test_crosses_make_products() -> None:
    network = networks.Crosses(Settings(depth=1, width=1), 2)
    network.layers[0].weight.data, network.layers[0].bias.data = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.zeros(2)
    assert network(torch.tensor([[3.0, 5.0]]))[0, :2].tolist() == [3.0 + 3.0 * 5.0, 5.0]


def test_open_and_closed_gates() -> None:
    units, x = networks.GatedUnits(3, Settings(width=3)), torch.randn(2, 3)
    units.gate.weight.data.zero_()
    units.gate.bias.data.fill_(100.0)
    torch.testing.assert_close(units(x), units.layer(x))
    units.gate.bias.data.fill_(-200.0)
    assert units(x).abs().max() < 1e-6


def test_a_squeeze_weighs_channels_not_places() -> None:
    layer, x = networks.Squeezed(Settings(width=4)), torch.randn(1, 4, 5, 5)
    share = layer(x) / layer.activation(layer.layer(x))
    assert torch.nan_to_num(share, nan=-1.0).amax(dim=(2, 3)).shape == (1, 4)
    for channel in share[0]:
        kept = channel[channel.isfinite()]
        torch.testing.assert_close(kept, kept[:1].expand_as(kept))


def test_sizes_of_pictures() -> None:
    assert made("enlarger")(torch.randn(2, 1, 7, 7)).shape == (2, 1, 14, 14)
    assert made("heat_maps")(torch.randn(2, 1, 16, 16)).shape == (2, 2, 16, 16)
    assert made("triplets")(torch.randn(2, 3, 1, 14, 14)).shape == (2, 3, 16)


def test_views_of_a_triplet_share_their_weights() -> None:
    embedded = made("triplets")(torch.randn(2, 1, 1, 14, 14).expand(2, 3, 1, 14, 14))
    torch.testing.assert_close(embedded[:, 0], embedded[:, 2])


def test_both_directions_are_read() -> None:
    """A signal turned about gives the two halves of the mean the other way round, if both cells are alike."""
    network = sequences.MeanOfBoth(Settings(depth=1, width=4, cell="gru", norm="none"), 3)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        getattr(network.cell, f"{name}_reverse").data = getattr(network.cell, name).data
    signal = torch.randn(2, 6, 3)
    forth, back = network(signal).chunk(2, dim=1)
    torch.testing.assert_close(network(signal.flip(1)), torch.cat([back, forth], dim=1))


def test_a_hidden_token_is_seen_from_everywhere() -> None:
    network, text = made("gaps"), torch.zeros(1, 16, dtype=torch.long)
    changed = text.clone()
    changed[0, 15] = 7
    assert not torch.allclose(network(text)[0, 0], network(changed)[0, 0])


def test_forget_biases_reach_each_layer() -> None:
    cells = made("stacked", "forget_bias=3").trunk.cells
    assert [cell.bias_ih_l0[24:48].mean().item() for cell in cells] == [3.0, 3.0]


# ----------------------------------------------------------------------------------------------- losses
def task(kind: str, outputs: int = 2, floor: float = 0.0) -> Task:
    return Task(kind, torch.zeros(1), torch.zeros(1), outputs, floor)


def told(kind: str, outputs: Tensor, targets: Tensor, floor: float = 0.0) -> tuple[float, float]:
    """Loss and score."""
    of, s = task(kind, floor=floor), Settings()
    loss = losses.LOSSES[kind](of, outputs, targets, s).item()
    return loss, losses.SCORES[kind](of, outputs, targets, s)


def test_triplets_alike_and_apart() -> None:
    labels = torch.zeros(2)
    loss, score = told("triplets", torch.ones(2, 3, 4), labels)
    assert (loss, score) == (pytest.approx(losses.MARGIN), 1.0)
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).expand(2, 3, 2)
    assert told("triplets", apart, labels) == (0.0, 0.0)
    loss, score = told("triplets", apart[:, [0, 2, 1]], labels)
    assert (loss, score) == (pytest.approx(2.0 + losses.MARGIN, abs=1e-4), 2.0)


def test_distances() -> None:
    targets = torch.tensor([[0.0], [0.0], [3.0]])
    assert told("absolute", targets, targets) == (0.0, 0.0)
    assert told("absolute", torch.zeros(3, 1), targets) == (1.0, 1.0)  # the median


def test_labels() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    loss, score = told("labels", torch.full((4, 2), -1.0), targets)
    assert score == 1.0
    assert loss == pytest.approx(math.log(1 + math.exp(-1)) + 0.25)
    assert told("labels", 50 * (2 * targets - 1), targets) == (pytest.approx(0.0), 0.0)


def test_counts_are_best_told_by_their_rate() -> None:
    counts = torch.tensor([[1.0], [3.0]])
    right = (1.0 + 3.0 - 3.0 * math.log(3.0)) / 2
    loss, score = told("counts", counts.log(), counts, floor=right)
    assert (loss, score) == (pytest.approx(right), pytest.approx(0.0, abs=1e-6))
    assert told("counts", torch.full((2, 1), math.log(2.0)), counts, floor=right)[1] == pytest.approx(1.0)


def test_rewards_push_the_better_arm() -> None:
    rewards = torch.tensor([[1.0, 0.0]]).expand(64, 2)
    outputs = torch.tensor([0.0, 0.0, 0.5]).repeat(64, 1).requires_grad_()  # two logits, what is expected
    losses.rewards_loss(task("rewards"), outputs, rewards, Settings()).backward()
    assert outputs.grad is not None
    pushed = outputs.grad.sum(dim=0)
    assert pushed[0] < 0 < pushed[1]  # whichever arm was pulled
    seen = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    values = torch.zeros(3, 1)
    assert losses.rewards_score(task("rewards"), torch.cat([seen, values], dim=1), seen, Settings()) == 0.0
    alike = torch.tensor([[1.0, 0.0, 0.0]]).expand(3, 3)
    assert losses.rewards_score(task("rewards"), alike, seen, Settings()) == pytest.approx(1.0)


def test_the_density_of_normal_points() -> None:
    points = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1))
    loss, score = told("density", torch.cat([points, torch.zeros(len(points), 1)], dim=1), points)
    assert loss == pytest.approx(math.log(2 * math.pi * math.e), abs=0.03)  # the entropy
    assert score == pytest.approx(1.0, abs=1e-3)


def test_only_hidden_tokens_are_asked_for() -> None:
    targets = torch.tensor([[0, tasks.UNASKED]])
    loss, score = told("hidden", torch.tensor([[[0.0, 0.0], [9.0, -9.0]]]), targets)
    assert (loss, score) == (pytest.approx(math.log(2)), pytest.approx(1.0))
    assert told("hidden", torch.tensor([[[90.0, 0.0], [0.0, 90.0]]]), targets) == (0.0, 0.0)


# ------------------------------------------------------------------------------------------------ tasks
def test_triplets_keep_to_their_part() -> None:
    pictures, labels = tasks.digit_triplets(0).inputs, tasks.digit_triplets(0).targets
    label_of = {each.numpy().tobytes(): label for each, label in zip(pictures[:, 0], labels.tolist(), strict=True)}
    like, unlike = ([label_of[each.numpy().tobytes()] for each in pictures[:, place]] for place in (1, 2))
    assert like == labels.tolist()
    assert all(other != label for other, label in zip(unlike, labels.tolist(), strict=True))
    learnt = {each.numpy().tobytes() for each in pictures[:TRAIN].flatten(0, 1)}
    assert not learnt & {each.numpy().tobytes() for each in pictures[TRAIN:].flatten(0, 1)}


def test_maps_are_bright_where_the_signs_are() -> None:
    places = tasks.places(0)
    pixels, cross = 0.3 * places.inputs[0, 0], places.targets[0, 0]
    row, column = divmod(int(cross.argmax()), 16)
    assert cross.max() == 1.0
    assert pixels[row, column] > 0.5  # a cross is filled, a square is not


def test_floors_are_below_what_constants_reach() -> None:
    petals = tasks.petals(0)
    normal = 0.5 * torch.logdet(2 * math.pi * math.e * torch.cov(petals.targets.T)).item()
    assert petals.floor < normal - 0.5
    visits = tasks.visits(0)
    mean = visits.targets.mean()
    assert visits.floor < (mean - mean * mean.log()).item() - 0.2


def test_a_marked_number_is_asked_for() -> None:
    task = tasks.marked(24)
    at = task.inputs[:, :, 1].argmax(dim=1)
    assert at.max() < 6
    torch.testing.assert_close(task.inputs[torch.arange(len(at)), at, 0], task.targets[:, 0])


def test_signs_and_their_order() -> None:
    task = tasks.first_of_two(24)
    loud = task.inputs.amax(dim=2).topk(2, dim=1).indices.sort(dim=1).values
    signs = task.inputs[torch.arange(len(loud))[:, None], loud].argmax(dim=2)
    pairs = {label: set(map(tuple, signs[task.targets == label].tolist())) for label in range(6)}
    assert [len(pair) for pair in pairs.values()] == [1] * 6
    assert len(set.union(*pairs.values())) == 6


def test_hidden_tokens_are_of_the_row_s_dialect() -> None:
    task = tasks.dialects(16)
    hidden = task.targets != tasks.UNASKED
    assert torch.equal(hidden, task.inputs == 24)
    groups = torch.where(hidden, task.targets, task.inputs) // 4
    assert torch.equal(groups, groups[:, :1].expand_as(groups))
