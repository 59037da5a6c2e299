"""Which modules of a network a depth profile speaks of: its weight layers, their norms and activations."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_SATURATING = (nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid)
_RECTIFIERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Softplus, nn.Threshold, nn.Hardshrink, nn.Softshrink,
)  # fmt: skip
ACTIVATIONS = (*_SATURATING, *_RECTIFIERS)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of each layer with a weight matrix, kernel or table, in the order of registration.

    A layer is a module without weight layers below it that owns a parameter of two or more axes and is no norm. So a
    foreign layer counts, and a network with a class token does not; attention does, for its projections are in it.
    """
    for name, module in model.named_modules():
        if isinstance(module, (*_NORMS, *ACTIVATIONS)):
            continue
        if isinstance(module, nn.MultiheadAttention) or (_owns_weight(module) and not _has_layers_below(module)):
            yield plain_path(name) or type(module).__name__, module


def plain_path(name: str) -> str:
    """A module's or parameter's path as the user wrote it, without what torch.compile puts in between."""
    return name.replace("_orig_mod.", "").removesuffix("._orig_mod").removesuffix("_orig_mod")


def _owns_weight(module: nn.Module) -> bool:
    parametrized = getattr(module, "parametrizations", None)  # torch.nn.utils.parametrize keeps the originals there
    below = parametrized.parameters() if parametrized is not None else ()
    return any(parameter.dim() >= 2 for parameter in (*module.parameters(recurse=False), *below))


def _has_layers_below(module: nn.Module) -> bool:
    return any(
        _owns_weight(child) and not isinstance(child, _NORMS)
        for name, child in module.named_modules()
        if name and not name.startswith("parametrizations")
    )


def unit_axis(module: nn.Module) -> int:
    """The axis of a layer's output along which its units lie: channels are second, features last."""
    return 1 if isinstance(module, nn.modules.conv._ConvNd) else -1


def activation_name(module: nn.Module) -> str:
    """As `theory` calls it: `relu`, `leaky_relu:0.01` …"""
    if isinstance(module, nn.LeakyReLU):
        return f"leaky_relu:{module.negative_slope}"
    approximate = getattr(module, "approximate", "none")  # GELU's
    return type(module).__name__.lower() + ("" if approximate == "none" else f"_{approximate}")


def is_nonnegative(activation: nn.Module) -> bool:
    return isinstance(activation, nn.ReLU | nn.ReLU6)


def can_die(activation: nn.Module) -> bool:
    """Whether a unit that is exactly zero passes no gradient: not so where 0 is the middle of a saturating curve."""
    return isinstance(activation, _RECTIFIERS)


def saturated_share(activation: nn.Module, outputs: Tensor) -> Tensor | None:
    """Share of outputs y at which φ' is below a twentieth of its largest value; None where φ is no sigmoid or tanh."""
    if isinstance(activation, nn.Sigmoid):
        return (outputs * (1 - outputs) < 0.05 / 4).float().mean()  # φ' = y(1-y), largest 1/4
    if isinstance(activation, nn.Tanh):
        return (1 - outputs.square() < 0.05).float().mean()  # φ' = 1-y², largest 1
    return None
