"""`probe` and `GradientMonitor` on networks and trainings that know nothing of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from isometry import GradientMonitor, probe
from isometry.diagnostics.profile import Profile

pytestmark = pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers",
    "ignore:The number of training batches",
    "ignore:`trainer.init_module` cannot fully support",
)
BATCH = 6
Batches = tuple[Tensor, Tensor]  # inputs and targets of three batches


class Training(LightningModule):
    def __init__(self, net: nn.Module, loss: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


# --------------------------------------------------------------------------------------------- the networks
class Classifier(nn.Module):
    """A transformer over tokens; the weights of its table are those of its head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.table(ids)).mean(dim=1))  # type: ignore[no-any-return]


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
        self.decoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 16))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))

    def forward(self, pair: Tensor) -> Tensor:
        return (self.tower(pair[:, 0]) - self.tower(pair[:, 1])).square().mean(dim=1)  # type: ignore[no-any-return]


class LastState(nn.Module):
    """The commonest LSTM classifier: only h_n is used, the outputs are not."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.lstm(x)
        return self.head(h[-1])  # type: ignore[no-any-return]


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.stem, self.head, self.reentrant = nn.Linear(4, 8), nn.Linear(8, 3), reentrant
        self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        z = self.stem(x)
        z = self.block(z) if self.reentrant is None else checkpoint(self.block, z, use_reentrant=self.reentrant)
        return self.head(z)  # type: ignore[no-any-return]


class Penalized(nn.Module):
    """Its output is a slope: a gradient is taken inside the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        outputs = self.net(x)
        (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        return outputs + slope.square().sum(dim=1, keepdim=True).tanh() * outputs.detach()  # type: ignore[no-any-return]


def spectral() -> nn.Module:
    layers = [nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)) for _ in range(4)]
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())), nn.Linear(4, 3))


def contrastive(distance: Tensor, same: Tensor) -> Tensor:
    return (same * distance + (1 - same) * F.relu(1 - distance)).mean()


def images() -> Batches:
    return torch.randn(3 * BATCH, 3, 32, 32), torch.randint(4, (3 * BATCH,))


def tokens() -> Batches:
    return torch.randint(11, (3 * BATCH, 5)), torch.randint(11, (3 * BATCH,))


def vectors() -> Batches:
    x = torch.randn(3 * BATCH, 16)
    return x, x


def pairs() -> Batches:
    return torch.randn(3 * BATCH, 2, 4), (torch.arange(3 * BATCH) % 2).float()


def points() -> Batches:
    return torch.randn(3 * BATCH, 4), torch.randint(3, (3 * BATCH,))


def sequences() -> Batches:
    return torch.randn(3 * BATCH, 7, 4), torch.randint(3, (3 * BATCH,))


Case = tuple[Callable[[], nn.Module], Callable[[], Batches], Callable[[Any, Any], Tensor]]
NETS: dict[str, Case] = {
    "resnet18": (lambda: resnet18(num_classes=4), images, F.cross_entropy),
    "transformer": (Classifier, tokens, F.cross_entropy),
    "autoencoder": (Autoencoder, vectors, F.mse_loss),
    "siamese": (Siamese, pairs, contrastive),
}
MORE: dict[str, Case] = {
    "lstm of which h_n is used": (LastState, sequences, F.cross_entropy),
    "spectral norm": (spectral, points, F.cross_entropy),
    "reentrant checkpoints": (lambda: Checkpointed(True), points, F.cross_entropy),
    "gradient penalty": (Penalized, points, F.cross_entropy),
    "checkpoints": (lambda: Checkpointed(False), points, F.cross_entropy),
}


def made(name: str) -> tuple[nn.Module, Batches, Callable[[Any, Any], Tensor]]:
    net, data, loss = (NETS | MORE)[name]
    torch.manual_seed(1)
    return net(), data(), loss


def first(data: Batches) -> tuple[Tensor, Tensor]:
    return data[0][:BATCH], data[1][:BATCH]


def fit(module: LightningModule, data: Batches, monitor: GradientMonitor | None) -> list[Tensor]:
    """All weights and buffers after three steps."""
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, callbacks=[monitor] if monitor else [],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    torch.manual_seed(2)
    trainer.fit(module, DataLoader(TensorDataset(*data), batch_size=BATCH))
    return [tensor.detach().clone() for tensor in module.state_dict().values()]


