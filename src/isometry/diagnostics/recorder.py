"""Hooks for one pass: the size of z and of ∂L/∂z at every weight layer, z being its output.

Anybody's pass: the monitor rides on a real training step, `probe` makes one of its own. A hook on z itself gives ∂L/∂z
also where an in-place ReLU overwrites z afterwards (`autograd.grad` would give the gradient after the ReLU). Depth
goes by the longest paths in autograd's graph (`depth.py`), so that branches and shared layers stand where they belong.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from . import layers, recurrence, targets
from .calls import Call, nonfinite, row, weight_spread
from .chain import Chain, times_written
from .depth import GraphDepth
from .hooks import Hook
from .layers import Layout
from .profile import Profile, TimeProfile
from .statistics import silent_units, spread, tensor_norm, underflow_share, unit_sum, unit_zeros
from .units import Site, UnitWatch

SOME_SAMPLES = 8  # z's mean and spread are taken over so many: a whole pass over z is 1 % of a CNN's step
MANY_CALLS = 8  # a layer called more often in one pass is a loop over time: one row, and a profile over its calls


class Recorder:
    """Hooks on a network's weight layers, norms and activations for one pass.

    Args:
        layout: Of the network.
        units: Whether to look for silent units, too.
    """

    def __init__(self, layout: Layout, *, units: bool = True) -> None:
        self.layers, self.others, self.units = layout.layers, layout.others, units
        self.batch_norms = layout.batch_norms
        self.calls: list[Call] = []
        self.sites: dict[Site, Call] = {}
        self.unseen: dict[str, str] = {}
        self.seconds = 0.0  # spent in the hooks
        self._inputs: list[Tensor] = []  # mean, standard deviation and largest of the first numbers that a layer got
        self._is_at_loss = True  # until the first gradient arrives: that of the layer next to the loss
        # The layer that ran last, most likely that one; its z, some of it as it was, how often it had been written to.
        self._last: tuple[Call, Tensor, Tensor, int] | None = None
        self._at_loss: tuple[Tensor, Tensor, int] | None = None  # z, ∂L/∂z and the axis of units there
        self._pull: Tensor | None = None  # Σ z ∂L/∂z there
        self._runs: list[recurrence.Run] = []
        self._positions: tuple[str, Tensor] | None = None  # ‖∂L/∂z‖ along the second axis of the first layer's z
        self._numbers: Counter[nn.Module] = Counter()  # of all calls
        self._named: Counter[tuple[nn.Module, bool]] = Counter()  # of those with and of those without gradients
        self._chain = Chain()
        self._depths = GraphDepth()
        self._handles: list[Any] = []

    def attach(self) -> None:
        on_layer, on_other = Hook(self._timed(self._on_layer)), Hook(self._timed(self._on_other))
        self._handles += [module.register_forward_hook(on_layer, with_kwargs=True) for module in self.layers]
        self._handles += [module.register_forward_hook(on_other) for module in self.others]

    def detach(self) -> None:
        """Take the hooks off; what was seen stays, the graph is let go."""
        for call, depth in zip(self.calls, self._depths.latest(), strict=bool(self._handles)):
            call.depth = depth or call.depth
        for handle in self._handles:
            handle.remove()
        self._handles, self._chain, self._depths, self._last = [], Chain(), GraphDepth(), None

    def _timed(self, hook: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any) -> None:
            started = time.perf_counter()
            hook(*args)
            self.seconds += time.perf_counter() - started

        return timed

    # ----------------------------------------------------------------------------------- forward hooks
    def _on_layer(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        inputs = (*inputs, *(named[name] for name in ("input", "hx")[len(inputs) :] if name in named))
        name = self.layers[module]
        z = _first_tensor(output)
        if z is not None and z.numel() == 0:
            self.unseen[name] = "its output was empty"
            return
        if z is None or not z.is_floating_point() or z.dim() == 0:
            self.unseen[name] = "its output is no tensor of numbers"
            return
        if torch._C._current_graph_task_id() != -1:  # in the backward pass: activation checkpointing runs it again
            again = next((call for call in self.calls if call.module is module and not call.hooked), None)
            if again and z.requires_grad:
                self._watch_gradient(again, z)
            return
        call = self._measure(name, module, z)
        if inputs and isinstance(inputs[0], Tensor):
            if not self._inputs and (not self.calls or inputs[0].grad_fn is None):  # numbers may come beside indices
                self._measure_inputs(inputs[0].detach())
            self._link(call, inputs[0])
        if inputs and isinstance(module, nn.RNNBase):
            self._watch_time(call, inputs, output)
        self.calls.append(call)
        if isinstance(module, nn.Linear):
            self._chain.begin(z, call)  # there is no theory of other chains

    def _measure(self, name: str, module: nn.Module, z: Tensor) -> Call:
        self._numbers[module] += 1
        trains = torch.is_grad_enabled()
        self._named[module, trains] += 1
        number = self._named[module, trains]
        values = z.detach()
        call = Call(
            name=name if number == 1 else f"{name}@{number}",
            module=module,
            depth=self._depths.of(z),
            shape=tuple(z.shape[-1:] if isinstance(module, nn.RNNBase) else z.shape[1:]),
            samples=len(z),
            numel=z.numel(),
            norm=(norm := tensor_norm(values)),
            mean=values[:SOME_SAMPLES].mean(dtype=torch.float32),
            nonfinite=nonfinite(values, norm),
            weight_spread=weight_spread(module),
            trains=trains,
        )
        if trains:
            some = values[:SOME_SAMPLES].clone()  # the activation may overwrite z
            self._last = call, values, some, times_written(values)
        if z.requires_grad:
            self._watch_gradient(call, z)
        return call

    def _measure_inputs(self, inputs: Tensor) -> None:
        if inputs.is_floating_point() and inputs.numel():
            values = inputs.float()
            self._inputs = [values.mean(), values.std(correction=0), values.abs().amax()]

    def _watch_gradient(self, call: Call, z: Tensor) -> None:
        def on_gradient(gradient: Tensor | None) -> None:
            if gradient is not None and self._handles:  # None: of several outputs, one that is not used
                values = gradient.detach()
                call.gradient_norm = tensor_norm(values)  # of the last pass: a penalty's may come before
                call.gradient_nonfinite = nonfinite(values, call.gradient_norm)
                if values.dtype == torch.float16:
                    call.underflow = underflow_share(values)
                if call is self.calls[0] and isinstance(call.module, nn.Linear | nn.Embedding) and values.dim() == 3:
                    self._positions = call.name, torch.linalg.vector_norm(values.float(), dim=(0, 2))
                if self._is_at_loss:
                    self._is_at_loss = False
                    self._measure_outputs(call, values, call.gradient_norm)

        z.register_hook(self._timed(on_gradient))
        call.hooked = True

    def _measure_outputs(self, call: Call, gradient: Tensor, norm: Tensor | float) -> None:
        axis = layers.unit_axis(call.module)
        call.unit_sum, call.unit_zeros = unit_sum(gradient, axis, norm), unit_zeros(gradient, axis)
        if self._last is not None and self._last[0] is call:
            _, z, some, written = self._last
            self._at_loss = z, gradient, axis
            call.sample_spread = spread(some.float())
            if times_written(z) == written:
                self._pull = torch.dot(z.flatten().float(), gradient.flatten().float())

    def _on_other(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A norm or an activation: whose z went in, and what came out."""
        if not (inputs and isinstance(output, Tensor) and self.calls):
            return
        self._numbers[module] += 1
        call = self._chain.follow(module, inputs[0], output)
        if isinstance(module, layers.ACTIVATIONS):
            self._on_activation(call or self.calls[-1], module, output)

    def _on_activation(self, call: Call, module: nn.Module, output: Tensor) -> None:
        if call.activation is not None:
            return
        call.activation = module
        call.saturated = layers.saturated_share(module, output.detach())
        if self.units and layers.can_die(module) and output.shape[1:] == call.shape:
            self._see_units(call, Site(module, False, self._numbers[module], layers.unit_axis(call.module)), output)

    def _see_units(self, call: Call, site: Site, activations: Tensor) -> None:
        nonnegative = not site.is_input and layers.is_nonnegative(site.module)
        call.silent = silent_units(activations.detach(), site.axis, nonnegative)
        self.sites[site] = call

    def _link(self, call: Call, inputs: Tensor) -> None:
        """What the layer before has to do with this one: theory's factor between them, its activation and units."""
        linked = self._chain.link(inputs, call)
        before = self.calls[-1] if self.calls else None
        if not before or linked or inputs.dim() < 2 or before.activation is not None or before.silent is not None:
            return
        if self._depths.behind(inputs) != before.depth:
            return
        function = layers.function_behind(inputs)  # not called as a module: seen where its values arrive
        if function is not None and inputs.numel() == before.numel:
            before.activation = function
            before.saturated = layers.saturated_share(function, inputs.detach())
        axis = layers.unit_axis(before.module)
        is_same = before.shape and inputs.shape[axis] == before.shape[axis if axis < 0 else axis - 1]
        if self.units and is_same and (function is None or layers.can_die(function)):
            self._see_units(before, Site(call.module, True, self._numbers[call.module], axis), inputs)

    def _watch_time(self, call: Call, inputs: tuple[Any, ...], output: Any) -> None:
        assert isinstance(call.module, nn.RNNBase)
        reason = recurrence.why_unseen(call.module, inputs[0])
        if reason:
            self.unseen[call.name] = reason
        else:
            self._runs.append(recurrence.watch(call.name, call.module, inputs, output))

    # ----------------------------------------------------------------------------------------- reading
    def profile(self, step: int, scale: float = 1.0, loss: float | None = None) -> Profile:
        """What the pass showed, on the host.

        Args:
            step: Optimizer steps done before it.
            scale: What the loss was multiplied by, before it was differentiated.
            loss: Without the scale.
        """
        rows, times, seen = [], [], self._by_module()
        for module, calls in seen.items():
            if len(calls) > MANY_CALLS or isinstance(module, nn.RNNCellBase):
                rows.append(row(calls, scale))
                if isinstance(module, nn.RNNBase):
                    continue  # its runs know more: the state goes on through h_n
                norms = [0.0 if c.gradient_norm is None else float(c.gradient_norm) / scale for c in calls]
                times.append(TimeProfile(calls[0].name, tuple(norms)))
            else:
                rows += [row([call], scale) for call in calls]
        times += self._over_time(scale)
        if not times and self._positions:
            name, at_each = self._positions
            times.append(TimeProfile(name, tuple((at_each / scale).tolist())))
        silent = {name: _why_silent(m, self._numbers) for m, name in self.layers.items() if m not in seen}
        mean, std, largest = torch.stack(self._inputs).tolist() if self._inputs else (None, None, None)
        told = self._told(loss, scale)
        normalises = any(norm.training for norm in self.batch_norms)
        return Profile(
            step,
            tuple(sorted(rows, key=lambda each: each.depth)),
            tuple(times),
            silent | self.unseen,
            loss=loss,
            guess=told.guess if told else None,
            link=told.link if told else None,
            out_of_reach=told.out_of_reach if told else None,
            elasticity=float(self._pull) / scale / loss if self._pull is not None and loss else None,
            input_mean=mean,
            input_std=std,
            input_largest=largest,
            batch_norm_samples=min((call.samples for call in self.calls), default=None) if normalises else None,
        )

    def _told(self, loss: float | None, scale: float) -> targets.Told | None:
        if loss is None or self._at_loss is None:
            return None
        outputs, gradient, axis = self._at_loss
        return targets.told(outputs, gradient.float() / scale, loss, axis)

    def _over_time(self, scale: float) -> Iterator[TimeProfile]:
        """Of each recurrent layer and direction; many short runs of one, as decoders make them, are joined."""
        joined: dict[str, list[TimeProfile]] = {}
        for run in self._runs:
            if self._numbers[run.module] > MANY_CALLS:
                run.name = self.layers[run.module]
            for profile in recurrence.time_profiles(run):
                joined.setdefault(profile.name, []).append(profile)
        for name, runs in joined.items():
            norms = (norm / scale for run in runs for norm in run.gradient_norms)
            last_norms = (norm / scale for norm in runs[0].last_norms) if len(runs) == 1 else ()
            yield TimeProfile(name, tuple(norms), tuple(last_norms))

    def _by_module(self) -> dict[nn.Module, list[Call]]:
        groups: dict[nn.Module, list[Call]] = {}
        for call in self.calls:
            if call.trains or call.hooked:  # a slow copy's or a teacher's do not; checkpointed ones do, later
                groups.setdefault(call.module, []).append(call)
        return groups

    def watch(self) -> UnitWatch:
        """What goes on looking at the units that were silent in this pass."""
        samples = max((call.samples for call in self.sites.values()), default=0)
        silent = {site: (call.name, call.silent) for site, call in self.sites.items() if call.silent is not None}
        return UnitWatch(silent, samples)


def _why_silent(layer: nn.Module, numbers: Counter[nn.Module]) -> str:
    return "it ran without gradients" if layer in numbers else "it was not called as a module"


def _first_tensor(output: Any) -> Tensor | None:
    """The tensor that stands for a layer's output: itself, or the first of several (the states of an LSTM)."""
    if isinstance(output, tuple | list):
        return _first_tensor(output[0]) if output else None
    return output if isinstance(output, Tensor) else None
