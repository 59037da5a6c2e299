"""Claims about what holds the scale of a signal before the first step: standardised weights, norms, residual blocks.

Seconds each, as those of `propagation.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from functools import partial

import torch
from claim import Claim, Figures, at_least, at_most, near
from propagation import SEEDS, dense, network, profile
from torch import Tensor, nn
from trainings import digits

from isometry import build
from isometry.layers.blocks import PreactivationBlock
from isometry.overrides import read


def forward_factor(words: str) -> Figures:
    """The same of RMS z on its way up."""
    gains = [profile(network(words.split(), seed)).forward_gain or math.nan for seed in SEEDS]
    return {"factor": statistics.median(gains)}


def outputs(net: nn.Module, modules: Iterable[nn.Module], images: Tensor) -> list[Tensor]:
    """What each of the modules returns, in the order of execution."""
    kept: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda _, inputs, output: kept.append(output)) for module in modules]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return kept


def self_normalising() -> Figures:
    """Variance of a SELU net's pre-activations after 32 layers, for inputs of variance 0.5 and 1.5."""
    net = network([*dense(32).split(), "activation=selu", "init=lecun_normal"], 1)
    images = digits(256)[0]
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    found = {}
    for name, variance in (("from_half", 0.5), ("from_three_halves", 1.5)):
        scaled = images / images.square().mean().sqrt() * math.sqrt(variance)
        found[name] = float(outputs(net, layers, scaled)[31].square().mean())
    return found


def residual_variance() -> Figures:
    """Of x after each block of the first stage: growth a block without norm; with BatchNorm, R² of a straight line."""
    grown = {norm: _after_blocks(norm) for norm in ("none", "batch")}
    bare, normed = grown["none"], grown["batch"]
    straight = statistics.correlation(list(range(len(normed))), normed) ** 2
    return {"factor": (bare[-1] / bare[0]) ** (1 / (len(bare) - 1)), "straightness": straight}


def _after_blocks(norm: str) -> list[float]:
    words = f"model=resnet model.depth=56 model.width=32 model.preactivation=true norm={norm} init=he_normal"
    net = network(words.split(), 1)
    blocks = [module for module in net.modules() if isinstance(module, PreactivationBlock)][:9]
    inner = slice(9, -9)  # pixels nearer to the edge see zeros
    return [float(x[:, :, inner, inner].var()) for x in outputs(net, blocks, digits(64)[0])]


def batch_norm_scale(scale: float = 7.0) -> Figures:
    """∂L/∂u and ∂L/∂W of BN((aW)u) over those of BN(Wu)."""
    rng = torch.Generator().manual_seed(1)
    weight, inputs = torch.randn(64, 64, generator=rng).double(), torch.randn(512, 64, generator=rng).double()
    pull = torch.randn(512, 64, generator=rng).double()

    def gradients(factor: float) -> tuple[Tensor, ...]:
        w, u = (factor * weight).requires_grad_(), inputs.clone().requires_grad_()
        norm = nn.BatchNorm1d(64, eps=1e-12).double()
        return torch.autograd.grad((norm(u @ w.T) * pull).sum(), (w, u))

    (w, u), (w_scaled, u_scaled) = gradients(1.0), gradients(scale)
    return {"inputs": float((u_scaled / u).median()), "weights": float((w_scaled / w).median()) * scale}


def lsuv_deviation() -> Figures:
    """Largest distance from 1 of the variance of a layer's output, on the batch LSUV saw."""
    net, (images, _) = build.network(read(["model=deep_cnn", "norm=none"]), (1, 28, 28), 10), digits(256)
    build.initialize(net, "lsuv", activation="relu", seed=1, inputs=images)
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return {"deviation": max(abs(float(z.var()) - 1) for z in outputs(net, layers, images))}


CLAIMS = (
    Claim(
        "scaled_weights",
        "Standardised weights with gain 1.7129 = √(2/(1-1/π)) keep the size of a ReLU net's pre-activations.",
        "Brock 2021 (Characterizing signal propagation)",
        "factor 1 a layer on the way up",
        f"`{dense()} parametrization=scaled_weight_standardization`, 256 digits, median of 3 seeds",
        "{factor:.4f}",
        (near("factor", 1.0, 0.03),),
        0.2,
        partial(forward_factor, f"{dense()} parametrization=scaled_weight_standardization"),
    ),
    Claim(
        "lsuv_variance",
        "LSUV leaves every layer's output with variance 1.",
        "Mishkin & Matas 2016, algorithm 1: tolerance 0.1",
        "within 0.1 of 1",
        "`model=deep_cnn norm=none init=lsuv`, the batch of 256 digits that it saw",
        "within {deviation:.4f} of 1",
        (at_most("deviation", 0.1),),
        0.1,
        lsuv_deviation,
    ),
    Claim(
        "self_normalising",
        "A SELU net under LeCun's init draws variances towards 1.",
        "Klambauer 2017, theorem 1",
        "fixed point (0, 1), attracting",
        f"`{dense(32)} activation=selu init=lecun_normal`, digits scaled to mean square 0.5 and 1.5; RMS² of z in "
        "layer 32",
        "{from_half:.2f} from 0.5; {from_three_halves:.2f} from 1.5",
        (near("from_half", 1.0, 0.1), near("from_three_halves", 1.0, 0.1)),
        0.1,
        self_normalising,
    ),
    Claim(
        "residual_variance",
        "Without norm each residual block under He's init doubles the variance; with BatchNorm it grows linearly.",
        "Zhang 2019 (Fixup), §2; De & Smith 2020",
        "×2 a block; linear in depth",
        "`model=resnet model.depth=56 model.width=32 model.preactivation=true`, 9 blocks of the first stage, 64 "
        "digits, pixels away from the edge",
        "×{factor:.2f} a block; straight line R² = {straightness:.3f}",
        (near("factor", 2.0, 0.1), at_least("straightness", 0.97)),
        0.1,
        residual_variance,
    ),
    Claim(
        "batch_norm_scale",
        "BatchNorm makes the backward pass blind to the scale of the weights, and larger weights learn more slowly.",
        "Ioffe & Szegedy 2015, §3.3",
        "BN((aW)u): ∂/∂u the same, ∂/∂(aW) = 1/a of ∂/∂W",
        "64 units, 512 samples, a = 7, float64",
        "∂/∂u ×{inputs:.6f}; a · ∂/∂(aW) ×{weights:.6f}",
        (near("inputs", 1.0, 1e-6), near("weights", 1.0, 1e-6)),
        0.1,
        batch_norm_scale,
    ),
)
