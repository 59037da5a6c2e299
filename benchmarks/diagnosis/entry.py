"""One line of the suite's table, and the words with which a user of a plain module carries out a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """Args:
    name: Of the case and of its folder.
    part: "training" or "held-out".
    architecture: What the parts are split by.
    kind: "project" (words of the project's command line) or one of `modules.KINDS` (words of `knobs.Settings`).
    words: Of the healthy training.
    fault: Further words that break it; none: the case is healthy.
    rules: Acceptable names of what is wrong, the primary one first.
    cures: Remedy action to the words that carry it out on this module; for a project's case the rules know the words.
    note: One line.
    """

    name: str
    part: str
    architecture: str
    kind: str
    words: tuple[str, ...]
    fault: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    cures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""


# What a user of any of the plain modules can do when told to: also where it is no cure.
_ANY = {
    "clip": "clip=1",
    "loosen_clip": "clip=0",
    "logits": "head=logits",
    "loss_sign": "loss_sign=1",
    "connect": "detach=false trains=all",
    "precision": "precision=32",
    "batch_size": "batch=64",
    "check_data": "bad=none",
    "labels": "labels=true",
    "stable_ops": "eps=0.001",
    "scale_inputs": "raw=false input_scale=1 input_shift=0",
}
_OF_KIND = {
    "dense": {"init": "init=he init_gain=1 bias=0 head_gain=1", "norm": "norm=layer", "skip": "skip=true",
              "activation": "activation=relu"},
    "recurrent": {"init": "init=orthogonal recurrent_gain=1", "cell": "cell=lstm"},
    "forget": {"forget_bias": "forget_bias=5"},
    "convolutions": {"init": "init=he init_gain=1 bias=0 head_gain=1", "norm": "norm=group", "skip": "skip=true",
                     "activation": "activation=relu"},
    "transformer": {"init": "init=xavier init_gain=1 bias=0 head_gain=1", "norm": "norm=pre"},
}  # fmt: skip


def cures(of_kind: str, lower_lr: str, raise_lr: str, **own: str) -> dict[str, tuple[str, ...]]:
    """Action to words: those of all plain modules, of this kind, and the case's own."""
    rates = {"lower_lr": f"lr={lower_lr} schedule=constant", "raise_lr": f"lr={raise_lr}"}
    told = _ANY | _OF_KIND[of_kind] | rates | own
    return {action: tuple(words.split()) for action, words in told.items()}
