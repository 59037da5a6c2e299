"""Schedules against their closed forms, and which parameters decay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from isometry.build import switch
from isometry.layers.blocks import FixupBlock
from isometry.training import optimizers

TOTAL = 100


def rates(schedule: Any, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    (entry,) = schedule(optimizer, TOTAL, **options)
    assert entry["interval"] == "step"
    seen = []
    for _ in range(TOTAL):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        entry["scheduler"].step()
    return seen


def test_constant_warms_up_linearly_and_stays() -> None:
    seen = rates(optimizers.constant, warmup=0.1)
    assert seen[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert seen[10:] == [1.0] * 90
    assert rates(optimizers.constant, warmup=0.0) == [1.0] * TOTAL


def test_cosine_falls_along_half_a_cosine() -> None:
    seen = rates(optimizers.cosine, warmup=0.0)
    assert seen == pytest.approx([(1 + math.cos(math.pi * step / TOTAL)) / 2 for step in range(TOTAL)])
    assert rates(optimizers.cosine, warmup=0.2)[20] == 1.0


def test_onecycle_rises_from_a_25th_to_the_peak_and_falls_to_zero() -> None:
    seen = rates(optimizers.onecycle, warmup=0.3)
    assert seen[0] == pytest.approx(1 / 25)
    assert seen[30] == 1.0
    assert seen[15] == pytest.approx((1 + 1 / 25) / 2)
    assert seen[65] == pytest.approx(0.5)
    assert seen[-1] < 0.001
    assert seen[:31] == sorted(seen[:31])
    assert seen[30:] == sorted(seen[30:], reverse=True)


def test_onecycle_without_warmup_starts_at_the_peak() -> None:
    assert rates(optimizers.onecycle, warmup=0.0)[0] == 1.0


def test_step_drops_at_each_milestone() -> None:
    seen = rates(optimizers.step, warmup=0.0, milestones=[0.5, 0.75], factor=0.1)
    assert seen == pytest.approx([1.0] * 50 + [0.1] * 25 + [0.01] * 25)


def test_plateau_drops_after_patience_and_warms_up_on_its_own() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    rising, falling = optimizers.plateau(optimizer, TOTAL, warmup=0.1, factor=0.5, patience=1)
    assert (rising["interval"], falling["interval"], falling["monitor"]) == ("step", "epoch", "val/loss")
    for _ in range(10):
        optimizer.step()
        rising["scheduler"].step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.0)
    for loss in (1.0, 1.0, 1.0):
        falling["scheduler"].step(loss)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5)
    assert len(optimizers.plateau(optimizer, TOTAL, warmup=0.0, factor=0.5, patience=1)) == 1


def test_norms_and_biases_do_not_decay() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    net[3].weight.requires_grad_(False)
    weights, rest = optimizers.parameter_groups(net.named_parameters(), 0.5, 0.1)
    assert [p.shape for p in weights["params"]] == [(2, 1, 3, 3)]  # the frozen one is left out
    assert weights["weight_decay"] == 0.1
    assert {id(p) for p in rest["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias), id(net[3].bias)}
    assert rest["weight_decay"] == 0.0


def test_scalars_of_whole_layers_learn_at_a_tenth_of_the_rate() -> None:
    block = FixupBlock(2, 2, switch("norm", "none"), switch("activation", "relu"), 1, shortcut="identity", num_blocks=3)
    optimizer = optimizers.sgd(block.named_parameters(), lr=0.5, weight_decay=0.1, momentum=0.0)
    weights, scalars = optimizer.param_groups
    assert {id(p) for p in scalars["params"]} == {id(block.scalar_biases), id(block.scalar_scale)}
    assert (weights["lr"], scalars["lr"], scalars["weight_decay"]) == (0.5, 0.05, 0.0)
    schedule = optimizers.step(optimizer, TOTAL, warmup=0.0, milestones=[0.5], factor=0.1)[0]["scheduler"]
    for _ in range(TOTAL // 2):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.005])


@pytest.mark.parametrize(
    ("make", "options", "kind"),
    [
        (optimizers.adamw, {"beta1": 0.8, "beta2": 0.9}, torch.optim.AdamW),
        (optimizers.adam, {"beta1": 0.8, "beta2": 0.9}, torch.optim.Adam),
        (optimizers.sgd, {"momentum": 0.7}, torch.optim.SGD),
        (optimizers.sgd, {"momentum": 0.0}, torch.optim.SGD),
        (optimizers.rmsprop, {"momentum": 0.7, "smoothing": 0.95}, torch.optim.RMSprop),
    ],
)
def test_options_arrive(make: Any, options: dict[str, float], kind: type) -> None:
    optimizer = make(nn.Linear(2, 2).named_parameters(), lr=0.5, weight_decay=0.1, **options)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.5
    if "beta1" in options:
        assert group["betas"] == (0.8, 0.9)
    if kind is torch.optim.SGD:
        assert group["nesterov"] == (options["momentum"] > 0)
    if "smoothing" in options:
        assert (group["alpha"], group["momentum"]) == (0.95, 0.7)
