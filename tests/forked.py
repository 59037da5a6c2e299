"""A fork to work in: made by `isometry new`, run with this environment's packages and its own sources.

Installing a fork for each test would fetch torch, which takes minutes. So its processes get this environment's Python,
the fork's `src` on their path, and the few lines of metadata that an installation would have left. The template, which
this environment has installed, is nowhere to be found in them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import isometry

NAME = f"my_{isometry.__name__}"  # in a fork of a fork another one, as the template's own name is refused

WITHOUT_THE_TEMPLATE = """
import sys

class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "isometry":
            raise ModuleNotFoundError(f"{name} is the template's")

sys.meta_path.insert(0, Nobody())
"""


@dataclass(frozen=True)
class Fork:
    """A project in `folder`; `told` is what the command printed."""

    folder: Path
    told: str

    @property
    def path(self) -> str:
        """The fork's `src`, and what stands for its installation."""
        return os.pathsep.join(map(str, (self.folder / "src", self.folder.with_name("installed"))))

    def run(self, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run words in the fork."""
        environment = {**os.environ, "PYTHONPATH": self.path}
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )


def make_fork(place: Path) -> Fork:
    """In a new folder below `place`."""
    installed, folder = place / "installed", place / "project"
    metadata = installed / f"{NAME}-{isometry.__version__}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {isometry.__version__}\n")
    (installed / "sitecustomize.py").write_text(WITHOUT_THE_TEMPLATE)
    words = [sys.executable, "-m", "isometry", "new", str(folder), NAME]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return Fork(folder, ran.stdout)
