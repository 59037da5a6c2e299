"""GradientMonitor under mixed precision: every number is that of the unscaled gradient, an overflow is no NaN.

The loss scale is real, on the CPU: Lightning's `MixedPrecision("16-mixed", "cpu", scaler=…)`.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fixed import LIGHTNING_SAYS, Fixed, Regression, fit, fp16
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn

from isometry import GradientMonitor

pytestmark = LIGHTNING_SAYS

OVERFLOWS = 1e36  # as a gradient: finite, but not when multiplied by 1024
RATE = 1 / 16  # keeps weights below 1/4, and so the scaled loss finite


class Zero(Fixed):
    """Weights are zero, so that the loss is finite whatever the batch."""

    def __init__(self, lr: float = 0.0) -> None:
        super().__init__(lr)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class Summed(Fixed):
    """loss = Σz, so ∂L/∂z = 1 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.layer(batch[0]).float().sum()


def test_norms_are_those_of_the_unscaled_gradient() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0], [5.0, 12.0]], plugins=[fp16(1024)])
    assert [record.total for record in monitor.history] == [5.0, 13.0]  # in on_after_backward: 5120 and 13312
    assert {name: row.norm for name, row in monitor.history.records[1].layers.items()} == {"a": 5.0, "b": 12.0}
    assert [record.scale for record in monitor.history] == [1024, 1024]
    assert [record.skipped for record in monitor.history] == [0, 0]
    assert logger.series("amp/scale") == {0: 1024, 1: 1024}
    assert logger.series("amp/skipped_steps") == {0: 0, 1: 0}


def test_norms_after_clipping_are_those_of_the_unscaled_gradient() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], plugins=[fp16(1024)], gradient_clip_val=2.5)
    assert monitor.history.records[0].total == 5.0
    assert monitor.history.records[0].total_clipped == pytest.approx(2.5, rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 4096.0])
def test_the_profile_s_gradient_is_divided_by_the_scale(scale: float) -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Summed(), plugins=[fp16(scale)])
    (row,) = monitor.history.profiles[0].layers
    assert row.gradient_rms == pytest.approx(1.0, rel=1e-6)


def test_the_profile_in_fp16_is_that_of_fp32_but_for_rounding() -> None:
    def rows(**options: Any) -> dict[str, tuple[float, float]]:
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
        monitor = GradientMonitor(every_n_steps=1)
        fit(monitor, torch.randn(16, 4), Regression(net), batch_size=16, **options)
        layers = monitor.history.profiles[0].layers
        return {row.name: (row.activation_rms, row.gradient_rms or 0.0) for row in layers}

    half, full = rows(plugins=[fp16(1024)]), rows()
    assert list(half) == ["net.0", "net.2", "net.4"]
    for name, values in half.items():
        assert values == pytest.approx(full[name], rel=5e-3)
    assert half != full  # it was fp16 indeed


def test_an_overflow_is_a_skipped_step_and_no_nan() -> None:
    monitor, module = GradientMonitor(every_n_steps=1), Zero(lr=RATE)
    logger = fit(monitor, [[3.0, 4.0], [OVERFLOWS, 0.0], [6.0, 8.0]], module, plugins=[fp16(1024)])
    assert [record.step for record in monitor.history] == [0, 1, 2]
    assert [record.total for record in monitor.history] == [5.0, math.inf, 10.0]
    assert [record.skipped for record in monitor.history] == [0, 1, 0]
    assert monitor.history.nonfinite == []
    assert logger.series("amp/skipped_steps") == {0: 0, 1: 1, 2: 0}
    assert (module.a.weight.item(), module.b.weight.item()) == (-9.0 * RATE, -12.0 * RATE)  # of steps 0 and 2 alone


def test_an_overflow_in_the_last_step_is_recorded() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0], [OVERFLOWS, 0.0]], Zero(), plugins=[fp16(1024)])
    assert [(record.step, record.skipped) for record in monitor.history] == [(0, 0), (1, 1)]
    assert logger.series("amp/skipped_steps") == {0: 0, 1: 1}


def test_the_scale_of_a_record_is_the_one_its_step_was_made_with() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0], [OVERFLOWS, 0.0], [6.0, 8.0]], Zero(), plugins=[fp16(1024)])
    assert logger.series("amp/scale") == {0: 1024, 1: 1024, 2: 512}  # halved after the overflow


def test_a_skipped_step_moves_nothing() -> None:
    monitor, module = GradientMonitor(every_n_steps=1), Fixed(lr=0.5)
    with torch.no_grad():
        module.a.weight.fill_(0.0)
        module.b.weight.fill_(2.0)
    fit(monitor, [[OVERFLOWS, 1.0], [0.0, 1.0]], module, plugins=[fp16(1024)])
    skipped, made = (record.layers["b"] for record in monitor.history)
    assert not skipped.update_ratio
    assert made.update_ratio == 0.25  # lr 0.5 times gradient 1, over 2


