"""The house rules that a reader relies on: who imports whom, and how large a piece may grow."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import isometry
from isometry import config
from isometry.catalog import GROUPS, SWITCHES
from isometry.cli import COMMANDS
from isometry.config import Section

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "isometry"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "assets" not in path.parts)

# Room -> the rooms and heavy libraries it may import, besides itself, the standard library and the torch-free basics.
BASICS = {"errors", "jsonl", "options", "catalog", "clashes", "wandb_id"}
FACTS = ("history", "slope", "profile", "findings", "thresholds", "outputs", "evidence")
JUDGING = {f"diagnostics.{name}" for name in FACTS}
JUDGING |= {f"diagnostics.rules_{part}" for part in ("gradient", "head", "lost", "training")}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "jsonl": set(),
    "wandb_id": set(),
    "options": set(),
    "catalog": {"options"},
    "clashes": set(),
    "strategies": set(),
    "fork": set(),
    "mistakes": {"config", "omegaconf", "pydantic_core"},
    "config": {"pydantic", "pydantic_core"},
    "validation": {"config", "mistakes", "pydantic"},
    "overrides": {"config", "validation", "mistakes", "hydra", "omegaconf"},
    "resume": {"config", "overrides", "validation", "data", "training", "omegaconf"},
    "failures": {"config", "torch"},
    "randomness": {"torch"},
    "layers": {"randomness", "torch"},
    "models": {"layers", "randomness", "torch"},
    "data": {"randomness", "torch", "torchvision", "pytorch_lightning", "numpy", "PIL"},
    "training": {
        "randomness",
        "torch",
        "pytorch_lightning",
        "torchmetrics",
        "wandb",
        "rich",
        "diagnostics",
        "diagnostics.findings",
    },
    "diagnostics": {"torch", "pytorch_lightning", "numpy"},
    "diagnostics.history": {"diagnostics.profile"},
    "diagnostics.slope": set(),
    "diagnostics.profile": {"diagnostics.slope"},
    "diagnostics.findings": {"diagnostics.profile"},
    "diagnostics.thresholds": set(),
    "diagnostics.outputs": {"diagnostics.profile", "diagnostics.thresholds"},
    "diagnostics.evidence": {
        "diagnostics.history",
        "diagnostics.outputs",
        "diagnostics.profile",
        "diagnostics.slope",
        "diagnostics.thresholds",
    },
    "diagnostics.rules_gradient": JUDGING,
    "diagnostics.rules_head": JUDGING,
    "diagnostics.rules_lost": JUDGING,
    "diagnostics.rules_training": JUDGING,
    "diagnostics.actions": JUDGING,
    "diagnostics.remedies": {*JUDGING, "diagnostics.actions"},
    "diagnostics.rules": {*JUDGING, "diagnostics.remedies", "omegaconf"},
    "diagnostics.theory": {"numpy"},
    "diagnostics.metrics": {"diagnostics.history", "diagnostics.profile"},
    "reports": {*JUDGING, "diagnostics.rules", "matplotlib", "numpy", "wandb"},
    "folder": {"config", "lock", "pytorch_lightning"},
    "machine": {"config", "torch"},
    "build": {
        "config",
        "validation",
        "folder",
        "models",
        "layers",
        "data",
        "training",
        "diagnostics",
        "torch",
        "pytorch_lightning",
    },
    "run": {
        "build",
        "config",
        "failures",
        "folder",
        "machine",
        "resume",
        "data",
        "training",
        "diagnostics",
        "reports",
        "torch",
        "pytorch_lightning",
        "omegaconf",
    },
    "checkup": {
        "build",
        "config",
        "folder",
        "machine",
        "overrides",
        "run",
        "data",
        "diagnostics",
        *JUDGING,
        "diagnostics.rules",
        "reports",
        "torch",
        "pytorch_lightning",
    },
    "lock": set(),
    "launch": {"config", "cli", "submitit"},
    "sweep": {"config", "launch", "lock", "overrides"},
    "evaluation": {"build", "config", "machine", "run", "training", "torch", "pytorch_lightning"},
    "replay": {"build", "run", "diagnostics", *JUDGING, "reports", "training", "torch", "pytorch_lightning"},
    "cli": {
        "config",
        "overrides",
        "resume",
        "strategies",
        "fork",
        "run",
        "checkup",
        "evaluation",
        "replay",
        "sweep",
        "diagnostics.rules",
        "training",
        "reports",
        "omegaconf",
    },
    "__init__": {"build", "diagnostics", "diagnostics.rules"},
    "__main__": {"cli"},
}
LOCAL_ONLY = {
    "wandb": {"training/loggers.py", "reports/wandb_panels.py"},
    "matplotlib": {"reports/plots.py"},
    "submitit": {"launch.py"},
}


def room(name: str) -> str:
    """`training.loggers` lies in the room `training`; `diagnostics.history` is a room of its own."""
    return name if name in MAY_IMPORT else name.partition(".")[0]


def imports(source: str, module: str) -> Iterator[tuple[str, bool]]:
    """(what is imported, whether inside a function): a room of ours, or the name of an outside library."""
    package = module.split(".")[:-1]
    tree = ast.parse(source)
    inside = {
        id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0], id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((room(".".join([*base, str(name)])), id(node) in inside) for name in names)


def violations(source: str, module: str) -> list[str]:
    own = room(module)
    allowed = MAY_IMPORT[own] | BASICS | {own}
    known = set().union(*MAY_IMPORT.values()) | set(MAY_IMPORT)
    found = []
    for name, _ in imports(source, module):
        top = "__init__" if name == "" else name
        if top in known and top not in allowed and not (own.startswith(f"{top}.") or top.startswith(f"{own}.")):
            found.append(f"{module} imports {top}")
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_room_imports_only_what_it_may(path: Path) -> None:
    assert violations(path.read_text(), module_name(path)) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("layers.blocks", "from ..models import resnet"),
        ("layers.blocks", "import pytorch_lightning"),
        ("models.mlp", "from ..config import Config"),
        ("training.classifier", "from ..models.mlp import MLP"),
        ("diagnostics.history", "import torch"),
        ("diagnostics.rules", "from ..build import network"),
        ("diagnostics.rules_gradient", "import torch"),
        ("reports.plots", "from ..diagnostics.monitor import GradientMonitor"),
        ("config", "import torch"),
        ("data.loader", "from omegaconf import OmegaConf"),
    ],
)
def test_a_planted_violation_is_found(module: str, line: str) -> None:
    assert violations(line, module)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_wandb_and_matplotlib_are_imported_in_their_rooms_alone_inside_functions(path: Path) -> None:
    for name, inside in imports(path.read_text(), module_name(path)):
        if name in LOCAL_ONLY:
            assert str(path.relative_to(PACKAGE)) in LOCAL_ONLY[name]
            is_type_checking = "if TYPE_CHECKING" in path.read_text()
            assert inside or is_type_checking


def code_lines(path: Path) -> list[str]:
    """Lines that are neither blank, comment nor docstring."""
    text = path.read_text()
    documented = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return [
        line for number, line in lines if number not in documented and line.strip() and not line.strip().startswith("#")
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_over_250_code_lines_and_no_function_over_40(path: Path) -> None:
    assert len(code_lines(path)) <= 250
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            length = (node.end_lineno or 0) - node.lineno - docstring.count("\n")
            assert length <= 45, f"{path}: {node.name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert len(ast.get_docstring(ast.parse(path.read_text())) or "") > 40


def test_the_folders_are_words_of_the_field() -> None:
    folders = {path.parent.name for path in PACKAGE.rglob("*.py")} - {"isometry"}
    assert folders == {"layers", "models", "data", "assets", "training", "diagnostics", "reports"}


def test_nothing_looks_a_name_up_without_a_list() -> None:
    for path in MODULES:
        assert not re.search(r"getattr\((torch\.)?nn,", path.read_text()), path
        assert "_target_" not in path.read_text(), path


# ------------------------------------------------------------------------------------------------ what it is
def described_elsewhere(module: str) -> set[str]:
    """Names of a module whose one line stands in a table: strategies in the catalog, commands, sections of the YAML."""
    strategies = {strategy.target for family in {**SWITCHES, **GROUPS}.values() for strategy in family.values()}
    names = {target.partition(":")[2] for target in strategies if target.partition(":")[0] == f"isometry.{module}"}
    if module == "cli":
        names |= set(COMMANDS)
    if module == "config":
        names |= {
            name for name, value in vars(config).items() if isinstance(value, type) and issubclass(value, Section)
        }
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_and_public_name_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    assert ast.get_docstring(tree) or path.name == "__main__.py"
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    silent = {node.name for node in public if not ast.get_docstring(node)}
    assert silent <= described_elsewhere(module)


def test_the_public_api_has_its_shapes_and_errors_written_down() -> None:
    for name in isometry.__all__:
        text = inspect.getdoc(getattr(isometry, name)) or ""
        assert "Args:" in text or not callable(getattr(isometry, name)), name
