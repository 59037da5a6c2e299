"""Makes each pass over a `DataLoader` of yours a function of (seed, epoch), and brings a resumed one back to its place.

A DataLoader draws its order, and its workers' seeds, from a generator when a pass begins, its own or torch's; a dataset
that augments without workers draws from torch's at each batch. So they are seeded at both places. What a stopped run
had read of a pass is read again and thrown away, for nobody but the DataLoader knows what it did to its generators.

Randomness from `random` or `numpy` in a dataset is its own affair: take torch's. Workers that live on from pass to pass
(`persistent_workers`) keep generators that nobody can seed: that is said. Loaders that go on by themselves
(`data.loader.ImageLoader`: a `state_dict` with `next_batch`) are left alone.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric.utilities.data import _set_sampler_epoch
from pytorch_lightning import Callback, LightningModule, Trainer

from ..randomness import derive, seed_torch


class Passes(Callback):
    """Args:
    seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._is_foreign = False
        self._begun = -1  # the epoch whose pass `on_train_start` has begun

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop, fetcher = trainer.fit_loop, trainer.fit_loop._data_fetcher
        assert fetcher is not None
        loaders = fetcher.combined_loader.flattened
        self._is_foreign, self._begun = not all(map(goes_on_by_itself, loaders)), trainer.current_epoch
        if self._is_foreign:
            for loader in loaders:
                _set_sampler_epoch(loader, trainer.current_epoch)
                if loop.restarting and trainer.is_global_zero:
                    _note_persistent(loader)
            self._seed(trainer, 0)
            iter(fetcher)
            for batch_idx in range(loop.epoch_loop.batch_progress.current.completed if loop.restarting else 0):
                next(fetcher)
                self._seed(trainer, batch_idx + 1)
            fetcher.fetched = 0  # Lightning adds those of the stopped run

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_foreign and trainer.current_epoch != self._begun:
            self._seed(trainer, 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_foreign:
            self._seed(trainer, batch_idx + 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_foreign:
            self._seed(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.completed)

    def _seed(self, trainer: Trainer, batch_idx: int) -> None:
        """For what is read next: torch's generator, another one in each process, and those that the loaders brought."""
        place = trainer.current_epoch, batch_idx
        seed_torch(derive(self.seed, "loader", *place, trainer.global_rank), trainer.strategy.root_device)
        assert trainer.fit_loop._data_fetcher is not None
        for loader in trainer.fit_loop._data_fetcher.combined_loader.flattened:
            for generator in _generators(loader):  # alike in all processes: they may share out one order among them
                generator.manual_seed(derive(self.seed, "loader", *place))


def goes_on_by_itself(loader: Any) -> bool:
    """Whether a loader keeps its own place, and needs no generator."""
    return hasattr(loader, "state_dict") and "next_batch" in loader.state_dict()


def _generators(loader: Any) -> list[torch.Generator]:
    """Those of its own that a DataLoader draws from."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


def _note_persistent(loader: Any) -> None:
    if getattr(loader, "persistent_workers", False):
        print("resumed  not to the bit where workers draw: a DataLoader has persistent_workers=True", flush=True)
