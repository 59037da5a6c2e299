"""The command line for real: what a run leaves behind, how it is continued and evaluated, and how it fails."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import isometry
from isometry.diagnostics.history import read_history
from isometry.jsonl import read_lines
from isometry.training.checkpoint_files import BEST, find_checkpoint

Cli = Callable[..., tuple[int, str, str]]

# 270 training digits, a tiny network, two short epochs: about a second.
TINY = ["data.limit_train_images=300", "data.batch_size=30", "model.depth=4", "model.width=4", "trainer.max_epochs=2",
        "trainer.limit_test_batches=1", "trainer.log_every_n_steps=3", "monitor.every_n_steps=3"]  # fmt: skip
QUIET = [*TINY, "logger=none"]


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def test_a_run_leaves_everything_in_its_folder_and_nothing_elsewhere(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("train", *QUIET, "run_name=r")
    assert (code, err) == (0, "")
    folder = tmp_path / "runs" / "r"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "overrides.yaml", "metrics.jsonl", "gradients.jsonl", "checkpoints", "summary.json",
        "diagnosis.json",
        "confusion_matrix.png", "depth_ribbon.png", "gradient_norms.png", "predictions.png", "report.html",
    }  # fmt: skip
    result = summary(folder)
    assert f"test accuracy {result['test/acc']:.2%}" in out
    assert str(Path("runs/r")) in out
    assert result["steps"] == 18
    config = OmegaConf.load(folder / "config.yaml")
    assert (config.model.depth, config.init.name, config.seed) == (4, "he_normal", 1)
    assert list(OmegaConf.load(folder / "overrides.yaml")) == [*QUIET, "run_name=r"]


def test_the_journal_and_the_gradients_hold_what_was_logged(cli: Cli, tmp_path: Path) -> None:
    cli("train", *QUIET, "run_name=r", "trainer.gradient_clip_val=1.0")
    rows = list(read_lines(tmp_path / "runs/r/metrics.jsonl"))
    by_key = {key: [row["step"] for row in rows if key in row] for row in rows for key in row}
    assert by_key["train/loss"] == by_key["lr/weights"] == by_key["perf/samples_per_s"] == [2, 5, 8, 11, 14, 17]
    assert by_key["grad_norm/total"] == by_key["clip/fraction"] == [0, 1, 2, 5, 8, 11, 14, 17]
    assert by_key["val/acc"] == [8, 17]
    assert all(key.count("/") == 1 for key in by_key if key not in ("step", "time", "epoch"))
    history = read_history(tmp_path / "runs/r/gradients.jsonl")
    assert sum(len(record.totals) for record in history) == 18
    assert list(history.records[0].layers) == [
        *(f"network.trunk.{block}.{part}" for block in range(4) for part in (0, 1)), "network.head"
    ]  # fmt: skip
    assert all(math.isclose(record.total_clipped, min(record.total, 1.0), rel_tol=1e-4) for record in history)


def test_wandb_offline_holds_exactly_the_keys_that_were_logged(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("train", *TINY, "run_name=r", "wandb.tags=[a,b]", "wandb.group=g")
    assert code == 0
    assert "W&B offline (no API key); look: wandb leet " in out
    (file,) = tmp_path.glob("runs/r/wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    dump = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)}
    )
    records = [json.loads(line) for line in dump.stdout.splitlines()]
    logged = set()
    for record in records:
        if record.get("type") == "history":
            logged |= set(record["history"]["item"])
    journal = {key for row in read_lines(tmp_path / "runs/r/metrics.jsonl") for key in row} - {"step", "time"}
    media = {"media/confusion_matrix", "media/depth_ribbon", "media/gradient_norms", "media/predictions"}
    logged = {key.partition(".")[0] if key.startswith(("media/", "flow/ribbon")) else key for key in logged}
    logged = {key for key in logged if not key.startswith("_")}
    charts = {"flow/ribbon_activation_table", "flow/ribbon_gradient_table"}  # W&B's own, as tables
    assert logged == journal | media | charts | {"trainer/global_step"}
    text = dump.stdout
    assert '"he_normal"' in text.replace("\\", "")  # the configuration, nested
    assert any(record.get("type") == "exit" for record in records)  # the run was ended


def test_evaluate_gives_the_same_accuracy_from_the_file_alone(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("train", *QUIET, "run_name=r")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(find_checkpoint(tmp_path / "runs/r", BEST), elsewhere / "copied.ckpt")
    result = summary(tmp_path / "runs/r")
    shutil.rmtree(tmp_path / "runs")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("isometry.overrides.CONFIG_DIR", tmp_path / "no-configs")
    code, out, err = cli("evaluate", "copied.ckpt")
    assert (code, err) == (0, "")
    stored = json.loads((elsewhere / "evaluation.json").read_text())
    assert (stored["test/acc"], stored["test/loss"]) == (result["test/acc"], result["test/loss"])
    assert f"test accuracy {result['test/acc']:.2%}" in out
    cli("evaluate", "copied.ckpt", "trainer.limit_test_batches=1.0")  # all 2,000 images, not one batch
    assert json.loads((elsewhere / "evaluation.json").read_text())["test/loss"] != result["test/loss"]


def test_load_gives_bit_equal_logits_and_predictions(cli: Cli, tmp_path: Path) -> None:
    cli("train", *QUIET, "run_name=r")
    path = find_checkpoint(tmp_path / "runs/r", BEST)
    raw = torch.load(path, weights_only=True)
    model = isometry.load(tmp_path / "runs/r")
    again = isometry.load(path)
    images = torch.randn(5, 1, 28, 28)
    assert not model.training
    assert torch.equal(model(images), again(images))
    assert all(torch.equal(raw["state_dict"][name], value) for name, value in model.state_dict().items())
    pictures = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    assert model.predict(pictures).shape == (5, 10)
    assert model.class_names == tuple("0123456789")


def test_a_checkpoint_that_names_foreign_code_is_not_loaded_unless_trusted(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_norms.py").write_text(
        "from torch import nn\n\ndef mine(num_channels):\n    return nn.Identity()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli("train", *QUIET, "run_name=r", "norm=own_norms:mine")[0] == 0
    with pytest.raises(isometry.errors.CheckpointError, match="own_norms:mine"):
        isometry.load(tmp_path / "runs/r")
    assert isometry.load(tmp_path / "runs/r", trust=True).class_names


def test_a_continued_run_ends_with_the_same_weights_as_one_that_never_stopped(cli: Cli, tmp_path: Path) -> None:
    steady = [*QUIET, "scheduler=constant", "trainer.accumulate_grad_batches=2", "data.augment=cutout"]
    cli("train", *steady, "run_name=whole", "trainer.max_epochs=3")
    cli("train", *steady, "run_name=half", "trainer.max_epochs=1")
    half = latest_digest(tmp_path / "runs/half")
    code, _, err = cli("train", *steady, "trainer.max_epochs=3", "resume=half")
    assert (code, err) == (0, "")
    assert latest_digest(tmp_path / "runs/half") == latest_digest(tmp_path / "runs/whole")
    assert half != latest_digest(tmp_path / "runs/whole")  # the control
    steps = [row["step"] for row in read_lines(tmp_path / "runs/half/metrics.jsonl") if "train/loss" in row]
    assert steps == [row["step"] for row in read_lines(tmp_path / "runs/whole/metrics.jsonl") if "train/loss" in row]


def test_a_continued_run_takes_its_own_configuration_and_refuses_another_training(cli: Cli, tmp_path: Path) -> None:
    own = ["seed=2", "data.split_seed=5", "init=orthogonal", "scheduler=constant"]
    cli("train", *QUIET, *own, "run_name=r", "trainer.max_epochs=1")
    code, _, err = cli("train", "resume=r", "debug=fast")
    assert code == 2
    assert "debug=fast changes a whole run" in err
    code, _, err = cli("train", "resume=r", "seed=3", "model.depth=9")
    assert code == 4
    assert "seed: 2 there, 3 here" in err
    assert "model.depth: 4 there, 9 here" in err
    assert cli("train", "resume=r", "trainer.max_epochs=2")[0] == 0
    config = OmegaConf.load(tmp_path / "runs/r/config.yaml")
    assert (config.seed, config.data.split_seed, config.init.name, config.model.depth) == (2, 5, "orthogonal", 4)
    code, out, err = cli("train", "resume=r")
    assert (code, err) == (0, "")
    assert "finished" in out
    assert "after 18 of 18 steps" in out


def test_a_run_that_was_stopped_in_mid_epoch_serves_the_rest_of_that_epoch(cli: Cli, tmp_path: Path) -> None:
    steady = [*QUIET, "scheduler=constant", "trainer.val_check_interval=0.34"]
    cli("train", *steady, "run_name=whole", "trainer.max_epochs=2")
    cli("train", *steady, "run_name=half", "trainer.max_epochs=2", "trainer.max_steps=12")  # 9 steps an epoch
    cli("train", "resume=half", "trainer.max_steps=null")
    assert latest_digest(tmp_path / "runs/half") == latest_digest(tmp_path / "runs/whole")


def latest_digest(folder: Path) -> str:
    return str(torch.load(find_checkpoint(folder, "latest"), weights_only=True)["isometry"]["digest"])


def test_the_same_command_gives_the_same_bits_and_seeds_are_separate(cli: Cli, tmp_path: Path) -> None:
    digests = {}
    for name, words in {
        "a": [],
        "b": [],
        "seed": ["seed=2"],
        "init": ["init_seed=2"],
        "none": ["monitor.enabled=false"],
    }.items():
        cli("train", *QUIET, f"run_name={name}", *words)
        digests[name] = latest_digest(tmp_path / "runs" / name)
    states = {name: summary(tmp_path / "runs" / name)["state_digest"] for name in digests}
    assert digests["a"] == digests["b"] == digests["none"]
    assert states["a"] == states["b"] != states["none"]  # which holds the monitor's own state, too
    assert len(set(digests.values())) == 3


def test_fine_tuning_starts_from_the_weights_and_refuses_another_network(cli: Cli, tmp_path: Path) -> None:
    cli("train", *QUIET, "run_name=base")
    frozen = ["optimizer.lr=1e-12", "optimizer.weight_decay=0", "optimizer.momentum=0"]
    code, out, _ = cli("train", *QUIET, "run_name=tuned", "init_from=runs/base", *frozen)
    assert code == 0
    assert "weights  from runs/base/checkpoints/best" in out.replace(str(tmp_path) + "/", "")
    base, tuned = isometry.load("runs/base"), isometry.load("runs/tuned")
    torch.testing.assert_close(base.network.head.weight, tuned.network.head.weight)  # type: ignore[union-attr]
    assert "starts fresh" not in out
    code, _, err = cli("train", *QUIET, "run_name=other", "init_from=runs/base", "model.width=8")
    assert code == 4
    assert "holds another network" in err


def test_fine_tuning_to_other_classes_keeps_the_trunk_and_starts_a_fresh_head(cli: Cli, tmp_path: Path) -> None:
    """Also when there are as many of them: ten garments are not ten digits."""
    from torchvision.datasets import FashionMNIST

    from isometry.data.idx import to_idx
    from isometry.data.sources import Request, mnist_mini

    digits, folder = mnist_mini(Request(tmp_path)), tmp_path / "here" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    arrays = (
        digits.train_images[:400, 0],
        digits.train_labels[:400],
        digits.test_images[:50, 0],
        digits.test_labels[:50],
    )
    for (archive, _), array in zip(FashionMNIST.resources, arrays, strict=True):
        (folder / archive.removesuffix(".gz")).write_bytes(to_idx(array.to(torch.uint8)))
    frozen = ["optimizer.lr=1e-12", "optimizer.weight_decay=0", "optimizer.momentum=0"]
    cli("train", *QUIET, "run_name=base")
    words = ["init_from=runs/base", "data=fashion_mnist", "data.dir=here", "init_seed=7", *frozen]
    code, out, _ = cli("train", *QUIET, *words, "run_name=tuned")
    assert code == 0
    assert "the head for 10 classes starts fresh" in out
    base, tuned = isometry.load("runs/base").network, isometry.load("runs/tuned").network
    torch.testing.assert_close(base.trunk[1][0].weight, tuned.trunk[1][0].weight)  # type: ignore[index, union-attr]
    assert not torch.allclose(base.head.weight, tuned.head.weight)  # type: ignore[union-attr, arg-type]


def test_evaluate_takes_other_data_with_the_same_classes(cli: Cli, tmp_path: Path) -> None:
    cli("train", *QUIET, "run_name=r")
    code, out, err = cli("evaluate", "runs/r", "data=mnist_mini", "threads=1", "trainer=cpu")
    assert (code, err) == (0, "")
    assert "on mnist_mini" in out
    code, _, err = cli("evaluate", "runs/r", "seed=2", "norm=group")
    assert (code, "seed=2, norm=group has no place here" in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.5"],
        ["trainer.precision=bf16-true"],
        ["trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value", "optimizer=rmsprop"],
        ["model=lstm", "model.hidden_size=8", "optimizer=adam", "scheduler=plateau", "norm=layer"],
        ["model=resnet", "model.depth=8", "model.width=4", "scheduler=step", "label_smoothing=0.1"],
        ["model=mlp", "norm=none", "scheduler=cosine", "early_stopping.patience=1", "data.drop_last=false"],
    ],
    ids=lambda words: " ".join(words),
)
def test_trainer_options_and_models_work_from_the_command_line(words: list[str], cli: Cli, tmp_path: Path) -> None:
    own = [word for word in QUIET if not (words[0].startswith("model=") and word.startswith("model."))]
    code, _, err = cli("train", *own, *words, "run_name=r")
    assert (code, err) == (0, "")
    assert math.isfinite(summary(tmp_path / "runs/r")["test/loss"])


PICTURES = ["data=image_folder", "data.dir=pictures", "data.batch_size=5", "logger=none", "optimizer.lr=0.01",
            "model.depth=3", "model.width=4", "trainer.log_every_n_steps=2"]  # fmt: skip


def paint(folder: Path, size: int = 12, **colors: int) -> None:
    """Pictures for `data=image_folder`, by class."""
    from PIL import Image

    for split, count in (("train", 12), ("test", 4)):
        for name, color in colors.items():
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.new("RGB", (size, size), (color, color + number, 0)).save(place / f"{number}.png")


def test_your_own_pictures_train_from_a_folder(cli: Cli, tmp_path: Path) -> None:
    paint(tmp_path / "pictures", bright=200, dark=30)
    code, _, err = cli("train", *PICTURES, "run_name=r")
    assert (code, err) == (0, "")
    assert summary(tmp_path / "runs/r")["test/acc"] == 1.0
    assert isometry.load("runs/r").class_names == ("bright", "dark")


def test_the_csv_logger_and_the_debug_presets_work(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", *TINY, "logger=csv", "run_name=csv")[0] == 0
    header = (tmp_path / "runs/csv/csv/metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/acc", "grad_norm/total"} <= set(header)
    code, _out, _ = cli("train", "debug=fast", "run_name=fast", "model.depth=4", "model.width=4")
    assert code == 0
    assert summary(tmp_path / "runs/fast")["steps"] == 2
    assert not (tmp_path / "runs/fast/wandb").exists()


def test_the_overfit_preset_drives_the_loss_to_zero(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "debug=overfit", "model.depth=4", "run_name=r")[0] == 0
    losses = [row["train/loss"] for row in read_lines(tmp_path / "runs/r/metrics.jsonl") if "train/loss" in row]
    assert losses[-1] < 0.05 < 1.0 < losses[0]
    assert summary(tmp_path / "runs/r")["steps"] == 4 * 50


def test_the_profile_preset_ends_before_its_first_validation_and_leaves_a_table(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("train", "debug=profile", "model.depth=3", "model.width=4", "run_name=r")
    assert (code, err) == (0, "")
    assert "ended before its first validation" in out
    assert "optimizer_step" in (tmp_path / "runs/r/fit-profile.txt").read_text()
    assert math.isfinite(summary(tmp_path / "runs/r")["val/loss"])


def test_data_that_has_changed_under_the_same_name_is_told_or_refused(cli: Cli, tmp_path: Path) -> None:
    changed = "the training images have changed"
    paint(tmp_path / "pictures", bright=200, dark=30)
    cli("train", *PICTURES, "run_name=r", "trainer.max_epochs=1")
    code, out, _ = cli("train", "resume=r", "trainer.max_epochs=2")
    assert (code, "resumed  at step 4" in out, changed in out) == (0, True, False)
    paint(tmp_path / "pictures", bright=201)
    code, out, _ = cli("train", "resume=r", "trainer.max_epochs=3")
    assert (code, "resumed  at step 8" in out, changed in out) == (0, True, True)
    paint(tmp_path / "pictures", grey=90)
    code, _, err = cli("train", "resume=r", "trainer.max_epochs=4")
    assert (code, "class_names: ['bright', 'dark'] there, ['bright', 'dark', 'grey'] here" in err) == (4, True)
    shutil.rmtree(tmp_path / "pictures")
    paint(tmp_path / "pictures", size=16, bright=200, dark=30)
    code, _, err = cli("train", "resume=r", "trainer.max_epochs=4")
    assert (code, "image_shape: [3, 12, 12] there, [3, 16, 16] here" in err) == (4, True)


def test_folders_may_have_any_name_and_be_links(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "mein Ordner ü=1"
    (place / "elsewhere").mkdir(parents=True)
    (place / "Läufe").mkdir()
    (place / "Läufe" / "a=b ç").symlink_to(place / "elsewhere")
    monkeypatch.chdir(place)
    words = ['runs_dir="Läufe"', "trainer.max_epochs=1"]
    code, out, err = cli("train", *TINY, *words, 'run_name="a=b ç"')
    assert (code, err) == (0, "")
    assert "W&B offline" in out
    code, out, err = cli("train", 'runs_dir="Läufe"', 'resume="a=b ç"', "trainer.max_epochs=2", "logger=csv")
    assert (code, err) == (0, "")
    assert "resumed  at step 9" in out
    assert summary(place / "elsewhere")["steps"] == 18
    assert (place / "elsewhere/csv/metrics.csv").is_file()
    assert list(place.glob("elsewhere/wandb/offline-run-*"))
    for command in ("evaluate", "report"):
        assert cli(command, "Läufe/a=b ç")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


# ------------------------------------------------------------------------------------------------------------ failures
def test_a_folder_that_holds_a_run_is_not_written_over(cli: Cli, tmp_path: Path) -> None:
    cli("train", *QUIET, "run_name=r")
    before = summary(tmp_path / "runs/r")
    code, _, err = cli("train", *QUIET, "run_name=r", "seed=2")
    assert code == 4
    assert "runs/r already holds a run" in err
    assert summary(tmp_path / "runs/r") == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["trainer=gpu"], 2, "torch sees no such device here"),
        (["trainer.precision=16-mixed"], 2, "16-mixed needs a GPU, and training runs on cpu here"),
        (["init=nowhere:mine"], 2, "cannot import nowhere:mine"),
        (["data.batch_size=299", "data.drop_last=true"], 3, "do not fill one batch of 299"),
        (["data.batch_size=269", "data.drop_last=false", "trainer.limit_test_batches=1"], 2, "holds a single image"),
        (["data=image_folder", "data.dir=nowhere"], 3, "nowhere/train is not a folder"),
        (["resume=nowhere"], 4, "no run's folder"),
        (["init_from=nowhere.ckpt"], 4, "neither a file nor a run's folder"),
        (["runs_dir=afile"], 6, "cannot write into afile"),
        (["runs_dir=.", "run_name=afile"], 6, "cannot write into afile"),
        (["runs_dir=/proc/nowhere"], 6, "cannot write into /proc/nowhere"),  # whoever is asked
        (["norm=none", "optimizer.lr=1e18", "scheduler=constant"], 5, "step 1 was not made: its loss"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_failures_have_their_exit_code_and_say_what_to_do(
    words: list[str], code: int, message: str, cli: Cli, tmp_path: Path
) -> None:
    if torch.cuda.is_available() and "GPU" in message:
        pytest.skip("this machine has a GPU")
    (tmp_path / "afile").touch()
    actual, _, err = cli("train", *QUIET, *words)
    assert (actual, message in err) == (code, True), err
    assert code == 5 or not list(tmp_path.glob("runs/*"))  # what never began leaves no folder
    assert "Traceback" not in err


def test_data_that_cannot_be_reached_exits_3_and_names_the_way_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    code, _, err = cli("train", *QUIET, "data=mnist", "data.dir=here")
    assert code == 3
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz" in err
    assert "data=mnist_mini" in err


def test_evaluate_asks_for_a_checkpoint(cli: Cli) -> None:
    assert cli("evaluate")[0] == 2
    code, _, err = cli("evaluate", "nowhere")
    assert (code, "neither a file" in err) == (4, True)
    code, _, err = cli("evaluate", "data.dir=x")
    assert (code, "which checkpoint" in err) == (2, True)


def test_an_unexpected_error_leaves_its_traceback_in_the_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("isometry.build.classifier", broken)
    code, _, err = cli("train", *QUIET, "run_name=r")
    assert code == 1
    assert "unexpected KeyError: 'surprise'" in err
    assert "KeyError: 'surprise'" in (tmp_path / "runs/r/error.log").read_text()


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "isometry", "train", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_has_its_exit_code_and_the_message_says_how_to_go_on(
    number: signal.Signals, code: int, word: str, tmp_path: Path
) -> None:
    process = start([*TINY, "trainer.max_epochs=10000", "run_name=r"], tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/r/checkpoints/latest-*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)  # on a loaded machine W&B takes its time to finish
    assert process.returncode == code, err
    assert f"{word} at step" in err
    assert "python train.py resume=runs/r" in err
    assert "Traceback" not in err
    find_checkpoint(tmp_path / "runs/r", "latest")


def test_train_py_and_the_module_are_the_same_command(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "train.py"
    for name, command in {"a": [str(script)], "b": ["-m", "isometry", "train"]}.items():
        words = [sys.executable, *command, "debug=fast", "model.depth=3", f"run_name={name}"]
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert summary(tmp_path / "runs/a")["state_digest"] == summary(tmp_path / "runs/b")["state_digest"]


@pytest.mark.slow
def test_two_processes_learn_from_the_same_global_batches_as_one(tmp_path: Path) -> None:
    """Without batch statistics, two processes with half a batch each learn what one learns, but for rounding."""
    words = [*QUIET, "norm=layer", "optimizer.lr=0.01", "monitor.every_n_steps=1", "trainer.accelerator=cpu"]
    for name, options in {"one": [], "two": ["trainer=ddp"]}.items():
        command = [sys.executable, str(Path(__file__).parents[1] / "train.py"), *options, *words, f"run_name={name}"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    one, two = (read_history(tmp_path / "runs" / name / "gradients.jsonl").records for name in ("one", "two"))
    assert [record.step for record in one] == [record.step for record in two]
    for single, double in zip(one, two, strict=True):
        assert double.total == pytest.approx(single.total, rel=2e-2)  # the reduced gradient, not one process's share
    assert summary(tmp_path / "runs/two")["test/loss"] == pytest.approx(
        summary(tmp_path / "runs/one")["test/loss"], rel=1e-2
    )
    assert not (tmp_path / "runs/two/error.log").exists()


def test_processes_started_side_by_side_must_agree_on_a_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = cli("train", *QUIET)
    assert (code, "run_name=NAME" in err) == (2, True)
