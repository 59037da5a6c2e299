"""Hooks for one pass: the size of z and of ∂L/∂z at every weight layer, z being its output.

Anybody's pass: the monitor rides on a real training step, `probe` makes one of its own. A hook on z itself gives ∂L/∂z
also where an in-place ReLU overwrites z afterwards (`autograd.grad` would give the gradient after the ReLU). Depth is
the number of weight layers on the longest path in autograd's graph, so that branches and shared layers stand where they
belong.
"""

from __future__ import annotations

import math
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import layers, recurrence, theory
from .depth import GraphDepth
from .profile import LayerProfile, Profile, TimeProfile
from .statistics import count_nonfinite, silent_units, tensor_norm
from .units import Site, UnitWatch

MANY_CALLS = 8  # a layer called more often in one pass is a loop over time: one row, and a profile over its calls


@dataclass(eq=False)
class _Call:
    """One call of one weight layer; tensors have no axes and lie on the device until `Recorder.profile`."""

    name: str
    module: nn.Module
    depth: int
    z: weakref.ref[Tensor]
    shape: tuple[int, ...]
    samples: int
    numel: int
    norm: Tensor
    mean: Tensor
    nonfinite: Tensor
    gradient_norm: Tensor | None = None
    gradient_nonfinite: Tensor | None = None
    hooked: bool = False
    activation: nn.Module | None = None
    saturated: Tensor | None = None
    silent: Tensor | None = None
    expected: tuple[float, float] | None = None  # backward and forward, to the next layer


@dataclass(frozen=True)
class _Origin:
    """Where a tensor comes from: a call's z, through its fresh BatchNorm, its activation, and nothing else."""

    tensor: weakref.ref[Tensor]
    call: _Call
    normed: bool = False
    activation: str = "identity"