def depths(profile: Profile, prefix: str = "") -> dict[str, int]:
    return {row.name.removeprefix(prefix): row.depth for row in profile.layers}


def kept_gradients(net: nn.Module, batch: tuple[Tensor, Tensor], loss: Callable[[Any, Any], Tensor],
                   kinds: tuple[type[nn.Module], ...]) -> dict[str, list[float]]:  # fmt: skip
    """The slow reference: RMS ∂L/∂z of each call, with `retain_grad` and nothing in place."""
    net = copy.deepcopy(net)
    outputs: dict[str, list[Tensor]] = {}
    for name, module in net.named_modules():
        if hasattr(module, "inplace"):
            module.inplace = False
        if isinstance(module, kinds):

            def hook(_: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                z = output[0] if isinstance(output, tuple) else output
                z.retain_grad()
                outputs.setdefault(name, []).append(z)

            module.register_forward_hook(hook)
    loss(net(batch[0]), batch[1]).backward()
    return {
        name: [z.grad.double().square().mean().sqrt().item() for z in calls if z.grad is not None]
        for name, calls in outputs.items()
    }


KINDS = (nn.Conv2d, nn.Linear, nn.Embedding, nn.MultiheadAttention)


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_slow_reference(name: str) -> None:
    net, data, loss = made(name)
    shown = probe(net, first(data), loss)
    expected = kept_gradients(net, first(data), loss, KINDS)
    found: dict[str, list[float | None]] = {}
    for row in shown.layers:
        assert row.gradient_rms is not None
        assert 0 < row.gradient_rms < math.inf
        assert row.nonfinite == 0
        found.setdefault(row.name.partition("@")[0], []).append(row.gradient_rms)
    assert found.keys() == expected.keys()
    for path, values in expected.items():
        assert found[path] == pytest.approx(values, rel=1e-4)


def test_resnet18_has_18_weight_layers_in_a_row_and_three_beside_them() -> None:
    net, data, loss = made("resnet18")
    shown = probe(net, first(data), loss)
    expected = {"conv1": 1, "fc": 18}
    depth = 1
    for stage in range(1, 5):
        for block in range(2):
            if stage > 1 and block == 0:
                expected[f"layer{stage}.0.downsample.0"] = depth + 2
            for conv in (1, 2):
                depth += 1
                expected[f"layer{stage}.{block}.conv{conv}"] = depth
    assert depths(shown) == expected
    assert len(expected) == 21
    assert dict(shown.unseen) == {}
    assert shown.layers[0].shape == (64, 16, 16)
    assert {row.shape for row in shown.layers[1:5]} == {(64, 8, 8)}
    assert shown.backward_gain is not None
    assert 0.5 < shown.backward_gain < 2  # skips and norms keep it near 1
    assert shown.fit_quality is not None
    assert 0 <= shown.fit_quality <= 1
    assert shown.expected_backward_gain is None


def test_a_transformer_s_rows_and_what_stays_hidden() -> None:
    net, data, loss = made("transformer")
    shown = probe(net, first(data), loss)
    order = ["table", *(f"encoder.layers.{i}.{part}" for i in (0, 1) for part in ("self_attn", "linear1", "linear2"))]
    assert depths(shown) == {name: depth for depth, name in enumerate([*order, "head"], 1)}
    assert set(shown.unseen) == {f"encoder.layers.{i}.self_attn.out_proj" for i in (0, 1)}
    assert shown.backward_gain is not None
    assert 0.2 < shown.backward_gain < 5
    assert {row.name: row.dead for row in shown.layers if row.dead is not None}.keys() <= {*order}


def test_an_autoencoder_s_layers_share_too_few_shapes_for_a_gain() -> None:
    net, data, loss = made("autoencoder")
    shown = probe(net, first(data), loss)
    assert depths(shown) == {"encoder.0": 1, "encoder.2": 2, "decoder.0": 3, "decoder.2": 4}
    assert [row.shape for row in shown.layers] == [(8,), (4,), (8,), (16,)]
    assert (shown.backward_gain, shown.expected_backward_gain) == (None, None)
    output = net(data[0][:BATCH])
    (gradient,) = torch.autograd.grad(loss(output, data[1][:BATCH]), output)
    assert shown.layers[-1].gradient_rms == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-5)


