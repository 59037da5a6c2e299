"""What a line of the catalog consists of. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Option:
    """One keyword of a strategy; `config.py` turns it into a checked field.

    Args:
        type: The accepted Python type; an integer is also accepted where `float` is wanted.
        doc: What it does, with its unit.
        default: Used where the configuration says `null` (switches only).
        above, minimum, maximum, below: Bounds of a number, or of each number of a list.
        choices: The only allowed texts.
        nullable: Whether `null` is a value of a group's option, too (the switches' all are).
    """

    type: type
    doc: str
    default: object = None
    above: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    nullable: bool = False


@dataclass(frozen=True)
class Strategy:
    """One choosable name: a line of explanation, the import path of its callable, and its options."""

    summary: str
    target: str
    options: dict[str, Option] = field(default_factory=dict)
