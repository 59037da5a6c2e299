"""W&B as a guest: which mode and why, and that nothing it does stops a training."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import WandbLogger

from isometry.training import loggers

OPTIONS: dict[str, Any] = {
    "project": "p", "name": "n", "entity": None, "group": None, "job_type": None, "tags": [], "notes": None,
    "config": {},
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


class Dead:
    """Stands for a W&B run whose process has died."""

    dir = "wandb/offline-run-1-ab/files"

    def log(self, metrics: dict[str, float]) -> None:
        raise ConnectionError("service died")

    def finish(self, exit_code: int) -> None:
        raise ConnectionError("service died")


def test_a_wandb_that_dies_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = loggers.GuestWandbLogger(experiment=Dead())  # type: ignore[arg-type]
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step)
    loggers.log_results(logger, {}, [], {})
    loggers.finish_wandb(logger, 0)
    assert capsys.readouterr().out == (
        "W&B stopped (service died); the journal metrics.jsonl has every value, "
        "upload what W&B has: wandb sync wandb/offline-run-1-ab\n"
    )


def test_a_finish_that_fails_is_told_and_not_raised(capsys: pytest.CaptureFixture[str]) -> None:
    loggers.finish_wandb(loggers.GuestWandbLogger(experiment=Dead()), 0)  # type: ignore[arg-type]
    assert capsys.readouterr().out.count("W&B stopped (service died)") == 1


def test_a_logger_of_the_users_that_never_started_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Lazy(WandbLogger):
        @property
        def experiment(self) -> Any:
            raise ConnectionError("no server")

    logger = Lazy(offline=True)
    loggers.finish_wandb(logger, 0)
    assert capsys.readouterr().out == "W&B stopped (no server); the journal metrics.jsonl has every value\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_the_run_after_one_whose_process_was_lost_is_logged(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hanging one takes some rows, as many as wait in a socket, and then nothing returns."""
    monkeypatch.setattr(loggers, "CALL_TIMEOUT", 1)
    (tmp_path / "a").mkdir()
    logger, line = loggers.wandb_logger(tmp_path / "a", mode="offline", **OPTIONS)
    service = loggers._service()
    assert logger is not None, line
    assert service is not None
    service.send_signal(number)
    for step in range(1000):
        logger.log_metrics({f"own/{index}": 0.0 for index in range(300)}, step)
    loggers.finish_wandb(logger, 0)
    assert service.wait(10) == -signal.SIGKILL
    (tmp_path / "b").mkdir()
    logger, line = loggers.wandb_logger(tmp_path / "b", mode="offline", **OPTIONS)
    assert logger is not None, line
    loggers.finish_wandb(logger, 0)
    assert logger not in loggers._failed


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
