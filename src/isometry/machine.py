"""What this machine can do: refused before training, in words, where it cannot do what was asked."""

from __future__ import annotations

import torch

from .config import Config
from .errors import ConfigError


def check_machine(config: Config) -> str:
    """Refuse what this machine cannot do; else one line on what was chosen and why."""
    trainer = config.trainer
    gpus = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found = next((name for name, there in gpus.items() if there), "cpu")  # as Lightning's auto looks for them
    device = found if trainer.accelerator == "auto" else trainer.accelerator
    if device != "cpu" and not gpus[device]:
        raise ConfigError(
            f"error: trainer.accelerator = {device}, but torch sees no such device here\n"
            "  fix:   trainer.accelerator=cpu   or   trainer=cpu"
        )
    if trainer.precision == "16-mixed" and device != "gpu":
        raise ConfigError(
            f"error: trainer.precision = 16-mixed needs a GPU, and training runs on {device} here\n"
            "  fix:   trainer.precision=bf16-mixed   or   trainer.precision=32-true"
        )
    if trainer.sync_batchnorm and device != "gpu":
        raise ConfigError("error: trainer.sync_batchnorm works on GPUs only\n  fix:   trainer.sync_batchnorm=false")
    bf16 = trainer.precision.startswith("bf16")
    if device == "gpu" and bf16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError("error: this GPU has no bfloat16\n  fix:   trainer.precision=16-mixed")
    if device == "gpu" and isinstance(trainer.devices, int) and trainer.devices > torch.cuda.device_count():
        raise ConfigError(
            f"error: trainer.devices = {trainer.devices}, but this machine has {torch.cuda.device_count()} GPU(s)"
        )
    threads = torch.get_num_threads()
    names = {"cpu": f"CPU with {threads} thread{'s' if threads > 1 else ''}", "mps": "Apple GPU"}
    name = names.get(device) or torch.cuda.get_device_name()
    why = "as asked" if trainer.accelerator != "auto" else "torch sees no GPU" if device == "cpu" else "a GPU is there"
    return f"{name} ({why}), precision {trainer.precision}"
