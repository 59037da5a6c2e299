"""`model.compile=true`: the same network, the same names, and a checkpoint that needs no compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from isometry import build, load
from isometry.data.sources import ImageSet
from isometry.overrides import read
from isometry.training.checkpoint_files import DurableCheckpointIO
from isometry.training.classifier import Classifier

SIZES = {
    "deep_cnn": ["model.depth=3", "model.width=4", "norm=group", "norm.groups=2"],
    "resnet": ["model.depth=8", "model.width=4"],
    "lstm": ["model.hidden_size=8"],
    "lstm model.cell_norm=layer": ["model.hidden_size=8"],
    "mlp": ["model.depth=2", "model.width=8"],
}


def made(model: str, images: ImageSet, compiled: bool) -> tuple[Classifier, Any]:
    words = [f"model={model.split()[0]}", *model.split()[1:], *SIZES[model], "data.batch_size=16", "optimizer.lr=0.01"]
    config = read([*words, f"model.compile={str(compiled).lower()}"])
    data = build.datamodule(config, images)
    return build.classifier(config, data, total_steps=2), data


def train(module: Classifier, data: Any, folder: Path) -> Path:
    trainer = Trainer(
        max_steps=2,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[DurableCheckpointIO()],
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "compiled.ckpt")
    return folder / "compiled.ckpt"


def test_compiling_is_in_place_and_keeps_every_name(made_images: ImageSet) -> None:
    """Nothing is compiled before the first step, so this is quick."""
    compiled, plain = (made("mlp", made_images, compiled)[0] for compiled in (True, False))
    assert compiled.network._compiled_call_impl is not None
    assert plain.network._compiled_call_impl is None
    assert list(compiled.state_dict()) == list(plain.state_dict())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Inductor's, of its own
@pytest.mark.parametrize("model", list(SIZES))
def test_a_compiled_training_is_the_plain_one_and_its_checkpoint_loads_uncompiled(
    model: str, made_images: ImageSet, tmp_path: Path
) -> None:
    images = torch.randn(5, 1, 12, 12)
    logits: list[Tensor] = []
    for compiled in (True, False):
        torch._dynamo.reset()
        module, data = made(model, made_images, compiled)
        path = train(module, data, tmp_path / str(compiled))
        loaded = load(path)
        assert loaded.network._compiled_call_impl is None
        logits.append(loaded(images).detach())
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)
