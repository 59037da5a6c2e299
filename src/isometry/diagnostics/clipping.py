"""What clips the gradient, and where its norm after clipping comes from.

The Trainer's own clipping (`gradient_clip_val`) is computed from the gradient before it: `statistics.clipped_norm`. A
module that overrides Lightning's hook `configure_gradient_clipping` can do anything, so `.grad` is measured right after
it: before it nothing is clipped, and after the step `.grad` may hold the step (Nesterov on a GPU). Lightning has no
callback at this place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningModule, Trainer

_HOOK = LightningModule.configure_gradient_clipping.__name__


@dataclass(frozen=True)
class Clipping:
    """What the Trainer will do to the gradient: see `statistics.clipped_norm`."""

    value: float
    algorithm: str


def clips_itself(module: LightningModule) -> bool:
    """Whether the hook is another than Lightning's, by the class or by an attribute of the module."""
    hook = getattr(module, _HOOK)
    return getattr(hook, "__func__", hook) is not LightningModule.configure_gradient_clipping


def trainer_clipping(trainer: Trainer) -> Clipping | None:
    """What Lightning's own hook does."""
    if not trainer.gradient_clip_val:
        return None
    return Clipping(float(trainer.gradient_clip_val), str(getattr(trainer.gradient_clip_algorithm, "value", "norm")))


class AfterClipping:
    """Calls `measure` once, after the module's own hook; until then it stands in the hook's place on the module."""

    def __init__(self, module: LightningModule, measure: Callable[[], None]) -> None:
        self.module, self.measure = module, measure
        self.hook = getattr(module, _HOOK)
        self.was_attribute = _HOOK in vars(module)  # the user's, or that of another monitor
        self.is_over = False
        vars(module)[_HOOK] = self

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.detach()
        self.hook(*args, **kwargs)
        self.measure()

    def detach(self) -> None:
        """Taken off at once, or with the one that came later and stands on it."""
        self.is_over = True
        attributes = vars(self.module)
        while isinstance(top := attributes.get(_HOOK), AfterClipping) and top.is_over:
            del attributes[_HOOK]
            if top.was_attribute:
                attributes[_HOOK] = top.hook

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        """A copy of the module gets the hook itself."""
        return _same, (self.hook,)


def _same(hook: Any) -> Any:
    return hook
