"""A run in words: one line on how the gradient flows, and a table of the layers for the end of a run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from ..diagnostics.findings import Diagnosis, Trial
from ..diagnostics.history import History, in_order
from ..diagnostics.profile import LayerProfile, Profile, TimeProfile
from ..diagnostics.slope import Fit
from .series import dead_share, log10, unusable_layers, update_ratios

_LEVEL = 0.5  # decades over the whole depth that count as none
_ENDS = 15  # layers of a long table that are shown at each end
_BETWEEN = 10  # at most so many of those in the middle
_BAR = 10  # characters
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def flow_line(profile: Profile) -> str:
    """How the gradient changes on its way back, in one line; empty where nothing can be said.

    `gradient ×0.71 per layer, 4.4 decades lost over 30 layers; gradient through time falls tenfold in 5 steps, ×4e-07
    over 28 steps`
    """
    return "; ".join(filter(None, (_depth_sentence(profile.backward), *_further(profile))))


def flow_beside_theory(profile: Profile) -> str:
    """The flow line with theory's factor behind the measured one's sentence."""
    depth = _depth_sentence(profile.backward)
    return "; ".join(filter(None, (f"{depth} ({theory(profile)})" if depth else "", *_further(profile))))


def _depth_sentence(fit: Fit | None) -> str:
    """`gradient ×0.71 per layer, 4.4 decades lost over 30 layers`."""
    if fit is None or not math.isfinite(fit.decades):
        return ""
    change = f"{abs(fit.decades):.1f} decades {'lost' if fit.decades < 0 else 'grown'}"
    change = change if abs(fit.decades) >= _LEVEL else "level"
    return f"gradient {times(fit.gain)} per layer, {change} over {fit.layers} layers"


def theory(profile: Profile) -> str:
    """What theory gives for the factor per layer: `theory ×0.71`, or that there is no closed form."""
    expected = profile.expected_backward_gain
    return "no closed form" if expected is None else f"theory {times(expected)}"


def horizon(time: TimeProfile) -> str:
    """`falls tenfold in 7 steps`: how far back through time the gradient of the last step is felt."""
    norms = time.reach
    if not all(map(math.isfinite, norms)):
        return "not finite"
    if not norms or norms[-1] <= 0:
        return "no gradient at the last step"
    back = time.horizon
    if back is None:
        return f"never falls tenfold within {len(norms)} steps"
    return f"falls tenfold in {back} step{'s' if back > 1 else ''}"


def times(factor: float) -> str:
    """`×0.71`."""
    return f"×{factor:.2f}" if 0.095 <= factor < 100 else f"×{factor:.2g}"


def layer_table(history: History, width: int = 100) -> str:
    """The last profile, a line per layer, then the flow line and what stayed unseen; empty without a profile.

    A bar's length is log10 of ∂L/∂z, from the smallest to the largest of the table (over one decade at least, so that
    noise does not look like a slope); × stands for zero, NaN or infinite.

    Args:
        history: Of a run.
        width: Characters a line may have; 80 or more.
    """
    profiles = in_order(history.profiles)
    if not profiles:
        return ""
    last = profiles[-1]
    shown, gap = _thin(last.layers)
    lines = _rows(history, last, shown, width)
    if gap:
        lines.insert(1 + _ENDS, gap)
    notes = [flow_beside_theory(last), *(f"unseen: {name}: {reason}" for name, reason in last.unseen.items())]
    return "\n".join([*lines, *(line for note in notes for line in textwrap.wrap(note, width, subsequent_indent="  "))])


def findings_lines(diagnosis: Diagnosis, width: int = 100) -> list[str]:
    """Each finding with its explanation, where it is and what could cure it; one line for a healthy training."""
    if not diagnosis.findings:
        return ["healthy: no rule found anything"]
    lines = []
    for finding in diagnosis.findings:
        lines.append(f"{finding.severity}: {finding.rule}")
        lines += textwrap.wrap(finding.explanation, width - 2, initial_indent="  ", subsequent_indent="  ")
        for remedy in finding.remedies[:3]:
            shown = f"{remedy.words}: {' '.join(remedy.overrides)}" if remedy.overrides else remedy.words
            lines += textwrap.wrap(shown, width - 2, initial_indent="  try: ", subsequent_indent="       ")
    return lines


def trial_table(before: Trial, trials: Sequence[tuple[Trial, str]], steps: int) -> list[str]:
    """What each remedy did: factor per layer before the first step, loss after the last."""
    rows = [("change", "∂L/∂z per layer", f"loss after {steps} steps", "")]
    for trial, verdict in [(before, "as it is"), *trials]:
        gain = "" if trial.gain is None else times(trial.gain)
        loss = f"{trial.last_loss:.4g}" if trial.losses else ""
        rows.append((" ".join(trial.overrides) or "none", gain, loss, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"{change:<{widths[0]}}  {gain:>{widths[1]}}  {loss:>{widths[2]}}  {verdict}".rstrip()
        for change, gain, loss, verdict in rows
    ]


def _rows(history: History, profile: Profile, layers: list[LayerProfile], width: int) -> list[str]:
    ratios = update_ratios(history, profile.step)
    logs = [log10(layer.gradient_rms) for layer in layers]
    known = [log for log in logs if math.isfinite(log)]
    high = max(known, default=0.0)
    low = min([*known, high - 1])
    shapes = ["×".join(map(str, layer.shape)) for layer in layers]
    shape_width = min(max(map(len, ["shape", *shapes])), 14)
    name_width = min(width - shape_width - _BAR - 46, max(len(layer.name) for layer in layers) if layers else 5)
    head = ("RMS z", "RMS ∂L/∂z", "", "‖Δw‖/‖w‖", "dead", "satur.")
    lines = [_row("layer", "shape", *head, name_width=name_width, shape_width=shape_width)]
    for layer, log, shape in zip(layers, logs, shapes, strict=True):
        cells = (
            f"{layer.activation_rms:.2e}",
            "none" if layer.gradient_rms is None else f"{layer.gradient_rms:.2e}",
            "" if layer.gradient_rms is None else _bar((log - low) / (high - low)),
            f"{ratios[layer.module]:.1e}" if layer.module in ratios else "",
            _percent(dead_share(history, layer)),
            _percent(layer.saturated),
        )
        lines.append(_row(layer.name, shape, *cells, name_width=name_width, shape_width=shape_width))
    return lines


def _row(name: str, shape: str, *cells: str, name_width: int, shape_width: int) -> str:
    size, gradient, bar, update, dead, saturated = cells
    left = f"{_shorten(name, name_width):<{name_width}} {_shorten(shape, shape_width):>{shape_width}}"
    return f"{left} {size:>9} {gradient:>9} {bar:<{_BAR}} {update:>9} {dead:>6} {saturated:>6}".rstrip()


def _thin(layers: tuple[LayerProfile, ...]) -> tuple[list[LayerProfile], str]:
    """The layers that a table shows, and the line that says how many it leaves out."""
    middle = layers[_ENDS:-_ENDS]
    if len(middle) <= _BETWEEN:
        return list(layers), ""
    stride = math.ceil(len(middle) / _BETWEEN)
    kept = middle[stride - 1 :: stride]
    shown = [*layers[:_ENDS], *kept, *layers[-_ENDS:]]
    return shown, f"… {len(layers) - len(shown)} of {len(layers)} layers left out: here one in {stride} is shown …"


def _bar(share: float) -> str:
    """Block characters for a share of 0 (an eighth of a character) to 1; × for NaN."""
    if math.isnan(share):
        return "×"
    full, rest = divmod(1 + round(share * (_BAR * 8 - 1)), 8)
    return ("█" * full + _EIGHTHS[rest]).rstrip()


def _further(profile: Profile) -> tuple[str, str]:
    return _time_sentence(profile.times), _list_broken(unusable_layers(profile))


def _time_sentence(profiles: tuple[TimeProfile, ...]) -> str:
    """Of the recurrent layer whose gradient changes most over the sequence; seldom is that one factor a step."""
    changes = {time: log10(time.reach[0]) - log10(time.reach[-1]) for time in profiles}
    told = {time: change for time, change in changes.items() if math.isfinite(change)}
    if not told:
        return ""
    time = max(told, key=lambda each: abs(told[each]))
    place = f" in {time.name}" if len(profiles) > 1 else ""
    share, steps = 10 ** min(told[time], 300), len(time.reach)
    return f"gradient through time{place} {horizon(time)}, {times(share)} over {steps} steps"


def _list_broken(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"not finite in {', '.join(names[:3])}{more}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _shorten(text: str, width: int) -> str:
    """The end of a path tells more than its beginning."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
