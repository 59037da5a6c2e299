"""One entry of the suite's table, and the words with which a user of a plain module carries out a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kind import start
from knobs import Settings
from modules import KINDS, settings


@dataclass(frozen=True)
class Case:
    """Args:
    name: Of the case and of its folder.
    architecture: What the parts are split by.
    kind: "project" (words of the project's command line) or one of `modules.KINDS` (words of `knobs.Settings`).
    words: Of the healthy training.
    fault: Further words that break it; none: the case is healthy.
    rules: Acceptable names of what is wrong, the primary one first.
    cures: Remedy action to the words that carry it out on this module; for a project's case the rules know the words.
    note: One line.
    part: "training" or "held-out", as the table says.
    """

    name: str
    architecture: str
    kind: str
    words: tuple[str, ...]
    fault: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    cures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""
    part: str = "training"


def project(name: str, words: str, fault: str = "", rules: str = "", note: str = "") -> Case:
    architecture = words.split()[0].removeprefix("model=")
    told = tuple(words.split()), tuple(fault.split()), tuple(rules.split())
    return Case(name, architecture, "project", *told, note=note)


def plain(name: str, kind: str, words: str, fault: str = "", rules: str = "", note: str = "") -> Case:
    healthy, broken = words.split(), fault.split()
    remedies = cures(kind, healthy, broken) if broken else {}
    return Case(name, kind, kind, tuple(healthy), tuple(broken), tuple(rules.split()), remedies, note)


# What a user of any of the plain modules can do when told to: also where it is no cure.
_ANY = {
    "clip": "clip=1 clip_by=norm",
    "loosen_clip": "clip=0",
    "logits": "head=logits",
    "cross_entropy": "head=logits loss=",
    "loss_sign": "loss_sign=1",
    "connect": "detach=false trains=all",
    "precision": "precision=32",
    "batch_size": "batch=64",
    "check_data": "bad=none",
    "labels": "labels=true",
    "stable_ops": "eps=0.001",
    "scale_inputs": "raw=false input_scale=1 input_shift=0",
}


def cures(kind: str, words: Sequence[str], fault: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Action to words: those of all plain modules, of this kind, and the rates."""
    healthy, broken = settings(kind, words), settings(kind, [*words, *fault])
    own = KINDS[kind].cures
    told = _ANY | (_of_layers(broken, KINDS[kind].norm) if own is None else own) | _rates(healthy, broken)
    return {action: tuple(text.split()) for action, text in told.items()}


def _of_layers(broken: Settings, norm: str) -> dict[str, str]:
    saturates = broken.activation in ("tanh", "sigmoid")
    return {
        "init": start("orthogonal" if saturates else "he"),
        "activation": f"activation={'relu' if saturates else 'leaky_relu'}",
        "norm": f"norm={norm}",
        "skip": "skip=true",
    }


def _rates(healthy: Settings, broken: Settings) -> dict[str, str]:
    """Told which way to go, a user goes on until it works; told the wrong way, one step of ten."""
    is_higher = broken.lr > healthy.lr or broken.schedule == "spike"
    is_lower = broken.lr < healthy.lr
    return {
        "lower_lr": f"lr={healthy.lr if is_higher else broken.lr / 10} schedule=constant",
        "raise_lr": f"lr={healthy.lr if is_lower else 10 * broken.lr}",
        "raise_lr_more": f"lr={healthy.lr if is_lower else 100 * broken.lr}",
    }
