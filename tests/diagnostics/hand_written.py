"""Histories written by hand, of which every number is known: what a broken, a healthy, an odd training would have left.

A run here has records and profiles at steps 9, 19, 29 …, ten losses a record. `BROKEN` holds one for each rule,
`HEALTHY` the hard negatives: trainings that look odd and are as they should be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from isometry.diagnostics.evidence import Evidence
from isometry.diagnostics.findings import Finding
from isometry.diagnostics.history import GradientRecord, History, LayerRecord, NonFiniteRecord, Record, UnitsRecord
from isometry.diagnostics.profile import LayerProfile, Profile, TimeProfile
from isometry.diagnostics.rules import Rule

EACH = 10  # steps a record
ABOVE, BELOW = 1.001, 0.999  # just beyond a threshold, and just short of it
CLASSES, SAMPLES = 10, 32
CHANCE = math.log(CLASSES)


# ------------------------------------------------------------------------------------------------ profiles
def layer(depth: int, **columns: Any) -> LayerProfile:
    """A layer that has nothing odd."""
    usual = {"activation_rms": 1.0, "activation_mean": 0.0, "gradient_rms": 1e-3, "kind": "Linear", "samples": SAMPLES}
    return LayerProfile(f"net.{depth}", depth, (16,), **{**usual, "weight_spread": 0.9, **columns})


def stack(
    decades: float = 0.0, *, forward: float = 0.0, quality: float = 1.0, count: int = 11, top: float = 1e-3
) -> tuple[LayerProfile, ...]:
    """An odd number of layers over which ∂L/∂z changes by `decades` on its way back, z by `forward` on its way up.

    Args:
        quality: R² of both slopes, by a zigzag around the line, which leaves the slope alone.
    """
    assert count % 2
    per_layer, zigzag = 1 / (count - 1), math.sqrt((count**3 - count) / 12 / (count - 1 / count) * (1 / quality - 1))

    def size(slope: float, travelled: int, depth: int) -> float:
        return 10 ** (slope * per_layer * (travelled + zigzag * (-1) ** depth))

    return tuple(
        layer(
            depth,
            gradient_rms=top * size(decades, count - depth, depth),
            activation_rms=size(forward, depth - 1, depth),
        )
        for depth in range(1, count + 1)
    )


def profile(layers: Iterable[LayerProfile] = (), step: int = 0, **columns: Any) -> Profile:
    """Level where no layers are given."""
    return Profile(step, tuple(layers) or stack(), **columns)


def head(ratio: float = 1.0, **columns: Any) -> LayerProfile:
    """The layer next to a softmax cross-entropy over ten classes; `ratio` of the gradient that a guess has."""
    gradient = ratio * math.sqrt(1 - 1 / CLASSES) / (SAMPLES * math.sqrt(CLASSES))
    return replace(
        layer(99, gradient_rms=gradient, weight_spread=None), name="head", shape=(CLASSES,),
        **{"unit_sum": 0.0, "unit_zeros": 0.0, **columns},
    )  # fmt: skip


def classifier(
    layers: Iterable[LayerProfile] = (), loss: float = CHANCE, ratio: float = 1.0, guess: float | None = CHANCE,
    **columns: Any,
) -> Profile:  # fmt: skip
    """With such a head; `columns` are the head's. Of so many samples the loss tells what a guess has."""
    return profile([*(tuple(layers) or stack()), head(ratio, **columns)], loss=loss, guess=guess)


def every(layers: Iterable[LayerProfile], **columns: Any) -> tuple[LayerProfile, ...]:
    return tuple(replace(each, **columns) for each in layers)


def over_time(decades: float, *, steps: int = 40, tenfold_within: int = 4, name: str = "rnn") -> TimeProfile:
    """Back from the last step: tenfold (down for negative decades) within so many steps, the rest evenly."""
    sign = math.copysign(1.0, decades)
    rest = (abs(decades) - 1) / (steps - 1 - tenfold_within)

    def level(back: int) -> float:
        return back / tenfold_within if back <= tenfold_within else 1 + rest * (back - tenfold_within)

    return TimeProfile(name, tuple(10 ** (sign * level(steps - 1 - t) * (1 + 1e-12)) for t in range(steps)))