class Recorder:
    """Hooks on a network's weight layers, norms and activations for one pass.

    Args:
        model: Any module.
        path: Of the model, where it is a part of another one: the names begin with it.
        without: Modules that must not be touched, nor what is in them (a compiled graph would take the hooks in).
    """

    def __init__(self, model: nn.Module, path: str = "", without: Iterable[nn.Module] = ()) -> None:
        hidden = {id(inner) for module in without for inner in module.modules()}
        self.layers = {
            module: ".".join(filter(None, (path, name)))
            for name, module in layers.weight_layers(model)
            if id(module) not in hidden
        }
        self.others = [
            module
            for module in model.modules()
            if id(module) not in hidden and isinstance(module, (_BatchNorm, *layers.ACTIVATIONS))
        ]
        self.calls: list[_Call] = []
        self.sites: dict[Site, _Call] = {}
        self.unseen: dict[str, str] = {}
        self._runs: list[recurrence.Run] = []
        self._numbers: Counter[nn.Module] = Counter()
        self._origins: dict[int, _Origin] = {}
        self._depths = GraphDepth()
        self._handles: list[Any] = []
        self.seconds = 0.0  # spent in the hooks

    def attach(self) -> None:
        on_layer, on_other = self._timed(self._on_layer), self._timed(self._on_other)
        self._handles += [module.register_forward_hook(on_layer) for module in self.layers]
        self._handles += [module.register_forward_hook(on_other) for module in self.others]

    def detach(self) -> None:
        """Take the hooks off; what was seen stays, the graph is let go."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._origins, self._depths = [], {}, GraphDepth()

    def _timed(self, hook: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any) -> None:
            started = time.perf_counter()
            hook(*args)
            self.seconds += time.perf_counter() - started

        return timed

    # ----------------------------------------------------------------------------------- forward hooks
    def _on_layer(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        name = self.layers[module]
        z = _first_tensor(output)
        if z is None or not z.is_floating_point() or z.dim() == 0:
            self.unseen[name] = "its output is no tensor of numbers"
            return
        if (
            torch._C._current_graph_task_id() != -1
        ):  # activation checkpointing runs the layer again in the backward pass
            again = next((call for call in self.calls if call.module is module and not call.hooked), None)
            if again and z.requires_grad:
                self._watch_gradient(again, z)
            return
        call = self._measure(name, module, z)
        if inputs and isinstance(inputs[0], Tensor):
            self._link(call, inputs[0])
            if isinstance(module, nn.RNNBase):
                self._watch_time(name, module, inputs, output)
        self.calls.append(call)
        self._origins[id(z)] = _Origin(call.z, call)

    def _measure(self, name: str, module: nn.Module, z: Tensor) -> _Call:
        self._numbers[module] += 1
        number = self._numbers[module]
        values = z.detach()
        call = _Call(
            name=name if number == 1 else f"{name}@{number}",
            module=module,
            depth=self._depths.of(z),
            z=weakref.ref(z),
            shape=tuple(z.shape[1:]),
            samples=len(z),
            numel=z.numel(),
            norm=(norm := tensor_norm(values)),
            mean=values.mean(dtype=torch.float32),
            nonfinite=_nonfinite(values, norm),
        )
        if z.requires_grad:
            self._watch_gradient(call, z)
        return call

    def _watch_gradient(self, call: _Call, z: Tensor) -> None:
        def on_gradient(gradient: Tensor) -> None:
            if call.gradient_norm is None and self._handles:  # a second backward pass through the graph is not this one
                call.gradient_norm = tensor_norm(gradient.detach())
                call.gradient_nonfinite = _nonfinite(gradient.detach(), call.gradient_norm)

        z.register_hook(self._timed(on_gradient))
        call.hooked = True

    def _on_other(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A norm or an activation: whose z went in, and what came out."""
        if not (inputs and isinstance(output, Tensor) and self.calls):
            return
        self._numbers[module] += 1
        origin = self._origin(inputs[0])
        if isinstance(module, layers.ACTIVATIONS):
            call = origin.call if origin else self.calls[-1]
            self._on_activation(call, module, output)
            plain = origin and origin.activation == "identity"
            if origin and plain:
                name = layers.activation_name(module)
                self._origins[id(output)] = _Origin(weakref.ref(output), origin.call, origin.normed, name)
        elif origin and not origin.normed and origin.activation == "identity" and _is_fresh(module):
            self._origins[id(output)] = _Origin(weakref.ref(output), origin.call, normed=True)

    def _on_activation(self, call: _Call, module: nn.Module, output: Tensor) -> None:
        if call.activation is not None:
            return
        call.activation = module
        call.saturated = layers.saturated_share(module, output.detach())
        if layers.can_die(module) and output.shape[1:] == call.shape:
            self._see_units(call, Site(module, False, self._numbers[module], layers.unit_axis(call.module)), output)

    def _see_units(self, call: _Call, site: Site, activations: Tensor) -> None:
        nonnegative = not site.is_input and layers.is_nonnegative(site.module)
        call.silent = silent_units(activations.detach(), site.axis, nonnegative)
        self.sites[site] = call

    def _link(self, call: _Call, inputs: Tensor) -> None:
        """What the layer before has to do with this one: theory's factor between them, and its units."""
        origin = self._origin(inputs)
        if origin and isinstance(call.module, nn.Linear) and isinstance(origin.call.module, nn.Linear):
            origin.call.expected = _expected(origin, call)
        before = self.calls[-1] if self.calls else None
        if before and before.activation is None and before.silent is None and not origin and inputs.dim() > 1:
            axis = layers.unit_axis(before.module)  # its activation is a function: seen where its values arrive
            if before.shape and inputs.shape[axis] == before.shape[axis if axis < 0 else axis - 1]:
                self._see_units(before, Site(call.module, True, self._numbers[call.module], axis), inputs)

    def _origin(self, tensor: object) -> _Origin | None:
        origin = self._origins.get(id(tensor))
        return origin if origin and origin.tensor() is tensor else None

    def _watch_time(self, name: str, module: nn.RNNBase, inputs: tuple[Any, ...], output: Any) -> None:
        reason = recurrence.why_unseen(module, inputs[0])
        if reason:
            self.unseen[name] = reason
        else:
            self._runs.append(recurrence.watch(name, module, inputs, output))

    # ----------------------------------------------------------------------------------------- reading
    def profile(self, step: int, scale: float = 1.0) -> Profile:
        """What the pass showed, on the host.

        Args:
            step: Optimizer steps done before it.
            scale: What the loss was multiplied by.
        """
        rows, times = [], []
        for module, calls in self._by_module().items():
            if len(calls) > MANY_CALLS or isinstance(module, nn.RNNCellBase):
                rows.append(_row(calls, scale))
                norms = [0.0 if c.gradient_norm is None else float(c.gradient_norm) / scale for c in calls]
                times.append(TimeProfile(calls[0].name, tuple(norms)))
            else:
                rows += [_row([call], scale) for call in calls]
        for run in self._runs:
            times += [
                TimeProfile(time.name, tuple(norm / scale for norm in time.gradient_norms))
                for time in recurrence.time_profiles(run)
            ]
        silent = {name: "it was not called as a module" for m, name in self.layers.items() if m not in self._numbers}
        return Profile(step, tuple(sorted(rows, key=lambda row: row.depth)), tuple(times), self.unseen | silent)

    def _by_module(self) -> dict[nn.Module, list[_Call]]:
        groups: dict[nn.Module, list[_Call]] = {}
        for call in self.calls:
            groups.setdefault(call.module, []).append(call)
        return groups

    def watch(self) -> UnitWatch:
        """What goes on looking at the units that were silent in this pass."""
        samples = max((call.samples for call in self.sites.values()), default=0)
        silent = {site: (call.name, call.silent) for site, call in self.sites.items() if call.silent is not None}
        return UnitWatch(silent, samples)


