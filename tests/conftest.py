"""What every test gets: no credentials, no way to a host, one thread for each test process, small made images."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Child processes inherit these: their W&B has no key, and its server is a port where nobody answers.
for name in [name for name in os.environ if name.startswith("WANDB_")]:
    del os.environ[name]
os.environ |= {
    "WANDB_BASE_URL": "http://127.0.0.1:9",  # the discard port: nobody answers
    "WANDB_ERROR_REPORTING": "false",
    "NETRC": os.devnull,
    "OMP_NUM_THREADS": "1",
}

import torch  # noqa: E402 (after the number of threads is set)

from isometry.data.sources import ImageSet  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Connecting anywhere but to this machine fails the test, at once and by name."""
    if request.node.get_closest_marker("network"):
        return
    here = ("127.0.0.1", "::1", "localhost")
    reals = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}
    look_up = socket.getaddrinfo

    def guard(name: str) -> Any:
        def guarded(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and address[0] not in here:
                pytest.fail(f"a test tried to reach {address}")
            return reals[name](self, address)

        return guarded

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (*here, None, socket.gethostname()):
            pytest.fail(f"a test tried to look up {host}")
        return look_up(host, *args, **kwargs)

    for name in reals:
        monkeypatch.setattr(socket.socket, name, guard(name))
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture(autouse=True)
def same_randomness() -> None:
    torch.manual_seed(0)


@pytest.fixture
def made_images() -> ImageSet:
    """120 + 40 grey 12×12 pictures in 4 classes that differ by the place of a bright square: easy to learn."""

    def draw(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % 4
        images = torch.randint(0, 60, (count, 1, 12, 12), generator=torch.Generator().manual_seed(seed))
        for image, label in zip(images, labels.tolist(), strict=True):
            row, column = divmod(label, 2)
            image[0, 1 + 6 * row : 5 + 6 * row, 1 + 6 * column : 5 + 6 * column] += 150
        return images.to(torch.uint8), labels

    return ImageSet(*draw(120, 0), *draw(40, 1), class_names=("a", "b", "c", "d"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`cli("train", "model=lstm")` in an empty folder: (exit code, standard output, standard error)."""
    from isometry.cli import main

    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(autouse=True)
def named_exceptions() -> Iterator[None]:
    """The warnings that are not ours, each by name; every other one is an error."""
    with warnings.catch_warnings():
        # Lightning 2.6.6 on torch 2.15: its own use of a class that torch deprecates.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        yield
