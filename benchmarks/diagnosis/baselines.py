"""Published detectors of broken trainings, on the lines of `statistics_published`: alarms of each, without torch.

Written anew: of their documentation, papers and artefacts only the facts were taken, which statistics are compared with
which thresholds, and when. The thresholds and what an alarm means in our words are in `baselines_table`. Where a tool
looks at more than a trace holds, its docstring says what stands in for it; where there was a choice, it was made in the
tool's favour.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import baselines_table as table

from isometry import jsonl

Line = Mapping[str, Any]


class Alarm(NamedTuple):
    """`rule` is the tool's own kind of alarm, a key of MEANINGS."""

    step: int
    rule: str

    @property
    def meanings(self) -> tuple[str, ...]:
        return table.MEANINGS[self.rule]


def read_lines(path: Path) -> list[Line]:
    """The lines of a file, NaN and infinities, which JSON holds as texts, as numbers again."""
    return [_numbers(line) for line in jsonl.read_lines(path)]


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def sagemaker(lines: Sequence[Line]) -> list[Alarm]:
    """SageMaker Debugger's built-in rules that need no validation set, each at every logged step.

    The logged steps stand in for the steps at which tensors are saved (every 500 by default, which these trainings do
    not reach), so that a loss is compared with the latest logged one at least 10 steps before. Variances are compared
    over the inputs of ReLUs. AllZero, which has no default tensors, and the rules for classes, overfitting and stalled
    jobs are left out.
    """
    return _each_optimizer(_sagemaker, lines)


def autotrainer(lines: Sequence[Line]) -> list[Alarm]:
    """AUTOTRAINER's checks at each line, from 30 % of the training's steps on, as there; a NaN counts at any time.

    Lines stand in for epochs, the mean loss since the line before for an epoch's, and loss for accuracy: below the
    target Θ = 0.7 is a training whose smallest loss is still above 0.3 of its first; slow one that never lost 1 % (δ)
    of its first loss from one line to the next; a swing ζ is 0.03 of the first loss. Losses count by their size: so
    one with its sign turned is no success. As there, gradients count only in a training that is below
    target or slow, and oscillation only in one that is neither; the training's length is known. Improper activations,
    losses and data, which it finds by looking at the program, are left out.
    """
    return _each_optimizer(_autotrainer, lines)


def deepdiagnosis(lines: Sequence[Line]) -> list[Alarm]:
    """DeepDiagnosis: what is seen first, and the cause it tells for that; it stops there, as the tool does.

    Lines stand in for epochs: saturation and a loss that does not change at all are looked at in every fifth line, dead
    nodes in the last. Weights' variance and lr‖g‖/‖w‖ raise no alarm of their own there: they are causes of what was
    seen, here a second alarm at the same step. Only layers with an activation module have outputs to look at; the range
    of inputs and targets, and accuracy, are in no trace.
    """
    return _each_optimizer(_deepdiagnosis, lines)


def thedeepchecker(lines: Sequence[Line]) -> list[Alarm]:
    """TheDeepChecker's checks during training, where a trace holds what they look at.

    It checks every 10 steps: a line is a check here, so its patience and windows of 5 checks are the last 5 lines, as
    soon as these span the 40 steps that its own do (in a training of 100 steps: at 64 and 99), and its 50 checks for
    fluctuation are 50 lines. Patience is counted for each layer by itself. The spread of activations counts without a
    test of significance, which thousands of elements always pass. In its favour, initial variances are not tested
    against He's and Glorot's, which torch's default initialization would never pass. Its test before the training, that
    one batch can be learnt by heart, is in no trace.
    """
    return _each_optimizer(_thedeepchecker, lines)


def global_norm(lines: Sequence[Line]) -> list[Alarm]:
    """Total gradient norm outside [1e-4, 10], at any line."""
    low, high = table.GLOBAL_NORM
    found = []
    for line in lines:
        if line["gradient_norm"] < low:
            found.append(Alarm(line["step"], "global norm small"))
        if not line["gradient_norm"] <= high:  # a NaN, too
            found.append(Alarm(line["step"], "global norm large"))
    return found


