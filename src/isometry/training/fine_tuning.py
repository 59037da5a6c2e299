"""Starting from another run's weights: all of them, and where the classes differ a fresh head."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .checkpoint_files import read_checkpoint
from .classifier import Classifier


def copy_weights(path: Path, module: Classifier) -> str:
    """Into `module`, all weights; a head for other classes stays fresh. What was done, in a line.

    Raises:
        CheckpointError: Anything else differs.
    """
    content, own = read_checkpoint(path), module.state_dict()
    saved = content["state_dict"]
    differing = [
        name
        for name in {**saved, **own}
        if name not in saved or name not in own or saved[name].shape != own[name].shape
    ]
    if tuple(content["isometry"]["class_names"]) != module.class_names:  # ten digits are not ten garments
        differing += [name for name in own if name.startswith("network.head.")]
    beyond_head = sorted(name for name in differing if not name.startswith("network.head."))
    if beyond_head:
        raise CheckpointError(
            f"error: {path} holds another network: {len(beyond_head)} entries differ, first {beyond_head[0]}\n"
            f"  fix:   use the model with its options, norm, parametrization and image size that it was trained with"
        )
    module.load_state_dict({**own, **{name: saved[name] for name in saved if name not in differing}})
    kept = f"; the head for {len(module.class_names)} classes starts fresh" if differing else ""
    return f"from {path}{kept}"
