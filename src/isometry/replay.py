"""What `isometry replay` does: run the batch in which a training met its first NaN again, and look at every layer.

A run keeps that batch in `nonfinite-step0000123.pt`, with the weights of the step, the random state and what describes
the network (`diagnostics.nonfinite`). On the CPU the answer is the training's own; a GPU adds in another order.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.seed import isolate_rng

from . import build
from .diagnostics.history import History
from .diagnostics.nonfinite import Source, find_source
from .diagnostics.probe import probe
from .errors import CheckpointError
from .reports import terminal
from .run import say
from .training.checkpoint_files import read_checkpoint

SHOWN = 8  # samples


def replay(place: str, *, trust: bool = False) -> Source:
    """Where the first NaN or infinity of a run arose, from the file that it kept.

    Args:
        place: That file, or the run's folder.
        trust: As `build.load` takes it.

    Raises:
        CheckpointError: There is no such file, or it is damaged.
    """
    path = _find(Path(place).expanduser())
    kept, module = read_checkpoint(path), build.load(path, trust=trust).train()
    (images, labels), rng_state = kept["batch"], kept["rng_state"]
    precision = Trainer(
        accelerator="cpu",
        precision=kept["isometry"]["config"]["trainer"]["precision"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).precision_plugin
    with isolate_rng():
        source = find_source(module, (images, labels), kept["batch_idx"], rng_state, precision.forward_context())
        torch.set_rng_state(rng_state)
        history = History()
        history.append(probe(module.network, (images, labels), F.cross_entropy))
    print(terminal.layer_table(history))
    say("batch", f"{kept['batch_idx']} of its epoch, {len(labels)} images")
    for sample in source.samples[:SHOWN]:
        say("sample", f"{sample}: {module.class_names[labels[sample]]}")
    if len(source.samples) > SHOWN:
        say("sample", f"… {len(source.samples) - SHOWN} more")
    say("result", _where(source))
    return source


def _find(place: Path) -> Path:
    """A file itself, or the first one of a run's folder."""
    found = sorted(place.glob("nonfinite-*.pt")) if place.is_dir() else [place]
    if not found:
        raise CheckpointError(
            f"error: {place} holds no nonfinite-*.pt: no loss and no gradient there was NaN or infinite, or nobody\n"
            "       looked (monitor.enabled=false), or it ran on a GPU, where the batch is gone when it is noticed"
        )
    return found[0]


def _where(source: Source) -> str:
    if source.inputs:
        return "the batch itself is not finite"
    if source.module is None:
        return "the forward pass is finite here; a gradient is not, see the table (× or nan under ∂L/∂z)"
    return f"the first that is not finite is the output of {source.module}"