def test_a_siamese_net_s_towers_stand_side_by_side() -> None:
    net, data, loss = made("siamese")
    shown = probe(net, first(data), loss)
    assert depths(shown) == {f"tower.{2 * i}{call}": i + 1 for i in range(3) for call in ("", "@2")}
    last = {row.name: row.gradient_rms for row in shown.layers if row.depth == 3}
    assert last["tower.4"] == pytest.approx(last["tower.4@2"], rel=1e-6)  # opposite gradients at the difference
    assert shown.backward_gain is not None
    assert 0.1 < shown.backward_gain < 1  # tanh under torch's default


# --------------------------------------------------------------------------------------------- the monitor
@pytest.mark.parametrize("name", [*NETS, *MORE])
def test_the_monitor_changes_no_bit(name: str) -> None:
    net, data, loss = made(name)
    monitored = fit(Training(copy.deepcopy(net), loss), data, GradientMonitor(every_n_steps=1))
    alone = fit(Training(copy.deepcopy(net), loss), data, None)
    assert all(map(torch.equal, monitored, alone))
    assert not all(map(torch.equal, alone, Training(net, loss).state_dict().values()))  # the control: it trains


@pytest.mark.parametrize("name", NETS)
def test_the_monitor_s_first_profile_is_that_of_a_probe(name: str) -> None:
    net, data, loss = made(name)
    expected = probe(net, first(data), loss)
    monitor = GradientMonitor(every_n_steps=1)
    fit(Training(net, loss), data, monitor)
    assert [profile.step for profile in monitor.history.profiles] == [0, 1, 2]
    shown = monitor.history.profiles[0]
    assert depths(shown, "net.") == depths(expected)
    assert {name.removeprefix("net.") for name in shown.unseen} == set(expected.unseen)
    for row, other in zip(shown.layers, expected.layers, strict=True):
        assert row.gradient_rms == pytest.approx(other.gradient_rms, rel=1e-6)
        assert row.activation_rms == pytest.approx(other.activation_rms, rel=1e-6)
        assert row.shape == other.shape
    assert monitor.history.profiles[2].layers[0].gradient_rms != shown.layers[0].gradient_rms


@pytest.mark.parametrize("name", NETS)
def test_the_monitor_s_norms_are_those_of_the_gradients(name: str) -> None:
    net, data, loss = made(name)
    manual = copy.deepcopy(net)
    loss(manual(data[0][:BATCH]), data[1][:BATCH]).backward()
    gradients = {
        path: p.grad.double().square().sum().item() for path, p in manual.named_parameters() if p.grad is not None
    }
    monitor = GradientMonitor(every_n_steps=1)
    fit(Training(net, loss), data, monitor)
    record = monitor.history.records[0]
    assert record.total == pytest.approx(math.sqrt(sum(gradients.values())), rel=1e-5)
    layers: dict[str, float] = {}
    for path, square in gradients.items():
        layers[f"net.{path.rpartition('.')[0]}"] = layers.get(f"net.{path.rpartition('.')[0]}", 0.0) + square
    assert list(record.layers) == list(layers)
    for path, row in record.layers.items():
        assert row.norm == pytest.approx(math.sqrt(layers[path]), rel=1e-4)
    assert record.unused == []
    if name == "transformer":
        assert "net.table" in record.layers
        assert "net.head" not in record.layers  # the same weights: counted once


@pytest.mark.parametrize("name", [name for name in MORE if "lstm" not in name and "penalty" not in name])
def test_under_the_monitor_gradients_are_those_of_the_slow_reference(name: str) -> None:
    """Without dropout, which would draw other numbers."""
    net, data, loss = made(name)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    plain = copy.deepcopy(net)
    if isinstance(plain, Checkpointed):
        plain.reentrant = None
    monitor = GradientMonitor(every_n_steps=1)
    fit(Training(net, loss), data, monitor)
    shown = monitor.history.profiles[0]
    expected = kept_gradients(plain, first(data), loss, (nn.Linear,))
    assert {row.name.removeprefix("net."): row.depth for row in shown.layers} == {
        name: depth for depth, name in enumerate(sorted(expected, key=list(expected).index), 1)
    }
    for row in shown.layers:
        assert row.gradient_rms == pytest.approx(expected[row.name.removeprefix("net.")][0], rel=1e-4)


