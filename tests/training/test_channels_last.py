"""Channels last: on a CPU, for networks of ours alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from isometry import build
from isometry.overrides import read

TINY = ["data.limit_train_images=100", "data.batch_size=20", "trainer.max_steps=2", "trainer.log_every_n_steps=1",
        "trainer.limit_test_batches=1", "logger=none"]  # fmt: skip
VIEWING = """
from torch import nn

class Viewing(nn.Module):
    def __init__(self, image_shape, num_classes, norm, activation):
        super().__init__()
        self.conv, self.head = nn.Conv2d(image_shape[0], 4, 3), nn.Linear(4 * 26 * 26, num_classes)

    def forward(self, images):
        z = self.conv(images)
        return self.head(z.view(z.size(0), -1))  # refused where the channels come last
"""


def test_a_network_of_the_users_that_takes_a_view_trains(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "viewing.py").write_text(VIEWING)
    code, _, err = cli("train", *TINY, "model=viewing:Viewing", "run_name=r")
    assert (code, err) == (0, "")


def test_the_view_is_refused_with_the_channels_last() -> None:
    """That the test above can fail."""
    names: dict[str, Any] = {}
    exec(VIEWING, names)
    net = names["Viewing"]((1, 28, 28), 10, None, None).to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        net(torch.zeros(2, 1, 28, 28))


def test_ours_is_laid_out_so_and_says_the_same(tmp_path: Path) -> None:
    config = read([*TINY, f"runs_dir={tmp_path}", "trainer.accelerator=cpu", "model=resnet"])
    data = build.datamodule(config, build.image_set(config))
    module = build.classifier(config, data, total_steps=2)
    images, _ = next(iter(data.val_dataloader()))
    module.eval()
    before = module(images)
    trainer = build.trainer(config, tmp_path, [], [])
    trainer.validate(module, datamodule=data, verbose=False)
    weights = [weight for weight in module.parameters() if weight.dim() == 4 and weight.shape[1] > 1]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    torch.testing.assert_close(module.eval()(images), before, atol=1e-3, rtol=1e-3)
