"""The LightningModule: any network from images to logits, trained by cross-entropy.

It takes finished things, no configuration: a network, a function that makes the optimizer from named parameters and one
that makes the schedule from the optimizer. `description` is plain data that travels in the checkpoint, so that
`isometry.load` can build the same network again from the file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from .checkpoint_files import digest
from .clipping import Clip, Stateful
from .optimizers import NamedParameters

MakeOptimizer = Callable[[NamedParameters], Optimizer]
MakeSchedule = Callable[[Optimizer], list[dict[str, Any]]]


class Classifier(LightningModule):
    """Args:
    network: Images `[B, C, H, W]` to logits `[B, K]`.
    class_names: The K classes.
    mean: Per channel, of pixel values in 0 … 1; what the training images were normalised with.
    std: Per channel.
    make_optimizer: From the network's named parameters.
    make_schedule: From the optimizer.
    clip: Clips the gradients; None: the Trainer does, where its `gradient_clip_val` is set.
    label_smoothing: Share of the target spread evenly over all classes.
    channels_last: Whether the network's convolutions may, on a CPU, run with the channels last in memory: a step of
        deep_cnn takes 0.87 of its time, of the ResNet 0.86. What takes `.view` of an activation refuses that layout.
    description: Plain containers, stored in every checkpoint.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        make_optimizer: MakeOptimizer,
        make_schedule: MakeSchedule,
        clip: Clip | None,
        label_smoothing: float,
        channels_last: bool = False,
        description: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.network = network
        self.class_names = tuple(class_names)
        self.mean, self.std = tuple(mean), tuple(std)
        self.make_optimizer = make_optimizer
        self.make_schedule = make_schedule
        self.clip = clip
        if clip is not None:  # else the hook stays Lightning's own, and whoever looks at it sees that
            self.configure_gradient_clipping = self._clip_gradients  # type: ignore[method-assign]
        self.label_smoothing = label_smoothing
        self.channels_last = channels_last
        self.description = dict(description)
        num_classes = len(self.class_names)
        # One object a stage: a shared one would mix validation into test.
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.confusion = MulticlassConfusionMatrix(num_classes)

    def setup(self, stage: str) -> None:
        """On a CPU convolutions are faster with the channels last, a layout that they hand on to each other."""
        if self.channels_last and self.trainer.strategy.root_device.type == "cpu":
            self.network.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images float `[B, C, H, W]` to logits `[B, K]`."""
        logits: Tensor = self.network(images)
        return logits

    @torch.no_grad()
    def predict(self, pictures: Tensor) -> Tensor:
        """Class probabilities float32 `[B, K]` of new pictures, uint8 `[B, C, H, W]`; columns follow `class_names`."""
        if pictures.dtype != torch.uint8 or pictures.dim() != 4 or pictures.shape[1] != len(self.mean):
            raise ValueError(
                f"predict needs uint8 pictures [B, {len(self.mean)}, H, W], got {pictures.dtype} {list(pictures.shape)}"
            )
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        images = pictures.cpu().float() * (1 / (255 * std)) + -mean / std  # to the bit as data.loader makes them
        was_training = self.training
        self.eval()
        try:
            logits: Tensor = self(images.to(next(self.network.parameters())))
            return logits.float().softmax(dim=1).cpu()
        finally:
            self.train(was_training)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits, labels, loss = self._shared_step(batch)
        if self._is_logged_step():
            accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
            rates = {f"lr/{group['name']}": group["lr"] for group in self.trainer.optimizers[0].param_groups}
            self.log_dict({"train/loss": loss.detach(), "train/acc": accuracy, **rates})
        return loss

    def _is_logged_step(self) -> bool:
        """Where Lightning hands on what is logged, and at an epoch's end for its line: `log` costs 0.4 ms a value."""
        trainer = self._trainer
        return trainer is not None and (trainer._logger_connector.should_update_logs or trainer.is_last_batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        logits = self._evaluate(batch, "test", self.test_accuracy)
        self.confusion.update(logits, batch[1])

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str, accuracy: MulticlassAccuracy) -> Tensor:
        logits, labels, loss = self._shared_step(batch)
        accuracy.update(logits, labels)
        # Weighted by batch size over batches and processes; a NaN stays one. A float: Lightning's mean over processes
        # of an int is cut to one, 15 for 31 images on two.
        size: Any = float(len(labels))
        self.log(f"{stage}/loss", loss, on_epoch=True, batch_size=size, sync_dist=True)
        self.log(f"{stage}/acc", accuracy, on_epoch=True, batch_size=len(labels))
        return logits

    def _shared_step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        images, labels = batch
        logits = self(images).float()  # cross-entropy in float32, also under mixed precision
        return logits, labels, F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.network.named_parameters())
        if self.clip is not None:
            self._check_clipping(optimizer)
        return [optimizer], self.make_schedule(optimizer)

    def _check_clipping(self, optimizer: Optimizer) -> None:
        if self.trainer.gradient_clip_val:
            raise ValueError(
                "gradients are clipped by a strategy or by the Trainer, not by both: got clip and gradient_clip_val = "
                f"{self.trainer.gradient_clip_val}; set one of them to None"
            )
        is_scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if is_scaled and getattr(optimizer, "_step_supports_amp_scaling", False):
            raise ValueError(
                "clip needs unscaled gradients, and under 16-mixed a fused optimizer unscales them in its step only: "
                f"got {type(optimizer).__name__}(fused=True); make it without fused, or train in bf16-mixed"
            )

    def _clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Lightning's hook `configure_gradient_clipping`, where there is a strategy."""
        assert self.clip is not None
        self.clip(self.network.named_parameters())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["isometry"] = self.description | {"digest": digest(checkpoint["state_dict"])}
        if isinstance(self.clip, Stateful):
            checkpoint["clip"] = self.clip.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(self.clip, Stateful) and "clip" in checkpoint:
            self.clip.load_state_dict(checkpoint["clip"])
