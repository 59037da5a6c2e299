"""The first NaN or infinity: where it was made and by which samples, found without touching the training."""

from __future__ import annotations

import logging
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixed import LIGHTNING_SAYS, Fixed, Regression, fit, loader, make_trainer
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import Accuracy, MeanMetric

from isometry import GradientMonitor
from isometry.diagnostics.history import GradientRecord, LayerRecord, NonFiniteRecord, read_history
from isometry.diagnostics.nonfinite import find_source, noticed_late

pytestmark = LIGHTNING_SAYS


class Root(nn.Module):
    """√x: NaN for x < 0, and an infinite derivative at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Net(LightningModule):
    """first → (middle) → last, each the identity but for what a test puts in the middle."""

    def __init__(self, middle: Any = None) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, 1), nn.Linear(1, 1)
        self.middle = middle if isinstance(middle, nn.Module) else None
        self.function = middle if middle and not isinstance(middle, nn.Module) else None
        for layer in (self.first, self.last):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.middle is not None:
            x = self.middle(x)
        if self.function is not None:
            x = self.function(x)
        return self.last(x)  # type: ignore[no-any-return]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        return self(batch[0]).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


GOOD, BAD = [[1.0]] * 5, [[1.0], [2.0], [3.0], [-4.0], [5.0]]  # sample 3 of the second batch


def found(module: LightningModule, rows: Any = GOOD + BAD, **options: Any) -> NonFiniteRecord:
    monitor = GradientMonitor(every_n_steps=100, path=options.pop("path", None))
    fit(monitor, rows, module, batch_size=5, **options)
    (record,) = monitor.history.nonfinite
    return record


def test_a_module_that_makes_nan_of_one_sample() -> None:
    record = found(Net(Root()))
    assert (record.module, record.samples, record.inputs) == ("middle", [3], False)
    assert (record.step, record.batch_idx, record.parameter, record.file) == (1, 1, "last.bias", None)


def test_a_module_deep_in_the_net() -> None:
    inner = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), Root(), nn.Identity()), nn.Identity())
    record = found(Net(inner))
    assert (record.module, record.samples) == ("middle.1.1", [3])


class Block(nn.Module):
    """Its own code makes the NaN: before, between or after its modules."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.one, self.two = nn.Identity(), nn.Sequential(nn.Identity())
        self.where = where

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x.sqrt() if self.where == "before" else x)
        x = self.two(x.sqrt() if self.where == "between" else x)
        return x.sqrt() if self.where == "after" else x


@pytest.mark.parametrize("where", ["before", "between", "after"])
def test_code_between_modules_belongs_to_the_module_around_it(where: str) -> None:
    record = found(Net(Block(where)))
    assert (record.module, record.samples) == ("middle", [3])


@pytest.mark.parametrize("called_with", ["a position", "a keyword"])
def test_code_of_the_lightning_module_belongs_to_it(called_with: str) -> None:
    class Own(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).sqrt()
            return self.last(x) if called_with == "a position" else self.last(input=x)  # type: ignore[no-any-return]

    record = found(Own())
    assert (record.module, record.samples) == ("Own", [3])


