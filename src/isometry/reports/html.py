"""The report of a run as one page: pictures inside it, no script, nothing that a browser would have to fetch.

Made from what lies in the run's folder, so a crashed run has one, too; what is missing is said in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from ..diagnostics.history import History, in_order, read_history
from ..diagnostics.profile import Profile
from ..diagnostics.rules import diagnose, settings_in
from .page import figure, page, table
from .series import dead_share, update_ratios
from .terminal import flow_beside_theory

_FACTS = ("test/acc", "val/acc", "test/loss", "steps", "duration_s", "samples_per_s", "state_digest", "git_commit")

# In reading order: file stem -> heading, how to read it.
_PICTURES = {
    "depth_ribbon": (
        "Through the depth",
        "∂L/∂z is the gradient that reaches a layer's output. Its line falls towards the input (to the left) when the "
        "gradient vanishes and rises towards it when it explodes; a level one is what a good start looks like. A step "
        "where the shape of the layers changes is no fault.",
    ),
    "time_profile": (
        "Through time",
        "How much of the last step's gradient arrives at each earlier one. A line that falls to the left vanishes: "
        "what happened further back cannot be learned. One that rises to the left explodes.",
    ),
    "gradient_norms": (
        "Size of the weights' gradients",
        "A total that climbs by orders of magnitude explodes. These are weight gradients, and they are blind to "
        "textbook vanishing: in a ReLU net without biases ⟨W, ∂L/∂W⟩ is the same in every layer however small ∂L/∂z "
        "has become, so rows that look alike prove nothing about the depth.",
    ),
    "gradient_histogram": (
        "Elements of the gradient",
        "Each row is one layer. A row far to the left of the others hardly learns; one that ends abruptly at the "
        "smallest number of its precision (1e-45 in float32, 6e-8 in float16) loses the rest to zero.",
    ),
}


def write_report(folder: Path, history: History | None = None) -> Path:
    """`report.html` in a run's folder; its path.

    Args:
        folder: Of a run, complete or not.
        history: The folder's, for a caller who has read it already.
    """
    history = history_in(folder) if history is None else history
    profiles = in_order(history.profiles)
    summary, gaps = _summary(folder)
    parts = [
        f"<h1>{escape(folder.resolve().name)}</h1>",
        *_flow(profiles),
        *_verdict(folder, history),
        *_missing(folder, profiles, gaps),
        _facts(summary),
        *_pictures(folder),
        *(_layers(history, profiles[-1]) if profiles else ()),
        *_events(history),
        *_unseen(profiles),
        *_files(folder),
    ]
    path = folder / "report.html"
    path.write_text(page(folder.resolve().name, parts), encoding="utf-8")
    return path


def history_in(folder: Path) -> History:
    """What `gradients.jsonl` holds; empty without the file."""
    path = folder / "gradients.jsonl"
    return read_history(path) if path.is_file() else History()


def _summary(folder: Path) -> tuple[Mapping[str, Any], list[str]]:
    """`summary.json`, and a sentence where there is none."""
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf-8")), []
    except FileNotFoundError:
        return {}, ["No summary.json: the run has not come to its end."]
    except ValueError as error:
        return {}, [f"summary.json cannot be read: {error}"]


def _verdict(folder: Path, history: History) -> Iterable[str]:
    """What the rules say, with what could cure it."""
    if not history.records and not history.profiles:
        return
    diagnosis = diagnose(history, settings_in(folder))
    if not diagnosis.findings:
        steps = 1 + max([0, *(record.step for record in history.records)])
        yield f"<p>Healthy: no rule found anything in {steps:,} steps.</p>"
    for finding in diagnosis.findings:
        yield f'<h2 class="warn">{escape(finding.severity)}: {escape(finding.rule)}</h2>'
        yield f"<p>{escape(finding.explanation)} First seen at step {finding.since}.</p>"
        tries = (f"{remedy.words} {' '.join(remedy.overrides)}" for remedy in finding.remedies)
        yield "<ol>" + "".join(f"<li>{escape(each)}</li>" for each in tries) + "</ol>"


def _missing(folder: Path, profiles: list[Profile], gaps: list[str]) -> Iterable[str]:
    if not (folder / "gradients.jsonl").is_file():
        gaps.append("No gradients.jsonl: the monitor was off, or the run ended before its first logged step.")
    elif not profiles:
        gaps.append("No depth profile in gradients.jsonl: no step was probed.")
    if not (folder / "config.yaml").is_file():
        gaps.append("No config.yaml: the run ended before its network was built.")
    if not any(folder.glob("*.png")):
        gaps.append("No pictures.")
    yield from (f'<p class="warn">{escape(gap)}</p>' for gap in gaps)


def _flow(profiles: list[Profile]) -> Iterable[str]:
    """The last profile's sentence with theory's factor, then the first one's."""
    for profile, style in zip(reversed([*profiles[:1], *profiles[1:][-1:]]), ("flow", "soft"), strict=False):
        if line := flow_beside_theory(profile):
            yield f'<p class="{style}">{escape(line)} <small>at step {profile.step:,}</small></p>'