def _row(calls: list[_Call], scale: float) -> LayerProfile:
    """One row from one call, or pooled over the calls of a loop."""
    first, numel = calls[0], sum(call.numel for call in calls)
    gradients = [call.gradient_norm for call in calls if call.gradient_norm is not None]
    nonfinite = [count for call in calls for count in (call.nonfinite, call.gradient_nonfinite) if count is not None]
    expected = first.expected or (None, None)
    return LayerProfile(
        name=first.name,
        depth=first.depth,
        shape=first.shape,
        activation_rms=_pooled([call.norm for call in calls], numel),
        activation_mean=sum(float(call.mean) * call.numel for call in calls) / numel,
        gradient_rms=_pooled(gradients, numel) / scale if gradients else None,
        nonfinite=sum(int(count) for count in nonfinite),
        dead=0.0 if first.silent is not None and not first.silent.any() else None,
        saturated=None if first.saturated is None else float(first.saturated),
        expected_backward=expected[0],
        expected_forward=expected[1],
    )


def _pooled(norms: list[Tensor], numel: int) -> float:
    """RMS over all elements of several tensors, from their norms."""
    return math.hypot(*(float(norm) for norm in norms)) / math.sqrt(numel)


def _expected(origin: _Origin, call: _Call) -> tuple[float, float] | None:
    """Theory's (backward, forward) factor from the dense layer of `origin` to the one of `call`."""
    if not theory.is_known(origin.activation):
        return None
    if origin.normed:
        return theory.batch_norm_factors(origin.activation)
    layer, before = call.module, origin.call
    assert isinstance(layer, nn.Linear)
    weight_variance = float(tensor_norm(layer.weight.detach())) ** 2 / layer.out_features  # fan_in · mean(w²)
    bias_variance = 0.0 if layer.bias is None else float(layer.bias.detach().square().mean())
    q = float(before.norm) ** 2 / before.numel
    return theory.dense_factors(origin.activation, weight_variance, bias_variance, q) if 0 < q < math.inf else None


def _is_fresh(norm: nn.Module) -> bool:
    """A BatchNorm that uses this batch's statistics and has not learned a scale or shift yet."""
    if not isinstance(norm, _BatchNorm) or not (norm.training or norm.running_mean is None):
        return False
    return not norm.affine or bool((norm.weight == 1).all() and (norm.bias == 0).all())


def _nonfinite(values: Tensor, norm: Tensor) -> Tensor:
    """Number of NaN and infinite elements; on a CPU, where a look at the norm is free, only counted where there are."""
    if values.device.type == "cpu" and math.isfinite(norm.item()):
        return torch.zeros((), dtype=torch.int64)
    return count_nonfinite(values).sum()


def _first_tensor(output: Any) -> Tensor | None:
    """The tensor that stands for a layer's output: itself, or the first of several (the states of an LSTM)."""
    if isinstance(output, tuple | list):
        return _first_tensor(output[0]) if output else None
    return output if isinstance(output, Tensor) else None
