"""What GradientMonitor says of single layers: weights before, their change, zeros, histograms; and what it logs."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from fixed import LIGHTNING_SAYS, Fixed, Regression, fit, loader, make_trainer
from pytorch_lightning import Callback
from torch import Tensor, nn

from isometry import GradientMonitor
from isometry.diagnostics.history import GradientRecord, History, LayerRecord, encode, read_history

pytestmark = LIGHTNING_SAYS


class Element(Fixed):
    """One weight vector w, whose gradient is the batch."""

    def __init__(self, weights: list[float], optimizer: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(len(weights), 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([weights]))
        self.make = optimizer

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.layer.weight * batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return self.make(self.layer.parameters())


def rows(monitor: GradientMonitor, name: str) -> list[LayerRecord]:
    return [record.layers[name] for record in monitor.history]


# -------------------------------------------------------------------------------- weights and their change
def test_update_ratio_of_plain_sgd() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[0.6, 0.8]], Element([3.0, 4.0], lambda p: torch.optim.SGD(p, lr=0.5)))
    (row,) = rows(monitor, "layer")
    assert row.weight_norm == 5.0  # before the step: after it, it is 4.5
    assert row.update_ratio == pytest.approx(0.5 * 1.0 / 5.0, rel=1e-6)


def test_update_ratio_of_sgd_with_momentum_and_weight_decay() -> None:
    """v ← 0.9 v + g + λw, w ← w - lr v. Not lr·‖g‖/‖w‖, which would be 0.1 in each step."""
    monitor = GradientMonitor(every_n_steps=1)
    fit(
        monitor,
        [[1.0, 0.0]] * 3,
        Element([10.0, 0.0], lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, weight_decay=0.05)),
    )
    w, v, expected, norms = 10.0, 0.0, [], []
    for _ in range(3):
        v = 0.9 * v + 1.0 + 0.05 * w
        expected.append(abs(v) / abs(w))
        norms.append(abs(w))
        w -= v
    assert [row.update_ratio for row in rows(monitor, "layer")] == pytest.approx(expected, rel=1e-5)
    assert [row.weight_norm for row in rows(monitor, "layer")] == pytest.approx(norms, rel=1e-5)
    assert expected[0] == 0.15  # by hand: 1.5 / 10; lr·‖g‖/‖w‖ would be 0.1


def test_update_ratio_of_adam() -> None:
    """Adam's first step is lr · sign(g), whatever the gradient's size; a gradient 1e6 times as large does the same."""
    for gradient in (1.0, 1e6):
        monitor = GradientMonitor(every_n_steps=1)
        fit(monitor, [[gradient, -gradient]], Element([3.0, 4.0], lambda p: torch.optim.Adam(p, lr=0.01)))
        (row,) = rows(monitor, "layer")
        assert row.update_ratio == pytest.approx(0.01 * math.sqrt(2) / 5, rel=1e-4)
        assert row.norm == pytest.approx(gradient * math.sqrt(2), rel=1e-6)


def test_update_ratio_is_of_the_logged_step_alone() -> None:
    monitor = GradientMonitor(every_n_steps=4)
    gradients = [[float(n), 0.0] for n in range(1, 9)]
    fit(monitor, gradients, Element([1e4, 0.0], lambda p: torch.optim.SGD(p, lr=1.0)))
    last = monitor.history.records[-1]
    assert last.step == 7
    assert last.layers["layer"].weight_norm == pytest.approx(1e4 - 28)
    assert last.layers["layer"].update_ratio == pytest.approx(8 / (1e4 - 28), rel=1e-3)


def test_weights_that_are_zero_have_no_ratio() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[0.6, 0.8]] * 2, Element([0.0, 0.0], lambda p: torch.optim.SGD(p, lr=0.5)))
    first, second = rows(monitor, "layer")
    assert (first.weight_norm, first.update_ratio) == (0.0, None)
    assert second.update_ratio == pytest.approx(1.0)
    assert list(logger.series("update_ratio/median")) == [1]


def test_a_layer_is_all_its_parameters() -> None:
    """Weight and bias: √Σ², and the zeros of both."""

    class Biased(Fixed):
        def __init__(self) -> None:
            super().__init__(lr=1.0)
            self.layer = nn.Linear(3, 1)
            nn.init.constant_(self.layer.weight, 0.0)
            nn.init.constant_(self.layer.bias, 8.0)

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return (self.layer.weight[0] * batch[0][0, :3]).sum() + (self.layer.bias * batch[0][0, 3]).sum()

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 0.0, 0.0, 4.0]], Biased())
    (row,) = rows(monitor, "layer")
    assert (row.norm, row.weight_norm, row.zeros) == (5.0, 8.0, 0.5)
    assert row.update_ratio == 5 / 8


# --------------------------------------------------------------------------------------- zeros, histograms
def test_share_of_zeros() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    batches = [[1.0, 0.0, -0.0, 1e-45], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, math.nan, math.inf]]
    fit(monitor, batches, Element([1.0] * 4, lambda p: torch.optim.SGD(p, lr=0.0)))
    assert [row.zeros for row in rows(monitor, "layer")] == [0.5, 1.0, 0.0]
    assert [(row.nan, row.inf) for row in rows(monitor, "layer")] == [(0, 0), (0, 0), (1, 1)]


def test_histograms_count_elements_by_decade() -> None:
    gradients = [0.0, 2e-40, 3e-7, 5e-7, -2e-3, 0.5, 1.0, -9.9, 10.0, 3e38, math.nan, -math.inf]
    monitor = GradientMonitor(every_n_steps=1, histograms=True)
    fit(monitor, [gradients], Element([1.0] * len(gradients), lambda p: torch.optim.SGD(p, lr=0.0)))
    (row,) = rows(monitor, "layer")
    assert row.histogram == {"-40": 1, "-7": 2, "-3": 1, "-1": 1, "0": 2, "1": 1, "38": 1}
    assert sum(row.histogram.values()) == len(gradients) - 3  # without the zero and the two that are not finite


def test_histograms_are_of_the_gradient_before_clipping_and_come_back_from_the_file(tmp_path: Path) -> None:
    monitor = GradientMonitor(every_n_steps=1, path=tmp_path / "gradients.jsonl", histograms=True)
    module = Element([1.0, 1.0], lambda p: torch.optim.SGD(p, lr=0.0))
    fit(monitor, [[300.0, 20.0]], module, gradient_clip_val=1.0)
    assert rows(monitor, "layer")[0].histogram == {"1": 1, "2": 1}
    assert read_history(tmp_path / "gradients.jsonl").records[0].layers["layer"].histogram == {"1": 1, "2": 1}


def test_histograms_of_a_real_net_lose_no_element() -> None:
    monitor = GradientMonitor(every_n_steps=1, histograms=True)
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1))
    fit(monitor, torch.randn(8, 5), Regression(net), batch_size=4)
    for record in monitor.history:
        for name, size in {"net.0": 42, "net.2": 8}.items():
            row = record.layers[name]
            assert sum((row.histogram or {}).values()) == size - round(row.zeros * size)


def test_no_histogram_unless_asked_for() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]])
    assert rows(monitor, "a")[0].histogram is None


# ------------------------------------------------------------------------- frozen, unused, tied, sparse
def test_frozen_and_unused_layers_are_told_apart() -> None:
    module = Fixed()
    module.a.requires_grad_(False)
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], module)
    record = monitor.history.records[0]
    assert (record.frozen, record.unused, list(record.layers)) == (["a"], ["unused"], ["b"])
    assert record.total == 4.0


def test_a_layer_that_another_optimizer_has_is_not_unused() -> None:
    class Half(Fixed):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.a.parameters(), lr=0.0)

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Half())
    record = monitor.history.records[0]
    assert (record.total, list(record.layers), record.unused) == (3.0, ["a"], [])


@pytest.mark.parametrize("joins", ["from the start", "late"])
def test_a_layer_that_is_unfrozen_late_appears(joins: str) -> None:
    """Also one that joins the optimizer only then, as Lightning's BaseFinetuning does it."""

    class Thawing(Fixed):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                self.b.requires_grad_(True)
                if joins == "late":
                    self.optimizers().add_param_group({"params": list(self.b.parameters())})  # type: ignore[union-attr]

        def configure_optimizers(self) -> Any:
            wanted = self if joins == "from the start" else self.a
            return torch.optim.SGD(wanted.parameters(), lr=0.0)

    module = Thawing()
    module.b.requires_grad_(False)
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]] * 4, module)
    assert [record.frozen for record in monitor.history] == [["b"], ["b"], [], []]
    assert [list(record.layers) for record in monitor.history] == [["a"], ["a"], ["a", "b"], ["a", "b"]]
    assert [record.total for record in monitor.history] == [3.0, 3.0, 5.0, 5.0]


