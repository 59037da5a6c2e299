"""Every model in mixed precision, clipped in every way: finite losses, moved weights, norms within their limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch.amp import GradScaler

from isometry import GradientMonitor, build
from isometry.data.sources import ImageSet
from isometry.overrides import read

SIZES = {
    "deep_cnn": ["model.depth=4", "model.width=8"],
    "resnet": ["model.depth=8", "model.width=8"],
    "lstm": ["model.hidden_size=16"],
    "mlp": ["model.depth=3", "model.width=16"],
}
CLIPS = ["trainer.gradient_clip_val=0.1", "clip=agc", "clip=percentile"]


def precision(name: str) -> dict[str, Any]:
    """16-mixed runs on a CPU with a scaler for it: slow, and refused by our command line, but right."""
    if name == "16-mixed":
        return {"plugins": [MixedPrecision("16-mixed", "cpu", GradScaler("cpu", init_scale=1024.0))]}
    return {"precision": name}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("model", list(SIZES))
def test_each_model_trains_in_each_precision_with_each_clipping(
    model: str, name: str, clip: str, made_images: ImageSet, tmp_path: Path
) -> None:
    config = read([f"model={model}", *SIZES[model], clip, "data.batch_size=16", "optimizer.lr=0.01"])
    data = build.datamodule(config, made_images)
    module = build.classifier(config, data, total_steps=6)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    monitor = GradientMonitor(every_n_steps=1)
    trainer = Trainer(
        log_every_n_steps=1,
        max_epochs=1,
        limit_train_batches=6,
        limit_val_batches=0,
        accelerator="cpu",
        gradient_clip_val=config.trainer.gradient_clip_val,
        callbacks=[monitor],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
        **precision(name),
    )
    trainer.fit(module, datamodule=data)
    records = monitor.history.records
    assert len(records) == 6
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert all(record.total > 0 and record.clip_fraction is not None for record in records)
    assert all(record.total_clipped <= record.total * (1 + 1e-5) for record in records)
    assert any(record.total_clipped < record.total for record in records)
    if "gradient_clip_val" in clip:
        assert all(record.total_clipped <= 0.1 * (1 + 1e-5) for record in records)
    assert not any(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
