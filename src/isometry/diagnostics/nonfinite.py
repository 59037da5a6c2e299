"""Where the first NaN or infinity comes from: the module in forward order, or the parameter in backward order.

Asked once, when the gradient of a step is not finite and before clipping spreads it (clipping multiplies every gradient
by clip/NaN). The weights are still those of the step, so the forward pass is run again on the same batch, with the same
random numbers and a look at every module's output; nothing of it stays. The batch is kept in a file, with the weights
and what the module puts into a checkpoint:

    kept = torch.load("runs/NAME/nonfinite-step0000123.pt", weights_only=True)
    module.load_state_dict(kept["state_dict"])
    find_source(module, kept["batch"], kept["batch_idx"], kept["rng_state"])     # the same answer again
"""

from __future__ import annotations

import inspect
import math
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from .history import GradientRecord, NonFiniteRecord
from .layers import plain_path
from .unchanged import unchanged


class Suspect(NamedTuple):
    """A batch as `training_step` got it, its index in the epoch, and the random state of the CPU before it."""

    batch: Any
    batch_idx: int
    rng_state: Tensor


@dataclass
class Source:
    """What `find_source` found.

    Args:
        module: Path of the first module whose output is not finite, or of the one in whose own code it happened;
            `loss` when only the loss is not; None when the forward pass is finite.
        samples: Positions in the batch that are not finite there; empty where they cannot be told apart.
        inputs: Whether the batch itself holds NaN or infinity; `samples` then says where.
    """

    module: str | None = None
    samples: list[int] = field(default_factory=list)
    inputs: bool = False


def locate(trainer: Trainer, module: LightningModule, suspect: Suspect | None, beside: Path | None) -> NonFiniteRecord:
    """Where the coming step's gradient went wrong; the batch is kept in a file `beside` another, None: in none."""
    assert suspect is not None
    source = Source()
    with suppress(Exception):  # where a step cannot be run again, the parameter is named all the same
        source = find_source(module, *suspect, trainer.precision_plugin.forward_context())
    parameter, file = first_parameter(module), None
    if beside is not None:
        rank = f"-rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        file = keep(beside.with_name(f"nonfinite-step{trainer.global_step:07d}{rank}.pt"), module, suspect)
    found = source.module, parameter, source.samples, source.inputs
    return NonFiniteRecord(trainer.global_step, suspect.batch_idx, *found, file)


def find_source(
    module: LightningModule,
    batch: Any,
    batch_idx: int,
    rng_state: Tensor,
    precision: AbstractContextManager[Any] | None = None,
) -> Source:
    """Run `training_step` again and look at every output; the module is afterwards as it was.

    With manual optimization nothing is run, for `training_step` would make its steps again.

    Args:
        module: With the weights of the step.
        batch: As `training_step` takes it.
        batch_idx: Of the batch in its epoch.
        rng_state: Of the CPU before the step.
        precision: The training's autocast.
    """
    size = next((len(tensor) for tensor in _tensors(batch) if tensor.dim()), 0)
    bad = [tensor for tensor in _tensors(batch) if not _is_finite(tensor)]
    if bad:
        return Source(samples=_samples(bad[0], size), inputs=True)
    if not module.automatic_optimization:
        return Source()
    source, root = Source(), type(module).__name__
    handles = []
    for name, inner in module.named_modules():
        path = plain_path(name)
        look_in = partial(_look_in, source, path.rpartition(".")[0] or root, size)
        handles.append(inner.register_forward_pre_hook(look_in, with_kwargs=True))
        handles.append(inner.register_forward_hook(partial(_look_out, source, path or root, size)))
    try:
        with unchanged(module), torch.no_grad(), torch.compiler.set_stance("force_eager"), precision or nullcontext():
            torch.set_rng_state(rng_state)
            module.log = module.log_dict = _log_nothing  # type: ignore[method-assign]
            loss = module.training_step(*_arguments(module, batch, batch_idx))
    finally:
        for handle in handles:
            handle.remove()
    if source.module is None and not all(map(_is_finite, _tensors(loss))):
        source.module = "loss"
    return source


