"""What the published detectors look at, against values computed by hand; the training stays as it is, bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from baselines import read_lines
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from statistics_published import PublishedStatistics
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from isometry import GradientMonitor
from isometry.diagnostics.history import read_history

pytestmark = pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers", "ignore:The number of training batches"
)


class Net(LightningModule):
    """Mean of the outputs, with plain gradient descent."""

    def __init__(self, net: nn.Module, lr: float = 0.5) -> None:
        super().__init__()
        self.net, self.lr = net, lr

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.net(batch[0]).float().mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def fit(module: LightningModule, inputs: Any, path: Path, every_n_steps: int = 100, **options: Any) -> list[Any]:
    batch_size = options.pop("batch_size", 1)
    others = options.pop("others", [])
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[PublishedStatistics(path, every_n_steps), *others],
        **options,
    )
    rows = inputs if isinstance(inputs, Tensor) else torch.tensor(inputs)
    trainer.fit(module, DataLoader(TensorDataset(rows), batch_size=batch_size))
    return read_lines(path)


def linear(weight: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    return layer


def test_a_layer_by_hand(tmp_path: Path) -> None:
    """loss = mean of (w·x): ∂L/∂w = x for one unit; w = [3, 4], x = [1, 0], lr 0.5."""
    (line,) = fit(Net(linear([[3.0, 4.0]])), [[1.0, 0.0]], tmp_path / "lines.jsonl")
    assert (line["step"], line["optimizer"], line["lr"]) == (0, 0, 0.5)
    assert (line["loss"], line["mean_loss"], line["gradient_norm"], line["nonfinite"]) == (3.0, 3.0, 1.0, False)
    layer = line["weights"]["net"]
    assert layer["gradient_mean_abs"] == 0.5
    assert layer["gradient_zeros"] == 0.5
    assert (layer["gradient_p5"], layer["gradient_p95"]) == pytest.approx((0.05, 0.95))
    assert (layer["size"], layer["norm"], layer["mean"], layer["variance"], layer["small"]) == (2, 5.0, 3.5, 0.25, 0.0)
    assert layer["update_ratio"] == pytest.approx(0.5 / 5)
    assert layer["update_scale"] == pytest.approx(0.25 / 3.5)
    assert line["activations"] == {}


def test_activations_by_hand(tmp_path: Path) -> None:
    """Two units, two samples: inputs [[6, -1], [-7, -2]]."""
    net = nn.Sequential(linear([[1.0, 0.0], [0.0, 1.0]]), nn.ReLU())
    (line,) = fit(Net(net), [[6.0, -1.0], [-7.0, -2.0]], tmp_path / "lines.jsonl", batch_size=2)
    row = line["activations"]["net.1"]
    assert row["kind"] == "relu"
    assert row["nonpositive"] == 0.75
    assert row["beyond_5"] == 0.5
    assert (row["silent_units"], row["inactive_units"]) == (0.5, 0.5)
    assert (row["outside_units"], row["bounded_units"]) == (None, None)
    assert (row["mean"], row["variance"]) == pytest.approx((1.5, 27 / 4))
    assert row["std"] == pytest.approx(math.sqrt(27 / 4))
    assert row["input_variance"] == pytest.approx((36 + 1 + 49 + 4) / 4 - 1)


@pytest.mark.parametrize(
    ("activation", "inputs", "outside"),
    [
        (nn.Tanh(), [9.4, -9.4, 9.6], 1 / 3),
        (nn.Tanh(), [9.6, -9.6, -10.0], 1.0),
        (nn.Sigmoid(), [16.9, -22.9, 17.1], 1 / 3),
        (nn.Sigmoid(), [17.1, -23.1, 0.0], 2 / 3),
    ],
)
def test_saturated_units(activation: nn.Module, inputs: list[float], outside: float, tmp_path: Path) -> None:
    identity = linear(torch.eye(3).tolist())
    (line,) = fit(Net(nn.Sequential(identity, activation)), [inputs], tmp_path / "lines.jsonl")
    assert line["activations"]["net.1"]["outside_units"] == pytest.approx(outside)


def test_rho_b_agrees_with_its_histogram(tmp_path: Path) -> None:
    """The definition with ten bins, bin by bin."""
    inputs = 3 * torch.randn(500, 4) * torch.tensor([0.1, 0.5, 1.0, 30.0])
    net = nn.Sequential(linear(torch.eye(4).tolist()), nn.Tanh())
    (line,) = fit(Net(net), inputs, tmp_path / "lines.jsonl", batch_size=500)
    saturated = 0
    for unit in torch.tanh(inputs).T:
        bins = ((unit + 1) * 5).floor().clamp(0, 9)
        values = [unit[bins == b] for b in range(10)]
        saturated += sum(abs(float(v.mean())) * len(v) for v in values if len(v)) / 500 > 0.85
    assert line["activations"]["net.1"]["bounded_units"] == saturated / 4


def test_channels_are_units(tmp_path: Path) -> None:
    conv = nn.Conv2d(1, 2, 1, bias=False)
    conv.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    (line,) = fit(Net(nn.Sequential(conv, nn.ReLU())), torch.ones(2, 1, 3, 3), tmp_path / "lines.jsonl", batch_size=2)
    assert line["activations"]["net.1"]["silent_units"] == 0.5


def test_an_activation_in_place_and_called_twice(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act = linear([[-1.0]]), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.act(self.first(x)) - 2)  # type: ignore[no-any-return]

    (line,) = fit(Net(Twice()), [[6.0], [8.0]], tmp_path / "lines.jsonl", batch_size=2)
    assert list(line["activations"]) == ["net.act", "net.act@2"]
    assert line["activations"]["net.act"]["beyond_5"] == 1  # of the input, which the ReLU has overwritten
    assert line["activations"]["net.act@2"]["beyond_5"] == 0


def test_the_monitors_steps_and_the_mean_loss_in_between(tmp_path: Path) -> None:
    monitor = GradientMonitor(6, tmp_path / "gradients.jsonl")
    inputs = [[float(n)] for n in range(13)]
    lines = fit(Net(linear([[1.0]]), lr=0.0), inputs, tmp_path / "lines.jsonl", 6, others=[monitor])
    records = read_history(tmp_path / "gradients.jsonl").records
    assert [line["step"] for line in lines] == [record.step for record in records] == [0, 1, 2, 4, 5, 11]
    assert [list(line["weights"]) for line in lines] == [list(record.layers) for record in records]
    assert [line["gradient_norm"] for line in lines] == pytest.approx([record.total for record in records])
    assert [line["mean_loss"] for line in lines] == [0, 1, 2, 3.5, 5, 8.5]
    ratios = [line["weights"]["net"]["update_ratio"] for line in lines]
    assert ratios == pytest.approx([record.layers["net"].update_ratio for record in records])


def test_the_first_nan_has_a_line_of_its_own(tmp_path: Path) -> None:
    lines = fit(Net(linear([[1.0]])), [[1.0]] * 5 + [[math.nan]] + [[1.0]] * 4, tmp_path / "lines.jsonl")
    assert [(line["step"], line["nonfinite"]) for line in lines][3:] == [(4, False), (5, True), (8, True)]
    assert math.isnan(lines[4]["loss"])


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    net = nn.Sequential(linear([[1.0]]), nn.ReLU())
    inputs = [[2.0], [4.0], [6.0], [8.0]]
    lines = fit(Net(net, lr=0.0), inputs, tmp_path / "lines.jsonl", accumulate_grad_batches=2)
    assert [line["loss"] for line in lines] == [3.0, 7.0]
    assert [line["gradient_norm"] for line in lines] == [3.0, 7.0]
    assert [line["activations"]["net.1"]["mean"] for line in lines] == [2.0, 6.0]  # of the first batch
    assert list(lines[0]["activations"]) == ["net.1"]


def test_two_optimizers_have_a_line_each(tmp_path: Path) -> None:
    class Two(Net):
        def __init__(self) -> None:
            super().__init__(nn.ModuleList([linear([[1.0]]), linear([[2.0]])]))
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
            for optimizer, layer in zip(self.optimizers(), self.net, strict=True):  # type: ignore[arg-type]
                optimizer.zero_grad()
                self.manual_backward(layer(batch[0]).mean())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(layer.parameters(), lr=0.5) for layer in self.net]

    lines = fit(Two(), [[1.0]], tmp_path / "lines.jsonl")
    told = [(line["step"], line["optimizer"], line["loss"], list(line["weights"])) for line in lines]
    assert told == [(0, 0, 1.0, ["net.0"]), (1, 1, 2.0, ["net.1"])]
    ratios = [line["weights"][name]["update_ratio"] for line, name in zip(lines, ("net.0", "net.1"), strict=True)]
    assert ratios == [0.5, 0.25]


def test_a_step_that_the_scaler_skips_moves_nothing_and_the_loss_is_without_its_scale(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    module = Net(linear([[1.0]]))
    (line,) = fit(module, [[1024.0]], tmp_path / "lines.jsonl", plugins=[plugin])
    assert line["loss"] == 1024.0
    assert line["nonfinite"]
    assert line["weights"]["net"]["update_ratio"] == 0


def test_training_is_untouched_and_nothing_stays_on_the_module(tmp_path: Path) -> None:
    """Same seed with and without: the same weights, bit for bit."""

    def trained(path: Path | None) -> nn.Module:
        torch.manual_seed(4)
        net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(8, 1), nn.Tanh())
        trainer = Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            callbacks=[] if path is None else [PublishedStatistics(path, 1)],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=0.5,
        )
        module = Net(net)
        trainer.fit(module, DataLoader(TensorDataset(torch.arange(24.0).view(12, 2) / 24), batch_size=2))
        return module

    bare, watched = trained(None), trained(tmp_path / "lines.jsonl")
    pairs = zip(bare.parameters(), watched.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(read_lines(tmp_path / "lines.jsonl")) == 18
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in watched.modules())
