"""`isometry new`: a project of another name that stands on its own; every command and every test works in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import NAME, Fork, make_fork

import isometry
from isometry.errors import ConfigError
from isometry.fork import fork

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Fork:
    return make_fork(tmp_path_factory.mktemp("fork"))


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file of a project that can be read."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in (".git", ".venv", "runs"):
            try:
                yield relative, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


# ------------------------------------------------------------------------------------------ the project
def test_it_says_what_was_done_and_what_comes_next(made: Fork) -> None:
    told = made.told.splitlines()
    assert re.match(rf"project  {made.folder}: \d+ files, package {NAME}, from \w+ {isometry.__version__}", told[0])
    assert told[1].startswith("history  ")
    assert told[2:] == [f"next     cd {made.folder} && make test", "         make train"]


def test_the_template_is_named_nowhere(made: Fork) -> None:
    for path, text in texts(made.folder):
        assert not re.search(r"(?<!dynamical )\bisometry\b", text), path
        assert isometry.__name__ not in path.parts
    assert (made.folder / "src" / NAME / "cli.py").is_file()
    project = (made.folder / "pyproject.toml").read_text()
    assert f'\nname = "{NAME}"\n' in project
    assert f'\n{NAME} = "{NAME}.cli:main"\n' in project


def test_the_template_keeps_its_credit(made: Fork) -> None:
    for name in ("LICENSE", "CITATION.cff"):
        assert (made.folder / name).read_bytes() == (ROOT / name).read_bytes()
    title = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    origin = f"Made from {title} {isometry.__version__}"
    readme = (made.folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert readme[0] == f"# {NAME}"
    assert readme[2].startswith(origin)
    changes = (made.folder / "CHANGELOG.md").read_text(encoding="utf-8")
    assert origin in changes
    assert len(changes.splitlines()) == 5


def test_nothing_else_is_changed_or_lost(made: Fork) -> None:
    """Put the old name back, and the file is the template's, but for where ruff breaks a line."""

    def bare(text: str) -> str:
        return re.sub(r"[\s(),]+", "", text)

    ours = {path: text for path, text in texts(made.folder) if path.name not in ("README.md", "CHANGELOG.md")}
    assert len(ours) > 150
    for path, text in ours.items():
        there = ROOT / str(path).replace(NAME, isometry.__name__)
        assert bare(text.replace(NAME, isometry.__name__)) == bare(there.read_text(encoding="utf-8")), path
    for path in ROOT.glob("src/*/data/assets/*.xz"):
        assert (made.folder / "src" / NAME / "data" / "assets" / path.name).read_bytes() == path.read_bytes()
    assert os.access(made.folder / ".ci" / "run", os.X_OK) == os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_file_compiles_and_the_names_are_there(made: Fork) -> None:
    assert made.run(sys.executable, "-m", "compileall", "-q", "src", "tests", "benchmarks", "train.py").returncode == 0
    ran = made.run(sys.executable, "-c", f"import {NAME}, {NAME}.fork; print({NAME}.__file__)")
    assert Path(ran.stdout.strip()).is_relative_to(made.folder), ran.stderr
    blocked = made.run(sys.executable, "-c", "import isometry")
    assert "is the template's" in blocked.stderr  # the guard can fail


def test_the_command_line_speaks_of_the_new_name(made: Fork) -> None:
    helped = made.run(sys.executable, "-m", NAME, "--help")
    assert f"{NAME} diagnose KEY=VALUE …" in helped.stdout
    printed = made.run(sys.executable, "train.py", "--cfg", "model=resnet")
    assert f"project: {NAME}" in printed.stdout
    mistaken = made.run(sys.executable, "-m", NAME, "nothing")
    assert mistaken.returncode == 2
    assert f"fix:   {NAME} train | diagnose" in mistaken.stderr


