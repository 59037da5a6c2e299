"""From a configuration to objects: the only module where a name becomes an object.

Everything below takes finished things and plain arguments; nothing below sees a configuration.
"""

from __future__ import annotations

import atexit
import math
import signal
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import AdvancedProfiler, SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from .catalog import GROUPS, SWITCHES
from .config import Config, Section
from .data.datamodule import ImageDataModule
from .data.image_data import ImageData
from .data.sources import ImageSet, Request
from .errors import CheckpointError, ConfigError
from .folder import is_first_process
from .layers.activations import Activation
from .layers.assignment import InitRecord, initialize_parameters
from .layers.initializers import Initializer
from .layers.normalization import Norm
from .layers.parametrizations import Parametrization, parametrize_weights
from .training.checkpoint_files import BEST, DurableCheckpointIO, find_checkpoint, fingerprint, read_checkpoint
from .training.classifier import Classifier
from .training.clipping import Clip
from .training.fine_tuning import copy_weights
from .validation import validate


# ------------------------------------------------------------------------------------ names to objects
def import_target(target: str) -> Any:
    """The object behind an import path `module:name`."""
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"error: cannot import {target}: {error}\n"
            f"  fix:   the module must be importable from here (install it, or set PYTHONPATH)"
        ) from None


def switch(family: str, chosen: Section | str) -> Any:
    """The strategy that a name or a checked section stands for.

    A callable of the user's, `module:name`, has the family's plain signature: `init(tensor, fan_in, fan_out, gain,
    generator)`, `norm(num_channels)`, `activation()`, `parametrization(layer, activation)`, `clip(named_parameters)`.
    An activation may carry a `gain` attribute, 1 if it does not.
    """
    name = chosen if isinstance(chosen, str) else chosen.name  # type: ignore[attr-defined]
    if name in SWITCHES[family]:
        strategy = SWITCHES[family][name]
        options = {key: option.default for key, option in strategy.options.items()}
        if isinstance(chosen, Section):
            options |= {key: value for key, value in chosen.options().items() if key in strategy.options}
        return import_target(strategy.target)(**options)
    own = import_target(name)
    match family:
        case "init":
            return Initializer(name, own)
        case "norm":
            return Norm(own, replaces_bias=False)
        case "activation":
            return Activation(own, float(getattr(own, "gain", 1.0)))
    return Parametrization(own) if family == "parametrization" else own


def group(family: str, chosen: Section) -> Any:
    """The callable of a model, optimizer or schedule, with the section's options filled in."""
    options = {key: value for key, value in chosen.options().items() if key != "compile"}  # a matter of `classifier`
    own = options.pop("arguments", None) or {}  # of a model of the user's
    return partial(_listed(family, chosen.name), **options, **own)  # type: ignore[attr-defined]


def _listed(family: str, name: str) -> Any:
    """The callable of a name, or of an import path of the user's."""
    return import_target(GROUPS[family][name].target if name in GROUPS[family] else name)


# ------------------------------------------------------------------------------------------------ data
def image_set(config: Config) -> ImageSet | ImageData:
    """The images in memory, or what has loaders of its own."""
    data = config.data
    keys = ("image_size", "split_seed", "batch_size", "eval_batch_size", "val_fraction", "drop_last")
    options = {key: getattr(data, key) for key in keys}
    request = Request(Path(data.dir).expanduser(), data.download_deadline, seed=config.seed, **options)
    images: ImageSet | ImageData = _listed("data", data.name)(request)
    return images


def datamodule(config: Config, images: ImageSet | ImageData) -> ImageData:
    """Loaders over images in memory; data with loaders of its own as it is.

    Raises:
        ConfigError: Options that cannot reach such loaders, or batches that the norm cannot normalise.
        DataError: Too few images for one batch or for a validation.
    """
    data = config.data
    if isinstance(images, ImageData):
        if data.augment != "none" or data.limit_train_images is not None:
            raise ConfigError(
                f"error: data={data.name} has loaders of its own: neither data.augment nor data.limit_train_images "
                "reaches them\n  fix:   data.augment=none data.limit_train_images=null"
            )
        return images
    module = ImageDataModule(
        images,
        batch_size=data.batch_size,
        eval_batch_size=data.eval_batch_size,
        val_fraction=data.val_fraction,
        split_seed=data.split_seed,
        seed=config.seed,
        augment=import_target(GROUPS["augment"][data.augment].target),
        drop_last=data.drop_last,
        limit_train_images=data.limit_train_images,
    )
    if config.norm.name == "batch" and min(module.batch_sizes) == 1:
        raise ConfigError(
            f"error: the last training batch holds a single image ({len(module.train_indices)} images, "
            f"data.batch_size = {data.batch_size}), which norm=batch cannot normalise\n"
            f"  fix:   data.drop_last=true   or   data.batch_size={data.batch_size + 1}   or   norm=group"
        )
    return module


