"""One entry of the suite's table, and the words with which a user of a plain module carries out a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import knobs
from modules import KINDS


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


def project(part: str, name: str, words: str, fault: str = "", rules: str = "", note: str = "") -> Case:
    architecture = words.split()[0].removeprefix("model=")
    told = tuple(words.split()), tuple(fault.split()), tuple(rules.split())
    return Case(name, part, architecture, "project", *told, note=note)


def plain(part: str, name: str, kind: str, words: str, fault: str = "", rules: str = "", note: str = "") -> Case:
    healthy, broken = words.split(), fault.split()
    remedies = cures(kind, healthy, broken) if broken else {}
    return Case(name, part, kind, kind, tuple(healthy), tuple(broken), tuple(rules.split()), remedies, note)


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
_RECURRENT = {
    "init": "init=orthogonal recurrent_gain=1",
    "forget_bias": "forget_bias=4",
}
_OF_KIND = {
    "recurrent": _RECURRENT | {"cell": "cell=lstm"},
    "cell_loop": _RECURRENT | {"cell": "cell=gru"},
    "transformer": {"init": "init=xavier init_gain=1 bias=0 head_gain=1", "norm": "norm=pre"},
    "tagger": _RECURRENT | {"cell": "cell=lstm", "forget_bias": "forget_bias=2"},  # marks are some eight steps apart
    "translator": _RECURRENT | {"cell": "cell=gru"},
    "linear_recurrence": {"init": "init=lecun init_gain=1 recurrent_gain=1 bias=0 head_gain=1", "norm": "norm=layer",
                          "forget_bias": "forget_bias=4"},
    "gated_waves": {"init": "init=lecun init_gain=1 bias=0 head_gain=1", "norm": "norm=layer", "skip": "skip=true"},
    "highway": {"init": "init=lecun init_gain=1 bias=0 head_gain=1 forget_bias=2", "norm": "norm=layer",
                "activation": "activation=leaky_relu", "skip": "forget_bias=2"},
    "maxout": {"init": "init=lecun init_gain=1 bias=0 head_gain=1", "norm": "norm=layer", "skip": "skip=true"},
    "mixer": {"init": "init=xavier init_gain=1 bias=0 head_gain=1", "norm": "norm=layer", "skip": "skip=true",
              "activation": "activation=leaky_relu"},
    "graph": {"init": "init=lecun init_gain=1 bias=0 head_gain=1", "norm": "norm=layer", "skip": "skip=true",
              "activation": "activation=leaky_relu"},  # two layers are added: half of He's variance each
    "sine_net": {"init": "init=he init_gain=1 bias=0 head_gain=1", "norm": "norm=layer", "skip": "skip=true"},
    "squeeze": {"init": "init=he init_gain=1 bias=0 head_gain=1", "norm": "norm=group", "skip": "skip=true",
                "activation": "activation=leaky_relu"},
    "convnext": {"init": "init=lecun init_gain=1 bias=0 head_gain=1", "norm": "norm=layer",
                 "skip": "skip=true branch_gain=0.5", "activation": "activation=gelu"},
    "crosses": {"init": "init=lecun init_gain=0.5 bias=0 head_gain=1", "norm": "norm=layer",
                "activation": "activation=leaky_relu"},
    "gated_units": {"init": "init=he init_gain=1 bias=0 head_gain=1", "norm": "norm=layer", "skip": "skip=true"},
    "actor": {"init": "init=orthogonal init_gain=1 bias=0 head_gain=0.3", "activation": "activation=relu",
              "norm": "norm=layer", "skip": "skip=true"},
    "flow": {"init": "init=default", "norm": "norm=layer", "activation": "activation=leaky_relu"},
    "denoiser": {"init": "init=lecun init_gain=1 bias=0 head_gain=1", "norm": "norm=layer",
                 "skip": "skip=true branch_gain=0.5", "activation": "activation=silu"},
    "euler": {"init": "init=lecun init_gain=1 bias=0 head_gain=1", "norm": "norm=layer",
              "skip": "skip=true branch_gain=0.1", "activation": "activation=leaky_relu"},
    "mean_of_both": _RECURRENT | {"cell": "cell=gru", "norm": "norm=layer"},
    "stacked": _RECURRENT | {"cell": "cell=lstm"},
    "sketcher": _RECURRENT | {"cell": "cell=gru"},
    "gaps": {"init": "init=xavier init_gain=1 bias=0 head_gain=1", "norm": "norm=layer"},
    "pooled_both_ways": _RECURRENT | {"cell": "cell=lstm", "norm": "norm=layer"},
    "stacked_levels": _RECURRENT | {"cell": "cell=lstm", "norm": "norm=layer"},
    "sequence_code": _RECURRENT | {"cell": "cell=lstm"},
    "causal_classes": {"init": "init=he init_gain=1 bias=0 head_gain=1", "norm": "norm=group", "skip": "skip=true",
                       "activation": "activation=leaky_relu"},
    "gap_filler": {"init": "init=xavier init_gain=1 bias=0 head_gain=1", "norm": "norm=pre"},
}  # fmt: skip
# For which one takes GroupNorm.
_CHANNELS = (
    "signal_net", "unet", "fine_tuned", "separable", "densenet", "point_set", "inception", "triplets", "enlarger",
    "heat_maps", "tones",
)  # fmt: skip


def cures(kind: str, words: Sequence[str], fault: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Action to words: those of all plain modules, of this kind, and the rates."""
    healthy, broken = (knobs.read(all_words, KINDS[kind][1]) for all_words in (words, [*words, *fault]))
    of_kind = _OF_KIND[kind] if kind in _OF_KIND else _feedforward(kind, broken)
    told = _ANY | of_kind | _rates(healthy, broken)
    return {action: tuple(text.split()) for action, text in told.items()}


def _feedforward(kind: str, broken: knobs.Settings) -> dict[str, str]:
    saturates = broken.activation in ("tanh", "sigmoid")
    return {
        "init": f"init={'orthogonal' if saturates else 'he'} init_gain=1 bias=0 head_gain=1",
        "activation": f"activation={'relu' if saturates else 'leaky_relu'}",
        "norm": "norm=group" if kind in _CHANNELS else "norm=layer",
        "skip": "skip=true",
    }


def _rates(healthy: knobs.Settings, broken: knobs.Settings) -> dict[str, str]:
    """Told which way to go, a user goes on until it works; told the wrong way, one step of ten."""
    is_higher = broken.lr > healthy.lr or broken.schedule == "spike"
    is_lower = broken.lr < healthy.lr
    return {
        "lower_lr": f"lr={healthy.lr if is_higher else broken.lr / 10} schedule=constant",
        "raise_lr": f"lr={healthy.lr if is_lower else 10 * broken.lr}",
        "raise_lr_more": f"lr={healthy.lr if is_lower else 100 * broken.lr}",
    }
