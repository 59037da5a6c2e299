"""Every name a user can choose, in one table: what it is, its options with types and bounds, and where it lives.

Torch-free, so that a typo is answered before torch is imported. `config.py` reads it to judge a configuration,
`build.py` to turn a name into an object. To add a strategy: write the callable, add one line here.

Two kinds of family:

- *switches* (`init`, `norm`, `activation`) combine with every model. Their options have their default here;
  `null` in a config means this default. An option the chosen strategy does not use is an error.
- *groups* (`model`, `data`, `optimizer`, `scheduler`) are one YAML file a name in `configs/`, which owns every default.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Option:
    """One keyword of a strategy; `config.py` turns it into a checked field.

    Args:
        type: The accepted Python type; an integer is also accepted where `float` is wanted.
        doc: What it does, with its unit.
        default: Used where the configuration says `null` (switches only).
        above, minimum, maximum, below: Bounds of a number, or of each number of a list.
        choices: The only allowed texts.
    """

    type: type
    doc: str
    default: object = None
    above: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Strategy:
    """One choosable name: a line of explanation, the import path of its callable, and its options."""

    summary: str
    target: str
    options: dict[str, Option] = field(default_factory=dict)


_DEPTH = Option(int, "number of weight layers in the trunk", minimum=1, maximum=10_000)
_WIDTH = Option(int, "channels or units", minimum=1, maximum=65_536)
_LR = Option(float, "peak learning rate per step", above=0)
_DECAY = Option(float, "weight decay; never applied to norms and biases", minimum=0)
_BETA = Option(float, "decay rate of a running mean, per step", minimum=0, below=1)
_WARMUP = Option(float, "share of all steps in which the rate rises", minimum=0, maximum=0.9)
_GAIN = Option(float, "multiplies the standard deviation; null: 1 for Xavier, else the activation's", above=0)

_INITIALIZERS = "isometry.layers.initializers"
_NORMS = "isometry.layers.normalization"
_ACTIVATIONS = "isometry.layers.activations"
_MODELS = "isometry.models"
_SOURCES = "isometry.data.sources"
_AUGMENTATIONS = "isometry.data.augmentation"
_OPTIMIZERS = "isometry.training.optimizers"

SWITCHES: dict[str, dict[str, Strategy]] = {
    "init": {
        "pytorch_default": Strategy("torch's own: U(±1/√fan_in), biases too", f"{_INITIALIZERS}:pytorch_default"),
        "xavier_uniform": Strategy(
            "Var = gain²·2/(fan_in+fan_out), uniform", f"{_INITIALIZERS}:xavier_uniform", {"gain": _GAIN}
        ),
        "xavier_normal": Strategy(
            "Var = gain²·2/(fan_in+fan_out), normal", f"{_INITIALIZERS}:xavier_normal", {"gain": _GAIN}
        ),
        "he_uniform": Strategy("Var = gain²/fan_in, uniform", f"{_INITIALIZERS}:he_uniform", {"gain": _GAIN}),
        "he_normal": Strategy("Var = gain²/fan_in, normal", f"{_INITIALIZERS}:he_normal", {"gain": _GAIN}),
        "orthogonal": Strategy(
            "gain × a matrix with orthonormal rows or columns", f"{_INITIALIZERS}:orthogonal", {"gain": _GAIN}
        ),
    },
    "norm": {
        "none": Strategy("no normalisation; layers get biases", f"{_NORMS}:no_norm"),
        "batch": Strategy("per channel over batch and space", f"{_NORMS}:batch_norm"),
        "layer": Strategy("per sample over channels and space", f"{_NORMS}:layer_norm"),
        "group": Strategy(
            "per sample over groups of channels and space",
            f"{_NORMS}:group_norm",
            {"groups": Option(int, "number of groups; must divide every width", default=8, minimum=1)},
        ),
    },
    "activation": {
        "identity": Strategy("φ(z) = z", f"{_ACTIVATIONS}:identity"),
        "sigmoid": Strategy("1/(1+e⁻ᶻ); saturates, gradient <= 1/4", f"{_ACTIVATIONS}:sigmoid"),
        "tanh": Strategy("odd, saturates at ±1", f"{_ACTIVATIONS}:tanh"),
        "relu": Strategy("max(0, z)", f"{_ACTIVATIONS}:relu"),
        "leaky_relu": Strategy(
            "max(z, slope·z)",
            f"{_ACTIVATIONS}:leaky_relu",
            {"slope": Option(float, "gradient for z < 0", default=0.01, minimum=0, maximum=1)},
        ),
        "gelu": Strategy("z·Φ(z), exact", f"{_ACTIVATIONS}:gelu"),
    },
}

GROUPS: dict[str, dict[str, Strategy]] = {
    "model": {
        "deep_cnn": Strategy(
            "plain stack of convolutions, no skips", f"{_MODELS}.deep_cnn:DeepCNN", {"depth": _DEPTH, "width": _WIDTH}
        ),
        "resnet": Strategy(
            "CIFAR ResNet with 6n+2 layers (He 2016)",
            f"{_MODELS}.resnet:ResNet",
            {
                "depth": Option(int, "6n+2: 8, 14, 20, 32, 44, 56, 110 …", minimum=8, maximum=10_000),
                "width": _WIDTH,
                "shortcut": Option(str, "none makes the plain twin", choices=("identity", "none")),
            },
        ),
        "lstm": Strategy(
            "recurrent net reading an image row by row",
            f"{_MODELS}.lstm:RecurrentNet",
            {
                "cell": Option(str, "kind of recurrence", choices=("lstm", "gru", "rnn")),
                "layers": Option(int, "stacked recurrent layers", minimum=1, maximum=100),
                "hidden_size": _WIDTH,
            },
        ),
        "mlp": Strategy("dense net of any depth, for theory", f"{_MODELS}.mlp:MLP", {"depth": _DEPTH, "width": _WIDTH}),
    },
    "data": {
        "mnist_mini": Strategy("10,000 + 2,000 digits of the real MNIST, in the package", f"{_SOURCES}:mnist_mini"),
        "mnist": Strategy("60,000 + 10,000 digits, 28×28 grey", f"{_SOURCES}:mnist"),
        "fashion_mnist": Strategy("60,000 + 10,000 garments, 28×28 grey", f"{_SOURCES}:fashion_mnist"),
        "cifar10": Strategy("50,000 + 10,000 pictures, 10 classes, 32×32 RGB", f"{_SOURCES}:cifar10"),
        "cifar100": Strategy("50,000 + 10,000 pictures, 100 classes, 32×32 RGB", f"{_SOURCES}:cifar100"),
        "image_folder": Strategy("your own: train/<class>/*, test/<class>/*", f"{_SOURCES}:image_folder"),
    },
    "augment": {
        "none": Strategy("the images as they are", f"{_AUGMENTATIONS}:none"),
        "shift": Strategy("shift by up to 2 pixels", f"{_AUGMENTATIONS}:shift"),
        "crop_flip": Strategy("shift by up to 4 pixels, mirror half of them", f"{_AUGMENTATIONS}:crop_flip"),
        "cutout": Strategy("crop_flip, then erase an 8×8 square (DeVries 2017)", f"{_AUGMENTATIONS}:cutout"),
    },
    "optimizer": {
        "adamw": Strategy(
            "Adam with decoupled decay",
            f"{_OPTIMIZERS}:adamw",
            {"lr": _LR, "weight_decay": _DECAY, "beta1": _BETA, "beta2": _BETA},
        ),
        "adam": Strategy(
            "Adam; decay joins the gradient",
            f"{_OPTIMIZERS}:adam",
            {"lr": _LR, "weight_decay": _DECAY, "beta1": _BETA, "beta2": _BETA},
        ),
        "sgd": Strategy(
            "SGD with Nesterov momentum", f"{_OPTIMIZERS}:sgd", {"lr": _LR, "weight_decay": _DECAY, "momentum": _BETA}
        ),
        "rmsprop": Strategy(
            "RMSprop",
            f"{_OPTIMIZERS}:rmsprop",
            {"lr": _LR, "weight_decay": _DECAY, "momentum": _BETA, "smoothing": _BETA},
        ),
    },
    "scheduler": {
        "constant": Strategy("lr after warm-up", f"{_OPTIMIZERS}:constant", {"warmup": _WARMUP}),
        "cosine": Strategy("half a cosine down to 0", f"{_OPTIMIZERS}:cosine", {"warmup": _WARMUP}),
        "onecycle": Strategy("cosine up from lr/25, cosine down to 0", f"{_OPTIMIZERS}:onecycle", {"warmup": _WARMUP}),
        "step": Strategy(
            "× factor at given shares of all steps",
            f"{_OPTIMIZERS}:step",
            {
                "warmup": _WARMUP,
                "milestones": Option(list, "shares of all steps at which the rate drops", above=0, below=1),
                "factor": Option(float, "multiplies the rate", above=0, maximum=1),
            },
        ),
        "plateau": Strategy(
            "× factor when val/loss stops falling",
            f"{_OPTIMIZERS}:plateau",
            {
                "warmup": _WARMUP,
                "factor": Option(float, "multiplies the rate", above=0, below=1),
                "patience": Option(int, "validations without improvement", minimum=0),
            },
        ),
    },
}