def test_tied_weights_move_once() -> None:
    class Tied(Fixed):
        def __init__(self) -> None:
            super().__init__(lr=0.5)
            self.b.weight = self.a.weight
            nn.init.constant_(self.a.weight, 10.0)

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]], Tied())
    (row,) = rows(monitor, "a")
    assert (row.norm, row.weight_norm, row.update_ratio) == (7.0, 10.0, 0.35)


class Table(Fixed):
    """An embedding whose row i gets the gradient (number of i in the batch) · (1, 2)."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 2, sparse=True)
        nn.init.constant_(self.table.weight, 1.0)
        self.make = optimizer

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.table(batch[0].long()) * torch.tensor([1.0, 2.0])).sum()

    def configure_optimizers(self) -> Any:
        return self.make(self.table.parameters())


def test_sparse_gradients() -> None:
    """Rows 1, 1 and 3: (2, 4) and (1, 2), so ‖g‖² = 25; 6 of the 10 elements are zero."""
    monitor = GradientMonitor(every_n_steps=1, histograms=True)
    logger = fit(monitor, [[1, 1, 3]], Table(lambda p: torch.optim.SGD(p, lr=0.1)))
    record, (row,) = monitor.history.records[0], rows(monitor, "table")
    assert record.total == 5.0
    assert (row.norm, row.zeros) == (5.0, 0.6)
    assert row.histogram == {"0": 4}
    assert row.update_ratio == pytest.approx(0.1 * 5 / math.sqrt(10), rel=1e-5)
    assert logger.series("grad_norm/table") == {0: 5.0}


def test_sparse_gradients_with_sparse_adam_and_beside_dense_ones() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[1, 1, 3], [4, 4, 4]], Table(lambda p: torch.optim.SparseAdam(list(p), lr=0.01)))
    first, second = monitor.history
    assert (first.total, second.total) == (5.0, pytest.approx(math.sqrt(45), rel=1e-6))
    assert first.layers["table"].update_ratio == pytest.approx(0.01 * 2 / math.sqrt(10), rel=1e-4)  # 4 elements by lr
    assert second.layers["table"].zeros == 0.8

    class Mixed(Table):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) + 12 * self.a.weight.sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([*self.table.parameters(), *self.a.parameters()], lr=0.1)

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[1, 1, 3]], Mixed(None))
    assert monitor.history.records[0].total == 13.0


def test_a_parameter_of_the_module_itself_has_a_name() -> None:
    """Nobody can find a chart called `grad_norm/`."""

    class Scaled(Fixed):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self.scale * batch[0].sum()

    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0]], Scaled())
    assert monitor.history.records[0].total == 7.0
    assert all(all(key.split("/")) for _, row in logger.rows for key in row)


# -------------------------------------------------------------------------------------------- what is logged
class Deep(Regression):
    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for _ in range(20):
            layers += [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Sigmoid()]
        super().__init__(nn.Sequential(*layers), lr=0.01)


def test_the_keys_that_are_logged_by_default() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, torch.rand(1280, 4), Deep(), batch_size=256, gradient_clip_val=1.0)  # enough for dead units
    ours = [row for _, row in logger.rows if "epoch" not in row]
    together = {key for row in ours for key in row}
    assert all(key.count("/") == 1 for key in together)
    others = {key for key in together if not key.startswith("grad_norm/")}
    assert others == {
        "clip/coefficient", "clip/fraction", "update_ratio/median", "perf/monitor_ms", "flow/backward_gain",
        "flow/forward_gain", "flow/decades", "flow/fit_quality", "units/saturated", "units/dead",
        "health/status",
    }  # fmt: skip
    layers = {f"grad_norm/net.{2 * n}" for n in range(40)}
    assert together - others == layers | {f"grad_norm/{name}" for name in ("total", "total_clipped", "nan", "inf")}
    assert all(isinstance(value, float) for row in ours for value in row.values())


def test_at_most_fifteen_scalars_besides_the_norms_under_fp16_with_a_recurrent_layer_too() -> None:
    from fixed import fp16

    class Recurrent(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss: Tensor = self.net[1](torch.sigmoid(self.net[0](batch[0][..., None])[0])).square().mean()
            return loss

    net = nn.Sequential(nn.GRU(1, 4, batch_first=True), nn.Linear(4, 1))
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, torch.rand(8, 6), Recurrent(net), batch_size=4, gradient_clip_val=1.0, plugins=[fp16(16)])
    keys = {key for _, row in logger.rows for key in row if not key.startswith("grad_norm/") and "epoch" not in key}
    assert {"flow/time_horizon", "amp/scale", "amp/skipped_steps"} <= keys
    assert len(keys) <= 15


def test_layer_series_are_for_those_who_ask() -> None:
    quiet = fit(GradientMonitor(every_n_steps=1), torch.rand(4, 4), Deep(), batch_size=4)
    loud = fit(GradientMonitor(every_n_steps=1, layer_series=True), torch.rand(4, 4), Deep(), batch_size=4)
    more = {key for _, row in loud.rows for key in row} - {key for _, row in quiet.rows for key in row}
    kinds = ("update_ratio", "activation_rms", "gradient_rms")
    assert more == {f"{kind}/net.{2 * n}" for kind in kinds for n in range(40)}


def test_the_logged_values_are_those_of_the_records() -> None:
    monitor = GradientMonitor(every_n_steps=2, layer_series=True)
    logger = fit(monitor, torch.rand(24, 4), Deep(), batch_size=4, gradient_clip_val=1e-3)
    for record in monitor.history:
        assert logger.series("grad_norm/total")[record.step] == record.total
        assert logger.series("grad_norm/total_clipped")[record.step] == record.total_clipped
        assert logger.series("grad_norm/net.4")[record.step] == record.layers["net.4"].norm
        assert logger.series("update_ratio/net.4")[record.step] == record.layers["net.4"].update_ratio
        ratios = [row.update_ratio for row in record.layers.values() if row.update_ratio is not None]
        assert logger.series("update_ratio/median")[record.step] == statistics.median(ratios)
    for profile in monitor.history.profiles:
        assert logger.series("flow/backward_gain")[profile.step] == profile.backward_gain
        assert logger.series("gradient_rms/net.4")[profile.step] == profile.layers[2].gradient_rms


@pytest.mark.parametrize("name", ["total", "nan", "inf", "total_clipped"])
def test_a_layer_called_as_a_key_does_not_overwrite_it(name: str) -> None:
    class Named(Fixed):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, nn.Linear(1, 1, bias=False))

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self.loss(batch[0]) + 12 * getattr(self, name).weight.sum()

    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0]], Named(), gradient_clip_val=100.0)
    (row,) = [row for _, row in logger.rows if "grad_norm/total" in row]
    expected = {"total": 13.0, "nan": 0.0, "inf": 0.0, "total_clipped": 13.0}
    assert {key: row[f"grad_norm/{key}"] for key in expected} == pytest.approx(expected)


# --------------------------------------------------------------------------------------------------- file
def test_the_file_holds_what_the_history_holds(tmp_path: Path) -> None:
    path = tmp_path / "gradients.jsonl"
    monitor = GradientMonitor(every_n_steps=2, path=path, histograms=True)
    fit(monitor, torch.rand(24, 4), Deep(), batch_size=4, gradient_clip_val=1e-3)
    saved = read_history(path)
    for one, other in zip(monitor.history, saved, strict=True):
        assert other.totals == pytest.approx(one.totals, rel=1e-5)
        assert (other.step, list(other.layers), other.frozen, other.unused) == (
            one.step, list(one.layers), one.frozen, one.unused,
        )  # fmt: skip
        for name, row in one.layers.items():
            assert other.layers[name].norm == pytest.approx(row.norm, rel=1e-5)
            assert other.layers[name].update_ratio == pytest.approx(row.update_ratio, rel=1e-5)
            assert other.layers[name].histogram == row.histogram
    for mine, its in zip(monitor.history.profiles, saved.profiles, strict=True):
        assert [row.name for row in its.layers] == [row.name for row in mine.layers]
        assert its.backward_gain == pytest.approx(mine.backward_gain, rel=1e-3)
    assert [record.until for record in saved.units] == [record.until for record in monitor.history.units]


def test_the_file_is_readable_while_the_training_runs_and_its_end_stays_after_a_crash(tmp_path: Path) -> None:
    path, seen = tmp_path / "gradients.jsonl", []

    class Reader(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(len(read_history(path)))
            if batch_idx == 3:
                raise RuntimeError("the power went off")

    with pytest.raises(RuntimeError, match="power"):
        fit(GradientMonitor(every_n_steps=1, path=path), [[3.0, 4.0]] * 6, others=[Reader()])
    assert seen == [1, 2, 3, 4]
    assert len(read_history(path)) == 4


def test_two_fits_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "gradients.jsonl"
    monitor = GradientMonitor(every_n_steps=1, path=path)
    for _ in range(2):
        make_trainer(monitor).fit(Fixed(), loader([[3.0, 4.0]] * 2))
    assert [record.step for record in read_history(path)] == [0, 1, 0, 1]


def test_memory_is_bounded_however_long_the_run_and_the_file_grows_evenly() -> None:
    """100,000 records with layers: at most 512 are kept. Each is a line of equal length."""
    history, lengths = History(), []
    for step in range(100_000):
        layers = {f"net.{n}": LayerRecord(1.0, 0, 0, 0.25, 2.0, 0.001, {"-3": 12}) for n in range(4)}
        record = GradientRecord(step, 1.0, 1.0, [1.0, 2.0], 0.5, layers)
        history.append(record)
        if step % 10_000 == 0:
            lengths.append(len(encode(record)))
        if step in (2_000, 99_999):
            kept = list(history)
            count, row_count = len(kept), len({id(row) for each in kept for row in each.layers.values()})
            assert count <= 512
            assert row_count <= 4 * 512
    assert max(lengths) - min(lengths) <= 5  # the digits of the step
    assert history.records[0].step == 0
