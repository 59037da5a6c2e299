"""W&B as a guest: which mode and why, and that nothing it does stops a training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from isometry.training import loggers

OPTIONS: dict[str, Any] = {
    "project": "p", "name": "n", "entity": None, "group": None, "tags": [], "notes": None, "config": {}
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_without_a_key_it_is_offline_and_says_how_to_look_and_upload(tmp_path: Path) -> None:
    logger, line = loggers.wandb_logger(tmp_path, mode="auto", **OPTIONS)
    assert logger is not None
    assert logger.experiment.offline
    folder = os.path.relpath(Path(logger.experiment.dir).parent)
    assert line == f"W&B offline (no API key); look: wandb leet {folder}   upload: wandb sync {folder}"
    loggers.finish_wandb(logger, 0)
    loggers.finish_wandb(logger, 0)  # finishing twice is fine
    assert list(Path(folder).glob("*.wandb"))


@pytest.mark.parametrize(
    ("variable", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")]
)
def test_the_environment_variable_is_obeyed(variable: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    assert loggers._choose_mode("auto") == (mode, f"WANDB_MODE={variable}")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setattr(loggers, "_has_key", lambda: True)
    assert loggers._choose_mode("online") == ("online", "wandb.mode=online")  # what the configuration says goes first


def test_online_without_a_key_does_not_ask_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loggers._choose_mode("online") == ("offline", "wandb.mode=online, but there is no API key")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert loggers._choose_mode("auto") == ("offline", "WANDB_MODE=online, but there is no API key")


def test_a_wandb_that_dies_in_mid_run_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Dead:
        def log(self, metrics: dict[str, float]) -> None:
            raise ConnectionError("service died")

    logger = loggers.GuestWandbLogger(experiment=Dead())  # type: ignore[arg-type]
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step)
    assert capsys.readouterr().out.count("W&B stopped logging (service died)") == 1
    loggers.log_results(logger, {}, [], {})
    assert "did not take the results" in capsys.readouterr().out


def test_a_netrc_entry_counts_as_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setattr(wandb.setup().settings, "base_url", "https://wandb.example.org", raising=False)
    assert loggers._choose_mode("auto") == ("offline", "no API key")
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password " + "x" * 40 + "\n")
    assert loggers._choose_mode("auto")[0] == "online"


def test_disabled_makes_no_logger(tmp_path: Path) -> None:
    assert loggers.wandb_logger(tmp_path, mode="disabled", **OPTIONS) == (None, "W&B disabled (wandb.mode=disabled)")


def test_a_server_that_is_down_means_offline_not_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    real = wandb.init

    def down(*args: Any, mode: str, **kwargs: Any) -> Any:
        if mode == "online":
            raise wandb.errors.CommError("no route to host")
        return real(*args, mode=mode, **kwargs)

    monkeypatch.setattr(wandb, "init", down)
    monkeypatch.setattr(loggers, "_has_key", lambda: True)
    logger, line = loggers.wandb_logger(tmp_path, mode="online", **OPTIONS)
    assert logger is not None
    assert "W&B offline (the server did not take the run: no route to host)" in line
    loggers.finish_wandb(logger, 0)


def test_a_wandb_that_does_not_start_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no space left")

    monkeypatch.setattr(wandb, "init", broken)
    logger, line = loggers.wandb_logger(tmp_path, mode="auto", **OPTIONS)
    assert logger is None
    assert line == "W&B did not start (no space left); the journal metrics.jsonl has every value"


def test_a_finish_that_fails_is_told_and_not_raised(capsys: pytest.CaptureFixture[str]) -> None:
    class Failing:
        save_dir = "runs/x"

        class experiment:  # noqa: N801
            @staticmethod
            def finish(exit_code: int) -> None:
                raise RuntimeError("service died")

    loggers.finish_wandb(Failing(), 0)  # type: ignore[arg-type]
    assert "service died" in capsys.readouterr().out