def test_under_the_monitor_a_gradient_taken_in_the_forward_pass_is_not_that_of_the_loss() -> None:
    net, data, loss = made("gradient penalty")
    assert isinstance(net, Penalized)
    x, y = first(data)
    x = x.clone().requires_grad_()
    z = net.net[0](x)
    outputs = net.net[2](z.tanh())
    (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
    total = loss(outputs + slope.square().sum(dim=1, keepdim=True).tanh() * outputs.detach(), y)
    (expected,) = torch.autograd.grad(total, z)
    monitor = GradientMonitor(every_n_steps=1)
    fit(Training(net, loss), data, monitor)
    found = {row.name: row.gradient_rms for row in monitor.history.profiles[0].layers}
    assert found["net.net.0"] == pytest.approx(expected.double().square().mean().sqrt().item(), rel=1e-4)


def test_an_lstm_of_which_only_the_last_state_is_used_trains_under_the_monitor() -> None:
    net, data, loss = made("lstm of which h_n is used")
    monitor = GradientMonitor(every_n_steps=1)
    fit(Training(net, loss), data, monitor)
    (time,) = monitor.history.profiles[0].times
    assert (time.name, len(time.gradient_norms)) == ("net.lstm", 7)
    assert all(
        0 < earlier < later for earlier, later in zip(time.gradient_norms, time.gradient_norms[1:], strict=False)
    )


# ---------------------------------------------------------------------------------------------------- a GAN
class GAN(LightningModule):
    """Two optimizers, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        of_generator, of_discriminator = self.optimizers()  # type: ignore[misc]
        real, fake = batch[0], self.generator(torch.randn(BATCH, 4))
        of_discriminator.zero_grad()
        self.manual_backward(self.judged(real, 1.0) + self.judged(fake.detach(), 0.0))
        of_discriminator.step()
        of_generator.zero_grad()
        self.manual_backward(self.judged(fake, 1.0))
        of_generator.step()

    def judged(self, x: Tensor, label: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.discriminator(x), torch.full((len(x), 1), label))

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=1e-3) for part in (self.generator, self.discriminator)]


def flat() -> Batches:
    torch.manual_seed(3)
    return torch.randn(3 * BATCH, 2), torch.zeros(3 * BATCH)


def test_a_gan_under_the_monitor() -> None:
    monitor, gan = GradientMonitor(every_n_steps=1), GAN()
    fit(gan, flat(), monitor)
    records = [(record.step, record.optimizer, set(record.layers)) for record in monitor.history]
    parts = {part: {f"{part}.0", f"{part}.2"} for part in ("generator", "discriminator")}
    assert records == [
        (step, 1 - step % 2, parts["discriminator" if step % 2 == 0 else "generator"]) for step in range(6)
    ]
    assert all(0 < record.total < math.inf for record in monitor.history)
    assert [profile.step for profile in monitor.history.profiles] == [0, 2, 4]
    shown = monitor.history.profiles[0]
    assert depths(shown) == {
        "generator.0": 1, "generator.2": 2,
        "discriminator.0": 3, "discriminator.0@2": 3, "discriminator.0@3": 3,
        "discriminator.2": 4, "discriminator.2@2": 4, "discriminator.2@3": 4,
    }  # fmt: skip
    assert dict(shown.unseen) == {}
    assert all(row.gradient_rms is not None and 0 < row.gradient_rms < math.inf for row in shown.layers)


def test_a_gan_trains_the_same_without_the_monitor() -> None:
    monitored, alone = fit(GAN(), flat(), GradientMonitor(every_n_steps=1)), fit(GAN(), flat(), None)
    assert all(map(torch.equal, monitored, alone))
    assert not all(map(torch.equal, alone, GAN().state_dict().values()))


def test_a_gan_s_generator_through_its_judge() -> None:
    gan = GAN()
    both = nn.Sequential(gan.generator, gan.discriminator)
    noise, labels = torch.randn(BATCH, 4), torch.ones(BATCH, 1)
    shown = probe(both, (noise, labels), F.binary_cross_entropy_with_logits)
    assert depths(shown) == {"0.0": 1, "0.2": 2, "1.0": 3, "1.2": 4}
    logits = both(noise)
    by_hand = (logits.sigmoid() - 1) / BATCH  # the gradient of the cross entropy
    assert shown.layers[-1].gradient_rms == pytest.approx(by_hand.square().mean().sqrt().item(), rel=1e-5)
    assert shown.backward_gain is None  # (8,), (2,), (8,), (1,)
