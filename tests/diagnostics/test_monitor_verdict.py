"""The monitor's verdict in real trainings: told when it changes, logged, and drawn from the losses of the steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fixed import LIGHTNING_SAYS, Collector, Fixed, Regression, fit, fp16, loader, make_trainer
from hand_written import history, profile, record
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from isometry import GradientMonitor
from isometry.diagnostics.findings import Diagnosis, Finding
from isometry.diagnostics.rules import diagnose, judge
from isometry.diagnostics.thresholds import limit

pytestmark = LIGHTNING_SAYS


class Classes(LightningModule):
    """Four classes that differ by their mean, and whatever net and loss."""

    def __init__(self, net: nn.Module, lr: float = 0.1, scale: float = 1.0) -> None:
        super().__init__()
        self.net, self.lr, self.scale = net, lr, scale

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.scale * F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def batches(count: int, size: int = 32) -> DataLoader[Any]:
    labels = torch.randint(4, (count * size,))
    inputs = torch.randn(count * size, 8) + 3 * F.one_hot(labels, 8)
    return DataLoader(TensorDataset(inputs, labels), batch_size=size)


def plain(*between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4), *between)


def deep(layers: int = 12) -> nn.Sequential:
    """Sigmoids under a small init: nothing gets through."""
    net = nn.Sequential(
        nn.Linear(8, 16),
        *(module for _ in range(layers) for module in (nn.Sigmoid(), nn.Linear(16, 16))),
        nn.Sigmoid(),
        nn.Linear(16, 4),
    )
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    return net


def train(
    module: LightningModule, data: Iterable[Any], *, every_n_steps: int = 5, settings: Any = None, **options: Any
) -> tuple[GradientMonitor, Collector]:
    monitor, logger = GradientMonitor(every_n_steps, settings=settings), Collector()
    make_trainer(monitor, logger=logger, **options).fit(module, data)
    return monitor, logger


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "isometry" and "step " in each.getMessage()]


# ------------------------------------------------------------------------------------------------- verdicts
def test_a_training_that_works_is_healthy_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    monitor, logger = train(Classes(plain()), batches(40))
    assert monitor.diagnosis == Diagnosis()
    assert lines(caplog) == []
    statuses = logger.series("health/status")
    assert set(statuses.values()) == {0.0}
    assert list(statuses) == [record.step for record in monitor.history.records]


def test_a_finding_is_told_when_it_appears_with_what_to_try(caplog: pytest.LogCaptureFixture) -> None:
    monitor, logger = train(Classes(deep()), batches(40), settings={"norm": {"name": "none"}})
    assert monitor.diagnosis.verdict == "critical: vanishing_gradients"
    told = [each for each in lines(caplog) if "vanishing_gradients" in each]
    remedy = " ".join(monitor.diagnosis.findings[0].remedies[0].overrides)
    assert [line.split(". ")[0] for line in told] == [  # once each, though it goes on
        "step 2: warning: vanishing_gradients",
        "step 19: critical: vanishing_gradients",
    ]
    assert all(line.endswith(f"Try: {remedy}") for line in told)
    assert all("∂L/∂z shrinks by ×0.2" in line for line in told)
    assert all(each.levelno == logging.WARNING for each in caplog.records if each.name == "isometry")
    statuses = logger.series("health/status")
    assert [statuses[step] for step in (0, 1, 2, 4, 14, 19, 24, 39)] == [0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]


def test_a_finding_is_told_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Steps of four times the weights' size for a while, then none at all."""

    class Slowing(Fixed):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 30 else 1e-9)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return sum(p.square().sum() for p in self.parameters()) + 1.0  # type: ignore[return-value]

    module = Slowing()
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    monitor, logger = GradientMonitor(every_n_steps=1), Collector()
    make_trainer(monitor, logger=logger).fit(module, loader([[1.0, 1.0]] * 140))
    told = [line.partition(". ")[0].split(": ") for line in lines(caplog) if "update_too_large" in line]
    assert [words[1:] for words in told] == [
        ["warning", "update_too_large"],
        ["critical", "update_too_large"],
        ["update_too_large is over."],
    ]
    _, critical, over = (int(words[0].removeprefix("step ")) for words in told)
    assert critical < 30 < limit("finding.outlasts") * 30 <= over
    statuses = logger.series("health/status")
    assert (statuses[critical], statuses[over]) == (2.0, 0.0)


