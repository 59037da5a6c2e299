"""What a probed training step needs: a recorder that rides on it, and a watch over its silent units afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, nn

from .compiled import Replay, compiled_modules, join
from .history import UnitsRecord
from .layers import Layout, plain_path
from .profile import Profile
from .recorder import Recorder
from .units import UnitWatch


class TrainingLayout(Layout):
    """Of a module in training, with its compiled parts set aside."""

    def __init__(self, pl_module: LightningModule) -> None:
        self.compiled = [(plain_path(path), module) for path, module in compiled_modules(pl_module)]
        if pl_module._compiler_ctx is not None:  # fit(torch.compile(module)): training_step is one graph
            self.compiled = [("", pl_module)]
        super().__init__(pl_module, without=[module for _, module in self.compiled])


class Ride:
    """A probe on one real training step; compiled modules are replayed after it."""

    def __init__(self, layout: TrainingLayout, step: int, scale: Tensor | None, parts: int, *, units: bool) -> None:
        self.step, self.scale = step, scale
        self.parts = parts  # batches over which gradients are accumulated: the loss of each is divided by them
        self.loss: Tensor | None = None  # of the pass, times the scale
        self.recorder = Recorder(layout, units=units)
        self.replays = [Replay(path, module, self.recorder) for path, module in layout.compiled]
        self.recorder.attach()
        for replay in self.replays:
            replay.attach()

    def detach(self) -> None:
        self.recorder.detach()
        for replay in self.replays:
            replay.detach()

    def end(self, precision: AbstractContextManager[Any]) -> Profile:
        self.detach()
        scale = (1.0 if self.scale is None else float(self.scale)) / self.parts
        loss = None if self.loss is None else float(self.loss) / scale
        return join(self.recorder.profile(self.step, scale, loss), self.replays, scale, precision)


class Watch:
    """The units that were silent on a probed step, over the batches that follow."""

    def __init__(self, units: UnitWatch, step: int) -> None:
        self.units, self.step = units, step

    def attach(self) -> None:
        self.units.attach()

    def detach(self) -> None:
        self.units.detach()

    def record(self, until: int) -> UnitsRecord:
        return UnitsRecord(self.step, until, self.units.samples, self.units.dead())

    def state_dict(self, root: nn.Module) -> dict[str, Any]:
        return {"step": self.step, **self.units.state_dict(root)}

    @classmethod
    def restored(cls, state: Mapping[str, Any], root: nn.Module) -> Watch:
        return cls(UnitWatch.restored(state, root), state["step"])
