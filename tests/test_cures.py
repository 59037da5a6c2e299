"""Short seeded trainings in which a cure decides: the same net learns with it and stays at chance without.

Chance is 25 %: four classes that differ by the place of a bright square.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from isometry import build
from isometry.data.sources import ImageSet
from isometry.overrides import read


def accuracy_after(steps: int, images: ImageSet, *words: str) -> float:
    """Of the training images, after so many steps over all of them; in train mode."""
    config = read(["optimizer.weight_decay=0", *words])
    inputs, labels = images.train_images.float() / 64 - 1, images.train_labels
    net = build.network(config, inputs.shape[1:], len(images.class_names))
    build.initialize(net, config.init, activation=config.activation, seed=1, inputs=inputs)
    optimizer = build.group("optimizer", config.optimizer)(net.named_parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    with torch.no_grad():
        return float((net(inputs).argmax(dim=1) == labels).float().mean())


@pytest.mark.parametrize(
    ("init", "learns"),
    [("he_normal", True), ("orthogonal", True), ("lsuv", True), ("small_normal", False), ("zeros", False)],
)
def test_the_init_decides_whether_thirty_layers_learn(init: str, learns: bool, made_images: ImageSet) -> None:
    thirty = ("model=mlp", "model.depth=30", "model.width=64", "norm=none", "optimizer=adam", "optimizer.lr=0.0005")
    accuracy = accuracy_after(120, made_images, *thirty, f"init={init}")
    assert accuracy > 0.95 if learns else accuracy < 0.35


@pytest.mark.parametrize(("norm", "learns"), [("none", False), ("batch", True)])
def test_batch_norm_trains_from_a_bad_init(norm: str, learns: bool, made_images: ImageSet) -> None:
    words = ("model=mlp", "model.depth=10", "model.width=64", "init=small_normal", "optimizer.lr=0.1", f"norm={norm}")
    accuracy = accuracy_after(60, made_images, *words)
    assert accuracy > 0.95 if learns else accuracy < 0.35


@pytest.mark.parametrize(("activation", "learns"), [("sigmoid", False), ("relu", True), ("selu", True)])
def test_an_activation_that_does_not_saturate_lets_ten_layers_learn(
    activation: str, learns: bool, made_images: ImageSet
) -> None:
    """Under Xavier, which for the sigmoid keeps 0.236 of a gradient a layer; SELU with the LeCun it was made for."""
    init = "lecun_normal" if activation == "selu" else "xavier_normal"
    words = ("model=mlp", "model.depth=10", "model.width=64", "norm=none", f"init={init}", "optimizer.lr=0.02")
    accuracy = accuracy_after(80, made_images, *words, f"activation={activation}")
    assert accuracy > 0.95 if learns else accuracy < 0.35


@pytest.mark.parametrize(
    ("words", "learns"),
    [
        (("norm=none", "model.shortcut=none"), False),
        (("norm=batch",), True),
        (("norm=none", "model.residual=fixup"), True),
        (("norm=none", "model.residual=rezero"), True),
    ],
    ids=["plain", "batch", "fixup", "rezero"],
)
def test_resnet_56_trains_and_its_plain_twin_without_norm_does_not(
    words: tuple[str, ...], learns: bool, made_images: ImageSet
) -> None:
    base = ("model=resnet", "model.depth=56", "model.width=8", "optimizer.lr=0.02")
    accuracy = accuracy_after(60, made_images, *base, *words)
    assert accuracy > 0.95 if learns else accuracy < 0.35
