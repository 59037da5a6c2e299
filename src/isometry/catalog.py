"""Every name a user can choose, in one table: what it is, its options with types and bounds, and where it lives.

Torch-free, so that a typo is answered before torch is imported. `config.py` reads it to judge a configuration,
`build.py` to turn a name into an object. To add a strategy: write the callable, add one line here.

Two kinds of family:

- *switches* (`init`, `norm`, `parametrization`, `activation`, `clip`) combine with every model. Their options have
  their default here; `null` in a config means this default. An option the chosen strategy does not use is an error.
- *groups* (`model`, `data`, `optimizer`, `scheduler`) are one YAML file a name in `configs/`, which owns every default.
  `data.augment` and `logger` are plain keys.

What does not go together is in `clashes.py`; `isometry strategies` prints both.
"""

from __future__ import annotations

from .options import Option, Strategy

_DEPTH = Option(int, "number of weight layers in the trunk", minimum=1, maximum=10_000)
_WIDTH = Option(int, "channels or units", minimum=1, maximum=65_536)
_LR = Option(float, "peak learning rate per step", above=0)
_DECAY = Option(float, "weight decay; never applied to norms and biases", minimum=0)
_BETA = Option(float, "decay rate of a running mean, per step", minimum=0, below=1)
_WARMUP = Option(float, "share of all steps in which the rate rises", minimum=0, maximum=0.9)
_GAIN = Option(float, "multiplies the standard deviation; null: 1 for Xavier and LeCun, else the activation's", above=0)
_FAN = Option(str, "which connections count; null: the scheme's own", choices=("in", "out", "average"))
_COMPILE = Option(bool, "torch.compile; the weights and their names stay the same")

_INITIALIZERS = "isometry.layers.initializers"
_NORMS = "isometry.layers.normalization"
_PARAMETRIZATIONS = "isometry.layers.parametrizations"
_ACTIVATIONS = "isometry.layers.activations"
_CLIPPING = "isometry.training.clipping"
_MODELS = "isometry.models"
_SOURCES = "isometry.data.sources"
_AUGMENTATIONS = "isometry.data.augmentation"
_OPTIMIZERS = "isometry.training.optimizers"
_LOGGERS = "isometry.training.loggers"

