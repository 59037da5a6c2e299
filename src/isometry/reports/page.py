"""What every page of ours is made of: pictures inside it, no script, nothing that a browser would have to fetch."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

# The policy makes "nothing is fetched" the browser's rule and not only ours.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ --ink: #1c1e21; --soft: #5f6670; --paper: #fff; --line: #d8dce1; --panel: #f4f6f8; --warn: #b3261e }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6e8eb; --soft: #a0a7b1; --paper: #16181b; --line: #363b42; --panel: #202328; --warn: #ff8a80 }}
}}
body {{ margin: 0 auto; padding: 1rem; max-width: 60rem; font: 16px/1.5 system-ui, sans-serif;
       color: var(--ink); background: var(--paper); overflow-wrap: anywhere }}
h1 {{ font-size: 1.3rem }} h2 {{ font-size: 1.1rem; margin-top: 2.5rem }}
.flow {{ font-size: 1.6rem; line-height: 1.3; font-weight: 600; margin: 0.5rem 0 }}
.soft, figcaption {{ color: var(--soft) }} .warn {{ color: var(--warn) }}
dl {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 0.75rem }}
dl > div, pre {{ background: var(--panel); border-radius: 6px; padding: 0.5rem 0.75rem }}
dt {{ color: var(--soft); font-size: 0.85rem }} dd {{ margin: 0; font-variant-numeric: tabular-nums }}
figure {{ margin: 2rem 0 }} img {{ max-width: 100%; height: auto; background: #fff; border-radius: 6px }}
.wide {{ overflow-x: auto }} pre {{ overflow-x: auto; font-size: 0.85rem; white-space: pre-wrap }}
table {{ border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }}
th, td {{ padding: 0.2rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }}
th:first-child, td:first-child {{ text-align: left }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document; `parts` are HTML."""
    return _PAGE.format(title=escape(title), body="\n".join(parts))


def figure(path: Path, heading: str, reading: str) -> str:
    """A PNG under its heading, with how to read it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<h2>{escape(heading)}</h2>\n<figure><img alt="{escape(heading)}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{escape(reading)}</figcaption></figure>"
    )


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows by heading. It scrolls sideways by itself, so that the page need not."""
    rows = list(rows)
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in (rows[0] if rows else ()))
    lines = ["".join(f"<td>{escape(_cell(cell))}</td>" for cell in row.values()) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
