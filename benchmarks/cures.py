"""What each cure does to the gradient before the first step: one knob away from a net whose gradient vanishes.

    python benchmarks/cures.py

Each row builds the net of its words on the digits in the package, probes one training batch and prints the factor per
layer of ∂L/∂z on its way back and of z on its way up, and how many times smaller (or larger) the gradient is at the
bottom than at the top. For recurrent nets: ‖∂L/∂h‖ at the first time step over that at the last, which the loss reaches
directly. Median of three seeds of the weights.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch.nn.functional as F

from isometry import build, probe
from isometry.data.sources import ImageSet
from isometry.diagnostics.profile import Profile
from isometry.overrides import read

DENSE = ["model=mlp", "model.depth=30", "model.width=512", "norm=none", "init=xavier_normal"]
DENSE_CURES = [
    [],
    ["init=pytorch_default"],
    ["init=he_normal"],
    ["init=orthogonal"],
    ["init=lsuv"],
    ["init=small_normal"],
    ["norm=batch"],
    ["norm=layer"],
    ["norm=rms"],
    ["parametrization=scaled_weight_standardization"],
    ["activation=sigmoid"],
    ["activation=tanh"],
    ["activation=selu"],
    ["activation=silu"],
]
RESIDUAL = ["model=resnet", "model.depth=56", "model.shortcut=none", "norm=none", "init=xavier_normal"]
RESIDUAL_CURES = [
    [],
    ["norm=batch"],
    ["model.shortcut=identity"],
    ["model.shortcut=identity", "norm=batch"],
]  # γ = 0, rezero and fixup start as the identity: their branches get no gradient in the first step
RECURRENT = ["model=lstm", "model.cell=rnn", "norm=none"]
RECURRENT_CURES = [
    ["init=pytorch_default"],
    [],
    ["model.cell=irnn"],
    ["model.cell_norm=layer"],
    ["model.cell=gru"],
    ["model.cell=lstm", "model.forget_bias=0"],
    ["model.cell=lstm"],
    ["model.cell=lstm", "model.cell_norm=layer"],
    ["model.cell=lstm", "model.chrono=true"],
]


def profile(words: Sequence[str], images: ImageSet, seed: int) -> Profile:
    config = read([*words, f"init_seed={seed}"])
    data = build.datamodule(config, images)
    module = build.classifier(config, data, total_steps=1)
    batch = next(iter(data.train_dataloader()))
    return probe(module.network.train(), batch, F.cross_entropy)


def over_layers(found: Profile) -> list[float]:
    """(backward factor, forward factor, gradient at the first layer over that at the last but the head)."""
    rows = [row for row in found.layers if row.gradient_rms is not None][:-1]
    first, last = (float(row.gradient_rms or 0.0) for row in (rows[0], rows[-1]))
    return [found.backward_gain or 0.0, found.forward_gain or 0.0, first / last if last else 0.0]


def over_time(found: Profile) -> list[float]:
    norms = found.times[0].gradient_norms
    return [norms[0] / norms[-1]]


def table(
    images: ImageSet, title: str, base: Sequence[str], cures: Sequence[Sequence[str]], columns: Sequence[str]
) -> None:
    print(f"\n`{' '.join(base)}`\n\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for words in cures:
        measure = over_time if base is RECURRENT else over_layers
        seeds = [measure(profile([*base, *words], images, seed)) for seed in (1, 2, 3)]
        medians = [statistics.median(column) for column in zip(*seeds, strict=True)]
        print(f"| `{' '.join(words)}` | {' | '.join(f'{value:.3g}' for value in medians)} |", flush=True)


def main() -> None:
    images = build.image_set(read([]))
    columns = ["∂L/∂z a layer", "z a layer", "bottom / top"]
    table(images, "one knob away", DENSE, DENSE_CURES, columns)
    table(images, "and with", RESIDUAL, RESIDUAL_CURES, columns)
    table(images, "28 rows", RECURRENT, RECURRENT_CURES, ["first / last"])


if __name__ == "__main__":
    main()