def _facts(summary: Mapping[str, Any]) -> str:
    known = {key: summary[key] for key in _FACTS if summary.get(key) is not None}
    known |= summary.get("fingerprint") or {}
    items = (f"<div><dt>{escape(key)}</dt><dd>{escape(_fact(key, value))}</dd></div>" for key, value in known.items())
    return f"<dl>{''.join(items)}</dl>"


def _fact(key: str, value: Any) -> str:
    if key in ("state_digest", "git_commit"):
        return str(value)[:12] + "+" * str(value).endswith("+")  # a + stands for files that were changed
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:.2%}" if key.endswith("/acc") else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _pictures(folder: Path) -> Iterable[str]:
    """Every PNG of the folder: the known ones in reading order, then the others by name."""
    paths = {path.stem: path for path in sorted(folder.glob("*.png"))}
    for stem in [*(stem for stem in _PICTURES if stem in paths), *(stem for stem in paths if stem not in _PICTURES)]:
        heading, reading = _PICTURES.get(stem, (stem.replace("_", " ").capitalize(), ""))
        yield figure(paths[stem], heading, reading)


def _layers(history: History, profile: Profile) -> Iterable[str]:
    ratios = update_ratios(history, profile.step)
    yield f"<h2>Layers at step {profile.step:,}</h2>"
    yield '<p class="soft">Expected is what theory gives: for RMS ∂L/∂z here over that of the next layer, and for '
    yield "RMS z of the next layer over that here; empty where there is no closed form.</p>"
    yield table(
        {
            "layer": layer.name,
            "depth": layer.depth,
            "shape": "×".join(map(str, layer.shape)),
            "RMS z": layer.activation_rms,
            "mean z": layer.activation_mean,
            "RMS ∂L/∂z": layer.gradient_rms,
            "expected ∂L/∂z": layer.expected_backward,
            "expected z": layer.expected_forward,
            "‖Δw‖/‖w‖": ratios.get(layer.module),
            "dead": _percent(dead_share(history, layer)),
            "saturated": _percent(layer.saturated),
            "NaN, ∞": layer.nonfinite,
        }
        for layer in profile.layers
    )


def _events(history: History) -> Iterable[str]:
    if not history.nonfinite:
        return
    yield "<h2>NaN and infinities</h2>"
    yield table(
        {
            "step": event.step,
            "first module": event.module,
            "first parameter": event.parameter,
            "samples of the batch": ", ".join(map(str, event.samples)),
            "in the input": "yes" if event.inputs else "no",
            "file": event.file,
        }
        for event in history.nonfinite
    )


def _unseen(profiles: list[Profile]) -> Iterable[str]:
    if profiles and profiles[-1].unseen:
        yield "<h2>Not seen</h2><ul>"
        yield from (f"<li><b>{escape(n)}</b>: {escape(why)}</li>" for n, why in profiles[-1].unseen.items())
        yield "</ul>"


def _files(folder: Path) -> Iterable[str]:
    for name in ("overrides.yaml", "config.yaml", "error.log"):
        if (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            yield f"<details><summary>{name}</summary><pre>{escape(text)}</pre></details>"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