def test_code_of_training_step_belongs_to_the_lightning_module() -> None:
    class Own(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self.last(self.first(batch[0]).sqrt()).mean()  # type: ignore[no-any-return]

    assert found(Own()).module == "Own"


def test_code_before_a_container_is_not_the_container_s() -> None:
    class Own(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.middle(self.first(x).sqrt())  # type: ignore[misc, no-any-return]

    assert found(Own(nn.Sequential(nn.Identity(), nn.Linear(1, 1)))).module == "Own"


def test_only_the_loss_is_not_finite() -> None:
    class Rooted(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self(batch[0]).sqrt().mean()  # type: ignore[no-any-return]

    record = found(Rooted())
    assert (record.module, record.samples, record.parameter) == ("loss", [], "last.bias")


def test_only_the_backward_pass_is_not_finite() -> None:
    """√ at 0: the output is 0, its derivative infinite, and last's gradient finite."""
    record = found(Net(Root()), [*GOOD, [1.0], [2.0], [3.0], [0.0], [5.0]])
    assert (record.module, record.samples, record.inputs) == (None, [], False)
    assert record.parameter == "first.bias"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_batch_itself_is_not_finite(bad: float) -> None:
    record = found(Net(), [*GOOD, [1.0], [bad], [3.0], [bad], [5.0]])
    assert (record.inputs, record.samples, record.module) == (True, [1, 3], None)


def test_infinity_of_a_layer_that_overflows() -> None:
    module = Net(nn.Sequential(nn.Linear(1, 1, bias=False)))
    nn.init.constant_(module.middle[0].weight, 10.0)  # type: ignore[index, arg-type]
    record = found(module, [*GOOD, [1.0], [1e38], [1.0], [-1e38], [1.0]])
    assert (record.module, record.samples) == ("middle.0", [1, 3])


def test_weights_that_are_nan_are_found_in_the_layer_that_has_them() -> None:
    module = Net()
    nn.init.constant_(module.last.bias, math.nan)
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, GOOD, module, batch_size=5)
    (record,) = monitor.history.nonfinite
    assert (record.module, record.samples, record.step) == ("last", [0, 1, 2, 3, 4], 0)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_batch_is_found_among_accumulated_ones(position: int) -> None:
    batches = [GOOD, GOOD, GOOD]
    batches[position] = BAD
    record = found(Net(Root()), sum(batches, []), accumulate_grad_batches=3)  # noqa: RUF017
    assert (record.module, record.samples, record.batch_idx) == ("middle", [3], position)


def test_found_before_clipping_spreads_it() -> None:
    """∂L/∂first is infinite, and clipping would make NaN of last's gradient, too."""
    record = found(Net(Root()), [*GOOD, [1.0], [2.0], [3.0], [0.0], [5.0]], gradient_clip_val=1.0)
    assert (record.module, record.parameter) == (None, "first.bias")


def test_only_the_first_is_recorded_and_every_step_is_still_counted() -> None:
    monitor = GradientMonitor(every_n_steps=4)
    logger = fit(monitor, GOOD + BAD + GOOD * 2 + BAD + GOOD * 3, Net(Root()), batch_size=5)
    assert [record.step for record in monitor.history.nonfinite] == [1]
    assert sum(len(record.totals) for record in monitor.history) == 8
    finite = [math.isfinite(total) for record in monitor.history for total in record.totals]
    assert finite == [True] + [False] * 7  # the weights are NaN now
    assert logger.series("grad_norm/nan")[1] > 0


def test_the_step_of_the_first_nan_is_a_record_though_not_on_schedule() -> None:
    monitor = GradientMonitor(every_n_steps=8)
    fit(monitor, GOOD * 3 + BAD + GOOD * 4, Net(Root()), batch_size=5)
    assert [record.step for record in monitor.history] == [0, 1, 2, 3, 4, 7]


def test_a_second_fit_has_a_first_nan_of_its_own() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    for _ in range(2):
        fit(monitor, BAD, Net(Root()), batch_size=5)
    assert [record.step for record in monitor.history.nonfinite] == [0, 0]


def test_manual_optimization_names_the_parameter() -> None:
    class Manual(Net):
        def __init__(self) -> None:
            super().__init__(Root())
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self(batch[0]).square().mean())
            optimizer.step()

    record = found(Manual())
    assert (record.step, record.batch_idx, record.module, record.parameter) == (1, 1, None, "last.bias")


def test_one_sentence_in_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.WARNING, logger="isometry"):
        found(Net(Root()), path=tmp_path / "gradients.jsonl")
        found(Net(Root()), [*GOOD, [1.0], [2.0], [3.0], [0.0], [5.0]])
        found(Net(), [*GOOD, [1.0], [math.nan], [3.0], [1.0], [5.0]])
    said = [record.getMessage() for record in caplog.records if record.name == "isometry"]
    assert [line for line in said if not line.startswith("step ")] == [  # the verdict has lines of its own
        "the gradient of step 1 is not finite: first in middle, samples [3]; nonfinite-step0000001.pt replays it",
        "the gradient of step 1 is not finite: first in the gradient of first.bias",
        "the gradient of step 1 is not finite: in the batch itself, samples [1]",
    ]


