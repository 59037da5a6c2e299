"""A kind of plain module: its network, what makes a sensible training of it, and how its user follows advice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from knobs import Settings
from networks import Net
from tasks import Task


@dataclass(frozen=True)
class Kind:
    """Args:
    network: Made from settings and a task.
    defaults: Words that make a sensible training of it.
    cures: Remedy action to the words with which it is carried out; none: as in a plain net of layers.
    norm: What normalises that plain net: `layer`, or `group` where it has channels.
    """

    network: Callable[[Settings, Task], Net]
    defaults: str
    cures: Mapping[str, str] | None = None
    norm: str = "layer"


RECURRENT = {"init": "init=orthogonal recurrent_gain=1", "forget_bias": "forget_bias=4"}


def start(scheme: str, gain: float = 1, head_gain: float = 1) -> str:
    """The words of an init from which all layers start at their usual scale."""
    return f"init={scheme} init_gain={gain:g} bias=0 head_gain={head_gain:g}"
