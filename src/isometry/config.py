"""The schema: what a composed configuration may say. Types, bounds and units; no defaults.

Defaults have one owner each: run-level values in `configs/*.yaml`, options of the switches in `catalog.py`.
Imports neither torch nor lightning, so a wrong value is answered in less than a second (`validation.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic import create_model as create_pydantic_model
from pydantic_core import PydanticCustomError

from .catalog import GROUPS, SWITCHES
from .options import Option, Strategy

CUSTOM = "custom"  # the tag of a switch, or of the model, set to an import path, `my_lab.inits:mine`


class Section(BaseModel):
    """A mapping with exactly these keys. Strict: `true` is no number and `2.5` no integer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def options(self) -> dict[str, Any]:
        """All keys but `name`, as keyword arguments for the callable that `name` stands for."""
        return {key: value for key, value in self.model_dump().items() if key != "name"}


def one_of(*choices: str) -> AfterValidator:
    """For a text that must be one of `choices`."""

    def check(value: str) -> str:
        if value not in choices:
            raise PydanticCustomError("one_of", "must be one of {choices}", {"choices": ", ".join(choices)})
        return value

    return AfterValidator(check)


def is_import_path(name: object) -> bool:
    """Whether a name is that of a callable of the user's, `module:name`."""
    module, _, attribute = str(name).partition(":")
    return bool(module) and attribute.isidentifier()


def one_of_or_own(*choices: str) -> AfterValidator:
    """For the name of a strategy, or an import path."""

    def check(value: str) -> str:
        if value not in choices and not is_import_path(value):
            words = "must be one of {choices}, or a callable of yours: module:name"
            raise PydanticCustomError("one_of", words, {"choices": ", ".join(choices)})
        return value

    return AfterValidator(check)


def _share_or_count(value: object) -> object:
    """Lightning's `limit_*_batches`: a float is a share of the batches, an integer their number."""
    is_share = isinstance(value, float) and 0 < value <= 1
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not (is_share or is_count):
        raise PydanticCustomError("share_or_count", "must be a share in (0, 1] like 0.5, or a number of batches >= 1")
    return value


def _count_or_auto(value: object) -> object:
    if value != "auto" and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        raise PydanticCustomError("count_or_auto", "must be auto or an integer >= 1")
    return value


def _flag_or_warn(value: object) -> object:
    if not isinstance(value, bool) and value != "warn":
        raise PydanticCustomError("flag_or_warn", "must be true, false or warn")
    return value


def _given(value: object) -> object:
    if value is None:
        raise PydanticCustomError("not_given", "must be given")
    return value


def _inside_runs_dir(value: str) -> str:
    """A run name is a folder below `runs_dir`; a sweep's runs are one deeper, `sweep/point`."""
    parts = value.split("/")
    if set("\0\\") & set(value) or any(part in ("", ".", "..") or len(part.encode()) > 200 for part in parts):
        raise PydanticCustomError("run_name", "must be a folder name below runs_dir, each part at most 200 bytes")
    return value


Seed = Annotated[int, Field(ge=0, lt=2**63)]
ShareOrCount = Annotated[int | float, BeforeValidator(_share_or_count)]
# `run_name=2024` on a command line is read as a number, and meant as a name.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value), Field(min_length=1)]


# -------------------------------------------------------------------------------------- fixed sections
class DataConfig(Section):
    name: Annotated[str, one_of_or_own(*GROUPS["data"])]
    dir: Annotated[Text, BeforeValidator(_given)]
    batch_size: Annotated[int, Field(ge=1)]
    eval_batch_size: Annotated[int, Field(ge=1)]
    val_fraction: Annotated[float, Field(gt=0, le=0.5)]
    split_seed: Seed
    augment: Annotated[str, one_of(*GROUPS["augment"])]
    drop_last: bool
    limit_train_images: Annotated[int, Field(ge=2)] | None
    image_size: Annotated[int, Field(ge=4, le=1024)] | None
    download_deadline: Annotated[float, Field(gt=0)]


