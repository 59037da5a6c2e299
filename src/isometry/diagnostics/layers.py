"""Which modules of a network a depth profile speaks of: its weight layers, their norms and activations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_SATURATING = (nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid)
_RECTIFIERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Softplus, nn.Threshold, nn.Hardshrink, nn.Softshrink,
)  # fmt: skip
ACTIVATIONS = (*_SATURATING, *_RECTIFIERS)
# By autograd's name, and what does not change values on the way from there to the next layer.
_FUNCTIONS = {
    "SigmoidBackward0": nn.Sigmoid, "TanhBackward0": nn.Tanh, "ReluBackward0": nn.ReLU, "GeluBackward0": nn.GELU,
    "SiluBackward0": nn.SiLU, "EluBackward0": nn.ELU, "LeakyReluBackward0": nn.LeakyReLU,
    "SoftplusBackward0": nn.Softplus,
}  # fmt: skip
_VIEWS = ("ViewBackward0", "UnsafeViewBackward0", "TransposeBackward0", "PermuteBackward0", "UnsqueezeBackward0")


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of each layer with a weight matrix, kernel or table, in the order of registration.

    A layer is a module without weight layers below it that owns a parameter of two or more axes and is no norm. So a
    foreign layer counts, and a network with a class token does not; attention does, for its projections are in it.
    """
    modules = model.named_modules()
    owners = {
        name: module for name, module in modules if "parametrizations" not in name.split(".") and _owns_weight(module)
    }
    above = {name[:end] for name in owners for end in _dots(name)} | ({""} if any(owners) else set())
    for name, module in owners.items():
        if isinstance(module, nn.MultiheadAttention) or name not in above:
            yield plain_path(name) or type(module).__name__, module


def _owns_weight(module: nn.Module) -> bool:
    if isinstance(module, (*_NORMS, *ACTIVATIONS)):
        return False
    parametrized = module._modules.get("parametrizations")  # torch.nn.utils.parametrize keeps the originals there
    below = () if parametrized is None else parametrized.parameters()
    return any(p is not None and p.dim() >= 2 for p in (*module._parameters.values(), *below))


def _dots(name: str) -> Iterator[int]:
    return (index for index, letter in enumerate(name) if letter == ".")


class Layout:
    """What there is to look at in a network: its weight layers by path, and its BatchNorms and activations.

    Args:
        model: Any module.
        path: Of the model, where it is a part of another one: the names begin with it.
        without: Modules that must not be touched, nor what is in them (a compiled graph would take the hooks in).
    """

    def __init__(self, model: nn.Module, path: str = "", without: Iterable[nn.Module] = ()) -> None:
        hidden = {inner for module in without for inner in module.modules()}
        named = weight_layers(model)
        self.layers = {module: ".".join(filter(None, (path, name))) for name, module in named if module not in hidden}
        has_dense_chains = sum(isinstance(layer, nn.Linear) for layer in self.layers) > 1  # where BatchNorms matter
        kinds = (_BatchNorm, *ACTIVATIONS) if has_dense_chains else ACTIVATIONS
        self.batch_norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.others = [module for module in model.modules() if isinstance(module, kinds) and module not in hidden]


def plain_path(name: str) -> str:
    """A module's or parameter's path as the user wrote it, without what torch.compile puts in between."""
    return name.replace("_orig_mod.", "").removesuffix("._orig_mod").removesuffix("_orig_mod")


def unit_axis(module: nn.Module) -> int:
    """The axis of a layer's output along which its units lie: channels are second, features last."""
    return 1 if isinstance(module, nn.modules.conv._ConvNd) else -1


def function_behind(values: Tensor) -> nn.Module | None:
    """The activation that made these values, of one that was called as a function: `torch.sigmoid(…)`, `F.relu(…)`.

    As a module of its class, so of a function with parameters with the usual ones; None where nothing tells.
    """
    node = values.grad_fn
    while node is not None and node.name() in _VIEWS:
        node = node.next_functions[0][0]
    kind = None if node is None else _FUNCTIONS.get(node.name())
    return None if kind is None else kind()


def activation_name(module: nn.Module) -> str:
    """As `theory` calls it: `relu`, `leaky_relu:0.01` …; one that it does not know where a parameter is unusual."""
    if isinstance(module, nn.LeakyReLU):
        return f"leaky_relu:{module.negative_slope}"
    if isinstance(module, nn.PReLU) and module.weight.numel() == 1:
        return f"leaky_relu:{module.weight.item()}"
    if isinstance(module, nn.ELU) and module.alpha != 1:
        return f"elu:{module.alpha}"
    approximate = getattr(module, "approximate", "none")  # GELU's
    return type(module).__name__.lower() + ("" if approximate == "none" else f"_{approximate}")


def is_nonnegative(activation: nn.Module) -> bool:
    """Whether its outputs are, so that a sum of zero says that all are zero."""
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
