"""Hooks on modules that nobody else has to know about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Hook:
    """A hook that stays behind when its module is copied or pickled: the copy gets one that does nothing."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> None:
        self.function(*args)

    def __reduce__(self) -> tuple[Callable[[], Hook], tuple[()]]:
        return _idle, ()


def _idle() -> Hook:
    return Hook(_nothing)


def _nothing(*args: Any) -> None:
    """What a copied hook does."""
