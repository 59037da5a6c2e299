"""The LightningModule: loss and accuracy by hand, predictions, checkpoints, and training from ordinary DataLoaders."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from isometry.build import import_target
from isometry.data.loader import ImageLoader
from isometry.data.sources import ImageSet
from isometry.training.classifier import Classifier
from isometry.training.clipping import AutoClip, agc
from isometry.training.optimizers import adam

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' does not have many workers")


def make(network: nn.Module, num_classes: int = 4, **change: Any) -> Classifier:
    options: dict[str, Any] = {
        "class_names": [f"c{i}" for i in range(num_classes)],
        "mean": [0.5],
        "std": [0.25],
        "make_optimizer": lambda named: adam(named, lr=0.01, weight_decay=0.0, beta1=0.9, beta2=0.99),
        "make_schedule": lambda optimizer: [],
        "clip": None,
        "label_smoothing": 0.0,
        "description": {},
    }
    return Classifier(network, **{**options, **change})


class Echo(nn.Module):
    """Its logits are the first pixels: known by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * images[:, 0, 0, :4]


def trainer(**options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def test_test_loss_and_accuracy_are_means_over_images_not_over_batches() -> None:
    images = torch.randn(10, 1, 1, 4)
    labels = torch.randint(0, 4, (10,))
    module = make(Echo())
    (result,) = trainer().test(module, DataLoader(TensorDataset(images, labels), batch_size=7), verbose=False)
    logits = images[:, 0, 0]
    assert result["test/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert result["test/acc"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    confusion = module.confusion.compute()
    assert confusion.sum() == 10
    assert confusion[2].sum() == (labels == 2).sum()


def test_label_smoothing_spreads_the_target() -> None:
    images, labels = torch.randn(5, 1, 1, 4), torch.tensor([0, 1, 2, 3, 0])
    module = make(Echo(), label_smoothing=0.2)
    (result,) = trainer().test(module, DataLoader(TensorDataset(images, labels), batch_size=5), verbose=False)
    target = F.one_hot(labels, 4) * 0.8 + 0.2 / 4
    expected = -(target * images[:, 0, 0].log_softmax(1)).sum(1).mean()
    assert result["test/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_predict_normalises_pictures_and_gives_probabilities() -> None:
    pictures = torch.tensor([[[[0, 128, 255, 64]]]], dtype=torch.uint8)
    probabilities = make(Echo()).train().predict(pictures)
    expected = ((pictures[0, 0, 0] / 255 - 0.5) / 0.25).softmax(0)
    torch.testing.assert_close(probabilities[0], expected)
    assert probabilities.sum().item() == pytest.approx(1)


def test_predict_sees_pictures_to_the_bit_as_the_loader_serves_them(made_images: ImageSet) -> None:
    mean, std = torch.tensor([0.13]), torch.tensor([0.31])
    seen: list[torch.Tensor] = []
    module = make(Echo(), mean=mean.tolist(), std=std.tolist())
    module.network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    module.predict(made_images.test_images)
    (served,) = (images for images, _ in ImageLoader(made_images.test_images, made_images.test_labels, mean, std, 40))
    assert torch.equal(seen[0], served)


def test_predict_leaves_the_mode_alone_and_uses_running_statistics() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 4))
    module = make(network).train()
    pictures = torch.randint(0, 256, (8, 1, 1, 4), dtype=torch.uint8)
    together = module.predict(pictures)
    assert module.training
    assert torch.allclose(together[:1], module.predict(pictures[:1]))  # with batch statistics they would differ


WRONG = [
    torch.rand(2, 1, 3, 3),
    torch.zeros(2, 3, 3, 3, dtype=torch.uint8),
    torch.zeros(1, 3, 3, dtype=torch.uint8),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_predict_says_what_it_needs(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"needs uint8 pictures \[B, 1, H, W\], got"):
        make(Echo()).predict(wrong)


def test_it_trains_from_an_ordinary_datamodule_with_dataloaders(made_images: ImageSet) -> None:
    """For forks whose data does not fit in memory: nothing but batches of (images, labels) is asked for."""

    class Ordinary(LightningDataModule):
        def loader(self, images: torch.Tensor, labels: torch.Tensor, shuffle: bool) -> DataLoader[Any]:
            return DataLoader(TensorDataset((images / 255 - 0.3) / 0.3, labels), batch_size=20, shuffle=shuffle)

        def train_dataloader(self) -> DataLoader[Any]:
            return self.loader(made_images.train_images[:100], made_images.train_labels[:100], True)

        def val_dataloader(self) -> DataLoader[Any]:
            return self.loader(made_images.train_images[100:], made_images.train_labels[100:], False)

        def test_dataloader(self) -> DataLoader[Any]:
            return self.loader(made_images.test_images, made_images.test_labels, False)

    module = make(nn.Sequential(nn.Flatten(), nn.Linear(144, 4)))
    fitting = trainer(max_epochs=15, log_every_n_steps=1)
    fitting.fit(module, datamodule=Ordinary())
    (result,) = fitting.test(module, datamodule=Ordinary(), verbose=False)
    assert result["test/acc"] == 1.0


# ---------------------------------------------------------------------------------------------- clipping
class Sum(nn.Module):
    """Logits are Σ images · w: with equal logits, the gradient of w is known by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = (nn.Linear(4, 2, bias=False) for _ in range(2))
        for layer in (self.body, self.head):
            nn.init.zeros_(layer.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(images[:, 0, 0]) + self.head(images[:, 0, 0])
        return logits


def steps(**change: Any) -> tuple[Classifier, float, float]:
    """One step of SGD with rate 1 from a gradient of norm 5 in body and head each; how far these moved."""
    change = {"make_optimizer": lambda named: named_sgd(named, lr=1.0), **change}
    options = change.pop("trainer", {})
    module = make(Sum(), num_classes=2, **change)
    images, labels = torch.tensor([[[[5 * 2**0.5, 0.0, 0.0, 0.0]]]]), torch.tensor([0])  # softmax - target: (-½, ½)
    batch = DataLoader(TensorDataset(images, labels))
    trainer(max_epochs=1, **options).fit(module, batch, batch)
    moved = (layer.weight.detach().norm().item() for layer in (module.network.body, module.network.head))
    return (module, *moved)


def named_sgd(named: Any, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"name": "all", "params": [parameter for _, parameter in named]}], **options)


def test_without_a_clip_the_trainer_clips_where_it_is_told_to() -> None:
    assert steps(clip=None)[1:] == pytest.approx((5.0, 5.0))
    whole = {"gradient_clip_val": 1.0}
    assert steps(clip=None, trainer=whole)[1:] == pytest.approx((0.5**0.5, 0.5**0.5), rel=1e-5)
    single = {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}
    assert steps(clip=None, trainer=single)[1:] == pytest.approx((2**0.5, 2**0.5))


def test_a_clip_gets_the_network_s_own_names() -> None:
    """agc: fresh zeros count as 0.001 for each of the two outputs; the head is not clipped."""
    _, body, head = steps(clip=agc(factor=0.5))
    assert body == pytest.approx(0.5 * 0.001 * 2**0.5)
    assert head == pytest.approx(5.0)


def test_a_clip_may_be_any_function() -> None:
    def halve(named: Any) -> None:
        for _, parameter in named:
            parameter.grad *= 0.5

    module, body, head = steps(clip=halve)
    assert (body, head) == pytest.approx((2.5, 2.5))
    checkpoint: dict[str, Any] = {"state_dict": {}}
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    assert "clip" not in checkpoint


def test_a_clip_that_remembers_is_in_the_checkpoint_and_comes_back() -> None:
    module, _, _ = steps(clip=AutoClip(10.0))
    checkpoint: dict[str, Any] = {"state_dict": {}}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["clip"]["norms"].tolist() == pytest.approx([50**0.5])
    other = make(Sum(), clip=AutoClip(10.0))
    other.on_load_checkpoint(checkpoint)
    assert other.clip.state_dict()["norms"].tolist() == checkpoint["clip"]["norms"].tolist()  # type: ignore[union-attr]
    other.on_load_checkpoint({"state_dict": {}})  # of a run without
    make(Sum(), clip=agc(factor=0.1)).on_load_checkpoint(checkpoint)  # of a run with another


def test_lightning_s_hook_is_another_only_where_there_is_a_clip() -> None:
    own = LightningModule.configure_gradient_clipping
    assert make(Sum()).configure_gradient_clipping.__func__ is own  # type: ignore[attr-defined]
    module = make(Sum(), clip=agc(factor=0.1))
    copied = copy.deepcopy(module)
    assert module.configure_gradient_clipping.__self__ is module  # type: ignore[attr-defined]
    assert copied.configure_gradient_clipping.__self__ is copied  # type: ignore[attr-defined]


def test_clipping_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not by both: got clip and gradient_clip_val = 0.5; set one of them to None"):
        steps(clip=agc(factor=0.1), trainer={"gradient_clip_val": 0.5})


def test_clipping_scaled_gradients_is_refused() -> None:
    scaled = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))]}
    fused = {"make_optimizer": lambda named: named_sgd(named, lr=1.0, fused=True)}
    with pytest.raises(ValueError, match=r"needs unscaled gradients.*got SGD\(fused=True\); make it without fused"):
        steps(clip=agc(factor=0.1), trainer=scaled, **fused)
    steps(clip=agc(factor=0.1), **fused)


def test_a_missing_import_path_is_told_in_words(tmp_path: Path) -> None:
    from isometry.errors import ConfigError

    with pytest.raises(ConfigError, match="cannot import nowhere:f"):
        import_target("nowhere:f")
