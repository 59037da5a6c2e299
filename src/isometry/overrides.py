"""From the words of a command line to a checked configuration. Hydra composes, `validation.validate` judges.

Two things Hydra does not do are done here first: keys are checked against the schema (so that `nrom=batch` is answered
with `norm`, and not with the advice to append `+nrom`), and the switches are taken out and applied after composition,
so that `init=orthogonal init.gain=2` works in any order, also over a YAML file that writes the bare name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .catalog import GROUPS, SWITCHES
from .config import CONFIG_DIR, Config, expand_switches, is_import_path, known_keys
from .errors import ConfigError
from .mistakes import unknown_key, unknown_name
from .validation import validate

COMMAND_LINE = "command line"
OWN = ("model", "data")  # groups in which a callable of the user's can stand for a file: model=my_lab.nets:Deep


def read(words: Sequence[str], config_dir: Path = CONFIG_DIR) -> Config:
    """The checked configuration that `words`, such as `["model=resnet", "init=orthogonal"]`, stand for.

    Raises:
        ConfigError: Everything that is wrong, each problem with its fix.
    """
    overrides = [_parse(word) for word in words]
    _check_keys(overrides, config_dir)
    switches = [override for override in overrides if _family(override) in SWITCHES]
    own = {key: value for key, value in _given(overrides).items() if _is_own(key, value)}
    others = [override for override in overrides if _family(override) not in SWITCHES]
    words = [f"{key}=own" if (key := str(each.key_or_group)) in own else str(each.input_line) for each in others]
    raw = expand_switches(_compose(words, config_dir))
    for family, path in own.items():
        raw[family]["name"] = path
    for override in switches:
        family, _, option = str(override.key_or_group).partition(".")
        value = override.value()
        raw[family] |= value if isinstance(value, dict) and not option else {option or "name": value}
    return validate(raw, {str(override.key_or_group): COMMAND_LINE for override in overrides})


def values(words: Sequence[str]) -> dict[str, Any]:
    """The keys and values of `words`, each key checked, without composing anything."""
    overrides = [_parse(word) for word in words]
    _check_keys(overrides, CONFIG_DIR)
    return _given(overrides)


def expand(words: Sequence[str]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Every combination of the values that `words` list: by key the chosen ones, and the words that list none.

    Raises:
        ConfigError: A word cannot be read, or lists what has no end (`interval`) or no values yet (`glob`).
    """
    overrides = [_parse(word, lists=True) for word in words]
    _check_keys([each for each in overrides if not each.is_sweep_override()], CONFIG_DIR)
    listing = {str(each.key_or_group): each for each in overrides if each.is_sweep_override()}
    fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
    choices = []
    for key, override in listing.items():
        if not (override.is_choice_sweep() or override.is_range_sweep()):
            raise ConfigError(
                f"error: {override.input_line} does not say which values\n  where: {COMMAND_LINE}\n"
                f"  fix:   {key}=a,b,c   or   {key}=range(1,4)"
            )
        choices.append(list(override.sweep_string_iterator()))
    for combination in itertools.product(*choices):
        yield dict(zip(listing, combination, strict=True)), fixed


def change(raw: Mapping[str, Any], words: Sequence[str]) -> Config:
    """A stored configuration with a few keys set anew, checked again: `["trainer=cpu", "data.dir=elsewhere"]`."""
    given = values(words)
    for key in {"experiment", "fault", "debug"} & set(given):
        raise ConfigError(
            f"error: {key}={given[key]} changes a whole run, and this one is stored with its checkpoint\n"
            f"  where: {COMMAND_LINE}\n  fix:   give single keys, such as trainer.max_steps=100"
        )
    changed = OmegaConf.create(dict(raw))
    for key, value in given.items():
        if key in SWITCHES:
            OmegaConf.update(changed, key, expand_switches({key: value})[key])
        elif (CONFIG_DIR / key).is_dir():
            own = {"name": value} if _is_own(key, value) else {}
            section = _compose([f"{key}={'own' if own else value}"], CONFIG_DIR)[key]
            OmegaConf.update(changed, key, section | own, merge=False)
    for key, value in given.items():
        if "." in key or not (key in SWITCHES or (CONFIG_DIR / key).is_dir()):
            OmegaConf.update(changed, key, value)
    plain = OmegaConf.to_container(changed)
    assert isinstance(plain, dict)
    return validate({str(key): value for key, value in plain.items()}, dict.fromkeys(given, COMMAND_LINE))


