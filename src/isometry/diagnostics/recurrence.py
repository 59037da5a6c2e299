"""‖∂L/∂h_t‖ of a recurrent layer: how far back in time the gradient reaches.

`nn.LSTM`, `nn.GRU` and `nn.RNN` run all time steps in one call, and the gradient of their output is only what comes in
from above, not what comes back through time. So the layer alone is run again, step by step with the same weights and
inputs, and the gradient that really arrived at its output is sent back through it. The training does not notice.

Where there is a loss at each time step, ∂L/∂h_t is large at each of them, however much is forgotten in between. So what
arrived at the last step is sent back once more, by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .profile import TimeProfile

# On the host, where float64 is to be had on every machine: over 784 steps of a tanh RNN the gradient falls to 1e-187.
_EXACT: dict[str, Any] = {"device": "cpu", "dtype": torch.float64}
SAMPLES = 16  # of a batch: a norm over time needs no more, and every step costs


@dataclass
class Run:
    """One call of a recurrent layer, as the hooks saw it: inputs, and the gradient at its output."""

    name: str
    module: nn.RNNBase
    inputs: Tensor  # [B, T, F], or [T, B, F] where the module is not batch_first
    state: Tensor | tuple[Tensor, Tensor] | None
    gradient: Tensor | None = None  # as the output
    final_gradients: list[Tensor | None] = field(default_factory=list)  # of h_n, or of h_n and c_n


def why_unseen(module: nn.RNNBase, inputs: object) -> str | None:
    """What keeps `time_profiles` from telling, in words; None when nothing does."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 3:
        return "gradients over time are told for [batch, time, features] only"
    if getattr(module, "proj_size", 0):
        return "gradients over time are not told for projected states"
    if module.dropout and module.num_layers > 1 and module.training:
        return "gradients over time are not told with dropout between the layers"
    return None


def watch(name: str, module: nn.RNNBase, inputs: tuple[Any, ...], output: Any) -> Run:
    """The run that a forward hook sees, with hooks for the gradient that will come back to its output."""
    states, finals = output[0], output[1] if isinstance(output[1], tuple) else (output[1],)
    run = Run(name, module, inputs[0], inputs[1] if len(inputs) > 1 else None, final_gradients=[None] * len(finals))
    if states.requires_grad:
        states.register_hook(partial(setattr, run, "gradient"))
        for index, state in enumerate(finals):
            state.register_hook(partial(run.final_gradients.__setitem__, index))
    return run


def time_profiles(run: Run) -> list[TimeProfile]:
    """One profile for each layer and direction, over at most `SAMPLES` samples; empty when no gradient came back."""
    batch_axis = 0 if run.module.batch_first else 1

    def front(tensor: Tensor, axis: int = batch_axis) -> Tensor:
        return tensor.detach().narrow(axis, 0, min(SAMPLES, tensor.shape[axis])).to(**_EXACT)

    def time_first(tensor: Tensor) -> Tensor:
        return front(tensor).transpose(0, 1) if batch_axis == 0 else front(tensor)

    states = run.state if isinstance(run.state, tuple) else (run.state,)
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        started = [None if state is None else front(state, 1) for state in states]
        outputs, hidden, finals = _unroll(run.module, time_first(run.inputs), started)
        arrived = [None if run.gradient is None else time_first(run.gradient)]
        arrived += [None if gradient is None else front(gradient, 1) for gradient in run.final_gradients]
        pairs = [pair for pair in zip((outputs, *finals), arrived, strict=False) if pair[1] is not None]
        if not pairs:
            return []
        ends, gradients = zip(*pairs, strict=True)
        rows = _norms(hidden, ends, gradients)
        last = None if arrived[0] is None else _of_the_last_step(arrived[0], run.module.bidirectional)
        of_the_last = [()] * len(rows) if last is None else _norms(hidden, ends, (last, *gradients[1:]))
    return [
        TimeProfile(f"{run.name}.{suffix}" if len(hidden) > 1 else run.name, norms, last_norms)
        for suffix, norms, last_norms in zip(hidden, rows, of_the_last, strict=True)
    ]


