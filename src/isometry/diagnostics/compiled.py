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
from torch.utils._pytree import tree_leaves, tree_map_only

from .hooks import Hook
from .layers import Layout
from .profile import Profile
from .recorder import Recorder
from .unchanged import unchanged

# Seen where the first layer is, or the one next to the loss.
_SEEN_INSIDE = ("input_mean", "input_std", "input_largest", "batch_norm_samples", "guess", "link", "out_of_reach")


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
            handle = self.module.register_forward_hook(Hook(self._on_call), with_kwargs=True)
            self._restore.callback(handle.remove)
            return
        compiled = self.module._compiled_call_impl  # hooks of the module itself would be compiled with it
        if compiled is None:
            return  # fit(torch.compile(module)): training_step itself is the graph

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

    def _on_gradient(self, gradient: Tensor | None) -> None:
        if gradient is not None:
            self._gradient = gradient.detach()

    def run(self, around: Profile, scale: float, precision: AbstractContextManager[Any]) -> Profile | None:
        """The profile of this module alone; None when its one tensor of output and its gradient were not seen.

        Args:
            around: Of the rest of the network.
            scale: What the loss was multiplied by.
            precision: The training's autocast.
        """
        if self._call is None or self._gradient is None:
            return None
        recorder = Recorder(Layout(self.module, self.path))
        with unchanged(self.module), torch.compiler.set_stance("force_eager"), torch.enable_grad(), precision:
            args, kwargs = tree_map_only(Tensor, _cut, self._call)
            wanted = [*self.module.parameters(), *tree_leaves((args, kwargs))]
            wanted = [each for each in wanted if isinstance(each, Tensor) and each.requires_grad]
            recorder.attach()
            try:
                output = self.module(*args, **kwargs)
                if wanted:
                    torch.autograd.grad(output, wanted, self._gradient, allow_unused=True)
            finally:
                recorder.detach()
        return recorder.profile(around.step, scale, around.loss)


def join(profile: Profile, replays: Sequence[Replay], scale: float, precision: AbstractContextManager[Any]) -> Profile:
    """The profile of the rest of the network, with the compiled modules put in where they were called."""
    shift = 0
    for replay in replays:
        inner = replay.run(profile, scale, precision)
        if inner is None:
            names = Layout(replay.module, replay.path).layers.values()
            why = dict.fromkeys(names, "compiled, and not as a module that returns one tensor")
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
            **{name: getattr(inner, name) for name in _SEEN_INSIDE if getattr(profile, name) is None},
        )
        shift += inside
    return profile


def _cut(value: Tensor) -> Tensor:
    """A tensor without its graph, which the training has already used up."""
    return value.detach().requires_grad_(value.requires_grad)
