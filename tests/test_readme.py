"""The README says what is true: its commands, tree, tables and numbers are read here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from isometry.catalog import GROUPS, SWITCHES
from isometry.config import CONFIG_DIR
from isometry.overrides import expand, read
from isometry.strategies import clash_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MANY_RUNS = (ROOT / "docs" / "many_runs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\w*\n(.*?)```", README, flags=re.S)


def command_lines() -> list[str]:
    """Every command a reader can copy, without its comment."""
    pages = [*BLOCKS, *re.findall(r"```\n(.*?)```", MANY_RUNS, flags=re.S)]
    lines = [line.partition("  #")[0].strip() for block in pages for line in block.splitlines()]
    return [line for line in lines if re.match(r"(python train\.py|isometry|make) ", line)]


def words_of(line: str) -> list[str]:
    """The words after the command; `make train ARGS="a b"` has those of ARGS."""
    words = shlex.split(line)
    if words[0] == "make":
        arguments = [word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")]
        return shlex.split(arguments[0]) if arguments else []
    return words[2:]


@pytest.mark.parametrize("line", command_lines())
def test_every_command_would_be_accepted(line: str) -> None:
    words = [word for word in words_of(line) if word not in ("--help", "--cfg")]
    if "-m" in words:
        for chosen, fixed in expand([word for word in words if word != "-m"]):
            read([*fixed, *(f"{key}={value}" for key, value in chosen.items())])
    elif line.startswith("isometry strategies"):
        assert set(words) <= {*SWITCHES, *GROUPS}
    elif re.match(r"isometry (report|evaluate|replay|compare|diagnose) runs/", line):
        assert len(words) == 1
    elif line.startswith("isometry dashboard"):
        assert [word.partition("=")[0] for word in words] == ["runs/x", "entity", "project", "--push"]
    elif line.startswith("isometry new"):
        assert len(words) == 2
    else:
        read(words)


def test_there_are_commands_to_check() -> None:
    assert len(command_lines()) > 12


@pytest.mark.parametrize("line", [line for line in command_lines() if line.startswith("make ")])
def test_every_make_target_exists(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), flags=re.M)


def tree() -> list[str]:
    """Paths of the annotated tree, folders with a slash; modules named behind a folder are expanded."""
    (block,) = [block for block in BLOCKS if "five lines: hands over" in block]
    paths, folders = [], [""]
    for line in re.sub(r"\n {20,}", " ", block).splitlines():  # a long list of modules goes on in the next line
        names, _, comment = re.sub(r"\s{2,}", "\t", line.strip()).partition("\t")
        depth = (len(line) - len(line.lstrip())) // 2
        parent = folders[depth]
        for name in names.split():
            paths.append(parent + name)
            if name.endswith("/"):
                folders[depth + 1 :] = [parent + name]
                if parent == "src/isometry/":
                    modules = [word for word in comment.split() if not word.endswith("/")]
                    paths += [f"{parent}{name}{word}.py" for word in modules]
    return paths


@pytest.mark.parametrize("path", tree())
def test_every_path_of_the_tree_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_module_is_in_the_tree() -> None:
    package = ROOT / "src" / "isometry"
    modules = {str(path.relative_to(ROOT)) for path in package.rglob("*.py") if not path.name.startswith("__")}
    assert {path for path in modules if "/assets/" not in path} == {
        path for path in tree() if path.endswith(".py") and path.startswith("src/")
    }


@pytest.mark.parametrize("family", [*SWITCHES, *GROUPS])
def test_the_table_of_switches_is_the_catalog(family: str) -> None:
    key = "data.augment" if family == "augment" else family
    (row,) = re.findall(rf"^\| `{re.escape(key)}=` \| (.*) \|$", README, flags=re.M)
    assert re.findall(r"`([^`]+)`", row) == list({**SWITCHES, **GROUPS}[family])


def test_the_table_of_what_does_not_go_together_is_the_catalogs() -> None:
    assert clash_table() in README


RESULTS = re.findall(r"^\| `experiment=(\w+)` \|.*\| \*\*([^*]+)\*\* \| ([^|]+) \|$", README, flags=re.M)


def test_the_results_are_those_of_the_experiments_headers() -> None:
    assert {name for name, _, _ in RESULTS} == {path.stem for path in CONFIG_DIR.glob("experiment/*.yaml")}
    for name, accuracy, minutes in RESULTS:
        header = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
        assert accuracy in header
        assert minutes.strip() in header


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).is_file(), target


def test_dependencies_are_pinned_with_plain_versions() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    extras = project["optional-dependencies"]
    wanted = {re.split(r"[<>=!]", name)[0].lower() for name in sum(extras.values(), project["dependencies"])}
    assert wanted - {f"isometry[{','.join(sorted(extras.keys() - {'dev'}))}]"} <= pinned  # `dev` names the others


def test_the_default_experiment_is_the_default() -> None:
    plain, named = read([]).model_dump(), read(["experiment=mnist_deep_cnn"]).model_dump()
    assert OmegaConf.create(plain) == OmegaConf.create(named)
