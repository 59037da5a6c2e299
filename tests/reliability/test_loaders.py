"""Data behind an ordinary `DataLoader`, shuffled and augmented by torch's generator: resumed in mid-epoch, too."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import COMMON, NETWORKS, Fault, killed_and_resumed, outcome, run, said
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from isometry.data.image_data import ImageData
from isometry.data.sources import Request


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Another picture at each look."""

    def __len__(self) -> int:
        return 270

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.randn(1, 28, 28) + index / 100, torch.tensor(index % 2)


class Shuffled(ImageData):
    workers, pictures = 0, Noisy

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.image_shape, self.class_names, self.batch_size = (1, 28, 28), ("even", "odd"), request.batch_size
        self.mean, self.std = torch.zeros(1), torch.ones(1)

    def train_dataloader(self) -> Any:
        return DataLoader(self.pictures(), self.batch_size, shuffle=True, num_workers=self.workers)

    def val_dataloader(self) -> Any:
        return DataLoader([(torch.ones(1, 28, 28), 1)] * 30, self.batch_size)

    test_dataloader = val_dataloader


class Own(Shuffled):
    """With a generator of its own, for the order."""

    def train_dataloader(self) -> Any:
        return DataLoader(Noisy(), self.batch_size, shuffle=True, generator=torch.Generator().manual_seed(7))


class Workers(Shuffled):
    workers = 2


class Torn(Noisy):
    """One of its pictures cannot be read, unless the file `mended` is there."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 200 and not Path("mended").exists():
            raise ValueError("a torn picture")
        return super().__getitem__(index)


class Deadly(Noisy):
    """One of its pictures ends the worker that reads it."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 200 and not Path("mended").exists():
            os._exit(9)
        return super().__getitem__(index)


class Raising(Workers):
    pictures = Torn


class Dying(Workers):
    pictures = Deadly


def words(name: str) -> list[str]:
    common = [word for word in COMMON if not word.startswith(("data.augment", "data.limit"))]
    return [*NETWORKS["deep_cnn"], *common, f"data=test_loaders:{name}"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [("Shuffled", (1, 4, 3, 2, 5)), ("Own", (4, 7)), pytest.param("Workers", (5, 6), marks=pytest.mark.slow)],
)
def test_a_pass_goes_on_where_it_was(name: str, counts: tuple[int, ...], tmp_path: Path) -> None:
    """Killed in the first epoch, at its end and in the second, before and after a validation."""
    assert run(tmp_path / "whole", [*words(name), "run_name=r"]) == 0, said(tmp_path / "whole")
    killed_and_resumed(tmp_path / "k", words(name), *[Fault("batch", count) for count in counts])
    assert outcome(tmp_path / "k") == outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "told"),
    [("Raising", 1, "unexpected ValueError: Caught ValueError in DataLoader worker"), ("Dying", 3, "has died")],
)
def test_a_worker_that_fails_ends_the_run_and_what_was_saved_is_good(
    name: str, code: int, told: str, tmp_path: Path
) -> None:
    folder, whole, command = tmp_path / "k", tmp_path / "whole", [*words(name), "run_name=r", "resume=auto"]
    assert run(folder, command) == code, said(folder)
    assert told in said(folder)
    whole.mkdir()
    for place in (folder, whole):
        (place / "mended").touch()
        assert run(place, command) == 0, said(place)
    assert outcome(folder) == outcome(whole)


def test_without_seeds_of_its_own_it_is_another(tmp_path: Path) -> None:
    """The control."""
    assert run(tmp_path / "whole", [*words("Shuffled"), "run_name=r"], None, "passes") == 0
    command = [*words("Shuffled"), "run_name=r", "resume=auto"]
    assert run(tmp_path / "k", command, Fault("batch", 6), "passes") == -signal.SIGKILL
    run(tmp_path / "k", command, None, "passes")
    assert outcome(tmp_path / "k")["state_digest"] != outcome(tmp_path / "whole")["state_digest"]
