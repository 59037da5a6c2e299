"""A step that is not finite is never made: weights, momentum, buffers and clip are those of a training without it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from isometry import GradientMonitor
from isometry.errors import NumericalError
from isometry.training.clipping import percentile
from isometry.training.finite_steps import PATIENCE, FiniteSteps

pytestmark = pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers", "ignore:The number of training batches"
)

NAN, EDGE = -1.0, 0.0  # of √x the value, and only the derivative, is none


class Roots(LightningModule):
    """BatchNorm of a layer of √x: with everything that a step leaves behind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.norm, self.head = nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.clip = percentile(percentile=50.0)
        self.weights: list[Tensor] = []  # before each batch

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.weights.append(self.head.weight.detach().clone())
        roots = (batch[0] * self.scale()).sqrt()
        return self.head(self.norm(self.layer(roots))).square().mean()  # type: ignore[no-any-return]

    def scale(self) -> Tensor:
        """1, with a gradient."""
        return self.head.bias.exp() / self.head.bias.exp().detach()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.1)

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        self.clip(self.named_parameters())


def batches(*values: float) -> list[Tensor]:
    """Four samples each; those of a good one lie between its number and twice it."""
    torch.manual_seed(2)
    noise = torch.rand(20, 4, 2)
    return [value * (1 + noise[int(value)] * (value > 0)) * torch.ones(4, 2) for value in values]


def quiet(callbacks: list[Callback], **options: Any) -> Trainer:
    """For one epoch on the CPU, nothing else."""
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def half_precision() -> MixedPrecision:
    """fp16 with a loss scaler, on the CPU."""
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))


def train(*values: float, callbacks: list[Callback], **options: Any) -> tuple[Roots, Trainer]:
    module, data = Roots(), TensorDataset(torch.cat(batches(*values)))
    trainer = quiet(callbacks, **options)
    trainer.fit(module, DataLoader(data, batch_size=4))
    return module, trainer


def finite(*, skips: bool = True) -> FiniteSteps:
    return FiniteSteps(skips=skips, grad_norm=lambda: None, advice="what to do")


def beside_a_monitor() -> list[Callback]:
    monitor = GradientMonitor(every_n_steps=1)
    return [monitor, FiniteSteps(skips=True, grad_norm=lambda: monitor.grad_norm, advice="")]


def left_behind(module: Roots, trainer: Trainer) -> dict[str, Any]:
    """All that a training ends with."""
    moments = trainer.optimizers[0].state_dict()["state"]
    return {**module.state_dict(), "moments": moments, "clip": module.clip.state_dict()}  # type: ignore[attr-defined]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("bad", [NAN, EDGE])
@pytest.mark.parametrize("callbacks", [lambda: [finite()], beside_a_monitor])
def test_a_skipped_step_leaves_nothing_behind(bad: float, callbacks: Any) -> None:
    skipped = left_behind(*train(1, 2, bad, 3, 4, callbacks=callbacks()))
    assert same(skipped, left_behind(*train(1, 2, 3, 4, callbacks=callbacks())))


def test_without_it_all_weights_are_lost() -> None:
    module, _ = train(1, 2, NAN, 3, 4, callbacks=[])
    assert not module.head.weight.isfinite().any()


def test_a_healthy_training_is_left_alone() -> None:
    assert same(left_behind(*train(1, 2, 3, callbacks=[finite()])), left_behind(*train(1, 2, 3, callbacks=[])))


@pytest.mark.parametrize("pair", [(NAN, 5), (5, NAN)])
def test_of_accumulated_batches_all_are_skipped(pair: tuple[float, float]) -> None:
    skipped = left_behind(*train(1, 2, *pair, 3, 4, callbacks=[finite()], accumulate_grad_batches=2))
    assert same(skipped, left_behind(*train(1, 2, 3, 4, callbacks=[finite()], accumulate_grad_batches=2)))