# --------------------------------------------------------------------------------------------- network
def network(config: Config, image_shape: Sequence[int], num_classes: int) -> nn.Module:
    """The model with its norm and activation; weights are as torch made them until `initialize`."""
    norm, activation = switch("norm", config.norm), switch("activation", config.activation)
    try:
        made: nn.Module = group("model", config.model)(tuple(image_shape), num_classes, norm, activation)
        if not hasattr(made, "head"):
            raise TypeError(f"{type(made).__name__} has no `head`, as its last layer must be called")
        scheme = switch("parametrization", config.parametrization)
        # The head stays free, for its weights set the size of the logits, and what has one input has only a size.
        single = [layer for layer in made.modules() if isinstance(layer, nn.Linear) and layer.in_features == 1]
        parametrize_weights(made, scheme, activation, _init_seed(config), without=[made.get_submodule("head"), *single])
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"error: the model cannot be built: {error}") from None
    return made


def initialize(
    model: nn.Module,
    init: str | Section = "he_normal",
    *,
    activation: str | Section = "relu",
    seed: int = 0,
    inputs: Tensor | None = None,
) -> list[InitRecord]:
    """Initialise any module in place, by the name of a scheme; the table of what each parameter was given.

    Args:
        model: Any `nn.Module`.
        init: A name of the catalog, or an import path `module:name`.
        activation: Whose gain He and orthogonal use.
        seed: Of the weights.
        inputs: A batch of real inputs `[B, …]`, for `lsuv`.
    """
    gain = switch("activation", activation).gain
    return initialize_parameters(model, switch("init", init), gain, seed, inputs)


def check_forward(config: Config, model: nn.Module, image_shape: Sequence[int]) -> None:
    """Refuse a combination that cannot compute before training, in words: two blank images through the network."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            state = {name: buffer.clone() for name, buffer in model.named_buffers()}
            model(torch.zeros(2, *image_shape))
            for name, buffer in model.named_buffers():
                buffer.copy_(state[name])
    except (RuntimeError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(
            f"error: model={config.model.name} cannot take images of {list(image_shape)} with norm={config.norm.name}, "
            f"activation={config.activation.name}: {first_line}"
        ) from None


def classifier(config: Config, data: ImageData, total_steps: int) -> Classifier:
    """The LightningModule, initialised; with `init_from`, started from another run's weights."""
    net = network(config, data.image_shape, len(data.class_names))
    try:
        inputs = next(iter(data.train_dataloader()))[0] if config.init.name == "lsuv" else None
        initialize(net, config.init, activation=config.activation, seed=_init_seed(config), inputs=inputs)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"error: init={config.init.name} cannot fill the model's weights: {error}") from None
    check_forward(config, net, data.image_shape)
    if config.model.compile:
        _compile(net)
    description = {
        "config": config.model_dump(),
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "fingerprint": fingerprint(),
    }
    module = _wrap(config, net, description, total_steps, switch("clip", config.clip))
    if config.init_from:
        line = copy_weights(find_checkpoint(config.init_from, BEST), module)
        if is_first_process():
            print(f"weights  {line}")
    return module


