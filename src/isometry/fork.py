"""What `isometry new FOLDER NAME` does: this checkout as a project of another name, with its own history.

One rule renames: the package's name becomes the new one wherever it stands as a word, in code, paths and prose. With a
capital letter it is the template's, and stays as its credit. Everything is copied that git does not ignore, tests and
all; only the changelog starts afresh. Torch-free.
"""

from __future__ import annotations

import keyword
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

from . import __version__
from .errors import ConfigError, ResourceError

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parents[2]
_WORD = re.compile(rf"(?<!dynamical )\b{PACKAGE}\b")  # dynamical isometry is a word of the field


def fork(folder: Path, name: str, root: Path = ROOT) -> list[str]:
    """Make the project; lines on what was done.

    Raises:
        ConfigError: There is no checkout to copy, or `folder` or `name` will not do.
        ResourceError: The folder cannot be written.
    """
    files = _files(root)
    _check_name(name, files)
    _check_folder(folder, root)
    origin = _origin(root)
    try:
        for file in files:
            _copy(root / file, folder / _renamed(str(file), name), name)
        _sign(folder, name, origin)
    except OSError as error:
        raise ResourceError(f"error: cannot write into {folder}: {error.strerror}") from None
    tidied = _tidy(folder)
    return [
        f"project  {folder}: {len(files)} files, package {name}, from {origin}{tidied}",
        f"history  {_start_history(folder, f'{name}, made from {origin}')}",
        f"next     cd {folder} && make test",
        "         make train",
    ]


# ------------------------------------------------------------------------------------ what is there
def _files(root: Path) -> list[Path]:
    """Of the checkout, all but what git ignores; relative, sorted.

    Raises:
        ConfigError: This is no checkout.
    """
    if not (root / "pyproject.toml").is_file() or not (root / "src" / PACKAGE).is_dir():
        raise ConfigError(
            f"error: new copies a checkout of the template, and {Path(__file__).parent} is installed without one\n"
            f"  fix:   get the repository, and there: make, then .venv/bin/{PACKAGE} new FOLDER NAME"
        )
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = set(listed.stdout.split("\0")) if listed else set()
    if "pyproject.toml" not in names:  # no git here, or it does not know this folder
        names = {str(path.relative_to(root)) for path in _walk(root)}
    return sorted(Path(name) for name in names if (root / name).is_file())


def _walk(root: Path) -> Iterator[Path]:
    """All files but those of .gitignore, whose patterns are plain names."""
    ignored = [".git", *(line.rstrip("/") for line in (root / ".gitignore").read_text(encoding="utf-8").split())]
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not any(fnmatch(name, pattern) for pattern in ignored)]
        yield from (Path(folder) / name for name in names if not any(fnmatch(name, pattern) for pattern in ignored))


def _origin(root: Path) -> str:
    """`Isometry 0.1.0 (1234567)`, with a + where files were changed after the commit."""
    title = (root / "README.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    commit, changes = _git(root, "rev-parse", "--short", "HEAD"), _git(root, "status", "--porcelain")
    changed = "+" if changes and changes.stdout else ""
    return f"{title} {__version__}" + (f" ({commit.stdout.strip()}{changed})" if commit else "")


def _check_name(name: str, files: list[Path]) -> None:
    parts = {Path(part).stem for file in files for part in file.parts}
    refusals = {
        "must be lower-case letters, digits and _, and start with a letter": not re.fullmatch("[a-z][a-z0-9_]*", name),
        "is a word of Python's": keyword.iskeyword(name),
        "is a module of Python's own": name in sys.stdlib_module_names,
        "is the template's own name": name == PACKAGE,
        "is a file or folder in every such project": name in parts - {PACKAGE},
        "is an installed package": name in _installed(),
    }
    for rule, holds in refusals.items():
        if holds:
            plain = re.sub("[^a-z0-9_]", "_", name.lower()).strip("_")
            better = plain if plain != name and plain[:1].isalpha() else f"my_{plain}".rstrip("_")
            raise ConfigError(
                f"error: the package cannot be called {name} ({rule})\n  where: command line\n"
                f"  fix:   another name, such as {better}"
            )


def _installed() -> set[str]:
    """What the environment's packages are imported as, and what they are installed as."""
    published = {re.sub("[-.]+", "_", each.metadata["Name"]).lower() for each in distributions()}
    return published | set(packages_distributions())


def _check_folder(folder: Path, root: Path) -> None:
    there = "is a file" if folder.is_file() else "is not empty" if folder.is_dir() and any(folder.iterdir()) else ""
    if folder.resolve().is_relative_to(root.resolve()):
        there = "lies in the template itself"
    if there:
        raise ConfigError(
            f"error: {folder} {there} (must be new or empty, outside the template)\n  where: command line\n"
            "  fix:   another folder, such as ../my_project"
        )


# --------------------------------------------------------------------------------- what is made of it
def _renamed(text: str, name: str) -> str:
    return _WORD.sub(name, text)


def _copy(source: Path, target: Path, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = source.read_bytes()
    with suppress(UnicodeDecodeError):  # of a picture, of the digits
        content = _renamed(content.decode(), name).encode()
    target.write_bytes(content)
    shutil.copymode(source, target)


def _sign(folder: Path, name: str, origin: str) -> None:
    """The project's own title and changelog."""
    readme = folder / "README.md"
    _, _, rest = readme.read_text(encoding="utf-8").partition("\n")
    readme.write_text(f"# {name}\n\nMade from {origin}, a template; this is still its page.\n{rest}", encoding="utf-8")
    changes = f"# Changelog\n\n## Unreleased\n\n- Made from {origin}.\n"
    (folder / "CHANGELOG.md").write_text(changes, encoding="utf-8")


def _tidy(folder: Path) -> str:
    """Break lines anew, which are longer or shorter now; where ruff is missing, the words that say so."""
    words = [sys.executable, "-m", "ruff", "format", "--quiet", "--no-cache", "."]
    tidied = subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0
    return "" if tidied else "; lines are not broken anew, for there is no ruff here"


def _start_history(folder: Path, message: str) -> str:
    """A repository with one commit, as far as git is there and knows who commits; a line on it."""
    if not _git(folder, "init", "--quiet", "--initial-branch=main"):
        return "none: there is no git here, or none that is new enough"
    staged = _git(folder, "add", "--all", "--force")
    # Never guess who commits: without a name in git's configuration the first commit is the user's to make.
    if staged and _git(folder, "-c", "user.useConfigOnly=true", "commit", "--quiet", "--message", message):
        return "a git repository with one commit"
    return f"a git repository without a commit: git knows no name and address; then: git commit -m '{message}'"


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str] | None:
    """Run git in a folder, whatever repository the environment points at (as in a hook); None where it fails."""
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
    environment = {key: value for key, value in os.environ.items() if key not in elsewhere}
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True, encoding="utf-8"
        )
    except (OSError, subprocess.CalledProcessError):
        return None
