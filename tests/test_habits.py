"""What runs on other machines says the same as what runs here: the workflow, the hooks, the versions."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]


def _yaml(path: str) -> dict[str, object]:
    return dict(yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8")))


def test_the_workflow_runs_what_everybody_runs() -> None:
    jobs = _yaml(".github/workflows/ci.yml")["jobs"]
    assert isinstance(jobs, dict)
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands == ["bash .ci/run"]
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for command in ("make check", "make test"):
        assert command in ci
        assert command in contributing


def test_the_hooks_run_the_tools_of_the_makefile() -> None:
    repositories = _yaml(".pre-commit-config.yaml")["repos"]
    assert isinstance(repositories, list)
    entries = {hook["id"]: hook["entry"] for repository in repositories for hook in repository["hooks"]}
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for hook in ("ruff", "ruff-format", "mypy"):
        tool = entries[hook].removeprefix(".venv/bin/python -m ").removesuffix(" --fix")
        assert f"$(BIN)/python -m {tool}" in makefile
    paths = [word for word in entries["notebooks"].split() if word.startswith("tests/")]
    assert [(REPOSITORY / path).is_file() for path in paths] == [True]


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = _yaml("CITATION.cff")
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
