"""GradientMonitor with accumulation, several optimizers, closures, resuming: one record a step, on schedule."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fixed import LIGHTNING_SAYS, Fixed, Regression, fit, loader, make_trainer
from torch import Tensor, nn

from isometry import GradientMonitor

pytestmark = LIGHTNING_SAYS


class Manual(Fixed):
    """Its optimizers step in the order that `plan(batch_idx)` gives; optimizer i has layer i and gradient x[i]."""

    def __init__(self, plan: Any, lr: float = 0.0) -> None:
        super().__init__(lr)
        self.automatic_optimization = False
        self.plan = plan

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizers = self.optimizers()
        for index in self.plan(batch_idx):
            layer = (self.a, self.b)[index]
            optimizers[index].zero_grad()
            self.manual_backward(layer.weight.sum() * batch[0][0, index])
            optimizers[index].step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), lr=self.lr) for layer in (self.a, self.b)]


class One(Fixed):
    """One optimizer that steps `count` times a batch, with gradients x[0], 2·x[0] …"""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.count = count

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizer = self.optimizers()
        for number in range(1, self.count + 1):
            optimizer.zero_grad()
            self.manual_backward(self.a.weight.sum() * batch[0][0, 0] * number)
            optimizer.step()


# ---------------------------------------------------------------------------------------- accumulation
def test_the_last_window_of_an_epoch_may_be_shorter() -> None:
    """Lightning divides by accumulate_grad_batches all the same."""
    monitor = GradientMonitor(every_n_steps=1)
    rows = [[4.0, 0.0], [8.0, 0.0], [10.0, 0.0]]
    fit(monitor, rows, accumulate_grad_batches=2, max_epochs=2)
    assert [(record.step, record.totals) for record in monitor.history] == [(0, [6]), (1, [5]), (2, [6]), (3, [5])]
    assert [profile.step for profile in monitor.history.profiles] == [0, 1, 2, 3]  # one probe a step, not a batch


def test_the_profile_rides_on_the_first_of_the_accumulated_batches() -> None:
    class Summed(Fixed):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self.a(batch[0]).sum() * (2 + 4 * batch_idx)  # ∂L/∂z, before Lightning divides by 2

    monitor = GradientMonitor(every_n_steps=1)
    module = Summed()
    nn.init.constant_(module.a.weight, 3.0)
    fit(monitor, [[1.0], [2.0], [5.0], [7.0]], module, accumulate_grad_batches=2)
    rows = [(row.activation_rms, row.gradient_rms) for profile in monitor.history.profiles for row in profile.layers]
    assert rows == [(3.0, 2.0), (15.0, 10.0)]  # as of a whole batch: not divided by the two
    assert [record.total for record in monitor.history] == [1 * 1 + 3 * 2, 5 * 5 + 7 * 7]


def test_profiles_are_of_the_logged_steps_alone() -> None:
    monitor = GradientMonitor(every_n_steps=4)
    fit(monitor, [[float(n), 0.0] for n in range(12)])
    assert [profile.step for profile in monitor.history.profiles] == [0, 1, 2, 3, 7, 11]
    assert [record.step for record in monitor.history] == [0, 1, 2, 3, 7, 11]


# ---------------------------------------------------------------------------------- several optimizers
@pytest.mark.parametrize("every", [1, 2, 3, 4, 5, 6])
def test_two_optimizers_in_each_batch_are_both_on_schedule(every: int) -> None:
    monitor, batches = GradientMonitor(every_n_steps=every), 24
    logger = fit(monitor, [[1.0 + n, 100.0 + n] for n in range(batches)], Manual(lambda batch_idx: (0, 1)))
    for index in (0, 1):
        totals = [total for record in monitor.history if record.optimizer == index for total in record.totals]
        assert totals == [(1 if index == 0 else 100) + n for n in range(len(totals))]  # each step once, in order
        assert len(totals) > batches - every - 1  # and none older than the last logged one is missing
        steps = [record.step for record in monitor.history if record.optimizer == index]
        assert list(logger.series(f"grad_norm/total_{index}")) == steps
        assert {step % 2 for step in steps} == {index}
        late = [step for step in steps if step >= every]
        assert max((b - a for a, b in itertools.pairwise(late)), default=0) <= max(2 * every, 2)


def test_each_of_several_optimizers_has_its_own_keys() -> None:
    logger = fit(GradientMonitor(every_n_steps=1), [[3.0, 4.0]], Manual(lambda batch_idx: (0, 1), lr=0.1))
    first, second = (row for _, row in logger.rows if any(key.startswith("grad_norm/total") for key in row))
    assert (first["grad_norm/total_0"], second["grad_norm/total_1"]) == (3.0, 4.0)
    assert (first["grad_norm/a"], second["grad_norm/b"]) == (3.0, 4.0)
    assert set(first) & set(second) == {"perf/monitor_ms"}


@pytest.mark.parametrize("every", [2, 3, 4, 5, 6, 7])
def test_optimizers_that_take_turns_are_both_logged(every: int) -> None:
    monitor = GradientMonitor(every_n_steps=every)
    fit(monitor, [[3.0, 4.0]] * 48, Manual(lambda batch_idx: [batch_idx % 2]))
    for index, total in enumerate((3.0, 4.0)):
        records = [record for record in monitor.history if record.optimizer == index]
        assert records[-1].step >= 48 - 2 * every
        assert sum(len(record.totals) for record in records) >= 24 - every
        assert {value for record in records for value in record.totals} == {total}


@pytest.mark.parametrize("every", [2, 3, 4, 5, 6, 7, 8])
def test_an_optimizer_that_steps_in_every_second_batch_is_logged(every: int) -> None:
    monitor, batches = GradientMonitor(every_n_steps=every), 60
    fit(monitor, [[3.0, 4.0]] * batches, Manual(lambda batch_idx: (0, 1) if batch_idx % 2 else (0,)))
    for index, steps in enumerate((batches, batches // 2)):
        totals = [total for record in monitor.history if record.optimizer == index for total in record.totals]
        assert steps - 3 * every <= len(totals) <= steps
        assert set(totals) == {(3.0, 4.0)[index]}


@pytest.mark.parametrize("every", [2, 3, 4, 6, 50])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_an_optimizer_that_steps_several_times_a_batch_is_logged(count: int, every: int) -> None:
    """With two steps a batch, the steps at a batch's start are all even and those of the schedule all odd."""
    batches = 120 // count
    monitor = GradientMonitor(every_n_steps=every)
    fit(monitor, [[1.0, 0.0]] * batches, One(count))
    totals = [total for record in monitor.history for total in record.totals]
    assert totals == [1.0 + n % count for n in range(len(totals))]
    assert len(totals) >= batches * count - 2 * every - count


