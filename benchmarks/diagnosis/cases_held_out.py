"""The held-out part: none yet."""

from __future__ import annotations

from entry import Case

HELD_OUT: tuple[Case, ...] = ()