def test_the_verdict_of_the_monitor_is_that_of_its_history() -> None:
    for module in (Classes(deep()), Classes(plain()), Classes(plain(nn.Softmax(-1)))):
        monitor, _ = train(module, batches(30))
        found = diagnose(monitor.history).findings
        assert [(each.rule, each.since) for each in found] == [
            (each.rule, each.since) for each in monitor.diagnosis.findings
        ]


def test_a_second_softmax_is_found() -> None:
    monitor, _ = train(Classes(plain(nn.Softmax(-1))), batches(30), every_n_steps=10)
    assert monitor.diagnosis.verdict == "critical: bad_output_head"


def test_steps_that_are_too_large_are_found() -> None:
    monitor, _ = train(Classes(plain(), lr=100.0), batches(30))
    assert monitor.diagnosis.findings[0].rule in ("update_too_large", "diverging_loss")


def test_another_judge_s_verdict_is_told_by_the_same_lines(caplog: pytest.LogCaptureFixture) -> None:
    """What is told are the changes, whatever they are."""
    monitor = GradientMonitor(every_n_steps=1)
    monitor.diagnosis = Diagnosis((Finding("non_finite", "warning", "An earlier fit's."),))
    fit(monitor, [[1.0, 1.0], [1.0, 1.0]])
    assert lines(caplog) == ["step 0: non_finite is over."]


# --------------------------------------------------------------------------------------------------- losses
def wanted(monitor: GradientMonitor) -> list[float]:
    return [loss for record in monitor.history.records for loss in record.losses]


class Constant(Fixed):
    """Its loss is the first number of the batch, whatever the weights are, and its gradient something else."""

    def loss(self, rows: Tensor) -> Tensor:
        loss = super().loss(rows)
        return loss - loss.detach() + rows.mean(dim=0)[0]


@pytest.mark.parametrize("every_n_steps", [1, 4, 8])
def test_losses_of_a_record_are_those_of_its_steps(every_n_steps: int) -> None:
    rows = [[float(i), 1.0] for i in range(1, 9)]
    monitor = GradientMonitor(every_n_steps)
    fit(monitor, rows, Constant())
    assert wanted(monitor) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert [len(record.losses) for record in monitor.history.records] == [
        len(record.totals) for record in monitor.history.records
    ]


def test_losses_of_accumulated_batches_are_their_mean() -> None:
    rows = [[float(i), 1.0] for i in range(1, 9)]
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, rows, Constant(), accumulate_grad_batches=4)
    assert wanted(monitor) == [2.5, 6.5]
    assert [profile.loss for profile in monitor.history.profiles] == [1.0, 5.0]  # of the first batch, whole


@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize(("batches_a_step", "expected"), [(1, [2.0, 4.0, 6.0, 8.0]), (4, [5.0])])
def test_losses_are_without_the_scale_of_fp16(scale: float, batches_a_step: int, expected: list[float]) -> None:
    rows = [[2.0, 1.0], [4.0, 1.0], [6.0, 1.0], [8.0, 1.0]]
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, rows, Constant(), plugins=[fp16(scale)], accumulate_grad_batches=batches_a_step)
    assert wanted(monitor) == expected
    assert monitor.history.profiles[0].loss == 2.0


def test_losses_of_bf16_are_known() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[2.0, 1.0], [4.0, 1.0]], Constant(), precision="bf16-mixed")
    assert wanted(monitor) == [2.0, 4.0]


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_without_a_loss_leaves_none_behind() -> None:
    class Skipping(Constant):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]], Skipping())
    assert wanted(monitor) == [1.0, 3.0]


def test_losses_of_gradients_that_nobody_told_of_are_unknown() -> None:
    class ByHand(Constant):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.loss(batch[0]).backward()  # not self.manual_backward
            optimizer.step()

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[1.0, 1.0], [2.0, 1.0]], ByHand())
    assert all(map(math.isnan, wanted(monitor)))


def test_unknown_losses_are_no_broken_ones() -> None:
    unknown = history(profile(), *(replace(record(step, [1.0], ratio=0.0), losses=[]) for step in range(3)))
    assert judge(unknown) == Diagnosis()