def test_skipped_steps_between_logged_ones_are_counted() -> None:
    big, small = [OVERFLOWS, 0.0], [1.0, 0.0]
    monitor = GradientMonitor(every_n_steps=8)
    fit(monitor, [small, small, small, big, small, big, big, small], Zero(), plugins=[fp16(2.0**14)])
    assert [record.step for record in monitor.history] == [0, 1, 2, 4, 7]
    assert [record.skipped for record in monitor.history] == [0, 0, 0, 1, 2]
    assert monitor.history.nonfinite == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_no_overflow(bad: float) -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[1.0, 1.0], [bad, 1.0]], plugins=[fp16(1024)])
    (found,) = monitor.history.nonfinite
    assert (found.step, found.inputs, found.samples, found.parameter) == (1, True, [0], "a.weight")


def test_a_nan_in_the_first_of_two_accumulated_batches_is_no_overflow() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[math.nan, 1.0], [1.0, 1.0]], plugins=[fp16(1024)], accumulate_grad_batches=2)
    assert [(found.step, found.parameter) for found in monitor.history.nonfinite] == [(0, "a.weight")]


def test_accumulated_gradients_are_unscaled_once() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    rows = [[2.0, 0.0], [4.0, 0.0], [6.0, 0.0], [8.0, 0.0]]
    fit(monitor, rows, plugins=[fp16(1024)], accumulate_grad_batches=2)
    assert [record.total for record in monitor.history] == [3.0, 7.0]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("scale", [None, 1024.0])
def test_an_optimizer_that_unscales_in_its_step(kind: type[torch.optim.Optimizer], scale: float | None) -> None:
    """`fused=True`: what lies in .grad before the step is still multiplied by the scale."""

    class Fused(Fixed):
        def configure_optimizers(self) -> Any:
            return kind(self.parameters(), lr=0.5, fused=True)  # type: ignore[call-arg]

    monitor = GradientMonitor(every_n_steps=1, histograms=True)
    module = Fused()
    nn.init.constant_(module.a.weight, 2.0)
    fit(monitor, [[3.0, 40.0], [0.0, 0.0]], module, plugins=[fp16(scale)] if scale else [])
    first, second = monitor.history
    assert first.total == math.hypot(3, 40)
    assert {name: row.norm for name, row in first.layers.items()} == {"a": 3.0, "b": 40.0}
    assert [row.histogram for row in first.layers.values()] == [{"0": 1}, {"1": 1}]
    assert second.total == 0.0
    if kind is torch.optim.SGD:
        assert first.layers["a"].update_ratio == 0.75


def test_an_overflow_of_an_optimizer_that_unscales_in_its_step() -> None:
    class Fused(Zero):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=RATE, fused=True)

    monitor, module = GradientMonitor(every_n_steps=1), Fused()
    fit(monitor, [[3.0, 4.0], [OVERFLOWS, 0.0], [6.0, 8.0]], module, plugins=[fp16(1024)])
    assert [(record.step, record.skipped) for record in monitor.history] == [(0, 0), (1, 1), (2, 0)]
    assert monitor.history.nonfinite == []
    assert monitor.history.records[2].total == 10.0  # divided by 512 now
    assert not monitor.history.records[1].layers["a"].update_ratio
    assert (module.a.weight.item(), module.b.weight.item()) == (-9.0 * RATE, -12.0 * RATE)


def test_manual_optimization_with_a_scaler() -> None:
    """The second optimizer's step overflows, the first one's does not."""

    class Two(Zero):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            for optimizer, layer, value in zip(self.optimizers(), (self.a, self.b), batch[0][0], strict=True):
                optimizer.zero_grad()
                self.manual_backward(layer.weight.sum() * value)
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(layer.parameters(), lr=RATE) for layer in (self.a, self.b)]

    monitor, module = GradientMonitor(every_n_steps=1), Two()
    logger = fit(monitor, [[3.0, 4.0], [5.0, OVERFLOWS], [7.0, 8.0]], module, plugins=[fp16(1024)])
    seen = [(record.step, record.optimizer, record.total, record.skipped) for record in monitor.history]
    assert seen == [(0, 0, 3, 0), (1, 1, 4, 0), (2, 0, 5, 0), (3, 1, math.inf, 1), (4, 0, 7, 0), (5, 1, 8, 0)]
    assert monitor.history.nonfinite == []
    assert logger.series("grad_norm/total_1")[5] == 8.0
    assert (module.a.weight.item(), module.b.weight.item()) == (-15.0 * RATE, -12.0 * RATE)


def test_bf16_needs_no_scale() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0], [5.0, 12.0]], plugins=[MixedPrecision("bf16-mixed", "cpu")])
    assert [record.total for record in monitor.history] == [5.0, 13.0]
    assert [record.scale for record in monitor.history] == [None, None]
    assert logger.series("amp/scale") == {}


def test_the_profile_in_bf16() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Summed(), plugins=[MixedPrecision("bf16-mixed", "cpu")])
    (row,) = monitor.history.profiles[0].layers
    assert row.gradient_rms == pytest.approx(1.0, rel=1e-6)


def test_weights_of_bf16() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Fixed(), precision="bf16-true")
    assert monitor.history.records[0].total == 5.0


def test_parameters_of_different_precision() -> None:
    """A net in float32 with a part in float64 and one in bfloat16."""
    module = Fixed()
    module.a.double()
    module.unused.bfloat16()
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], module)
    assert monitor.history.records[0].total == 5.0
    swapped = Fixed()
    swapped.b.double()
    fit(monitor, [[3.0, 4.0]], swapped)
    assert [record.total for record in monitor.history] == [5.0, 5.0]
