"""Claims about a net before its first step: what signals and gradients are multiplied by from layer to layer.

Seconds each. Nets are those of the command line, probed on one batch of digits; where seeds are drawn, three of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial, reduce

import torch
import torch.nn.functional as F
from claim import Claim, Figures, at_most, near
from torch import nn
from trainings import digits

from isometry import build, probe
from isometry.diagnostics.profile import Profile
from isometry.overrides import read

SEEDS = (1, 2, 3)
TANH_BIAS_VARIANCE = 0.05  # Schoenholz 2017


def network(words: Sequence[str], seed: int) -> nn.Module:
    """Initialised, in train mode."""
    config = read(words)
    net = build.network(config, (1, 28, 28), 10)
    build.initialize(net, config.init, activation=config.activation, seed=seed)
    return net.train()


@torch.no_grad()
def draw_biases(net: nn.Module, variance: float = TANH_BIAS_VARIANCE, seed: int = 1) -> None:
    """From N(0, variance), which no init of the command line does."""
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0, math.sqrt(variance), generator=rng)


def profile(net: nn.Module, batch: int = 256) -> Profile:
    return probe(net, digits(batch), F.cross_entropy)


# ------------------------------------------------------------------------------------ factors per layer
def backward_factor(words: str, batch: int = 256) -> Figures:
    """Of RMS ∂L/∂z from one layer to the one below, fitted over all hidden layers: median over seeds."""
    gains = [profile(network(words.split(), seed), batch).backward_gain or math.nan for seed in SEEDS]
    return {"factor": statistics.median(gains)}


def dense(depth: int = 30, width: int = 512, norm: str = "none") -> str:
    """The words of a dense net."""
    return f"model=mlp model.depth={depth} model.width={width} norm={norm}"


# ------------------------------------------------------------------------------------------- tanh nets
def tanh_factor(weight_variance: float, depth: int = 40, skipped: int = 10) -> float:
    """Backward factor in a tanh net of σ_w² and σ_b² = 0.05, above the layers in which its variance settles."""
    words = f"{dense(depth)} activation=tanh init=lecun_normal init.gain={math.sqrt(weight_variance)}"
    factors = []
    for seed in SEEDS:
        net = network(words.split(), seed)
        draw_biases(net, seed=seed)
        found = profile(net).layers[skipped:depth]
        depths, logs = zip(*((row.depth, math.log(row.gradient_rms or math.nan)) for row in found), strict=True)
        factors.append(math.exp(-statistics.linear_regression(depths, logs).slope))
    return statistics.median(factors)


def critical_tanh() -> Figures:
    """σ_w² at which the backward factor is 1: where a line through its logarithm over σ_w² crosses 0."""
    variances = (1.5, 1.625, 1.75, 1.875, 2.0)
    logs = [math.log(tanh_factor(variance)) for variance in variances]
    line = statistics.linear_regression(variances, logs)
    return {"critical": -line.intercept / line.slope}


def tanh_phases() -> Figures:
    return {"ordered": tanh_factor(1.0), "chaotic": tanh_factor(4.0)}


# ------------------------------------------------------------------- what weight gradients do not show
def weight_gradients() -> Figures:
    """First hidden layer over last, in the net of Glorot & Bengio: of RMS ∂L/∂z and of RMS ∂L/∂W, median over seeds."""
    words = [*dense(5, 1000).split(), "activation=tanh", "init=lecun_normal", f"init.gain={math.sqrt(1 / 3)}"]
    ratios = []
    for seed in SEEDS:
        net, (images, labels) = network(words, seed), digits(256)
        rows = [row.gradient_rms or math.nan for row in profile(net).layers]
        F.cross_entropy(net(images), labels).backward()
        weights = [
            float(p.grad.square().mean().sqrt()) for p in net.parameters() if p.dim() == 2 and p.grad is not None
        ]
        ratios.append((rows[1] / rows[-2], weights[1] / weights[-2]))  # the first weights are 784 wide, not 1000
    states, weights = (statistics.median(column) for column in zip(*ratios, strict=True))
    return {"states": states, "weights": weights}


# -------------------------------------------------------------------------------- singular values
def orthogonal_products(depth: int = 30, width: int = 100) -> Figures:
    """Of the product of so many square weights: largest singular value over smallest; of Gaussian ones, the median."""
    found = {}
    for init in ("orthogonal", "lecun_normal"):
        layers = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))
        build.initialize(layers, init, activation="identity", seed=1)
        product = reduce(torch.matmul, (weight.detach().double() for weight in layers.parameters()))
        found[init] = torch.linalg.svdvals(product)
    exact, gaussian = found["orthogonal"], found["lecun_normal"]
    return {"spread": float(exact.max() / exact.min()), "gaussian": float(gaussian.median())}


# ------------------------------------------------------------------------------------------- the claims
def _factor(key: str, claim: str, source: str, published: str, figure: float, words: str, batch: int = 256) -> Claim:
    """A closed form for the backward factor, held to 3 %."""
    return Claim(
        key,
        claim,
        source,
        published,
        f"`{words}`, one batch of {batch} digits, fit over the hidden layers, median of 3 seeds",
        "{factor:.4f}",
        (near("factor", figure, 0.03),),
        0.2,
        partial(backward_factor, words, batch),
    )


HE = "He 2015, §2.2, eq. 14"
CLAIMS = (
    _factor(
        "relu_xavier",
        "In a ReLU net under Xavier's init the gradient loses a factor √½ a layer.",
        HE,
        "√(½ n Var w) = 0.7071",
        math.sqrt(1 / 2),
        f"{dense()} init=xavier_normal",
    ),
    _factor(
        "relu_he",
        "Under He's init it keeps its size.",
        HE,
        "√(½ n Var w) = 1",
        1.0,
        f"{dense()} init=he_normal",
    ),
    _factor(
        "relu_default",
        "Under torch's default init, U(±1/√n), it loses a factor √(1/6) a layer.",
        f"{HE}, with n Var w = 1/3",
        "√(1/6) = 0.408",
        math.sqrt(1 / 6),
        f"{dense()} init=pytorch_default",
    ),
    _factor(
        "tanh_default",
        "A tanh net under the same U(±1/√n) loses a factor √(1/3) a layer.",
        "Glorot & Bengio 2010, §4.2.1, eq. 15: n Var w = 1/3",
        "√(1/3) = 0.577",
        math.sqrt(1 / 3),
        f"{dense()} init=pytorch_default activation=tanh",
    ),
    _factor(
        "sigmoid_xavier",
        "A sigmoid net under Xavier's init keeps less than a quarter a layer.",
        "Schoenholz 2017, §4 (χ = σ_w² E φ'²), by its integral",
        "√χ = 0.236",
        0.236,
        f"{dense(20)} init=xavier_normal activation=sigmoid",
    ),
    _factor(
        "batch_norm_explodes",
        "BatchNorm with ReLU and without skips multiplies the gradient by √(π/(π-1)) a layer, whatever the weights.",
        "Yang 2019: π/(π-1) ≈ 1.467 for its square",
        "1.2112",
        math.sqrt(math.pi / (math.pi - 1)),
        f"{dense(norm='batch')} init=he_normal",
        batch=512,
    ),
    Claim(
        "critical_tanh",
        "A tanh net with σ_b² = 0.05 is critical at σ_w² = 1.76: there the gradient neither vanishes nor explodes.",
        "Schoenholz 2017, phase diagram; 1.761 by its integral",
        "σ_w² = 1.76",
        "40 layers of 512, five σ_w² from 1.5 to 2, backward factor over layers 11 … 40, median of 3 seeds; where the "
        "line through its logarithm crosses 0",
        "σ_w² = {critical:.3f}",
        (near("critical", 1.761, 0.03),),
        0.8,
        critical_tanh,
    ),
    Claim(
        "tanh_phases",
        "Below it lies order (gradients vanish), above it chaos (they explode).",
        "Schoenholz 2017, §4, by its integral",
        "σ_w² = 1: 0.871; σ_w² = 4: 1.159",
        "the same nets at σ_w² = 1 and 4",
        "{ordered:.3f}; {chaotic:.3f}",
        (near("ordered", 0.871, 0.03), near("chaotic", 1.159, 0.03)),
        0.3,
        tanh_phases,
    ),
    Claim(
        "weight_gradients",
        "Where back-propagated gradients vanish, weight gradients need not: they are as large in the first layer.",
        "Glorot & Bengio 2010, §4.2.2, fig. 7 and 8 (standard init)",
        "∂L/∂z shrinks downwards (5 layers, √(1/3) each: 0.19 over three); ∂L/∂W stays level",
        "their net: 5 tanh layers of 1,000, U(±1/√n)'s variance, b = 0; second hidden layer over last, 256 digits",
        "∂L/∂z {states:.3f}; ∂L/∂W {weights:.2f}",
        (near("states", 3**-1.5, 0.15), near("weights", 1.0, 0.5)),
        0.1,
        weight_gradients,
    ),
    Claim(
        "orthogonal_products",
        "Products of orthogonal weights keep every singular value at 1; of scaled Gaussian ones most go to 0.",
        "Saxe 2014 (products of random weights)",
        "all 1; nearly all → 0",
        "30 weights of 100×100 under init=orthogonal and lecun_normal, product in float64",
        "largest / smallest = {spread:.6f}; Gaussian median {gaussian:.1e}",
        (at_most("spread", 1.0001), at_most("gaussian", 0.01)),
        0.1,
        orthogonal_products,
    ),
)