# ----------------------------------------------------------------------------------------------- replay
class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 3).log().sqrt()


class Noisy(Net):
    """NaN for -4, which is -1 times first's 2 times dropout's 2, where the dropout mask of the step lets it through."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Dropout(0.5), Logarithm()))


def test_the_file_replays_it_in_a_fresh_module(tmp_path: Path) -> None:
    rows = torch.cat([torch.ones(64, 1), torch.where(torch.arange(64) % 2 == 0, -1.0, 1.0)[:, None]])
    monitor, module = GradientMonitor(every_n_steps=100, path=tmp_path / "gradients.jsonl"), Noisy()
    with torch.no_grad():
        module.first.weight.fill_(2.0)
    fit(monitor, rows, module, batch_size=64)
    (record,) = monitor.history.nonfinite
    assert record.module == "middle.1"
    assert 5 < len(record.samples) < 27  # of the 32 negative ones about half were dropped
    assert all(sample % 2 == 0 for sample in record.samples)
    assert (record.file, record.step) == ("nonfinite-step0000001.pt", 1)
    assert read_history(tmp_path / "gradients.jsonl").nonfinite == [record]

    kept = torch.load(tmp_path / record.file, weights_only=True)
    fresh = Noisy()
    fresh.load_state_dict(kept["state_dict"])
    assert fresh.first.weight.item() == 2.0
    torch.manual_seed(99)
    source = find_source(fresh, kept["batch"], kept["batch_idx"], kept["rng_state"])
    assert (source.module, source.samples, source.inputs) == (record.module, record.samples, record.inputs)
    other = find_source(fresh, kept["batch"], kept["batch_idx"], torch.Generator().manual_seed(7).get_state())
    assert other.samples != record.samples  # with other random numbers other samples survive


def test_a_kept_batch_is_not_the_whole_data_set(tmp_path: Path) -> None:
    """Batches are often slices of one tensor in memory; torch.save would write all of it."""
    rows = torch.ones(100_000, 1)
    rows[13] = -1.0

    class Slices(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return ([rows[start : start + 10]] for start in range(0, 100, 10))

    monitor = GradientMonitor(every_n_steps=100, path=tmp_path / "gradients.jsonl")
    make_trainer(monitor).fit(Net(Root()), torch.utils.data.DataLoader(Slices(), batch_size=None))
    (record,) = monitor.history.nonfinite
    assert (record.samples, record.batch_idx) == ([3], 1)
    assert (tmp_path / str(record.file)).stat().st_size < 40_000


def test_a_disk_that_cannot_be_written_to_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    record = found(Net(Root()), path=tmp_path / "gradients.jsonl")
    assert (record.module, record.file) == ("middle", None)
    assert [path.name for path in tmp_path.iterdir()] == ["gradients.jsonl"]


def test_looking_leaves_the_run_as_it_was() -> None:
    """Metrics, buffers, all three random generators, what is logged, the modes; also where the step calls log."""

    class Busy(Net):
        def __init__(self) -> None:
            super().__init__(nn.Sequential(nn.Dropout(0.3), nn.BatchNorm1d(1), Root()))
            self.accuracy, self.mean = Accuracy(task="binary"), MeanMetric()
            self.calls: list[int] = []
            self.draws: list[float] = []

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
            output = self(batch[0] + noise)
            self.draws.append(noise)
            self.calls.append(batch_idx)
            self.accuracy((batch[0][:, 0] > 0).float(), torch.ones(len(batch[0])))
            self.mean.update(float(batch_idx))
            self.log("accuracy", self.accuracy, on_epoch=True)
            self.log("noise", noise, on_step=True, on_epoch=True)
            return output.square().mean()  # type: ignore[no-any-return]

    def state(monitored: bool) -> tuple[Any, ...]:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        module = Busy()
        monitor = GradientMonitor(every_n_steps=100)
        trainer = make_trainer(*([monitor] if monitored else []), max_epochs=2)
        trainer.fit(module, loader(torch.arange(-6.0, 34.0)[:, None], 8))
        assert len(monitor.history.nonfinite) == monitored
        logged = {key: float(value) for key, value in trainer.logged_metrics.items()}
        return (
            module.calls,
            module.draws,
            logged,
            float(module.mean.compute()),
            [module.middle[1].running_mean.item(), module.middle[1].num_batches_tracked.item()],  # type: ignore
            random.random(),
            float(np.random.rand()),
            torch.get_rng_state().tolist(),
            [inner.training for inner in module.modules()],
            sorted(vars(module)),
        )

    for mine, its in zip(state(True), state(False), strict=True):
        assert repr(mine) == repr(its)  # as texts: NaN is equal to NaN


@pytest.mark.parametrize("error", [RuntimeError("the file has been read"), StopIteration()])
def test_a_step_that_cannot_be_run_again_does_not_stop_the_training(error: Exception) -> None:
    """A StopIteration would even end the epoch, silently: Lightning takes it for the end of the data."""

    class Once(Net):
        def __init__(self) -> None:
            super().__init__(Root())
            self.seen: list[int] = []

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
            if batch_idx in self.seen:
                raise error
            self.seen.append(batch_idx)
            return super().training_step(batch, batch_idx)

    module = Once()
    record = found(module, GOOD + BAD + GOOD)
    assert (record.module, record.parameter) == (None, "last.bias")
    assert module.seen == [0, 1, 2]


def test_a_dict_of_tensors_is_a_batch() -> None:
    class Named(Fixed):
        def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:  # type: ignore[override]
            return self.loss(batch["inputs"]["x"])

    data = [{"inputs": {"x": torch.tensor([3.0, value])}, "name": "n", "label": 1} for value in (1.0, 2.0, math.nan)]
    monitor = GradientMonitor(every_n_steps=1)
    make_trainer(monitor).fit(Named(), torch.utils.data.DataLoader(data, batch_size=3))  # type: ignore[arg-type]
    (record,) = monitor.history.nonfinite
    assert (record.inputs, record.samples) == (True, [2])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo, of any such input
def test_compiled_modules_are_looked_into() -> None:
    module = Net(nn.Sequential(nn.Identity(), Root()))
    module.middle = torch.compile(module.middle, backend="aot_eager")  # type: ignore[assignment]
    record = found(module)
    assert (record.module, record.samples) == ("middle.1", [3])


def test_a_finite_run_has_none() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, torch.randn(16, 4), Regression(nn.Linear(4, 1)), batch_size=4)
    assert monitor.history.nonfinite == []


def late_record(totals: list[float], layers: dict[str, LayerRecord]) -> GradientRecord:
    return GradientRecord(99, totals[-1], totals[-1], totals, None, layers)


def test_on_a_gpu_the_norms_of_a_logged_step_tell_the_first_bad_step() -> None:
    """There nobody looks at every step; of a step before the logged one the layers are not known any more."""
    layers = {"first": LayerRecord(math.nan, nan=4), "second": LayerRecord(math.nan, nan=1), "head": LayerRecord(1.0)}
    at_once = noticed_late(late_record([1.0, 2.0, math.nan], layers))
    assert at_once is not None
    assert (at_once.step, at_once.parameter) == (99, "second")  # the backward pass comes from the head
    earlier = noticed_late(late_record([1.0, math.inf, math.nan], layers))
    assert earlier is not None
    assert (earlier.step, earlier.parameter) == (98, None)
    assert noticed_late(late_record([1.0, 2.0, 3.0], layers)) is None