def test_several_steps_in_one_batch_are_several_records() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 0.0], [5.0, 0.0]], One(2))
    assert [(record.step, record.totals) for record in monitor.history] == [(0, [3]), (1, [6]), (2, [5]), (3, [10])]


def test_a_step_without_a_gradient_is_no_record() -> None:
    """One optimizer steps, though nothing has sent it a gradient yet."""

    class Idle(Manual):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            first, second = self.optimizers()
            first.zero_grad()
            self.manual_backward(self.a.weight.sum() * batch[0][0, 0])
            first.step()
            second.step()

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]] * 2, Idle(None))
    assert [(record.step, record.optimizer) for record in monitor.history] == [(0, 0), (2, 0)]


def test_manual_optimization_with_closures() -> None:
    class Closing(Manual):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            for optimizer, layer, value in zip(self.optimizers(), (self.a, self.b), batch[0][0], strict=True):

                def closure(optimizer: Any = optimizer, layer: Any = layer, value: Any = value) -> None:
                    optimizer.zero_grad()
                    self.manual_backward(layer.weight.sum() * value)

                optimizer.step(closure=closure)

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0], [5.0, 6.0]], Closing(None))
    assert [record.totals for record in monitor.history] == [[3], [4], [5], [6]]


def test_lbfgs_is_one_record_a_step_with_the_first_of_its_gradients() -> None:
    """(w - x)² with w = 1, x = 3: the first gradient is -4; the closure is evaluated again until it is 0."""

    class Quadratic(Fixed):
        def __init__(self) -> None:
            super().__init__()
            nn.init.constant_(self.a.weight, 1.0)
            self.evaluations = 0

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            self.evaluations += 1
            return (self.a(torch.ones(1, 1)) - batch[0][0, 0]).square().sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.a.parameters(), lr=1.0, max_iter=8, line_search_fn="strong_wolfe")

    monitor, module = GradientMonitor(every_n_steps=1), Quadratic()
    fit(monitor, [[3.0], [5.0]], module)
    first, second = monitor.history
    assert module.evaluations > 2
    assert (first.totals, second.totals) == ([4.0], [pytest.approx(4.0, rel=1e-4)])
    assert first.layers["a"].update_ratio == pytest.approx(2.0, rel=1e-4)  # from 1 to 3, all evaluations together
    assert [profile.step for profile in monitor.history.profiles] == [0, 1]
    (row,) = monitor.history.profiles[0].layers  # of the first evaluation: no a@2, a@3 …
    assert (row.name, row.activation_rms, row.gradient_rms) == ("a", 1.0, 4.0)


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_that_training_step_skips_is_no_record() -> None:
    class Skipping(Fixed):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
            return None if batch_idx in (0, 2) else self.loss(batch[0])

    monitor = GradientMonitor(every_n_steps=2)
    fit(monitor, [[float(n), 0.0] for n in range(1, 7)], Skipping())
    assert [record.totals for record in monitor.history] == [[2], [4], [5, 6]]
    assert [record.step for record in monitor.history] == [1, 3, 5]


# ------------------------------------------------------------------------------------------- schedule
@pytest.mark.parametrize("every", [1, 2, 5, 50])
def test_the_schedule(every: int) -> None:
    monitor = GradientMonitor(every_n_steps=every)
    fit(monitor, [[1.0, 0.0]] * 110)
    early = {2**k for k in range(10) if 2**k < every} | ({0} if every > 0 else set())
    assert [record.step for record in monitor.history] == sorted(early | set(range(every - 1, 110, every)))


