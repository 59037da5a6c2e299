"""A W&B workspace and report for a project's runs, as code: what is shown is a table here, W&B's classes draw it.

Sections stand in the order one reads them: does it learn, does the gradient arrive, in which layers not, is it healthy,
what does it cost. A panel names the keys that a run logs; that each of them is really logged is a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..wandb_id import wandb_id
from .comparison import run_folders

STEP = "trainer/global_step"
# By what a verdict begins with.
COLORS = {"healthy": "#238b45", "warning": "#fe9929", "critical": "#cb181d"}


@dataclass(frozen=True)
class Panel:
    """A chart over the steps of the training.

    Args:
        title: Says what a good curve looks like.
        keys: That a run logs; one with a * stands for all that match.
        log: Whether the y axis is logarithmic.
        smoothing: Weight of the past in the drawn mean, 0 … 1; training values jitter, others must not be smoothed.
        range_y: Of the y axis, where it is known.
    """

    title: str
    keys: tuple[str, ...]
    log: bool = False
    smoothing: float = 0.0
    range_y: tuple[float | None, float | None] = (None, None)


SECTIONS: dict[str, tuple[Panel, ...]] = {
    "Training": (
        Panel("loss", ("train/loss", "val/loss"), log=True, smoothing=0.6),
        Panel("accuracy", ("train/acc", "val/acc"), smoothing=0.6, range_y=(None, 1)),
        Panel("learning rate", ("lr/*",)),
    ),
    "Gradient flow": (
        Panel("∂L/∂z per layer, backward: 1 keeps it", ("flow/backward_gain",), log=True),
        Panel("z per layer, forward: 1 keeps it", ("flow/forward_gain",), log=True),
        Panel("decades between the ends: 0 is level", ("flow/decades",)),
        Panel("time steps until a tenth is left", ("flow/time_horizon",)),
        Panel(
            "total gradient norm, before and after clipping", ("grad_norm/total", "grad_norm/total_clipped"), log=True
        ),
    ),
    "Layers": (
        Panel("gradient norm of each weight", ("grad_norm/*.*",), log=True),
        Panel("‖Δw‖/‖w‖, median: 1e-4 to 1e-2 is usual", ("update_ratio/median",), log=True),
        Panel("dead units, worst layer", ("units/dead",), range_y=(0, 1)),
        Panel("saturated units, worst layer", ("units/saturated",), range_y=(0, 1)),
    ),
    "Health": (
        Panel("0 healthy, 1 warning, 2 critical", ("health/status",), range_y=(0, 2)),
        Panel("elements that are NaN or infinite", ("grad_norm/nan", "grad_norm/inf")),
        Panel("share of steps that were clipped", ("clip/fraction",), range_y=(0, 1)),
        Panel("skipped steps", ("health/skipped_steps", "amp/skipped_steps")),
        Panel("loss scale of fp16", ("amp/scale",), log=True),
    ),
    "Performance": (
        Panel("images a second", ("perf/samples_per_s",)),
        Panel("what the monitor takes, ms a step", ("perf/monitor_ms",)),
    ),
}
PICTURES = ("media/depth_ribbon", "media/gradient_norms", "media/confusion_matrix")


def run_colors(places: Sequence[Path]) -> dict[str, str]:
    """By W&B id, for the runs in these folders: green, orange or red by their verdict."""
    return dict(_colored(folder) for place in places for folder in run_folders(place) if _is_judged(folder))


def _is_judged(folder: Path) -> bool:
    return bool(wandb_id(folder)) and (folder / "diagnosis.json").is_file()


def _colored(folder: Path) -> tuple[str, str]:
    verdict = str(json.loads((folder / "diagnosis.json").read_text())["verdict"])
    return wandb_id(folder), COLORS[re.split(r"\W", verdict)[0]]


def workspace(entity: str, project: str, colors: Mapping[str, str]) -> Any:
    """A saved view of the project: the sections, the x axis in steps, the runs in the colour of their verdict.

    Raises:
        ConfigError: wandb-workspaces is not installed.
    """
    _needs_library()
    import wandb_workspaces.workspaces as ws

    sections = [ws.Section(name=name, panels=list(_panels(name)), is_open=True) for name in SECTIONS]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Gradient flow",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=30),
        runset_settings=ws.RunsetSettings(
            run_settings={run: ws.RunSettings(color=color) for run, color in colors.items()},
            pinned_columns=[
                "summary:verdict",
                "summary:test/acc",
                "config:model.value.depth",
                "config:init.value.name",
            ],
        ),
    )


def report(entity: str, project: str, colors: Mapping[str, str]) -> Any:
    """The same as a document to share, a heading and a grid of panels for each section.

    Raises:
        ConfigError: wandb-workspaces is not installed.
    """
    _needs_library()
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.P("Does the gradient arrive? One section a question, the verdict in the runs' colours.")]
    for name in SECTIONS:
        runs = wr.Runset(name="runs", run_settings={run: wr.RunSettings(color=color) for run, color in colors.items()})
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=_in_rows(list(_panels(name))))]
    return wr.Report(entity=entity, project=project, title="Gradient flow", blocks=blocks, width="fluid")


def write(entity: str, project: str, places: Sequence[Path], out: Path, *, pushes: bool) -> list[Path]:
    """`workspace.json` and `report.json` as they would be sent; with `pushes` they are, which needs an API key.

    Raises:
        ConfigError: wandb-workspaces is not installed, or W&B does not take them.
    """
    colors = run_colors(places)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, make in (("workspace", workspace), ("report", report)):
        made = make(entity, project, colors)
        files.append(out / f"{name}.json")
        files[-1].write_text(as_json(made) + "\n", encoding="utf-8")
        if pushes:
            _push(made)
    return files


def _push(made: Any) -> None:
    """It says the address itself."""
    try:
        made.save()
    except Exception as error:  # no key, no such project, no network
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"error: W&B did not take it: {reason}\n  fix:   wandb login; entity=… project=…") from None


def as_json(made: Any) -> str:
    """What would be sent; ids that W&B's classes draw at random are left out."""
    plain = json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return json.dumps(_without_ids(plain), indent=1, ensure_ascii=False)


