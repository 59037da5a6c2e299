"""The notebooks run, are committed with their pictures, and name only command-line words that exist.

Each is executed from a copy in an empty folder, so that it may rely on the installed package alone. Notebook 01 belongs
to the quick suite, later ones to the slow one.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from isometry.overrides import read

REPOSITORY = Path(__file__).parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
QUICK = "01_vanishing_and_exploding.ipynb"
CELL_DEADLINE_S = 90
SIZE_LIMIT = 300_000

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_the_quick_notebook_is_there() -> None:
    assert QUICK in {path.name for path in NOTEBOOKS}  # else the parametrised tests below would pass on nothing


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.name == QUICK else pytest.mark.slow, id=path.stem) for path in NOTEBOOKS],
)
def test_runs_without_error(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))  # the kernel writes nothing into the home folder
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_DEADLINE_S, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    )
    client.execute()  # raises CellExecutionError with the cell and its traceback
    assert all(cell.execution_count for cell in _code(notebook))
    assert _kinds(notebook)["error"] == 0
    assert not list(work.iterdir())  # a notebook that leaves files behind would leave them in the reader's checkout


@every_notebook
def test_committed_with_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kinds = _kinds(notebook)
    assert kinds["image/png"] >= 1
    assert kinds["error"] == kinds["stderr"] == 0
    # Run from top to bottom, all of it: what stands under a cell came from this cell.
    assert [cell.execution_count for cell in _code(notebook)] == list(range(1, len(_code(notebook)) + 1))


@every_notebook
def test_small_and_free_of_this_machine(path: Path) -> None:
    assert path.stat().st_size < SIZE_LIMIT
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.metadata for cell in notebook.cells)
    text = path.read_text(encoding="utf-8")
    assert not [place for place in (str(REPOSITORY), "/home/", "/Users/", "/tmp/", "site-packages") if place in text]


@every_notebook
def test_named_switches_exist(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    commands = re.findall(r"^python train\.py (.+)$", prose, flags=re.MULTILINE)
    spans = re.findall(r"`([\w.]+=[\w.]+(?: [\w.]+=[\w.]+)*)`", prose)
    for words in {*commands, *spans}:
        read(words.split())  # raises ConfigError


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _kinds(notebook: NotebookNode) -> dict[str, int]:
    """How many pictures, errors and warnings there are in all outputs."""
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    return {
        "image/png": sum("image/png" in output.get("data", {}) for output in outputs),
        "error": sum(output.output_type == "error" for output in outputs),
        "stderr": sum(output.get("name") == "stderr" for output in outputs),
    }