BASELINES: dict[str, Callable[[Sequence[Line]], list[Alarm]]] = {
    "SageMaker Debugger": sagemaker,
    "AUTOTRAINER": autotrainer,
    "DeepDiagnosis": deepdiagnosis,
    "TheDeepChecker": thedeepchecker,
    "global norm": global_norm,
}


# ------------------------------------------------------------------------------------------ the tools
def _each_optimizer(tool: Callable[[Sequence[Line]], Iterator[Alarm]], lines: Sequence[Line]) -> list[Alarm]:
    """A tool's alarms on the lines of each optimizer, in the order of steps; within a step in its own."""
    groups: dict[int, list[Line]] = {}
    for line in lines:
        groups.setdefault(line["optimizer"], []).append(line)
    return sorted((alarm for group in groups.values() for alarm in tool(group)), key=lambda alarm: alarm.step)


def _sagemaker(lines: Sequence[Line]) -> Iterator[Alarm]:
    for index, line in enumerate(lines):
        for rule, holds in _SAGEMAKER.items():
            if holds(lines[: index + 1]):
                yield Alarm(line["step"], rule)


def _any_layer(holds: Callable[[Line], bool]) -> Callable[[Sequence[Line]], bool]:
    return lambda lines: any(map(holds, lines[-1]["weights"].values()))


def _any_activation(holds: Callable[[Line], bool]) -> Callable[[Sequence[Line]], bool]:
    return lambda lines: any(map(holds, lines[-1]["activations"].values()))


def _update(layer: Line) -> float:
    return float((layer["update_ratio"] or 0.0) * layer["norm"] / (layer["norm"] + table.SM_UPDATE_EPSILON))


def _poor_start(lines: Sequence[Line]) -> bool:
    line = lines[-1]
    if line["step"] >= table.SM_INIT_STEPS:
        return False
    variances = [row["input_variance"] for row in line["activations"].values() if row["kind"] == "relu"]
    ranges = [layer["gradient_p95"] - layer["gradient_p5"] for layer in line["weights"].values()]
    best = min(lines, key=lambda earlier: earlier["loss"])
    return (
        (bool(variances) and max(variances) > table.SM_VARIANCE_RATIO * min(variances))
        or any(width < table.SM_GRADIENT_RANGE for width in ranges)
        or line["step"] - best["step"] >= table.SM_INIT_PATIENCE
    )


def _loss_stands(lines: Sequence[Line]) -> bool:
    earlier = [line for line in lines if line["step"] <= lines[-1]["step"] - table.SM_LOSS_STEPS]
    return bool(earlier) and lines[-1]["loss"] >= earlier[-1]["loss"]


_SAGEMAKER: dict[str, Callable[[Sequence[Line]], bool]] = {
    "ExplodingTensor": lambda lines: lines[-1]["nonfinite"],
    "VanishingGradient": _any_layer(lambda layer: layer["gradient_mean_abs"] < table.SM_VANISHING),
    "WeightUpdateRatio large": _any_layer(lambda layer: _update(layer) > table.SM_UPDATE[1]),
    "WeightUpdateRatio small": _any_layer(lambda layer: _update(layer) < table.SM_UPDATE[0]),
    "DeadRelu": _any_activation(lambda row: row["kind"] == "relu" and row["inactive_units"] > table.SM_UNITS),
    "SaturatedActivation": _any_activation(lambda row: (row["outside_units"] or 0.0) > table.SM_UNITS),
    "PoorWeightInitialization": _poor_start,
    "LossNotDecreasing": _loss_stands,
}


def _autotrainer(lines: Sequence[Line]) -> Iterator[Alarm]:
    for index, line in enumerate(lines):
        kind = _autotrainer_verdict(lines[: index + 1], lines[-1]["step"])
        if kind:
            yield Alarm(line["step"], kind)
            return  # then it repairs


