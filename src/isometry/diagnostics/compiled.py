"""The depth profile of a compiled network, through its original modules.

Hooks would become part of a compiled graph or break it, and an uncompiled step would round differently. So on a probed
step only what goes into the compiled module and the gradient that comes back to its output are kept; afterwards the
original module runs again on them, uncompiled, with hooks, and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule

from .profile import Profile
from .recorder import Recorder
from .unchanged import unchanged


def compiled_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of the outermost compiled modules: `torch.compile(module)` and `module.compile()` alike."""
    outermost: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{path}.") or path == "" for path in outermost)
        if not inside and (isinstance(module, OptimizedModule) or module._compiled_call_impl is not None):
            outermost.append(name)
            yield name, module


class Replay:
    """One call of a compiled module, kept to be run again.

    Args:
        path: Where the module is.
        module: Compiled in either way.
        around: Records what is not compiled; it tells how many layers lie behind the call.
    """

    def __init__(self, path: str, module: nn.Module, around: Recorder) -> None:
        self.path, self.module, self.around = path, module, around
        self.layers_behind = 0
        self._call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._gradient: Tensor | None = None
        self._restore = ExitStack()

    def attach(self) -> None:
        if isinstance(self.module, OptimizedModule):
            handle = self.module.register_forward_hook(self._on_call, with_kwargs=True)
            self._restore.callback(handle.remove)
            return
        compiled = self.module._compiled_call_impl  # hooks of the module itself would be compiled with it
        assert compiled is not None

        def call(*args: Any, **kwargs: Any) -> Any:
            output = compiled(*args, **kwargs)
            self._on_call(self.module, args, kwargs, output)
            return output

        self.module._compiled_call_impl = call
        self._restore.callback(setattr, self.module, "_compiled_call_impl", compiled)

    def detach(self) -> None:
        self._restore.close()

    def _on_call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self._call is None and isinstance(output, Tensor) and output.requires_grad:
            self._call = (args, kwargs)
            self.layers_behind = max((call.depth for call in self.around.calls), default=0)
            output.register_hook(self._on_gradient)

    def _on_gradient(self, gradient: Tensor) -> None:
        if self._gradient is None:
            self._gradient = gradient.detach()

    def run(self, step: int, scale: float, precision: AbstractContextManager[Any]) -> Profile | None:
        """The profile of this module alone; None when its one tensor of output and its gradient were not seen.

        Args:
            step: Optimizer steps done before.
            scale: What the loss was multiplied by.
            precision: The training's autocast.
        """
        if self._call is None or self._gradient is None:
            return None
        args, kwargs = self._call
        recorder = Recorder(self.module, self.path)
        wanted = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        with unchanged(self.module), torch.compiler.set_stance("force_eager"), torch.enable_grad(), precision:
            recorder.attach()
            try:
                output = self.module(*map(_cut, args), **{key: _cut(value) for key, value in kwargs.items()})
                torch.autograd.grad(output, wanted, self._gradient, allow_unused=True)
            finally:
                recorder.detach()
        return recorder.profile(step, scale)


def join(profile: Profile, replays: Sequence[Replay], scale: float, precision: AbstractContextManager[Any]) -> Profile:
    """The profile of the rest of the network, with the compiled modules put in where they were called."""
    shift = 0
    for replay in replays:
        inner = replay.run(profile.step, scale, precision)
        if inner is None:
            why = {replay.path: "compiled, and not with one tensor in the graph as its output"}
            profile = replace(profile, unseen={**profile.unseen, **why})
            continue
        behind, inside = replay.layers_behind + shift, max((row.depth for row in inner.layers), default=0)
        rows = [replace(row, depth=row.depth + inside * (row.depth > behind)) for row in profile.layers]
        rows += [replace(row, depth=row.depth + behind) for row in inner.layers]
        profile = replace(
            profile,
            layers=tuple(sorted(rows, key=lambda row: row.depth)),
            times=(*profile.times, *inner.times),
            unseen={**profile.unseen, **inner.unseen},
        )
        shift += inside
    return profile


def _cut(value: Any) -> Any:
    """A tensor without its graph, which the training has already used up."""
    return value.detach() if isinstance(value, Tensor) else value