def _panels(section: str) -> Iterator[Any]:
    import wandb_workspaces.reports.v2 as wr

    for panel in SECTIONS[section]:
        is_pattern = "*" in panel.keys[0]
        yield wr.LinePlot(
            title=panel.title,
            x=STEP,
            y=[] if is_pattern else list(panel.keys),
            metric_regex=f"^{_regex(panel.keys[0])}$" if is_pattern else None,
            log_y=panel.log,
            range_y=panel.range_y,
            smoothing_type="exponential" if panel.smoothing else "none",
            smoothing_factor=panel.smoothing,
            smoothing_show_original=True,
        )
    if section == "Gradient flow":
        yield wr.MediaBrowser(title="pictures of the runs", media_keys=list(PICTURES), num_columns=3)


def _regex(key: str) -> str:
    return ".*".join(map(re.escape, key.split("*")))


def _in_rows(panels: list[Any]) -> list[Any]:
    """Three side by side, of the 24 columns of a report's grid."""
    import wandb_workspaces.reports.v2 as wr

    for index, panel in enumerate(panels):
        panel.layout = wr.Layout(x=8 * (index % 3), y=8 * (index // 3), w=8, h=8)
    return panels


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(inner) for key, inner in value.items() if key not in ("__id__", "id")}
    return [_without_ids(inner) for inner in value] if isinstance(value, list) else value


def _needs_library() -> None:
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        raise ConfigError(
            "error: the dashboard needs wandb-workspaces, which is not installed\n"
            "  fix:   pip install 'isometry[dashboard]'"
        ) from None