@pytest.mark.parametrize("bad", [NAN, EDGE])
def test_the_training_ends_before_the_step_where_that_was_asked_for(bad: float) -> None:
    before: list[Tensor] = []

    class Look(Callback):
        def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
            before.extend([pl_module.weights[-1], pl_module.head.weight.detach().clone()])

    with pytest.raises(NumericalError, match=r"step 2 was not made(.|\n)*what to do(.|\n)*nonfinite=skip"):
        train(1, 2, bad, 3, callbacks=[finite(skips=False), Look()])
    assert torch.equal(*before)


def test_too_many_in_a_row_end_the_training() -> None:
    callback = finite()
    with pytest.raises(NumericalError, match=rf"{PATIENCE + 1} steps in a row up to {PATIENCE + 1} were skipped"):
        train(1, *[NAN] * (PATIENCE + 1), callbacks=[callback])
    callback = finite()
    train(1, *[NAN] * PATIENCE, 2, *[NAN] * PATIENCE, callbacks=[callback])  # not in a row
    assert (callback.skipped, callback.in_a_row) == (2 * PATIENCE, PATIENCE)


def test_what_was_counted_travels_in_the_checkpoint() -> None:
    callback, other = finite(), finite()
    train(1, NAN, NAN, callbacks=[callback])
    other.load_state_dict(callback.state_dict())
    assert (other.skipped, other.in_a_row) == (2, 2)


def test_the_monitor_knows_that_no_step_was_made() -> None:
    callbacks = beside_a_monitor()
    train(1, NAN, 2, callbacks=callbacks)
    first, skipped, last = callbacks[0].history.records  # type: ignore[attr-defined]
    assert [row.update_ratio is None for row in (first.layers["layer"], skipped.layers["layer"])] == [False, True]
    assert last.layers["layer"].update_ratio > 0


def test_the_count_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    train(1, NAN, 2, NAN, callbacks=[finite()])
    assert capsys.readouterr().out.splitlines() == [
        "skipped  step 1: its loss or gradient is not finite; 1 so far",
        "skipped  step 3: its loss or gradient is not finite; 2 so far",
    ]


# ------------------------------------------------------------------------------------------- fp16
class Scaled(LightningModule):
    """∂L/∂w is the batch, and L zero."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = (self.w * batch[0]).sum()
        return loss - loss.detach()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize(("bad", "raises"), [(1e38, False), (math.nan, True)])
def test_an_overflow_is_the_loss_scaler_s_and_a_nan_is_not(bad: float, raises: bool) -> None:
    trainer = quiet([finite(skips=False)], plugins=[half_precision()])
    module, data = Scaled(), DataLoader(TensorDataset(torch.tensor([[1.0], [bad], [2.0]])))
    if raises:
        with pytest.raises(NumericalError, match="step 1 was not made"):
            trainer.fit(module, data)
        assert module.w.item() == -1.0
    else:
        trainer.fit(module, data)
        assert module.w.item() == -3.0  # the scaler skipped the second


def test_a_fused_optimizer_under_the_loss_scaler_skips_a_nan_itself() -> None:
    class Fused(Scaled):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1.0, fused=True)

    trainer = quiet([finite()], plugins=[half_precision()])
    module = Fused()
    trainer.fit(module, DataLoader(TensorDataset(torch.tensor([[1.0], [math.nan], [2.0]]))))
    assert module.w.item() == -3.0


def test_of_several_optimizers_any_counts() -> None:
    class Two(Scaled):
        automatic_optimization = False

        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.v = nn.Parameter(torch.zeros(1))

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
            for optimizer, loss in zip(self.optimizers(), ((self.w * batch[0]).sum(), self.v.sum()), strict=True):
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD([self.w], lr=1.0), torch.optim.SGD([self.v], lr=1.0)]

    trainer = quiet([finite(skips=False)])
    with pytest.raises(NumericalError, match="was not made"):
        trainer.fit(Two(), DataLoader(TensorDataset(torch.tensor([[1.0], [math.nan]]))))