class TrainerConfig(Section):
    accelerator: Annotated[str, one_of("auto", "cpu", "gpu", "mps")]
    devices: Annotated[int | str, BeforeValidator(_count_or_auto)]
    strategy: Annotated[str, one_of("auto", "ddp")]
    num_nodes: Annotated[int, Field(ge=1)]
    ddp_timeout: Annotated[float, Field(gt=0)]
    precision: Annotated[str, one_of("32-true", "bf16-mixed", "16-mixed", "bf16-true")]
    max_epochs: Annotated[int, Field(ge=1)]
    max_steps: Annotated[int, Field(ge=1)] | None
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    gradient_clip_algorithm: Annotated[str, one_of("norm", "value")]
    accumulate_grad_batches: Annotated[int, Field(ge=1)]
    val_check_interval: Annotated[float, Field(gt=0, le=1)]
    check_val_every_n_epoch: Annotated[int, Field(ge=1)]
    log_every_n_steps: Annotated[int, Field(ge=1)]
    limit_train_batches: ShareOrCount
    limit_val_batches: ShareOrCount
    limit_test_batches: ShareOrCount
    deterministic: Annotated[bool | str, BeforeValidator(_flag_or_warn)]
    benchmark: bool | None
    detect_anomaly: bool
    sync_batchnorm: bool
    profiler: Annotated[str, one_of("simple", "advanced")] | None
    enable_model_summary: bool


class CheckpointConfig(Section):
    every_n_steps: Annotated[int, Field(ge=1)]


class WandbConfig(Section):
    project: Text
    entity: Text | None
    group: Text | None
    job_type: Text | None
    tags: list[str]
    notes: str | None
    mode: Annotated[str, one_of("auto", "online", "offline", "disabled")]


class MonitorConfig(Section):
    enabled: bool
    every_n_steps: Annotated[int, Field(ge=1)]
    histograms: bool
    layer_series: bool
    on_critical: Annotated[str, one_of("report", "stop")]


class DiagnoseConfig(Section):
    strict: bool
    seconds: Annotated[float, Field(gt=0)]


class ParallelConfig(Section):
    workers: Annotated[int, Field(ge=1)]
    cluster: Annotated[str, one_of("slurm", "local")] | None
    resources: dict[str, Any] | None


class EarlyStoppingConfig(Section):
    patience: Annotated[int, Field(ge=1)] | None
    min_delta: Annotated[float, Field(ge=0)]


class OwnModel(Section):
    """A network of the user's; what its constructor takes, only the constructor knows."""

    name: str
    arguments: dict[str, Any] | None
    compile: bool


# ---------------------------------------------------------------------- sections made from the catalog
def _field(option: Option) -> Any:
    """The pydantic type of a catalog option."""
    if option.choices:
        checked: Any = Annotated[str, one_of(*option.choices)]
    else:
        number = Field(gt=option.above, ge=option.minimum, le=option.maximum, lt=option.below)
        checked = {int: Annotated[int, number], float: Annotated[float, number], bool: bool, str: str}.get(option.type)
        if option.type is list:
            checked = list[Annotated[float, number]]
    return checked


def _switch_field(family: str, name: str, key: str, strategy: Strategy | None) -> Any:
    """An option of a switch: null is replaced by the catalog's default; foreign to this strategy: must be null."""
    if strategy is None or key not in strategy.options:

        def refuse(value: object) -> None:
            if value is not None:
                raise PydanticCustomError("unused", "is not used by {owner}; remove it", {"owner": f"{family}={name}"})

        return Annotated[None, BeforeValidator(refuse)]
    option = strategy.options[key]
    return Annotated[_field(option) | None, AfterValidator(lambda value: option.default if value is None else value)]


def _switch_type(family: str) -> Any:
    keys = sorted({key for strategy in SWITCHES[family].values() for key in strategy.options})
    members = []
    for name, strategy in [*SWITCHES[family].items(), (CUSTOM, None)]:
        fields: Any = {key: (_switch_field(family, name, key, strategy), ...) for key in keys}
        members.append(Annotated[create_pydantic_model(name, __base__=Section, name=(str, ...), **fields), Tag(name)])
    return Annotated[Union[tuple(members)], _by_name(SWITCHES[family])]  # noqa: UP007