SWITCHES: dict[str, dict[str, Strategy]] = {
    "init": {
        "pytorch_default": Strategy("torch's own: U(±1/√fan_in), biases too", f"{_INITIALIZERS}:pytorch_default"),
        "lecun_normal": Strategy(
            "Var = gain²/fan_in, normal, gain 1", f"{_INITIALIZERS}:lecun_normal", {"gain": _GAIN, "fan": _FAN}
        ),
        "xavier_uniform": Strategy(
            "Var = gain²·2/(fan_in+fan_out), uniform", f"{_INITIALIZERS}:xavier_uniform", {"gain": _GAIN, "fan": _FAN}
        ),
        "xavier_normal": Strategy(
            "Var = gain²·2/(fan_in+fan_out), normal", f"{_INITIALIZERS}:xavier_normal", {"gain": _GAIN, "fan": _FAN}
        ),
        "he_uniform": Strategy(
            "Var = gain²/fan_in, uniform", f"{_INITIALIZERS}:he_uniform", {"gain": _GAIN, "fan": _FAN}
        ),
        "he_normal": Strategy("Var = gain²/fan_in, normal", f"{_INITIALIZERS}:he_normal", {"gain": _GAIN, "fan": _FAN}),
        "orthogonal": Strategy(
            "gain × a matrix with orthonormal rows or columns", f"{_INITIALIZERS}:orthogonal", {"gain": _GAIN}
        ),
        "delta_orthogonal": Strategy(
            "the same in the kernel's middle pixel alone", f"{_INITIALIZERS}:delta_orthogonal", {"gain": _GAIN}
        ),
        "lsuv": Strategy("orthogonal, scaled to unit variance on a real batch", f"{_INITIALIZERS}:lsuv"),
        "dirac": Strategy("the identity, as far as shapes allow", f"{_INITIALIZERS}:dirac"),
        "zeros": Strategy("all weights 0: no unit differs from another", f"{_INITIALIZERS}:zeros"),
        "constant": Strategy(
            "all weights alike",
            f"{_INITIALIZERS}:constant",
            {"value": Option(float, "of every weight", default=0.01)},
        ),
        "small_normal": Strategy(
            "one small deviation for every layer: signals vanish",
            f"{_INITIALIZERS}:small_normal",
            {"std": Option(float, "standard deviation", default=0.01, above=0)},
        ),
        "large_normal": Strategy(
            "one large deviation for every layer: signals explode",
            f"{_INITIALIZERS}:large_normal",
            {"std": Option(float, "standard deviation", default=1.0, above=0)},
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
        "rms": Strategy("per sample, divided by its root mean square; not centred", f"{_NORMS}:rms_norm"),
    },
    "parametrization": {  # of convolutions and dense layers but the head; recurrent weights stay as they are
        "none": Strategy("weights as they are", f"{_PARAMETRIZATIONS}:none"),
        "weight_norm": Strategy("length and direction apart (Salimans 2016)", f"{_PARAMETRIZATIONS}:weight_norm"),
        "weight_standardization": Strategy(
            "each unit's weights to mean 0, variance 1 (Qiao 2019); wants a norm",
            f"{_PARAMETRIZATIONS}:weight_standardization",
        ),
        "scaled_weight_standardization": Strategy(
            "the same to variance gain²/fan_in (Brock 2021); needs no norm",
            f"{_PARAMETRIZATIONS}:scaled_weight_standardization",
        ),
        "spectral_norm": Strategy("largest singular value 1 (Miyato 2018)", f"{_PARAMETRIZATIONS}:spectral_norm"),
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
        "prelu": Strategy("max(z, slope·z), the slope learned from 0.25", f"{_ACTIVATIONS}:prelu"),
        "elu": Strategy("z, or eᶻ-1 below 0", f"{_ACTIVATIONS}:elu"),
        "selu": Strategy("scaled elu; keeps mean 0, variance 1 with init=lecun_normal", f"{_ACTIVATIONS}:selu"),
        "gelu": Strategy("z·Φ(z), exact", f"{_ACTIVATIONS}:gelu"),
        "silu": Strategy("z·sigmoid(z)", f"{_ACTIVATIONS}:silu"),
    },
    "clip": {
        "none": Strategy("none here: trainer.gradient_clip_val decides", f"{_CLIPPING}:none"),
        "agc": Strategy(
            "each unit's gradient to a share of its weights' norm, head excluded (Brock 2021)",
            f"{_CLIPPING}:agc",
            {"factor": Option(float, "largest ‖gradient‖/‖weights‖ of a unit", default=0.01, above=0)},
        ),
        "percentile": Strategy(
            "the whole gradient to a percentile of its norms so far (Seetharaman 2020)",
            f"{_CLIPPING}:percentile",
            {"percentile": Option(float, "of the norms so far", default=10.0, above=0, maximum=100)},
        ),
    },
}

GROUPS: dict[str, dict[str, Strategy]] = {
    "model": {
        "deep_cnn": Strategy(
            "plain stack of convolutions, no skips",
            f"{_MODELS}.deep_cnn:DeepCNN",
            {"depth": _DEPTH, "width": _WIDTH, "compile": _COMPILE},
        ),
        "resnet": Strategy(
            "CIFAR ResNet with 6n+2 layers (He 2016)",
            f"{_MODELS}.resnet:ResNet",
            {
                "depth": Option(int, "6n+2: 8, 14, 20, 32, 44, 56, 110 …", minimum=8, maximum=10_000),
                "width": _WIDTH,
                "shortcut": Option(str, "none makes the plain twin", choices=("identity", "projection", "none")),
                "preactivation": Option(bool, "norm and activation before each convolution (He 2016b)"),
                "zero_gamma": Option(bool, "each block's last norm starts at weight 0 (Goyal 2017)"),
                "residual": Option(str, "form of the branch", choices=("standard", "rezero", "fixup")),
                "compile": _COMPILE,
            },
        ),
        "lstm": Strategy(
            "recurrent net reading an image as a sequence",
            f"{_MODELS}.lstm:RecurrentNet",
            {
                "cell": Option(str, "kind of recurrence", choices=("lstm", "gru", "rnn", "irnn")),
                "layers": Option(int, "stacked recurrent layers", minimum=1, maximum=100),
                "hidden_size": _WIDTH,
                "sequence": Option(str, "how an image is read", choices=("rows", "pixels", "permuted_pixels")),
                "forget_bias": Option(
                    float, "of an LSTM's forget gate at the start; null: what init gives", nullable=True
                ),
                "chrono": Option(bool, "gate biases for memories up to the sequence's length (Tallec 2018)"),
                "cell_norm": Option(str, "normalisation within the cell (Ba 2016)", choices=("none", "layer")),
                "compile": _COMPILE,
            },
        ),
        "mlp": Strategy(
            "dense net of any depth, for theory",
            f"{_MODELS}.mlp:MLP",
            {"depth": _DEPTH, "width": _WIDTH, "compile": _COMPILE},
        ),
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
    "logger": {  # beside the journal metrics.jsonl, which is written in any case
        "wandb": Strategy("Weights & Biases, offline without a key", f"{_LOGGERS}:wandb_logger"),
        "csv": Strategy("metrics.csv in the run's folder", f"{_LOGGERS}:csv_logger"),
        "none": Strategy("the journal alone", f"{_LOGGERS}:none"),
    },
}