def test_a_second_fit_of_other_optimizers_forgets_the_first() -> None:
    monitor = GradientMonitor(every_n_steps=8)
    fit(monitor, [[3.0, 4.0]] * 4)  # the fourth step is not logged
    fit(monitor, [[5.0, 12.0]] * 2, Manual(lambda batch_idx: (0, 1)))
    assert [record.totals for record in monitor.history] == [[5], [5], [5], [5], [12], [5], [12]]


def test_resuming_goes_on_with_the_schedule_of_the_run(tmp_path: Path) -> None:
    """Stopped after one epoch of two, 6 steps of 12: together they log what one run logs."""
    rows = [[float(n), 0.0] for n in range(1, 7)]

    def run(monitor: GradientMonitor, epochs: int, ckpt: Path | None = None) -> list[tuple[int, list[float]]]:
        trainer = make_trainer(monitor, max_epochs=epochs)
        trainer.fit(Fixed(), loader(rows), ckpt_path=ckpt, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return [(record.step, record.totals) for record in monitor.history]

    whole = run(GradientMonitor(every_n_steps=4), 2)
    assert whole == [(0, [1]), (1, [2]), (2, [3]), (3, [4]), (7, [5, 6, 1, 2]), (11, [3, 4, 5, 6])]
    first, second = GradientMonitor(every_n_steps=4), GradientMonitor(every_n_steps=4)
    assert run(first, 1) == whole[:4]
    assert run(second, 2, tmp_path / "1.ckpt") == whole[4:]  # steps 4 and 5 came along in the checkpoint


# -------------------------------------------------------------------------------------------- compiled
@pytest.mark.parametrize("how", ["torch.compile", "module.compile"])
def test_a_compiled_net_shows_what_the_eager_one_shows(how: str) -> None:
    def seen(compiled: bool) -> GradientMonitor:
        torch.manual_seed(3)
        module = Regression(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1)))
        if compiled and how == "torch.compile":
            module.net = torch.compile(module.net, backend="aot_eager")
        elif compiled and how == "module.compile":
            module.net.compile(backend="aot_eager")
        monitor = GradientMonitor(every_n_steps=1)
        fit(monitor, torch.randn(24, 4, generator=torch.Generator().manual_seed(2)), module, batch_size=8)
        return monitor

    eager, compiled = seen(False), seen(True)
    assert len(eager.history) == 3
    for one, other in zip(eager.history, compiled.history, strict=True):
        assert other.total == pytest.approx(one.total, rel=1e-5)
        assert list(other.layers) == list(one.layers) == ["net.0", "net.2", "net.4"]
        for name, row in one.layers.items():
            assert other.layers[name].norm == pytest.approx(row.norm, rel=1e-5)
            assert other.layers[name].update_ratio == pytest.approx(row.update_ratio, rel=1e-5)
    for mine, its in zip(eager.history.profiles, compiled.history.profiles, strict=True):
        assert [(row.name, row.depth) for row in its.layers] == [(row.name, row.depth) for row in mine.layers]
        for row, other_row in zip(mine.layers, its.layers, strict=True):
            assert other_row.gradient_rms == pytest.approx(row.gradient_rms, rel=1e-5)
            assert other_row.activation_rms == pytest.approx(row.activation_rms, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo, after a graph break
def test_a_module_that_is_compiled_as_a_whole_trains_as_without_the_monitor() -> None:
    """`trainer.fit(torch.compile(module))`: Lightning compiles `training_step`, and hooks must not get into its graph.

    Its layers cannot be looked into, so the profile is empty and says so, or is that of the eager net.
    """

    def fitted(monitor: GradientMonitor | None) -> list[Tensor]:
        torch.manual_seed(3)
        module = Regression(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)))
        compiled: Any = torch.compile(module, backend="aot_eager")
        rows = torch.randn(24, 4, generator=torch.Generator().manual_seed(2))
        make_trainer(*([monitor] if monitor else [])).fit(compiled, loader(rows, 8))
        return [parameter.detach() for parameter in module.parameters()]

    monitor = GradientMonitor(every_n_steps=1)
    assert all(map(torch.equal, fitted(monitor), fitted(None)))
    assert [record.step for record in monitor.history] == [0, 1, 2]
    for profile in monitor.history.profiles:
        assert {row.name for row in profile.layers} | set(profile.unseen) >= {"net.0", "net.2"}


# ---------------------------------------------------------------------------------------------- clipping
def test_manual_clipping_is_seen_for_it_happens_before_the_step() -> None:
    """As the class says: with manual optimization it sees what lies in .grad when the optimizer steps."""

    class Clipped(Manual):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            first, _ = self.optimizers()
            first.zero_grad()
            self.manual_backward(self.a.weight.sum() * batch[0][0, 0])
            self.clip_gradients(first, 2.0, "norm")
            first.step()

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Clipped(None))
    assert monitor.history.records[0].total == pytest.approx(2.0, rel=1e-5)
    assert math.isclose(monitor.history.records[0].total_clipped, monitor.history.records[0].total)
