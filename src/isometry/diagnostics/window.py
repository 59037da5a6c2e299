"""The gradients of one optimizer's steps, from one record to the next.

measure()           before clipping and stepping: the total norm
take()              of a logged step also each parameter's norm, zeros, NaN and infinities, and a copy of the weights
measure_clipped()   after a module's own clipping, before stepping: the total norm again
close()             after the step: ‖Δw‖ from the weights themselves, so right for any optimizer, momentum and decay
record()            everything since the last record, in one transfer to the host
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .clipping import Clipping
from .history import GradientRecord, LayerRecord
from .layers import plain_path
from .statistics import by_decade, clipped_norm, count_nonfinite, count_zeros, decades, tensor_norms, total_norm


@dataclass
class _Logged:
    """A logged step; a row or an item for each of the P parameters with a gradient."""

    parameters: list[nn.Parameter]
    norms: Tensor
    zeros: Tensor
    nonfinite: Tensor  # [P, 2]: NaN, infinite
    histograms: list[Tensor]  # each as `statistics.decades`; empty when not asked for
    weights: list[Tensor]  # before the step
    weight_norms: Tensor
    moved: Tensor | None = None  # ‖Δw‖; None: no step was made


class Window:
    """Args:
    optimizer: Its place among the Trainer's optimizers.
    """

    def __init__(self, optimizer: int) -> None:
        self.optimizer = optimizer
        self.is_open = False  # between measure and close
        self._totals: list[Tensor] = []
        self._clipped: list[Tensor] = []  # the total itself where nothing clips
        self._losses: list[Tensor] = []
        self.lr = 0.0  # of the coming step
        self._is_clipping = False
        self._owned: Sequence[nn.Parameter] = ()
        self._coming: tuple[list[nn.Parameter], list[Tensor]] = ([], [])
        self._logged: _Logged | None = None
        self._step = 0  # of the coming step, as the scale
        self._scale: Tensor | None = None
        self._is_scaled = False
        self._known: tuple[list[int], tuple[dict[str, list[int]], list[str], list[str]]] | None = None

    @property
    def is_logged(self) -> bool:
        """Whether the last step was taken for a record."""
        return self._logged is not None

    @torch.no_grad()  # a gradient can have a graph of its own
    def measure(
        self,
        owned: Sequence[nn.Parameter],
        step: int,
        loss: Tensor | None,
        clipping: Clipping | None,
        scale: Tensor | None,
        is_scaled: bool,
    ) -> Tensor | None:
        """The norm of the coming step's whole gradient, float64 without axes; None where there is none.

        Args:
            owned: The optimizer's parameters; those with a gradient are measured.
            step: Optimizer steps done before.
            loss: What was differentiated, times the scale; None: unknown.
            clipping: What the Trainer will do; None: nothing.
            scale: Of the loss, no axes; None: there is no scaler.
            is_scaled: Whether the gradients still are.
        """
        parameters = [parameter for parameter in owned if parameter.grad is not None]
        if not parameters:
            return None
        self._owned, self._step, self._scale, self._is_scaled = owned, step, scale, is_scaled
        gradients = self._gradients()
        total = total_norm(gradients)
        self._totals.append(total)
        if loss is not None:
            self._losses.append(self._unscaled(loss.sum().to(total)))
        self._clipped.append(total)
        if clipping is not None:
            self._is_clipping = True
            self._clipped[-1] = clipped_norm(gradients, total, clipping.value, clipping.algorithm)
        self._coming, self.is_open = (parameters, gradients), True
        return total

    @torch.no_grad()
    def measure_clipped(self) -> None:
        """The gradient of the coming step was clipped, in a way that `measure` could not foresee."""
        self._is_clipping = True
        self._clipped[-1] = total_norm(self._gradients())

    def _gradients(self) -> list[Tensor]:
        """What lies in `.grad`, without the scale of the loss."""
        gradients = [parameter.grad for parameter in self._owned if parameter.grad is not None]
        if self._scale is None or not self._is_scaled:
            return gradients
        return [gradient / self._scale for gradient in gradients]

    def _unscaled(self, loss: Tensor) -> Tensor:
        return loss if self._scale is None else loss / self._scale

    def take(self, bins: bool) -> None:
        """Make the coming step a logged one, `bins` with histograms."""
        parameters, gradients = self._coming
        norms = tensor_norms(gradients)
        weights = [parameter.detach().clone() for parameter in parameters]
        self._logged = _Logged(
            parameters=parameters,
            norms=norms,
            zeros=torch.stack([count_zeros(gradient) for gradient in gradients]),
            nonfinite=_nonfinite(gradients, norms),
            histograms=[decades(gradient) for gradient in gradients] if bins else [],
            weights=weights,
            weight_norms=tensor_norms(weights),
        )

    def close(self, stepped: bool) -> None:
        """The step is over; `stepped` is False where the loss scaler skipped it.

        Where the gradients were taken away in time, no step was made either.
        """
        self.is_open, self._coming = False, ([], [])
        stepped = stepped and any(parameter.grad is not None for parameter in self._owned)
        if self._logged is not None and stepped:
            pairs = zip(self._logged.parameters, self._logged.weights, strict=True)
            self._logged.moved = tensor_norms([now.detach() - before for now, before in pairs])

    def record(self, module: nn.Module, monitor_ms: float) -> GradientRecord:
        """What has come together since the last record; the last step must be a logged one.

        Args:
            module: Whose parameters they are; it gives the names.
            monitor_ms: For the record.
        """
        logged, self._logged = self._logged, None
        assert logged is not None
        moved = logged.moved if logged.moved is not None else torch.full_like(logged.norms, math.nan)
        columns = (logged.norms, moved, logged.weight_norms, logged.zeros, *logged.nonfinite.T)
        scales: list[Tensor] = [] if self._scale is None else [self._scale]
        on_host = _on_host([*self._totals, *self._clipped, *self._losses, *columns, *logged.histograms, *scales])
        before, after = ([next(on_host)[0] for _ in self._totals] for _ in range(2))
        losses = [next(on_host)[0] for _ in self._losses]
        rows = list(zip(*[next(on_host) for _ in columns], strict=True))
        bins = [next(on_host) for _ in logged.histograms]
        changed = sum(abs(new / old - 1) > 1e-6 for old, new in zip(before, after, strict=True) if old)
        is_clipping = self._is_clipping
        self._totals, self._clipped, self._losses, self._is_clipping = [], [], [], False
        members, frozen, unused = self._layers(module, logged.parameters)
        sizes = [parameter.numel() for parameter in logged.parameters]
        return GradientRecord(
            step=self._step,
            total=before[-1],
            total_clipped=after[-1],
            totals=before,
            clip_fraction=changed / len(before) if is_clipping else None,
            layers={
                name: _layer_record([rows[i] for i in own], sum(sizes[i] for i in own), [bins[i] for i in own if bins])
                for name, own in members.items()
            },
            optimizer=self.optimizer,
            frozen=frozen,
            unused=unused,
            skipped=sum(not math.isfinite(total) for total in before) if scales else 0,  # what a scaler does with them
            scale=next(on_host)[0] if scales else None,
            monitor_ms=monitor_ms,
            losses=losses if len(losses) == len(before) else [],
            lr=self.lr,
        )

    def state_dict(self) -> dict[str, Any]:
        """Between two steps: what has come together for the next record."""
        columns = {"totals": self._totals, "clipped": self._clipped, "losses": self._losses}
        stacked = {name: torch.stack(values) for name, values in columns.items() if values}
        return {**stacked, "is_clipping": self._is_clipping}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._totals, self._clipped, self._losses = (
            list(state[name].unbind()) if name in state else [] for name in ("totals", "clipped", "losses")
        )
        self._is_clipping = state["is_clipping"]

    def _layers(
        self, module: nn.Module, parameters: Sequence[nn.Parameter]
    ) -> tuple[dict[str, list[int]], list[str], list[str]]:
        """As `_by_layer`, which is asked again only when other parameters have a gradient."""
        now = list(map(id, parameters))
        if self._known is None or self._known[0] != now:
            self._known = now, _by_layer(module, parameters, self._owned)
        return self._known[1]


def _nonfinite(gradients: list[Tensor], norms: Tensor) -> Tensor:
    """NaN and infinite elements of each gradient, `[P, 2]`; on the host only counted where a norm says there are."""
    if norms.device.type == "cpu" and bool(norms.isfinite().all()):
        return torch.zeros(len(gradients), 2)
    return torch.stack([count_nonfinite(gradient) for gradient in gradients])


def _on_host(tensors: list[Tensor]) -> Iterator[list[float]]:
    """The values of each tensor, after one transfer."""
    flat = [tensor.flatten().to(tensors[0]) for tensor in tensors]
    values, start = torch.cat(flat).tolist(), 0
    for tensor in flat:
        yield values[start : start + len(tensor)]
        start += len(tensor)


def _layer_record(rows: Sequence[tuple[float, ...]], size: int, bins: Sequence[Sequence[float]]) -> LayerRecord:
    """One layer from its parameters' (norm, ‖Δw‖, ‖w‖, zeros, NaN, infinite), their elements and their histograms."""
    norms, moved, weight_norms, zeros, nan, inf = zip(*rows, strict=True)
    weight_norm, update = _length(weight_norms), _length(moved)
    return LayerRecord(
        norm=_length(norms),
        nan=int(sum(nan)),
        inf=int(sum(inf)),
        zeros=sum(zeros) / size,
        weight_norm=weight_norm,
        update_ratio=update / weight_norm if weight_norm and not math.isnan(update) else None,
        histogram=by_decade([sum(counts) for counts in zip(*bins, strict=True)]) if bins else None,
    )


def _length(norms: Sequence[float]) -> float:
    """√Σ norm². A NaN stays one beside an infinity, which `math.hypot` would return."""
    return math.nan if any(map(math.isnan, norms)) else math.hypot(*norms)


def _by_layer(
    module: nn.Module, with_gradient: Sequence[nn.Parameter], owned: Sequence[nn.Parameter]
) -> tuple[dict[str, list[int]], list[str], list[str]]:
    """Layers with a gradient and where their parameters stand in the list; frozen layers; layers that got none.

    Names are module paths, in the order of registration; tied weights stand where they are registered first.
    """
    place = {id(parameter): index for index, parameter in enumerate(with_gradient)}
    waiting = {id(parameter) for parameter in owned if parameter.requires_grad and parameter.grad is None}
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        layers.setdefault(plain_path(name).rpartition(".")[0] or type(module).__name__, []).append(parameter)
    members = {name: [place[id(p)] for p in own if id(p) in place] for name, own in layers.items()}
    frozen = [name for name, own in layers.items() if not any(p.requires_grad for p in own)]
    unused = [name for name, own in layers.items() if not members[name] and any(id(p) in waiting for p in own)]
    return {name: own for name, own in members.items() if own}, frozen, unused