def _autotrainer_verdict(lines: Sequence[Line], end: int) -> str | None:
    line, losses = lines[-1], [abs(line["mean_loss"]) for line in lines]
    if line["nonfinite"] or losses[-1] >= table.AT_LOSS:
        return "gradient explode"
    if line["step"] < table.AT_JUDGED * end:
        return None
    is_slow = max((a - b for a, b in itertools.pairwise(losses)), default=0.0) < table.AT_SLOW * losses[0]
    if min(losses) > (1 - table.AT_TARGET) * losses[0] or is_slow:
        return _gradient_verdict(line) or ("slow convergence" if is_slow else None)
    return "oscillating loss" if _swings(losses) >= table.AT_SWINGS * len(losses) else None


def _gradient_verdict(line: Line) -> str | None:
    layers = list(line["weights"].values())
    if not layers:
        return None
    first, last = layers[0]["gradient_norm"], layers[-1]["gradient_norm"]
    size = sum(layer["size"] for layer in layers)
    ratio = first / last if last else math.inf if first else math.nan
    if sum(layer["gradient_zeros"] * layer["size"] for layer in layers) >= table.AT_ZEROS * size:
        return "dying ReLU"
    if ratio > table.AT_RATIO[1]:
        return "gradient explode"
    return "gradient vanish" if ratio < table.AT_RATIO[0] and first < table.AT_FIRST else None


def _swings(losses: Sequence[float]) -> int:
    """Pairs of the n-th peak and the n-th trough that lie ζ of the first loss apart."""
    triples = list(zip(losses, losses[1:], losses[2:], strict=False))
    peaks = [here for before, here, after in triples if here >= max(before, after)]
    troughs = [here for before, here, after in triples if here <= min(before, after)]
    return sum(high - low >= table.AT_SWING * losses[0] for high, low in zip(peaks, troughs, strict=False))


def _deepdiagnosis(lines: Sequence[Line]) -> Iterator[Alarm]:
    for index, line in enumerate(lines):
        seen = _symptom(lines[: index + 1], index == len(lines) - 1)
        if seen:
            yield Alarm(line["step"], seen)
            cause = _cause(line, seen)
            if cause:
                yield Alarm(line["step"], cause)
            return


def _symptom(lines: Sequence[Line], is_last: bool) -> str | None:
    line, looks = lines[-1], len(lines) % table.DD_EVERY == 0
    outputs, layers = list(line["activations"].values()), list(line["weights"].values())
    if line["nonfinite"] or any(row["mean"] == 0 or not math.isfinite(row["mean"]) for row in outputs):
        return "numerical error"
    if is_last and any(row["kind"] == "relu" and row["nonpositive"] >= table.DD_DEAD for row in outputs):
        return "dead node"
    if looks and any(row["kind"] in ("tanh", "sigmoid") and row["beyond_5"] > table.DD_SATURATED for row in outputs):
        return "saturated activation"
    if looks and len({earlier["mean_loss"] for earlier in lines[-table.DD_EVERY :]}) == 1:
        return "loss not changing"
    if any(layer["gradient_zeros"] == 1 for layer in layers):
        return "numerical error"
    return "vanishing gradient" if any(layer["gradient_mean_abs"] < table.DD_VANISHING for layer in layers) else None


def _cause(line: Line, seen: str) -> str | None:
    layers = list(line["weights"].values())
    if seen != "vanishing gradient" and any(_is_outside(layer["variance"], table.DD_VARIANCE) for layer in layers):
        return "poor weight"
    rates = [line["lr"] * layer["gradient_norm"] / layer["norm"] for layer in layers if layer["norm"]]
    return "learning rate" if any(_is_outside(rate, table.DD_RATE) for rate in rates) else None


def _thedeepchecker(lines: Sequence[Line]) -> Iterator[Alarm]:
    for index, line in enumerate(lines):
        for kind in _tdc_kinds(lines[: index + 1]):
            yield Alarm(line["step"], kind)