# ------------------------------------------------------------------------------------------------- records
def record(step: int, losses: Sequence[float] = (), **columns: Any) -> GradientRecord:
    """A logged step after ten of gradient 1; `ratio` is ‖Δw‖/‖w‖ of all layers."""
    ratio, names = columns.pop("ratio", 2e-3), columns.pop("names", [f"net.{depth}" for depth in range(1, 12)])
    total = columns.get("totals", [1.0])[-1]
    usual = {"total": total, "total_clipped": total, "totals": [1.0] * EACH, "clip_fraction": None, "lr": 0.1}
    layers = {name: LayerRecord(1.0, weight_norm=1.0, update_ratio=ratio) for name in names}
    return GradientRecord(step, **{"layers": layers, **usual, **columns}, losses=list(losses))


def flat(size: float = 1.0, steps: int = 60) -> list[float]:
    return [size * (1 + 0.01 * math.sin(7 * step)) for step in range(steps)]


def falling(first: float = 2.0, last: float = 0.2, steps: int = 60) -> list[float]:
    return [first * (last / first) ** (step / (steps - 1)) for step in range(steps)]


def history(*records: Record) -> History:
    made = History()
    for each in records:
        made.append(each)
    return made


def run(
    shown: Profile | Sequence[Profile] | None = None, losses: Sequence[float] | None = None, **columns: Any
) -> History:
    """Records and profiles at steps 9, 19 …; a tuple in `columns` holds a value for each record, else it is of all.

    Args:
        shown: All profiles, or one for each record; None: level ones.
        losses: Of each step; None: unknown, as where a module optimizes by hand.
    """
    spread = [shown] if isinstance(shown, Profile) else list(shown or [profile()])
    lengths = [len(losses) // EACH if losses else 0, len(spread)]
    lengths += [len(value) for value in columns.values() if isinstance(value, tuple)]
    count = max(lengths) if max(lengths) > 1 else 6
    made = History()
    for k in range(count):
        own = {name: value[k] if isinstance(value, tuple) else value for name, value in columns.items()}
        step, here = EACH * k + EACH - 1, spread[k if len(spread) > 1 else 0]
        own.setdefault("names", [each.name for each in here.layers if not each.detached])
        made.append(replace(here, step=step))
        made.append(record(step, list(losses or ())[EACH * k : EACH * (k + 1)], **own))
    return made


def dead(share: float, until: int = 30) -> UnitsRecord:
    return UnitsRecord(0, until, 1024, {"net.1": 0.0, "net.3": share})


def and_also(made: History, *records: Record) -> History:
    for each in records:
        made.append(each)
    return made


def times(made: History, factor: float) -> History:
    """The run of a loss multiplied by `factor`, under Adam: each loss and gradient is, and nothing else."""

    def scaled(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(map(scaled, value))
        return None if value is None else value * factor

    def other(each: Any, *names: str) -> Any:
        return replace(each, **{name: scaled(getattr(each, name)) for name in names})

    records = [
        replace(
            other(each, "total", "total_clipped", "totals", "losses"),
            layers={name: other(row, "norm") for name, row in each.layers.items()},
        )
        for each in made.records
    ]
    profiles = [
        replace(
            other(each, "loss", "guess"),
            layers=tuple(other(row, "gradient_rms") for row in each.layers),
            times=tuple(other(time, "gradient_norms") for time in each.times),
        )
        for each in made.profiles
    ]
    return history(*records, *profiles, *made.units, *made.nonfinite)


def with_losses(made: History, losses: Sequence[float]) -> History:
    """The same run with other losses."""
    records = [
        replace(each, losses=list(losses[EACH * k : EACH * (k + 1)])) for k, each in enumerate(made.records)
    ]  # fmt: skip
    return history(*records, *made.profiles, *made.units, *made.nonfinite)


# ----------------------------------------------------------------------------- one broken run for each rule
def with_shares(column: str, share: float, **columns: Any) -> Profile:
    """A share in the third of eleven layers."""
    rows = list(every(stack(), **({column: 0.0} | columns)))
    rows[2] = replace(rows[2], **{column: share})
    return profile(rows)


def clipped(fraction: float, coefficient: float) -> dict[str, Any]:
    return {"clip_fraction": fraction, "total": 1.0, "total_clipped": coefficient}


def spiky(size: float, every_nth: int, records: int = 20) -> tuple[list[float], ...]:
    """Gradients of size 1, and from the twentieth on each nth of `size`."""
    norms = [size if step >= 20 and step % every_nth == 0 else 1.0 for step in range(EACH * records)]
    return tuple(norms[start : start + EACH] for start in range(0, len(norms), EACH))


def skipping(skips: Sequence[int], each: int = 2, **columns: Any) -> History:
    """A loss scaler's run; of `each` steps a record so many were skipped."""
    totals = tuple([math.inf] * skipped + [1.0] * (each - skipped) for skipped in skips)
    return run(scale=1024.0, skipped=tuple(skips), totals=totals, total=1.0, total_clipped=1.0, **columns)


NAN = NonFiniteRecord(29, 3, "net.3", "net.3.weight", [5], False, "nonfinite.pt")

BROKEN: dict[str, Callable[[], History]] = {
    "vanishing_gradients": lambda: run(profile(stack(-6.0)), flat()),
    "exploding_gradients": lambda: run(profile(stack(4.0)), flat()),
    "vanishing_through_time": lambda: run(profile(stack(count=3), times=(over_time(-6.0),)), flat()),
    "exploding_through_time": lambda: run(profile(stack(count=3), times=(over_time(4.0),)), flat()),
    "dead_units": lambda: and_also(run(None, flat()), dead(0.9)),
    "saturated_units": lambda: run(with_shares("saturated", 0.8, activation="tanh"), flat()),
    "bad_init_scale": lambda: run(profile(stack(forward=4.0)), flat()),
    "symmetric_init": lambda: run(profile(every(stack(), weight_spread=0.0)), flat()),
    "update_too_large": lambda: run(None, flat(), ratio=0.5),
    "update_too_small": lambda: run(None, flat(), ratio=1e-6),
    "diverging_loss": lambda: run(None, falling(2.0, 50.0)),
    "unstable_gradients": lambda: run(None, flat(steps=200), totals=spiky(50.0, 15)),
    "chronic_clipping": lambda: run(None, flat(), **clipped(1.0, 0.01)),
    "non_finite": lambda: and_also(run(None, flat()), NAN),
    "no_gradient": lambda: run(profile(every(stack(), detached=True, gradient_rms=None)), flat()),
    "fp16_underflow": lambda: run(profile(every(stack(), underflow=0.9)), flat()),
    "loss_at_chance": lambda: run(classifier(), flat(CHANCE)),
    "bad_output_head": lambda: run(classifier(ratio=1 / CLASSES), flat(CHANCE)),
    "bad_input_scale": lambda: run(profile(input_mean=100.0, input_std=75.0, input_largest=255.0), flat()),
    "small_batch_norm": lambda: run(profile(batch_norm_samples=2), flat()),
}


# ------------------------------------------------------------------------------------------- hard negatives
def _first_then(first: Profile, later: Profile, losses: Sequence[float]) -> History:
    """A run that starts with one profile and goes on with another."""
    return run([first, *[later] * (len(losses) // EACH - 1)], losses)


def _branches_at_zero(factor: float = 0.0) -> tuple[LayerProfile, ...]:
    """Every second layer lies in a branch whose end is zero: it gets no gradient in the first step."""
    return tuple(
        replace(each, gradient_rms=factor * (each.gradient_rms or 0.0)) if each.depth % 2 else each for each in stack()
    )


def _zero_last(first: bool) -> tuple[LayerProfile, ...]:
    """Fixup: the last weights of each branch, and the head, start as zeros."""
    rows = _branches_at_zero(0.0 if first else 1.0)
    return tuple(replace(each, weight_spread=0.0) if first and not each.depth % 2 else each for each in rows)


def _warm_up() -> History:
    """The learning rate rises from 0: hardly anything moves and the loss is that of a guess."""
    rates = tuple(0.1 * k / 100 for k in range(6))
    ratios = tuple(1e-5 * (1 + k) for k in range(6))
    return run(classifier(), flat(CHANCE), lr=rates, ratio=ratios)


def _frozen() -> History:
    """The first six layers are frozen; no gradient reaches them and they are in no record's layers."""
    rows = tuple(replace(each, gradient_rms=None) if each.depth <= 6 else each for each in stack())
    frozen = [f"net.{depth}" for depth in range(1, 7)]
    return run(profile(rows), falling(), frozen=frozen, names=[f"net.{depth}" for depth in range(7, 12)])


def _embedding() -> History:
    """Of a table's rows hardly any is used in a batch: its gradient is zeros but for these."""
    table = replace(layer(0), name="table", kind="Embedding", weight_spread=None)
    made = run(profile([table, *stack()]), falling())
    records = [
        replace(
            each, layers={"table": LayerRecord(0.1, zeros=0.999, weight_norm=9.0, update_ratio=1e-6), **each.layers}
        )
        for each in made.records
    ]
    return history(*records, *made.profiles)


def _converged() -> History:
    """Near its end: a tiny loss, tiny gradients, and single batches a hundred times above the others."""
    losses = falling(2.0, 1e-5, 200)
    totals = tuple([1e-5] * (EACH - 1) + [1e-3] if k >= 10 else [1.0] * EACH for k in range(20))
    return run(classifier(stack(-1.0, top=1e-8)), losses, totals=totals, ratio=1e-5)


def _two_optimizers(generator: float = 1.0, critic: float = 2.0) -> History:
    """A GAN: the losses of neither fall, and they have different sizes."""
    made = History()
    for k in range(12):
        step = EACH * k + EACH - 1
        made.append(profile(step=step))
        for index, size in enumerate((generator, critic)):
            names = [f"net.{depth}" for depth in (range(1, 7) if index == 0 else range(7, 12))]
            totals = [size * (1 + 0.1 * math.sin(step + i)) for i in range(EACH)]
            made.append(record(step + index, flat(size, EACH), optimizer=index, totals=totals, names=names))
    return made


def _batch_norm(losses: Sequence[float]) -> History:
    rows = stack(20 * math.log10(1.2112), count=21)
    return run(profile(rows, batch_norm_samples=128), losses)


HEALTHY: dict[str, Callable[[], History]] = {
    "a plain classifier": lambda: run(classifier(), falling(CHANCE, 0.1)),
    "a regression": lambda: run(profile(), falling()),
    "zero-gamma": lambda: _first_then(profile(_branches_at_zero()), profile(), falling()),
    "ReZero": lambda: _first_then(profile(_branches_at_zero(1e-3)), profile(), falling()),
    "Fixup": lambda: _first_then(profile(_zero_last(True)), profile(_zero_last(False)), falling()),
    "zero-gamma after a single step": lambda: history(
        profile(_branches_at_zero()), record(0, [CHANCE], totals=[1.0])
    ),
    "Fixup after a single step": lambda: history(profile(_zero_last(True)), record(0, [CHANCE], totals=[1.0])),
    "warm-up from 0": _warm_up,
    "a scaler that skips now and then": lambda: skipping([1, 0, 1, 0, 0, 1], losses=falling()),
    "a scaler that finds its scale": lambda: skipping([1, 1, 1], each=1),
    "frozen layers": _frozen,
    "unused rows of a table": _embedding,
    "near convergence": _converged,
    "clipped now and then": lambda: run(
        None, falling(), clip_fraction=(0.9, 0.2, 0.1, 0.3, 0.0, 0.6), total=1.0, total_clipped=0.05
    ),
    "clipped always, and it learns": lambda: run(None, falling(), **clipped(1.0, 0.01)),
    "two optimizers": _two_optimizers,
    "BatchNorm over 20 layers": lambda: _batch_norm(falling()),
    "BatchNorm over 20 layers, and hard to learn": lambda: _batch_norm(flat()),
    "vanishing, and it converges": lambda: run(profile(stack(-6.0)), falling(2.0, 0.02)),
    "a few large steps at first": lambda: run(None, falling(), ratio=(0.5, 0.2, 1e-2, 1e-3, 1e-3, 1e-3)),
    "the end of a schedule": lambda: run(None, flat(), lr=(0.1, 0.1, 0.1, 0.1, 1e-3, 1e-5), ratio=(
        2e-3, 2e-3, 2e-3, 2e-3, 2e-5, 2e-7,
    )),
    "no step yet": lambda: history(classifier()),
    "nothing yet": history,
}  # fmt: skip


# ------------------------------------------------------------------------------------------ what tests ask
def found(rule: Rule, made: History) -> Finding | None:
    return rule(Evidence(made))


def rows(layers: Sequence[LayerProfile], *places: int, **columns: object) -> Profile:
    """With other columns at some places."""
    return profile([replace(each, **columns) if i in places else each for i, each in enumerate(layers)])  # type: ignore[arg-type]


def fallen(share: float) -> list[float]:
    """A loss of which this share is gone from the thirtieth step on."""
    return [1.0] * 30 + [1 - share] * 30
