"""Mistakes in words: each as the rule, what was given, where it came from, and what to write instead.

`validation.py` and `overrides.py` find the mistakes, this module only phrases them. Torch-free.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from pydantic_core import ErrorDetails

from .catalog import GROUPS, SWITCHES
from .config import CONFIG_DIR, known_keys

Given = Mapping[str, str]  # key -> where it was set by hand


def message(key: str, what: str, given: Given, fixes: Sequence[str] = ()) -> str:
    """Three lines: what is wrong, where `key` was set, what to write instead."""
    where = given.get(key, given.get(key.partition(".")[0], "configs"))
    lines = [f"error: {what}", f"  where: {where}"]
    if fixes:
        lines.append("  fix:   " + "   or   ".join(fixes))
    return "\n".join(lines)


def unknown_key(key: str, where: str) -> str:
    """For a key that does not exist: the closest that do, else its siblings."""
    known = known_keys()
    last, section = key.rpartition(".")[2], key.rpartition(".")[0]
    same_name = sorted(other for other in known if other.rpartition(".")[2] == last)
    closest = same_name or difflib.get_close_matches(key, known, 3, 0.75)
    siblings = sorted(other for other in known if other.rpartition(".")[0] == section)
    if closest:
        fix = f"did you mean {' or '.join(closest)}?"
    else:
        fix = f"keys here: {', '.join(siblings)}" if siblings else "`isometry train --cfg` lists every key"
    return f"error: unknown key {key}\n  where: {where}\n  fix:   {fix}"


# What other libraries and papers call ours.
ALIASES = {"kaiming": "he", "glorot": "xavier", "rmsnorm": "rms", "swish": "silu", "autoclip": "percentile"}


def unknown_name(family: str, name: object, where: str) -> str:
    """For a strategy that does not exist: the closest and all valid ones."""
    names, wanted = list({**SWITCHES, **GROUPS}[family]), str(name)
    for alias, ours in ALIASES.items():
        wanted = wanted.replace(alias, ours)
    closest = difflib.get_close_matches(wanted, names, 1)
    hint = f"did you mean {family}={closest[0]}? " if closest else ""
    if family == "clip" and not closest:
        hint = "trainer.gradient_clip_val=1.0 clips to a number; "
    own = ", or a callable of yours: module:name" if family in {*SWITCHES, "model", "data"} else ""
    choices = f"choices: {', '.join(names)}{own}"
    return f"error: {family} = {spell(name)} is not known\n  where: {where}\n  fix:   {hint}{choices}"


def explain(problem: ErrorDetails, raw: Mapping[str, Any], given: Given) -> str:
    """One pydantic error in our form."""
    key, value, kind = _key(problem), problem["input"], problem["type"]
    match kind:
        case "missing":
            return message(key, f"{key} is missing", given)
        case "extra_forbidden":
            return unknown_key(key, given.get(key, "configs"))
        case "union_tag_invalid" | "union_tag_not_found":
            name = value.get("name") if isinstance(value, dict) else value
            return unknown_name(key, name, given.get(key, given.get(f"{key}.name", "configs")))
        case "unused":
            family, _, option = key.partition(".")
            users = [f"{family}={name}" for name, strategy in SWITCHES[family].items() if option in strategy.options]
            return message(key, f"{key} = {spell(value)} {problem['msg']}", given, [f"{key}=null", *users])
        case "not_given":
            return message(key, f"{key} {problem['msg']}", given, [f"{key}=PATH"])
    fixes = EXAMPLES.get(key) or _fixes(key, raw)
    if kind == "one_of":
        closest = difflib.get_close_matches(str(value), problem["ctx"]["choices"].split(", "), 1)
        fixes = [f"{key}={name}" for name in closest] or fixes
    null = NULL_MEANS.get(key)
    rule = _rule(problem) + (f", or null {null}" if null else "")
    return message(key, f"{key} = {spell(value)} is not allowed ({rule})", given, fixes)


# What `null` stands for, where a number out of bounds suggests that the user wanted to switch something off.
NULL_MEANS = {
    "trainer.gradient_clip_val": "for no clipping",
    "trainer.max_steps": "to train max_epochs",
    "early_stopping.patience": "for no early stopping",
    "data.limit_train_images": "for all images",
}

# What to write instead, where the shipped value is not the likeliest wish.
EXAMPLES = {"trainer.gradient_clip_val": ["trainer.gradient_clip_val=1.0", "trainer.gradient_clip_val=null"]}


def _key(problem: ErrorDetails) -> str:
    """The dotted key a user would write: no union tags, at most two parts."""
    path = [str(part) for part in problem["loc"]]
    family = {**SWITCHES, **GROUPS}.get(path[0])
    if family and path[0] != "data" and len(path) > 1:
        del path[1]  # the name of the chosen strategy, which tags the union
    return ".".join(path[:2])


def _rule(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    signs = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if problem["type"] in signs:
        sign = signs[problem["type"]]
        return f"must be { {'gt': '>', 'ge': '>=', 'lt': '<', 'le': '<='}[sign] } {context[sign]:g}"
    words = {
        "int_type": "must be an integer",
        "int_from_float": "must be an integer",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "bool_type": "must be true or false",
        "string_type": "must be a text",
        "string_too_short": "must not be empty",
        "list_type": "must be a list like [a,b]",
    }
    return words.get(problem["type"], problem["msg"])


def _fixes(key: str, raw: Mapping[str, Any]) -> list[str]:
    """The value that is shipped, which is always allowed."""
    section, _, name = key.partition(".")
    chosen = raw.get(section)
    file = chosen.get("name") if isinstance(chosen, dict) and section != "trainer" else "default"
    places = [
        (CONFIG_DIR / "train.yaml", key),
        (CONFIG_DIR / section / "default.yaml", name),
        (CONFIG_DIR / section / f"{file}.yaml", name),
    ]
    for path, inner in places:
        if path.is_file() and inner:
            shipped = OmegaConf.select(OmegaConf.load(path), inner, default=...)
            if shipped is not ...:
                return [f"{key}={spell(shipped)}"]
    return []


def spell(value: object) -> str:
    """As it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return (
        "[" + ",".join(map(spell, value)) + "]"
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