def load(place: str | Path, *, trust: bool = False) -> Classifier:
    """The Classifier of a checkpoint file or of a run's folder (its best checkpoint), from that file alone.

    Args:
        place: A `.ckpt` file or a run's folder.
        trust: Import models, norms, parametrizations and activations that the file names from outside.
            Importing runs code: only for files of your own.

    Raises:
        CheckpointError: Missing, damaged, or naming foreign code without `trust`.
    """
    path = find_checkpoint(place, BEST)
    content = read_checkpoint(path)
    description = {key: value for key, value in content["isometry"].items() if key != "digest"}
    try:
        config = validate(description["config"])
    except ConfigError as error:
        raise CheckpointError(f"error: {path} was written by another version, with other keys\n{error}") from None
    named = (config.model, config.norm, config.parametrization, config.activation)
    foreign = [section.name for section in named if ":" in section.name]
    if foreign and not trust:
        raise CheckpointError(
            f"error: {path} names code from outside isometry: {', '.join(foreign)}\n"
            "  fix:   --trust on the command line, load(..., trust=True) in Python, if the file is yours"
        )
    net = network(config, description["image_shape"], len(description["class_names"]))
    module = _wrap(config, net, description, total_steps=1)
    try:
        module.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise CheckpointError(f"error: the weights in {path} do not fit its own description: {error}") from None
    return module.eval()


def _wrap(
    config: Config, net: nn.Module, description: Mapping[str, Any], total_steps: int, clip: Clip | None = None
) -> Classifier:
    return Classifier(
        net,
        class_names=description["class_names"],
        mean=description["mean"],
        std=description["std"],
        make_optimizer=group("optimizer", config.optimizer),
        make_schedule=partial(group("scheduler", config.scheduler), total_steps=total_steps),
        clip=clip,
        label_smoothing=config.label_smoothing,
        channels_last=config.is_ours,
        description=description,
    )


def _compile(net: nn.Module) -> None:
    """In place: the names of the weights, and so the checkpoints, stay as they are."""
    from torch._dynamo import config as dynamo  # only this needs it

    dynamo.allow_rnn = True  # else a recurrent layer breaks the graph
    net.compile()


def _init_seed(config: Config) -> int:
    return config.seed if config.init_seed is None else config.init_seed


# --------------------------------------------------------------------------------- logger and trainer
def logger(config: Config, folder: Path) -> Logger | None:
    """What `logger` names, but for W&B's, which tells its mode and so is started in `run.py`."""
    made: Logger | None = _listed("logger", config.logger)(folder)
    return made


def total_steps(config: Config, batches_per_epoch: int) -> int:
    """Optimizer steps of the whole training, as Lightning will count them."""
    trainer = config.trainer
    limit = trainer.limit_train_batches
    batches = min(limit, batches_per_epoch) if isinstance(limit, int) else int(batches_per_epoch * limit)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs
    return min(steps, trainer.max_steps or steps)


def trainer(config: Config, folder: Path, loggers: Sequence[Logger], callbacks: Sequence[Callback]) -> Trainer:
    """Lightning's Trainer for one run in `folder`."""
    options = config.trainer.options()
    timeout = options.pop("ddp_timeout")
    options["max_steps"] = -1 if options["max_steps"] is None else options["max_steps"]
    if options["profiler"]:
        profilers = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
        options["profiler"] = profilers[options["profiler"]](folder, "profile")
    extra = [*callbacks]
    stopping = config.early_stopping
    if stopping.patience is not None:
        extra.append(EarlyStopping("val/loss", patience=stopping.patience, min_delta=stopping.min_delta))
    made = Trainer(
        **options,
        default_root_dir=folder,
        logger=list(loggers),
        callbacks=extra,
        plugins=[DurableCheckpointIO()],
        enable_checkpointing=False,  # training.checkpoints does
        enable_progress_bar=False,  # training.progress has its own
        num_sanity_val_steps=0,  # build.check_forward and the first validation do
    )
    _rule_processes(made, timeout)
    if config.data.batch_size % made.world_size:
        raise ConfigError(
            f"error: data.batch_size = {config.data.batch_size} is the global batch: "
            f"{made.world_size} processes cannot share it evenly\n  fix:   another data.batch_size or trainer.devices"
        )
    return made


def _rule_processes(trainer: Trainer, timeout: float) -> None:
    """No process waits for ever for another one, and none is left behind."""
    # Lightning's handler waits for the other processes, wherever these are; `training.signals` has its own.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if isinstance(trainer.strategy, DDPStrategy):  # asked for, or found by Lightning's auto
        trainer.strategy._timeout = timedelta(seconds=timeout)
    if trainer.strategy.launcher:
        atexit.register(trainer.strategy.launcher.kill, signal.SIGKILL)  # those it started that hang