# -------------------------------------------------------------------------------------------- its history
def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def committer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A git that knows who commits, and nothing else of this machine; its configuration."""
    path = tmp_path / "gitconfig"
    path.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return path


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_it_has_a_history_of_its_own(committer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook: it must not be committed there
    said, folder = fork(tmp_path / "mine", NAME), tmp_path / "mine"
    monkeypatch.delenv("GIT_DIR")
    assert "history  a git repository with one commit" in said
    assert git(folder, "log", "--format=%an %s").startswith(f"Ada {NAME}, made from ")
    assert git(folder, "status", "--porcelain") == ""
    assert len(git(folder, "ls-files").splitlines()) == int(re.findall(r"(\d+) files", said[0])[0])


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_without_a_name_nobody_commits(committer: Path, tmp_path: Path) -> None:
    committer.write_text("")
    said, folder = "\n".join(fork(tmp_path / "mine", NAME)), tmp_path / "mine"
    assert "a git repository without a commit: git knows no name and address" in said
    assert committer.read_text() == ""
    assert "user" not in (folder / ".git" / "config").read_text()
    assert "pyproject.toml" in git(folder, "diff", "--cached", "--name-only").splitlines()  # one word away


def test_without_git_it_is_a_project_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder of files, what .gitignore names stays behind."""
    template, folder = tmp_path / "template", tmp_path / "mine"
    for name in ("pyproject.toml", "README.md", f"src/{isometry.__name__}/cli.py", "runs/a/b.ckpt", ".venv/bin/python"):
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text(f"# {isometry.__name__}\n")
    shutil.copy(ROOT / ".gitignore", template)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = "\n".join(fork(folder, NAME, template))
    assert "history  none" in said
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert kept == {".gitignore", "pyproject.toml", "README.md", f"src/{NAME}/cli.py", "CHANGELOG.md"}


# --------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("name", "rule", "fix"),
    [
        ("my-lab", "must be lower-case letters, digits and _", "my_lab"),
        ("MyLab", "must be lower-case letters, digits and _", "mylab"),
        ("2lab", "and start with a letter", "my_2lab"),
        ("größe", "must be lower-case letters, digits and _", "gr__e"),
        ("../lab", "must be lower-case letters, digits and _", "lab"),
        ("lambda", "is a word of Python's", "my_lambda"),
        ("json", "is a module of Python's own", "my_json"),
        ("torch", "is an installed package", "my_torch"),
        ("pytorch_lightning", "is an installed package", "my_pytorch_lightning"),
        ("hydra_core", "is an installed package", "my_hydra_core"),  # imported as hydra, installed as hydra-core
        ("train", "is a file or folder in every such project", "my_train"),
        (isometry.__name__, "is the template's own name", NAME),
    ],
)
def test_a_name_that_will_not_do_is_refused(name: str, rule: str, fix: str, cli: Callable[..., Any]) -> None:
    code, _, err = cli("new", "made", name)
    assert code == 2
    assert err.startswith(f"error: the package cannot be called {name} (")
    assert rule in err
    assert err.endswith(f"\n  where: command line\n  fix:   another name, such as {fix}\n")
    assert not Path("made").exists()


def test_a_folder_that_will_not_do_is_refused(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years")
    (tmp_path / "file").touch()
    for place, why in {"full": "is not empty", "file": "is a file", str(ROOT / "x"): "lies in the template"}.items():
        code, _, err = cli("new", place, NAME)
        assert code == 2
        assert why in err
        assert "fix:   another folder" in err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_words_that_are_missing_are_named(cli: Callable[..., Any]) -> None:
    for words in ([], ["made"], ["made", NAME, "more"]):
        code, _, err = cli("new", *words)
        assert (code, "fix:   isometry new ../my_project my_name" in err) == (2, True)


def test_an_installed_package_says_that_it_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="copies a checkout of the template") as refused:
        fork(tmp_path / "made", NAME, tmp_path / "site-packages")
    assert refused.value.exit_code == 2


# ----------------------------------------------------------------------------------- its own make and tests
@pytest.fixture(scope="module")
def environment(made: Fork) -> Path:
    """`make` finds what it would have installed: a .venv whose python is this one. The rest of its recipes is real."""
    python = made.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    installed = made.folder / ".venv" / "installed"
    installed.touch()
    return installed


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_its_checks_pass(made: Fork) -> None:
    ran = made.run("make", "check", timeout=1200)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_it_trains(made: Fork) -> None:
    ran = made.run("make", "train", "ARGS=debug=fast run_name=first", timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "test accuracy" in ran.stdout
    assert (made.folder / "runs" / "first" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_its_tests_pass(made: Fork) -> None:
    ran = made.run("make", "test", timeout=7200)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr


@pytest.mark.slow
def test_it_installs_as_itself(made: Fork, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    ran = made.run(*pip, "--no-build-isolation", "--target", str(tmp_path), ".", timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / NAME / "configs" / "train.yaml").is_file()
    assert (tmp_path / "bin" / NAME).is_file()