def _norms(
    hidden: dict[str, list[Tensor]], ends: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[tuple[float, ...]]:
    """‖∂L/∂h_t‖ of each layer and direction, from ∂L/∂ends."""
    wanted = [state for over_time in hidden.values() for state in over_time]
    found = torch.autograd.grad(ends, wanted, gradients, retain_graph=True, allow_unused=True)
    norms = tuple(0.0 if gradient is None else _tiny_norm(gradient) for gradient in found)
    length = len(norms) // len(hidden)
    return [norms[start : start + length] for start in range(0, len(norms), length)]


def _of_the_last_step(gradient: Tensor, is_bidirectional: bool) -> Tensor | None:
    """∂L/∂outputs `[T, B, D·H]` with each direction's last step alone; None where that is all there is."""
    if int((gradient != 0).flatten(1).any(dim=1).sum()) < 2:
        return None
    last = torch.zeros_like(gradient)
    forward = gradient.shape[-1] // 2 if is_bidirectional else gradient.shape[-1]
    last[-1, :, :forward], last[0, :, forward:] = gradient[-1, :, :forward], gradient[0, :, forward:]
    return last


def _tiny_norm(gradient: Tensor) -> float:
    """The norm, also where squares leave float64: below 1e-162."""
    largest = gradient.abs().max()
    return float(largest * torch.linalg.vector_norm(gradient / largest)) if largest > 0 else float(largest)


def _unroll(
    module: nn.RNNBase, inputs: Tensor, started: list[Tensor | None]
) -> tuple[Tensor, dict[str, list[Tensor]], list[Tensor]]:
    """All layers, step by step: outputs `[T, B, D·H]`, each layer and direction's states, (h_n, c_n)."""
    hidden: dict[str, list[Tensor]] = {}
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(module.num_layers):
        directions = []
        for reverse in range(2 if module.bidirectional else 1):
            suffix = f"l{layer}" + "_reverse" * reverse
            state = _start(module, inputs, started, len(finals))
            weights = _weights(module, suffix)
            over_time: list[Tensor] = []
            for features in reversed(inputs) if reverse else inputs:
                state = _step(module, features, state, weights)
                over_time.append(state[0])
            hidden[suffix] = over_time
            directions.append(torch.stack(over_time[::-1] if reverse else over_time))
            finals.append(state)
        inputs = torch.cat(directions, dim=-1)
    return inputs, hidden, [torch.stack(kind) for kind in zip(*finals, strict=True)]


def _start(module: nn.RNNBase, inputs: Tensor, started: list[Tensor | None], index: int) -> tuple[Tensor, ...]:
    """State before the first step; it wants a gradient, so that all later states have one."""
    kinds = 2 if isinstance(module, nn.LSTM) else 1
    zeros = inputs.new_zeros(inputs.shape[1], module.hidden_size)
    given = [started[kind][index] if started[0] is not None else zeros for kind in range(kinds)]  # type: ignore[index]
    return tuple(state.clone().requires_grad_() for state in given)


def _weights(module: nn.RNNBase, suffix: str) -> list[Tensor]:
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if module.bias else ("weight_ih", "weight_hh")
    return [getattr(module, f"{kind}_{suffix}").detach().to(**_EXACT) for kind in kinds]


def _step(module: nn.RNNBase, features: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
    if isinstance(module, nn.LSTM):
        return torch.lstm_cell(features, state, *weights)
    if isinstance(module, nn.GRU):
        return (torch.gru_cell(features, state[0], *weights),)
    cell = torch.rnn_relu_cell if getattr(module, "nonlinearity", "tanh") == "relu" else torch.rnn_tanh_cell
    return (cell(features, state[0], *weights),)
