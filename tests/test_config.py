"""Wrong input is answered in words, with the right exit code, all at once, before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from isometry.catalog import GROUPS, SWITCHES
from isometry.config import CONFIG_DIR, Config, known_keys
from isometry.errors import ConfigError
from isometry.overrides import read
from isometry.validation import validate

CLIP_RULE = "trainer.gradient_clip_val = -1.0 is not allowed (must be > 0, or null for no clipping)"
CLIP_FIX = "trainer.gradient_clip_val=1.0   or   trainer.gradient_clip_val=null"

# The command line, and what the message must hold.
WRONG: list[tuple[str, list[str]]] = [
    ("nrom=batch", ["unknown key nrom", "did you mean norm"]),
    ("lr=0.1", ["unknown key lr", "did you mean optimizer.lr?"]),
    ("trainer.precison=bf16-mixed", ["unknown key trainer.precison", "trainer.precision"]),
    ("+trainer.max_epoch=3", ["unknown key trainer.max_epoch", "trainer.max_epochs"]),
    ("++optimizer.learning_rate=3", ["unknown key optimizer.learning_rate"]),
    ("model=resent", ["model = resent is not known", "did you mean model=resnet?", "deep_cnn, resnet, lstm, mlp"]),
    ("data=minst", ["did you mean data=mnist?"]),
    ("init=he_norml", ["did you mean init=he_normal?", "orthogonal", "callable of yours"]),
    ("norm=bach", ["did you mean norm=batch?"]),
    ("activation=rleu", ["did you mean activation=relu?"]),
    ("optimizer=adamm", ["did you mean optimizer=adam"]),
    ("scheduler=cosin", ["did you mean scheduler=cosine?"]),
    ("trainer=tpu", ["trainer = tpu is not known", "cpu, ddp, default, gpu"]),
    ("experiment=nothing", ["experiment = nothing is not known", "mnist_deep_cnn"]),
    ("debug=slow", ["debug = slow is not known", "fast, overfit, profile"]),
    ("data.augment=flip", ["data.augment = flip", "none, shift, crop_flip, cutout"]),
    ("logger=tensorboard", ["logger = tensorboard", "wandb, csv, none"]),
    ("trainer.precision=bf17", ["trainer.precision = bf17", "32-true, bf16-mixed"]),
    ("trainer.gradient_clip_val=-1.0", [CLIP_RULE, "where: command line", CLIP_FIX]),
    ("trainer.gradient_clip_val=0", ["must be > 0"]),
    ("trainer.gradient_clip_val=nan", ["must be a finite number"]),
    ("trainer.gradient_clip_val=true", ["must be a number"]),
    ("trainer.gradient_clip_val=inf", ["must be a finite number"]),
    ("trainer.gradient_clip_algorithm=l2", ["norm, value"]),
    ("trainer.max_epochs=ten", ["trainer.max_epochs = ten", "must be an integer", "fix:   trainer.max_epochs=15"]),
    ("trainer.max_epochs=0", ["must be >= 1"]),
    ("trainer.accumulate_grad_batches=0", ["must be >= 1"]),
    ("trainer.max_steps=0", ["must be >= 1, or null"]),
    ("trainer.log_every_n_steps=0", ["must be >= 1"]),
    ("trainer.devices=0", ["an integer >= 1"]),
    ("checkpoint.every_n_steps=0", ["must be >= 1"]),
    ("monitor.every_n_steps=0", ["must be >= 1"]),
    ("early_stopping.patience=0", ["must be >= 1, or null"]),
    ("data.limit_train_images=0", ["must be >= 2"]),
    ("threads=0", ["must be >= 1"]),
    ("trainer.limit_train_batches=0.0", ["a share in (0, 1]"]),
    ("trainer.limit_val_batches=1.5", ["a share in (0, 1]"]),
    ("trainer.devices=none", ["auto or an integer"]),
    ("trainer.deterministic=maybe", ["true, false or warn"]),
    ("trainer.val_check_interval=2.0", ["must be <= 1"]),
    ("trainer.accelerator=cpu trainer.precision=16-mixed", ["16-mixed needs a GPU", "bf16-mixed"]),
    ("trainer.accelerator=cpu trainer.sync_batchnorm=true", ["works on GPUs only"]),
    ("model.depth=0", ["model.depth = 0", "must be >= 1", "fix:   model.depth=20"]),
    ("model.depth=2.5", ["must be an integer"]),
    ("model.width=-4", ["must be >= 1"]),
    ("model=resnet model.depth=21", ["6n+2", "model.depth=20   or   model.depth=26"]),
    ("model=resnet model.shortcut=projektion", ["identity, projection, none", "model.shortcut=projection"]),
    ("model=lstm model.cell=lsmt", ["lstm, gru, rnn", "model.cell=lstm"]),
    ("model=lstm model.depth=3", ["unknown key model.depth"]),
    ("optimizer.lr=abc", ["must be a number", "fix:   optimizer.lr="]),
    ("optimizer.lr=nan", ["must be a finite number"]),
    ("optimizer.lr=0", ["must be > 0"]),
    ("optimizer=adamw optimizer.beta1=1.0", ["must be < 1"]),
    ("scheduler=step scheduler.milestones=[0.7,0.2]", ["scheduler.milestones must rise"]),
    ("scheduler=step scheduler.milestones=[0.5,3]", ["must be < 1"]),
    ("scheduler.warmup=1.0", ["must be <= 0.9"]),
    ("scheduler=plateau trainer.check_val_every_n_epoch=2", ["scheduler=plateau looks at val/loss"]),
    ("norm=batch norm.groups=4", ["norm.groups = 4 is not used by norm=batch", "norm.groups=null"]),
    ("init=pytorch_default init.gain=2", ["init.gain = 2 is not used by init=pytorch_default"]),
    ("norm=group norm.groups=5", ["norm.groups = 5 does not divide model.width = 16"]),
    ("activation=leaky_relu activation.slope=2", ["activation.slope = 2", "must be <= 1"]),
    ("seed=-1", ["seed = -1", "must be >= 0"]),
    ("seed=1e3", ["must be an integer"]),
    ("data.batch_size=0", ["must be >= 1"]),
    ("data.batch_size=1", ["norm=batch needs at least 2 images"]),
    ("data.batch_size=5 trainer=ddp", ["2 processes cannot share it evenly", "data.batch_size=6"]),
    ("data.val_fraction=0", ["must be > 0"]),
    ("data.image_size=32", ["data=image_folder alone"]),
    ("data=image_folder", ["data.dir must be given"]),
    ("wandb.mode=of", ["auto, online, offline, disabled"]),
    ("wandb.tags=x", ["must be a list"]),
    ("run_name=../x", ["must be a folder name below runs_dir"]),
    ("init=kaiming_normal", ["did you mean init=he_normal?"]),
    ("activation=swish", ["did you mean activation=silu?"]),
    ("clip=1.0", ["trainer.gradient_clip_val=1.0 clips to a number"]),
    ("clip.factor=0.01", ["clip=agc"]),
    ("init=null", ["init = null is not known"]),
    ("model.cell=irnn", ["model=lstm has it"]),
    ("parametrization=weight_standardization norm=none", ["a norm must follow", "scaled_weight_standardization"]),
    ("model=lstm,mlp", ["lists several values"]),
    ("model.depth", ["cannot read 'model.depth'", "key=value"]),
    ("data.dir=a'b", ["cannot read", "quote"]),
    ("~trainer", ["no key can be removed"]),
    ("wandb=offline", ["wandb is a group of keys", "wandb.mode"]),
    ("optimizer.name=adamw", ["optimizer.name picks a file", "optimizer=adamw"]),
    ("model=null", ["model = null is not known"]),
    ("init=[a,b]", ["is not known", "he_normal"]),
    ("run_name=1.5", ["must be a text"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "wanted"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_input_exits_2_and_says_what_to_do(line: str, wanted: list[str], cli: Callable[..., Any]) -> None:
    code, out, err = cli("train", *line.split())
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for part in wanted:
        assert part in err


def test_all_problems_are_told_at_once(cli: Callable[..., Any]) -> None:
    _, _, err = cli("train", "model.depth=0", "seed=-1", "init=hee", "optimizer.lr=-1")
    assert err.count("error:") == 4


def test_all_wrong_types_are_told_at_once(cli: Callable[..., Any]) -> None:
    wrong = [
        "seed=true",
        "trainer.max_epochs=ten",
        "data.batch_size=[1]",
        "data.drop_last=7",
        "wandb.tags=x",
        "run_name=1.5",
    ]
    code, _, err = cli("train", *wrong)
    assert code == 2
    assert all(f"error: {word.partition('=')[0]} = " in err for word in wrong)


def test_each_problem_says_where_it_comes_from(cli: Callable[..., Any]) -> None:
    _, _, err = cli("train", "data.batch_size=5", "trainer.devices=2")
    assert "where: command line" in err
    _, _, err = cli("train", "trainer.devices=3")  # the batch size itself is the shipped one
    assert "where: configs" in err


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_typo_is_answered_without_torch() -> None:
    code = "import sys; from isometry.cli import main; print(main(['train', 'nrom=x']), 'torch' in sys.modules)"
    assert run_python(code).stdout == "2 False\n"
    negative = run_python("import sys, isometry; isometry.GradientMonitor; print('torch' in sys.modules)")
    assert negative.stdout == "True\n"  # the control: this is what the line above would see


def test_help_lists_every_name(cli: Callable[..., Any]) -> None:
    code, out, _ = cli("train", "--help")
    assert code == 0
    assert {name for names in {**SWITCHES, **GROUPS}.values() for name in names} <= set(out.split())


def test_strategies_lists_every_name_and_option_with_its_meaning(cli: Callable[..., Any]) -> None:
    code, out, _ = cli("strategies")
    assert code == 0
    for family, strategies in {**SWITCHES, **GROUPS}.items():
        for name, strategy in strategies.items():
            assert f"  {name} " in out
            assert strategy.summary in out
            assert all(f"{family}.{key} " in out and option.doc in out for key, option in strategy.options.items())
    code, out, _ = cli("strategies", "clip")
    assert (code, "agc" in out, "clip.factor" in out, "deep_cnn" in out) == (0, True, True, False)
    code, _, err = cli("strategies", "clipping")
    assert code == 2
    assert "no family is called clipping" in err


def test_cfg_prints_what_would_run(cli: Callable[..., Any]) -> None:
    code, out, _ = cli("train", "--cfg", "model=lstm", "init.gain=2", "init=orthogonal")
    config = OmegaConf.create(out)
    assert code == 0
    assert (config.model.cell, config.init.name, config.init.gain) == ("lstm", "orthogonal", 2.0)


@pytest.mark.parametrize("words", [["init=orthogonal", "init.gain=2"], ["init.gain=2", "init=orthogonal"]])
def test_switches_and_their_options_come_in_any_order(words: list[str]) -> None:
    config = read(words)
    assert (config.init.name, config.init.gain) == ("orthogonal", 2.0)


def test_a_switch_may_be_given_whole() -> None:
    config = read(["init={name:orthogonal,gain:2.0}"])
    assert (config.init.name, config.init.gain) == ("orthogonal", 2.0)


def test_a_number_can_be_a_name() -> None:
    assert read(["run_name=2024", "wandb.project=7"]).run_name == "2024"


def test_an_unknown_command_is_named(cli: Callable[..., Any]) -> None:
    code, _, err = cli("trian", "model=lstm")
    assert (code, "unknown command trian" in err, "train | diagnose | evaluate" in err) == (2, True, True)


def test_python_defaults_are_those_of_the_configs() -> None:
    from isometry import GradientMonitor
    from isometry.data.sources import Request

    config, request = read([]), Request(Path())
    assert GradientMonitor().every_n_steps == config.monitor.every_n_steps
    assert (request.deadline, request.seed) == (config.data.download_deadline, config.seed)
    for key in ("image_size", "split_seed", "batch_size", "eval_batch_size", "val_fraction", "drop_last"):
        assert getattr(request, key) == getattr(config.data, key)


def test_null_takes_the_catalogs_default() -> None:
    assert read(["norm=group"]).norm.groups == SWITCHES["norm"]["group"].options["groups"].default
    assert read(["norm=batch"]).norm.groups is None


def test_a_yaml_file_may_write_the_bare_name(tmp_path: Path) -> None:
    import shutil

    configs = tmp_path / "configs"
    shutil.copytree(CONFIG_DIR, configs)
    (configs / "experiment" / "bare.yaml").write_text("# @package _global_\ninit: orthogonal\nnorm: group\n")
    config = read(["experiment=bare", "init.gain=3", "norm.groups=4"], configs)
    assert (config.init.name, config.init.gain, config.norm.groups) == ("orthogonal", 3.0, 4)


# ------------------------------------------------------------------------------------------------ one owner a default
def test_every_valid_key_shows_in_the_composed_configuration() -> None:
    """No `+` is ever needed: what the schema knows, YAML shows, for every choice of every group."""
    shown: set[str] = {"experiment", "fault", "debug"}
    for family, names in GROUPS.items():
        own = ["my_lab:mine"] if family == "model" else []
        for name in [*names, *own] if family != "augment" else []:
            words = [f"{family}={name}", *(["data.dir=x"] if name == "image_folder" else [])]
            composed = read(words).model_dump()
            for section, value in composed.items():
                shown |= {section, *(f"{section}.{key}" for key in value)} if isinstance(value, dict) else {section}
    assert shown == known_keys()


@pytest.mark.parametrize("family", ["model", "data", "optimizer", "scheduler"])
def test_each_group_has_one_file_a_name(family: str) -> None:
    files = {path.stem for path in (CONFIG_DIR / family).glob("*.yaml")} - {"default", "own"}
    assert files == set(GROUPS[family])


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family in (*SWITCHES, *GROUPS) for name in {**SWITCHES, **GROUPS}[family]]
)
def test_constructors_take_the_catalogs_options_and_have_no_defaults_of_their_own(family: str, name: str) -> None:
    from isometry.build import import_target

    strategy = {**SWITCHES, **GROUPS}[family][name]
    target = import_target(strategy.target)
    if family in ("data", "augment", "logger"):
        return
    parameters = signature(target).parameters
    given = {"model": 4, "optimizer": 1, "scheduler": 2}.get(family, 0)  # what build passes by position
    options = dict(list(parameters.items())[given:])
    assert set(options) == set(strategy.options) - {"compile"}  # of every model, and no matter of its constructor
    assert all(parameter.default is parameter.empty for parameter in options.values())


def test_the_schema_has_no_defaults() -> None:
    def sections(model: Any) -> list[Any]:
        inner = [info.annotation for info in model.model_fields.values()]
        return [model, *(part for part in inner if isinstance(part, type) and hasattr(part, "model_fields"))]

    for section in sections(Config):
        assert all(info.is_required() for info in section.model_fields.values()), section


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("experiment/*.yaml")) + sorted(CONFIG_DIR.glob("debug/*.yaml")))
def test_every_shipped_file_composes_and_is_explained(path: Path) -> None:
    words = ["data.dir=x"] if "image_folder" in path.read_text() else []
    read([f"{path.parent.name}={path.stem}", *words])
    comments = [line for line in path.read_text().splitlines()[:4] if line.startswith("# ") and "@package" not in line]
    assert comments


def test_validate_refuses_what_is_missing() -> None:
    raw = read([]).model_dump()
    del raw["optimizer"]["lr"], raw["seed"]
    with pytest.raises(ConfigError, match=r"seed is missing") as error:
        validate(raw)
    assert "optimizer.lr is missing" in str(error.value)


def test_more_gpus_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from isometry.machine import check_machine

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    with pytest.raises(ConfigError, match=r"trainer\.devices = 3, but this machine has 2 GPU"):
        check_machine(read(["trainer.devices=3", "data.batch_size=63"]))
    assert check_machine(read(["trainer.devices=2"])) == "A GPU (a GPU is there), precision 32-true"
