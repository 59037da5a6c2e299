"""GradientMonitor against gradients known by hand: at the right hook, once a step, without changing the training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fixed import LIGHTNING_SAYS, Fixed, fit
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from isometry import GradientMonitor
from isometry.diagnostics.history import read_history

pytestmark = LIGHTNING_SAYS


def test_norms_of_each_layer_and_of_all() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0], [5.0, 12.0]])
    assert [record.step for record in monitor.history] == [0, 1]
    assert [record.total for record in monitor.history] == [5.0, 13.0]
    assert {name: row.norm for name, row in monitor.history.records[1].layers.items()} == {"a": 5.0, "b": 12.0}


def test_a_layer_without_gradient_is_not_zero_but_absent() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 0.0]])
    assert monitor.history.records[0].layers["b"].norm == 0
    assert "unused" not in monitor.history.records[0].layers


def test_every_step_is_in_totals_and_logged_steps_are_the_powers_of_two_and_then_each_nth() -> None:
    monitor = GradientMonitor(every_n_steps=6)
    fit(monitor, [[float(n), 0.0] for n in range(1, 14)])
    assert [record.step for record in monitor.history] == [0, 1, 2, 4, 5, 11]
    assert [profile.step for profile in monitor.history.profiles] == [0, 1, 2, 4, 5, 11]
    totals = [record.totals for record in monitor.history]
    assert totals == [[1.0], [2.0], [3.0], [4.0, 5.0], [6.0], [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]]


@pytest.mark.parametrize(
    ("algorithm", "clip", "after"), [("norm", 2.5, 2.5), ("value", 3.5, math.hypot(3.0, 3.5)), ("norm", 9.0, 5.0)]
)
def test_before_and_after_clipping(algorithm: str, clip: float, after: float) -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0]], gradient_clip_val=clip, gradient_clip_algorithm=algorithm)
    record = monitor.history.records[0]
    assert record.total == 5.0  # moved to a hook after clipping, this would be `after`
    assert record.total_clipped == pytest.approx(after, rel=1e-5)
    assert record.clip_fraction == float(after < 5)
    logged = next(row for _, row in logger.rows if "grad_norm/total" in row)
    assert logged["grad_norm/total"] == 5.0
    assert logged["grad_norm/total_clipped"] == pytest.approx(after, rel=1e-5)
    assert logged["clip/coefficient"] == pytest.approx(after / 5, rel=1e-5)


@pytest.mark.parametrize(("algorithm", "clip"), [("norm", 2.5), ("value", 3.5)])
def test_the_norm_after_clipping_is_that_of_the_gradient_the_optimizer_steps_with(algorithm: str, clip: float) -> None:
    """Plain SGD with rate 1 moves the weights by exactly the clipped gradient."""
    monitor, module = GradientMonitor(every_n_steps=1), Fixed(lr=1.0)
    before = [p.detach().clone() for p in module.parameters()]
    fit(monitor, [[3.0, 4.0]], module, gradient_clip_val=clip, gradient_clip_algorithm=algorithm)
    moved = sum(float((p.detach() - old).pow(2).sum()) for p, old in zip(module.parameters(), before, strict=True))
    assert monitor.history.records[0].total_clipped == pytest.approx(math.sqrt(moved), rel=1e-5)


def test_two_optimizers_in_one_batch_are_two_records() -> None:
    """Manual optimization, as GANs do it: each step has its own gradient."""

    class Two(Fixed):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:  # type: ignore[override]
            x = batch[0].mean(dim=0)
            for optimizer, layer, value in zip(self.optimizers(), (self.a, self.b), x, strict=True):  # type: ignore[arg-type]
                optimizer.zero_grad()
                self.manual_backward(layer.weight.sum() * value)
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.a, self.b)]

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Two())
    assert [(record.step, record.total, list(record.layers)) for record in monitor.history] == [
        (0, 3.0, ["a"]), (1, 4.0, ["b"]),
    ]  # fmt: skip


def test_clip_fraction_counts_all_steps_since_the_last_record() -> None:
    monitor = GradientMonitor(every_n_steps=100)
    fit(monitor, [[9.0 if n % 2 else 1.0, 0.0] for n in range(9)], gradient_clip_val=5.0)
    assert [record.step for record in monitor.history] == [0, 1, 2, 4, 8]
    assert [record.clip_fraction for record in monitor.history] == [
        0,
        1,
        0,
        1 / 2,
        2 / 4,
    ]  # of step 3, 4; of 5, 6, 7, 8


def test_accumulated_gradients_are_measured_once_a_step() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[2.0, 0.0], [4.0, 0.0], [6.0, 0.0], [8.0, 0.0]], accumulate_grad_batches=2)
    assert [record.total for record in monitor.history] == [3.0, 7.0]  # means of two: not 1, 3, 3, 7


def test_nan_and_infinity_are_located_and_not_dropped(tmp_path: Path) -> None:
    monitor = GradientMonitor(every_n_steps=1, path=tmp_path / "gradients.jsonl")
    logger = fit(monitor, [[math.nan, 4.0], [1.0, math.inf]])
    first, second = monitor.history
    assert math.isnan(first.total)
    assert (first.layers["a"].nan, first.layers["b"].nan) == (1, 0)
    assert second.layers["b"].inf == 1
    assert second.total == math.inf
    rows = [row for _, row in logger.rows if "grad_norm/nan" in row]
    assert (rows[0]["grad_norm/nan"], rows[1]["grad_norm/inf"]) == (1, 1)
    saved = read_history(tmp_path / "gradients.jsonl")
    assert math.isnan(saved.records[0].total)
    assert saved.records[1].layers["b"].inf == 1


def test_norms_of_1e_minus_30_are_not_zero() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3e-30, 4e-30]])
    assert monitor.history.records[0].total == pytest.approx(5e-30, rel=1e-6)


def test_a_second_fit_measures_once_a_step() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    module = Fixed()
    fit(monitor, [[3.0, 4.0]], module)
    logger = fit(monitor, [[3.0, 4.0]], module)
    assert logger.series("grad_norm/total") == {0: 5.0}
    assert [record.totals for record in monitor.history] == [[5.0], [5.0]]
    assert [profile.step for profile in monitor.history.profiles] == [0, 0]


def test_tied_weights_count_once() -> None:
    class Tied(Fixed):
        def __init__(self) -> None:
            super().__init__()
            self.b.weight = self.a.weight

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Tied())
    record = monitor.history.records[0]
    assert record.total == 7.0  # ∂L/∂w = 3 + 4
    assert list(record.layers) == ["a"]


def test_training_is_untouched() -> None:
    """Same seed with and without the monitor: the same weights, bit for bit."""

    class Net(Fixed):
        def __init__(self) -> None:
            torch.manual_seed(4)
            super().__init__(lr=0.1)
            self.net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))

        def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = (self.net(batch[0]) - 1).pow(2).mean()
            return loss

    def weights(monitored: bool) -> list[torch.Tensor]:
        module = Net()
        data = DataLoader(TensorDataset(torch.arange(24.0).view(12, 2) / 24), batch_size=2)
        callbacks = [GradientMonitor(every_n_steps=1)] if monitored else []
        trainer = Trainer(
            max_epochs=3, accelerator="cpu", logger=False, callbacks=callbacks, enable_checkpointing=False,  # type: ignore[arg-type]
            enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=0.5,
        )  # fmt: skip
        torch.manual_seed(5)
        trainer.fit(module, data)
        return [parameter.detach() for parameter in module.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(True), weights(False), strict=True))


def test_every_n_steps_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=">= 1, got 0"):
        GradientMonitor(every_n_steps=0)