def first_parameter(module: nn.Module) -> str | None:
    """The first parameter in the order of the backward pass whose gradient is not finite: the last that was made."""
    named = list(module.named_parameters())
    return next(
        (plain_path(name) for name, p in reversed(named) if p.grad is not None and not _is_finite(p.grad)), None
    )


def keep(path: Path, module: LightningModule, suspect: Suspect) -> str | None:
    """Write what `find_source` needs to `path`; its name, or None when the batch or the disk does not allow it."""
    state = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    # Copied, for a slice would bring all the data that it is cut from.
    batch = tree_map_only(Tensor, lambda tensor: tensor.detach().cpu().clone(), suspect.batch)
    kept = {"state_dict": state, **suspect._replace(batch=batch)._asdict()}
    try:
        module.on_save_checkpoint(kept)
        torch.save(kept, path)
    except Exception:  # a batch can hold anything, and a disk can be full; the training goes on
        path.unlink(missing_ok=True)
        return None
    return path.name


def noticed_late(record: GradientRecord) -> NonFiniteRecord | None:
    """The first step since the last record whose gradient was not finite, from the norms alone; None where all were."""
    first = next((index for index, total in enumerate(record.totals) if not math.isfinite(total)), None)
    if first is None:
        return None
    is_this_step = first == len(record.totals) - 1  # later ones have NaN in every layer
    broken = [name for name, row in record.layers.items() if row.nan or row.inf] if is_this_step else []
    step = record.step - (len(record.totals) - 1 - first)
    return NonFiniteRecord(step, None, None, broken[-1] if broken else None, [], False, None)


def describe(record: NonFiniteRecord) -> str:
    """One sentence: when, where, in which samples."""
    where = f"in the batch itself, {_listed(record.samples)}" if record.inputs else ""
    if record.module is not None:
        where = f"first in {record.module}" + (f", {_listed(record.samples)}" if record.samples else "")
    elif not where:
        where = f"first in the gradient of {record.parameter}" if record.parameter else "noticed later, on a GPU"
    kept = f"; {record.file} replays it" if record.file else ""
    return f"the gradient of step {record.step} is not finite: {where}{kept}"


def _listed(samples: list[int], shown: int = 8) -> str:
    more = f" and {len(samples) - shown} more" if len(samples) > shown else ""
    return f"samples {samples[:shown]}{more}"


def _look_in(source: Source, around: str, size: int, module: nn.Module, args: Any, kwargs: Any) -> None:
    """What is not finite on its way into a module was made by the code of the module around it."""
    _look(source, around, size, (args, kwargs))


def _look_out(source: Source, path: str, size: int, module: nn.Module, inputs: Any, output: Any) -> None:
    """What is not finite on its way out came in finite, or `_look_in` would have spoken."""
    _look(source, path, size, output)


def _look(source: Source, path: str, size: int, values: Any) -> None:
    bad = next((tensor for tensor in _tensors(values) if not _is_finite(tensor)), None)
    if source.module is None and bad is not None:
        source.module, source.samples = path, _samples(bad, size)


def _samples(tensor: Tensor, size: int) -> list[int]:
    """Rows of a tensor with `size` rows that are not finite."""
    if not tensor.dim() or len(tensor) != size:
        return []
    finite = tensor.detach().reshape(size, -1).isfinite().all(dim=1)
    return (~finite).nonzero().flatten().tolist()


def _arguments(module: LightningModule, batch: Any, batch_idx: int) -> list[Any]:
    wanted = inspect.signature(module.training_step).parameters
    return [batch, batch_idx] if len(wanted) > 1 else [batch]


def _log_nothing(*args: Any, **kwargs: Any) -> None:
    """Stands in for `log` while the step is run again."""


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested containers."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
