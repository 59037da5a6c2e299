"""What `isometry replay` does: run the batch in which a training met its first NaN again, and look at every layer.

A run keeps that batch in `nonfinite-step0000123.pt`, with the weights of the step, the random state and what describes
the network (`diagnostics.nonfinite`). On the CPU the answer is the training's own; a GPU adds in another order.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

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
from .training.classifier import Classifier

SHOWN = 8  # samples


def replay(place: str, *, trust: bool = False) -> Source:
    """Where the first NaN or infinity of a run arose, from the file that it kept.

    Args:
        place: That file, or the run's folder.
        trust: As `build.load` takes it.

    Raises:
        CheckpointError: There is no such file, or it is damaged.
    """
    for path in _find(Path(place).expanduser()):
        kept, module = read_checkpoint(path), build.load(path, trust=trust).train()
        source, history = _run_again(module, kept)
        if source.inputs or source.module:
            break  # of several processes each kept its batch, and one of them has it
    labels = kept["batch"][1]
    print(terminal.layer_table(history))
    say("batch", f"{kept['batch_idx']} of its epoch, {len(labels)} images, in {path.name}")
    for sample in source.samples[:SHOWN]:
        say("sample", f"{sample}: {module.class_names[labels[sample]]}")
    if len(source.samples) > SHOWN:
        say("sample", f"… {len(source.samples) - SHOWN} more")
    say("result", _where(source))
    return source


def _run_again(module: Classifier, kept: Mapping[str, Any]) -> tuple[Source, History]:
    """Where the batch goes wrong, and the profile of its pass; on the CPU, in the training's precision."""
    precision = Trainer(
        accelerator="cpu",
        precision=kept["isometry"]["config"]["trainer"]["precision"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).precision_plugin
    precision.convert_module(module)  # bf16-true
    loss_fn, history = partial(F.cross_entropy, label_smoothing=module.label_smoothing), History()
    batch, rng_state = kept["batch"], kept["rng_state"]
    with isolate_rng():
        source = find_source(module, batch, kept["batch_idx"], rng_state, precision.forward_context())
        torch.set_rng_state(rng_state)
        with precision.forward_context():
            history.append(probe(module.network, tuple(batch), loss_fn))
    return source, history


def _find(place: Path) -> list[Path]:
    """A file itself, or those of the first such step in a run's folder."""
    found = sorted(place.glob("nonfinite-*.pt")) if place.is_dir() else [place]
    if not found:
        raise CheckpointError(
            f"error: {place} holds no nonfinite-*.pt: no loss and no gradient there was NaN or infinite, or nobody\n"
            "       looked (monitor.enabled=false), or it ran on a GPU, where no batch is kept"
        )
    step = found[0].name.partition("-rank")[0].removesuffix(".pt")
    return [path for path in found if path.name.startswith(step)]


def _where(source: Source) -> str:
    if source.inputs:
        return "the batch itself is not finite"
    if source.module is None:
        return "the forward pass is finite here; a gradient is not, see the table (× or nan under ∂L/∂z)"
    return f"the first that is not finite is the output of {source.module}"