@pytest.mark.parametrize("accumulated", [1, 4])
def test_accumulated_batches_are_judged_as_whole_ones(accumulated: int) -> None:
    """A net that learns is healthy, a squashed head is found: whatever one batch's share of the loss is."""
    data = batches(40 * accumulated, 32 // accumulated)
    healthy, _ = train(Classes(plain()), data, accumulate_grad_batches=accumulated)
    assert healthy.diagnosis == Diagnosis()
    squashed = plain(nn.Softmax(-1))
    broken, _ = train(Classes(squashed), data, every_n_steps=10, accumulate_grad_batches=accumulated)
    assert broken.diagnosis.verdict == "critical: bad_output_head"


@pytest.mark.parametrize("factor", [1e4, 1e-4])
def test_the_size_of_the_loss_changes_no_verdict_under_adam(factor: float) -> None:
    class UnderAdam(Classes):
        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3, eps=0.0)

    def verdict(make: Any, scale: float) -> str:
        torch.manual_seed(1)
        monitor, _ = train(UnderAdam(make(), scale=scale), batches(30))
        return monitor.diagnosis.verdict

    for make in (plain, deep):
        assert verdict(make, factor) == verdict(make, 1.0)


# ------------------------------------------------------------------------------------------------------ lr
def test_the_rate_is_the_optimizer_s_of_the_step() -> None:
    class Scheduled(Constant):
        def configure_optimizers(self) -> Any:
            groups = [{"params": self.a.parameters(), "lr": 0.5}, {"params": self.b.parameters(), "lr": 0.125}]
            optimizer = torch.optim.SGD(groups)
            rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    monitor = GradientMonitor(every_n_steps=2)
    fit(monitor, [[1.0, 1.0]] * 6, Scheduled())
    assert [(record.step, record.lr) for record in monitor.history.records] == [
        (0, 0.5), (1, 0.25), (3, 0.0625), (5, 0.015625),
    ]  # fmt: skip


def test_each_optimizer_has_its_own_rate_and_losses() -> None:
    class Two(Constant):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            for optimizer, factor in zip(self.optimizers(), (1.0, 8.0), strict=True):
                optimizer.zero_grad()
                self.manual_backward(factor * self.loss(batch[0]))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(layer.parameters(), lr=lr) for layer, lr in ((self.a, 0.25), (self.b, 0.5))]

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[1.0, 1.0], [2.0, 1.0]], Two())
    assert [(record.optimizer, record.lr, record.losses) for record in monitor.history.records] == [
        (0, 0.25, [1.0]), (1, 0.5, [8.0]), (0, 0.25, [2.0]), (1, 0.5, [16.0]),
    ]  # fmt: skip
    assert [each.loss for each in monitor.history.profiles] == [1.0, 2.0]  # of the first backward pass


def test_a_regression_on_a_constant_learns() -> None:
    monitor = GradientMonitor(every_n_steps=5)
    fit(monitor, torch.randn(40 * 8, 4), Regression(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))),
        batch_size=8)  # fmt: skip
    assert monitor.diagnosis == Diagnosis()
    assert wanted(monitor)[-1] < 0.1 * wanted(monitor)[0]


def test_a_rule_that_fails_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Diagnosis:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("isometry.diagnostics.monitor.judge", broken)
    monitor = GradientMonitor(every_n_steps=2)
    trainer = make_trainer(monitor, max_steps=4)
    with pytest.warns(RuntimeWarning, match="the verdict failed, a bug of isometry's: ZeroDivisionError: division"):
        trainer.fit(Classes(plain()), batches(4))
    assert trainer.global_step == 4
    assert monitor.diagnosis == Diagnosis()
    assert len(monitor.history) > 0


def test_a_profile_that_fails_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("isometry.diagnostics.targets.told", broken)
    monitor = GradientMonitor(every_n_steps=2)
    trainer = make_trainer(monitor, max_steps=4)
    with pytest.warns(RuntimeWarning, match="the profile failed, a bug of isometry's: ZeroDivisionError: division"):
        trainer.fit(Classes(plain()), batches(4))
    assert trainer.global_step == 4
    assert monitor.history.records
    assert not monitor.history.profiles