def _given(overrides: Sequence[Override]) -> dict[str, Any]:
    return {str(override.key_or_group): override.value() for override in overrides}


def _is_own(key: str, value: Any) -> bool:
    return key in OWN and is_import_path(value)


def _family(override: Override) -> str:
    return str(override.key_or_group).partition(".")[0]


def _parse(word: str, *, lists: bool = False) -> Override:
    """Args:
    word: Of a command line.
    lists: Whether it may list several values.
    """
    if "=" not in word and not word.startswith("~"):
        raise ConfigError(f"error: cannot read {word!r}\n  where: command line\n  fix:   write key=value, e.g. seed=2")
    try:
        override: Override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        key, _, value = word.partition("=")
        first_line = str(error).splitlines()[0]
        raise ConfigError(
            f"error: cannot read {word!r} ({first_line})\n  where: command line\n"
            f"  fix:   quote special characters, for the shell too:   '{key}=\"{value}\"'"
        ) from None
    if override.is_sweep_override() and not lists:
        raise ConfigError(
            f"error: {word} lists several values, but one run takes one\n  where: command line\n"
            f"  fix:   python train.py -m … runs each value; for a list write {override.key_or_group}=[a,b]"
        )
    return override


def _check_keys(overrides: Sequence[Override], config_dir: Path) -> None:
    """Unknown keys and unknown files of a group, all at once, before Hydra sees them."""
    problems = []
    for override in overrides:
        key = str(override.key_or_group)
        section, _, name = key.partition(".")
        if override.is_delete():
            problems.append(f"error: ~{key}: no key can be removed\n  where: command line\n  fix:   {key}=null")
        elif section in GROUPS and name == "name":
            problems.append(
                f"error: {key} picks a file\n  where: {COMMAND_LINE}\n  fix:   {section}={override.value()}"
            )
        elif key not in known_keys():
            problems.append(unknown_key(key, COMMAND_LINE))
        elif (config_dir / key).is_dir():
            problems += _check_group(key, override.value(), config_dir)
        elif key not in SWITCHES and (inner := sorted(other for other in known_keys() if other.startswith(f"{key}."))):
            problems.append(
                f"error: {key} is a group of keys, not a value\n  where: {COMMAND_LINE}\n  fix:   {', '.join(inner)}"
            )
    if problems:
        raise ConfigError("\n".join(problems))


def _check_group(group: str, name: Any, config_dir: Path) -> list[str]:
    names = sorted(path.stem for path in (config_dir / group).glob("*.yaml"))
    if name in names or _is_own(group, name) or (name is None and group in ("experiment", "fault", "debug")):
        return []
    if group in GROUPS:
        return [unknown_name(group, name, COMMAND_LINE)]
    return [
        f"error: {group} = {name} is not known\n  where: {COMMAND_LINE}\n"
        f"  fix:   files in configs/{group}: {', '.join(names)}"
    ]


def _who_has(key: str) -> str:
    """The names of a group that have a key: `model=resnet has it`."""
    family, _, option = key.partition(".")
    names = [f"{family}={name}" for name, strategy in GROUPS.get(family, {}).items() if option in strategy.options]
    names += ["model=module:name"] if key == "model.arguments" else []
    return f"{' or '.join(names)} has it" if names else "python train.py --cfg lists the keys there are"


def _compose(words: list[str], config_dir: Path) -> dict[str, Any]:
    try:
        with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
            composed = compose("train", [word.lstrip("+") for word in words])
        plain = OmegaConf.to_container(composed, resolve=True)
    except ConfigCompositionException as error:
        foreign = re.match(r"Could not override '([\w.]+)'", str(error))
        if not foreign:
            raise ConfigError(f"error: the configuration does not compose: {error}\n  where: configs") from None
        key = foreign[1]
        raise ConfigError(
            f"error: unknown key {key}: the chosen {key.partition('.')[0]} does not have it\n  where: {COMMAND_LINE}\n"
            f"  fix:   {_who_has(key)}"
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"error: the configuration does not compose: {error}\n  where: configs") from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
