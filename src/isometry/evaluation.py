"""What `isometry evaluate` does: the test accuracy of a checkpoint, from that file and the data alone."""

from __future__ import annotations

import json
from typing import Any

import torch
from pytorch_lightning import Trainer

from . import build
from .config import Config
from .errors import CheckpointError, ResourceError
from .machine import check_machine
from .run import expected_warnings, say
from .training.checkpoint_files import BEST, find_checkpoint
from .training.signals import Signals


def evaluate(config: Config, place: str, *, trust: bool = False) -> dict[str, Any]:
    """The test accuracy of a checkpoint, from that file and the data alone; also stored as `evaluation.json`.

    Args:
        config: The run's, with what was changed.
        place: A `.ckpt` file or a run's folder.
        trust: As `build.load` takes it.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    say("machine", check_machine(config))
    path = find_checkpoint(place, BEST)
    module = build.load(path, trust=trust)
    images = build.image_set(config)
    if images.class_names != module.class_names:
        raise CheckpointError(
            f"error: {path} knows {len(module.class_names)} classes ({', '.join(module.class_names[:3])} …), "
            f"the data has {len(images.class_names)} ({', '.join(images.class_names[:3])} …)"
        )
    data = build.datamodule(config, images)
    data.mean, data.std = torch.tensor(module.mean), torch.tensor(module.std)  # as it was trained
    keys = ("accelerator", "precision", "limit_test_batches")
    trainer = Trainer(
        **{key: value for key, value in config.trainer.options().items() if key in keys},
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with expected_warnings(), Signals(f"isometry evaluate {place}"):
        tested = trainer.test(module, datamodule=data, verbose=False)[0]
    say("result", f"test accuracy {tested['test/acc']:.2%} on {config.data.name}")
    target = (path.parent.parent if path.parent.name == "checkpoints" else path.parent) / "evaluation.json"
    try:
        target.write_text(json.dumps({**tested, "checkpoint": str(path)}, indent=1))
    except OSError as error:
        raise ResourceError(f"error: cannot write {target}: {error.strerror}") from None
    say("file", str(target))
    return dict(tested)
