"""What a pass over a DataLoader draws from: its own generator, alike in all processes; torch's, in each another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data import DataLoader

from isometry.training.passes import Passes


def seeds(rank: int, batch_idx: int) -> tuple[int, int]:
    """Of torch's generator, and of the one that the loader brought."""
    own = torch.Generator().manual_seed(7)
    fetcher = SimpleNamespace(
        combined_loader=SimpleNamespace(flattened=[DataLoader(range(8), 2, shuffle=True, generator=own)])  # type: ignore[arg-type]
    )
    trainer: Any = SimpleNamespace(
        current_epoch=1,
        global_rank=rank,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(_data_fetcher=fetcher),
    )
    Passes(seed=1)._seed(trainer, batch_idx)
    return torch.initial_seed(), own.initial_seed()


def test_processes_share_the_order_that_a_loader_s_own_generator_gives() -> None:
    (first, own_first), (second, own_second) = seeds(0, 3), seeds(1, 3)
    assert first != second
    assert own_first == own_second
    assert own_first not in (7, seeds(0, 4)[1])
