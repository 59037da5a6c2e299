"""What there is to choose and what does not go together, in words; read from the catalog. Torch-free.

`page()` is what `isometry strategies [FAMILY …]` prints, `clash_table()` the table as the README shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .catalog import GROUPS, SWITCHES
from .clashes import CLASHES
from .options import Option, Strategy

FAMILIES = {**SWITCHES, **GROUPS}


def page(families: Sequence[str] = tuple(FAMILIES)) -> str:
    """Every family with its names, their options and bounds, and what does not go together."""
    lines: list[str] = []
    for family in families:
        strategies = FAMILIES[family]
        lines.append(f"{'data.augment' if family == 'augment' else family}=")
        for name, strategy in strategies.items():
            lines += [f"  {name:<30} {strategy.summary}", *_options(family, strategy)]
    lines.append("\nAll of it goes together, but for these:")
    for clash in CLASHES:
        if not any(choice.key.partition(".")[0] in families for choice in (clash.one, clash.other)):
            continue
        lines += [f"  {clash.one}  with  {clash.other}", f"      {clash.reason}"]
    return "\n".join(lines)


def clash_table() -> str:
    """What does not go together, in Markdown."""
    rows = [[f"`{clash.one}`", f"`{clash.other}`", clash.reason] for clash in CLASHES]
    table = [["this", "with this", "why not"], ["---"] * 3, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table)


def _options(family: str, strategy: Strategy) -> Iterator[str]:
    for key, option in strategy.options.items():
        yield f"      {f'{family}.{key}':<26} {option.doc} ({_bounds(option)})"


def _bounds(option: Option) -> str:
    """`float > 0, default 8`."""
    bounds = {">": option.above, ">=": option.minimum, "<=": option.maximum, "<": option.below}
    kind = " | ".join(option.choices) if option.choices else option.type.__name__
    words = [kind, *(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)]
    default = "" if option.default is None else f", default {option.default}"
    return ", ".join(words) + default