def _group_type(family: str) -> Any:
    members = []
    for name, strategy in GROUPS[family].items():
        fields: Any = {
            key: (_field(option) | None if option.nullable else _field(option), ...)
            for key, option in strategy.options.items()
        }
        members.append(Annotated[create_pydantic_model(name, __base__=Section, name=(str, ...), **fields), Tag(name)])
    if family == "model":
        members.append(Annotated[OwnModel, Tag(CUSTOM)])
    return Annotated[Union[tuple(members)], _by_name(GROUPS[family])]  # noqa: UP007


def _by_name(family: Mapping[str, Strategy]) -> Discriminator:
    """Picks the member of a union by the mapping's `name`."""

    def tag(value: Any) -> str | None:
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
        if not isinstance(name, str):
            return None
        return name if name in family else CUSTOM if is_import_path(name) else None

    return Discriminator(tag)


class Config(Section):
    """The whole run. Attribute access mirrors the keys of `configs/train.yaml`."""

    data: DataConfig
    model: _group_type("model")  # type: ignore[valid-type]
    optimizer: _group_type("optimizer")  # type: ignore[valid-type]
    scheduler: _group_type("scheduler")  # type: ignore[valid-type]
    init: _switch_type("init")  # type: ignore[valid-type]
    norm: _switch_type("norm")  # type: ignore[valid-type]
    parametrization: _switch_type("parametrization")  # type: ignore[valid-type]
    activation: _switch_type("activation")  # type: ignore[valid-type]
    clip: _switch_type("clip")  # type: ignore[valid-type]
    seed: Seed
    init_seed: Seed | None
    run_name: Annotated[Text, AfterValidator(_inside_runs_dir)] | None
    runs_dir: Text
    resume: Text | None
    init_from: Text | None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    nonfinite: Annotated[str, one_of("raise", "skip")]
    logger: Annotated[str, one_of_or_own(*GROUPS["logger"])]
    wandb: WandbConfig
    trainer: TrainerConfig
    checkpoint: CheckpointConfig
    monitor: MonitorConfig
    diagnose: DiagnoseConfig
    early_stopping: EarlyStoppingConfig
    sweep_name: Annotated[Text, AfterValidator(_inside_runs_dir)] | None
    parallel: ParallelConfig
    threads: Annotated[int, Field(ge=1)] | None

    @property
    def is_ours(self) -> bool:
        """Whether all that the network is made of is the catalog's."""
        return not any(is_import_path(part.name) for part in (self.model, self.norm, self.activation))


# ---------------------------------------------------------------------------------------- keys
def expand_switches(raw: Mapping[str, Any]) -> dict[str, Any]:
    """`init: he_normal`, as a YAML file may write it, becomes the full mapping with every option null."""
    full = dict(raw)
    for family, strategies in SWITCHES.items():
        value = full.get(family)
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, dict):
            unset = {key: None for strategy in strategies.values() for key in strategy.options}
            full[family] = unset | value
    return full


@cache
def known_keys() -> frozenset[str]:
    """Every key that can be set on a command line, dotted."""
    return frozenset({*_keys_of_config(), *GROUPS.keys() - {"augment"}, "experiment", "fault", "debug"})


def _keys_of_config() -> Iterator[str]:
    for section, info in Config.model_fields.items():
        yield section
        family = SWITCHES.get(section) or (GROUPS.get(section) if section not in ("data", "logger") else None)
        yield from ["model.arguments"] if section == "model" else []  # of one of yours
        if family:
            yield f"{section}.name"
            yield from (f"{section}.{key}" for strategy in family.values() for key in strategy.options)
        elif isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from (f"{section}.{key}" for key in info.annotation.model_fields)


# ---------------------------------------------------------------------- where the YAML files lie
def _config_dir() -> Path:
    """`isometry/configs` in an installed wheel, `configs/` beside `src/` in a checkout."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "configs"


CONFIG_DIR = _config_dir()