def _tdc_kinds(lines: Sequence[Line]) -> Iterator[str]:
    if lines[-1]["nonfinite"]:
        yield "non-finite"
    if len(lines) == 1 and any(map(_is_symmetric, lines[0]["weights"].values())):
        yield "symmetric weights"
    window = lines[-table.TDC_WINDOW :]
    if len(window) == table.TDC_WINDOW and window[-1]["step"] - window[0]["step"] >= table.TDC_PERIOD * (
        table.TDC_WINDOW - 1
    ):
        yield from (kind for kind, (part, holds) in _TDC.items() if _in_a_layer(window, part, holds))
        yield from _tdc_growth(window)
        yield from _tdc_loss([line["mean_loss"] for line in window])
    checks, share = table.TDC_FLUCTUATING
    if len(lines) >= checks and _turns([line["mean_loss"] for line in lines[-checks:]]) > share:
        yield "fluctuating loss"


def _in_a_layer(window: Sequence[Line], part: str, holds: Callable[[Line], bool]) -> bool:
    """Whether it holds at each line of the window for the same layer."""
    return any(all(holds(row) for row in rows) for rows in _of_layers(window, part))


def _of_layers(window: Sequence[Line], part: str) -> Iterator[list[Line]]:
    for name in window[-1][part]:
        if all(name in line[part] for line in window):
            yield [line[part][name] for line in window]


def _tdc_growth(window: Sequence[Line]) -> Iterator[str]:
    sizes = [(rows[0]["gradient_mean_abs"], rows[-1]["gradient_mean_abs"]) for rows in _of_layers(window, "weights")]
    factors = [(last / first) ** (1 / (table.TDC_WINDOW - 1)) for first, last in sizes if first]
    if any(factor < table.TDC_GROWTH[0] for factor in factors):
        yield "vanishing"
    if any(factor >= table.TDC_GROWTH[1] for factor in factors):
        yield "exploding"


def _tdc_loss(losses: Sequence[float]) -> Iterator[str]:
    if losses[0] - losses[-1] < table.TDC_FALL * abs(losses[0]):
        yield "loss not falling"
    if losses[-1] >= table.TDC_DIVERGING * min(losses) > 0:
        yield "diverging loss"


def _turns(losses: Sequence[float]) -> float:
    """Share of steps at which the loss changes its direction."""
    changes = [after - before for before, after in itertools.pairwise(losses)]
    return sum(a * b < 0 for a, b in itertools.pairwise(changes)) / len(losses)


def _is_symmetric(layer: Line) -> bool:
    return bool(layer["size"] > 1 and layer["variance"] < table.TDC_NO_VARIANCE)


def _tdc_update(layer: Line) -> float:
    return math.log10(layer["update_scale"]) if layer["update_scale"] else -math.inf


_TDC: dict[str, tuple[str, Callable[[Line], bool]]] = {
    "dead layer": ("activations", lambda row: row["bounded_units"] is None and row["silent_units"] > table.TDC_UNITS),
    "saturated layer": ("activations", lambda row: (row["bounded_units"] or 0.0) > table.TDC_UNITS),
    "activations out of range": ("activations", lambda row: _is_outside(row["std"], table.TDC_STD)),
    "vanishing": ("weights", lambda layer: layer["gradient_mean_abs"] < table.TDC_GRADIENT[0]),
    "exploding": ("weights", lambda layer: layer["gradient_mean_abs"] > table.TDC_GRADIENT[1]),
    "large updates": ("weights", lambda layer: _tdc_update(layer) > table.TDC_UPDATE[1]),
    "small updates": ("weights", lambda layer: _tdc_update(layer) < table.TDC_UPDATE[0]),
    "dead weights": ("weights", lambda layer: layer["small"] > table.TDC_SMALL),
}


def _is_outside(value: float, bounds: tuple[float, float]) -> bool:
    return value < bounds[0] or value > bounds[1]
