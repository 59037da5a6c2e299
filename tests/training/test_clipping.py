"""Clipping strategies: gradients set by hand, a slow loop and numpy as references, and whole trainings.

As a script, `python test_clipping.py FOLDER DEVICES`, it trains in several processes.
"""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from isometry.training import clipping
from isometry.training.classifier import Classifier
from isometry.training.clipping import AutoClip, Clip, agc, percentile

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*' does not have many workers", "ignore:You defined a `validation_step` but have no"
)

Named = list[tuple[str, nn.Parameter]]


def parameter(weight: Any, gradient: Any) -> nn.Parameter:
    made = nn.Parameter(torch.as_tensor(weight))
    made.grad = torch.as_tensor(gradient).to(made.dtype)
    return made


def gradient_of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def with_gradients(net: nn.Module, size: float) -> Named:
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter) * size
    return list(net.named_parameters())


# ------------------------------------------------------------------------------------------------- agc
def test_each_unit_is_clipped_to_its_own_weights() -> None:
    """‖w‖ = 5, 10 and 0, so the limits are 0.5, 1 and 0.1 × 0.001."""
    weight = parameter([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]], [[6.0, 8.0], [0.6, 0.8], [0.03, 0.04]])
    agc(factor=0.1)([("a.weight", weight)])
    torch.testing.assert_close(weight.grad, torch.tensor([[0.3, 0.4], [0.6, 0.8], [6e-5, 8e-5]]))


def test_a_vector_is_one_unit() -> None:
    bias = parameter([3.0, 4.0], [30.0, 40.0])
    scalar = parameter(2.0, 8.0)
    agc(factor=0.1)([("a.bias", bias), ("gain", scalar)])
    torch.testing.assert_close(bias.grad, torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(scalar.grad, torch.tensor(0.2))


def slow_agc(weight: Tensor, gradient: Tensor, factor: float) -> Tensor:
    """Brock 2021, equation 3, one unit after the other."""
    units = range(len(weight)) if weight.dim() >= 2 else [slice(None)]
    made = gradient.clone()
    for unit in units:
        length = math.sqrt(sum(float(value) ** 2 for value in gradient[unit].flatten()))
        limit = factor * max(math.sqrt(sum(float(value) ** 2 for value in weight[unit].flatten())), 1e-3)
        if length > limit:
            made[unit] = gradient[unit] * (limit / length)
    return made


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.LSTM(3, 4), nn.ConvTranspose1d(3, 2, 2))


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0, 1e3])
def test_agc_is_equation_3(size: float) -> None:
    made = net()
    named = with_gradients(made, size)
    expected = [slow_agc(parameter.detach(), gradient_of(parameter), 0.05) for _, parameter in named]
    agc(factor=0.05)(named)
    for (name, parameter), wanted in zip(named, expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, msg=name)


def test_agc_in_channels_last() -> None:
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    named = with_gradients(conv, 1.0)
    expected = slow_agc(conv.weight.detach(), gradient_of(conv.weight), 0.1)
    agc(factor=0.1)(named)
    torch.testing.assert_close(conv.weight.grad, expected)


def test_agc_keeps_directions_and_what_is_within_its_limit_and_clips_once() -> None:
    linear = nn.Linear(6, 50)
    linear.weight.grad = torch.randn(50, 6) * torch.logspace(-6, 3, 50)[:, None]
    before = linear.weight.grad.clone()
    named = list(linear.named_parameters())
    agc(factor=0.1)(named)
    after = linear.weight.grad
    limits = 0.1 * linear.weight.detach().norm(dim=1).clamp(min=1e-3)
    within = before.norm(dim=1) <= limits
    assert 5 < within.sum() < 45
    assert torch.equal(after[within], before[within])
    torch.testing.assert_close(after[~within].norm(dim=1), limits[~within])
    torch.testing.assert_close(nn.functional.cosine_similarity(after, before), torch.ones(50))
    once = after.clone()
    agc(factor=0.1)(named)
    torch.testing.assert_close(after, once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e20, 1e33])
def test_agc_at_magnitudes_whose_squares_float32_does_not_have(size: float) -> None:
    weight = parameter([[3.0, 4.0]], torch.tensor([[6.0, 8.0]]) * size)
    before = gradient_of(weight).clone()
    agc(factor=0.1)([("a.weight", weight)])
    if size < 1:
        assert torch.equal(gradient_of(weight), before)
    else:
        torch.testing.assert_close(weight.grad, torch.tensor([[0.3, 0.4]]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_agc_leaves_what_is_not_finite_in_its_unit(bad: float) -> None:
    weight = parameter([[3.0, 4.0], [3.0, 4.0]], [[bad, 8.0], [6.0, 8.0]])
    bias = parameter([3.0, 4.0], [bad, 8.0])
    agc(factor=0.1)([("a.weight", weight), ("a.bias", bias)])
    torch.testing.assert_close(weight.grad, torch.tensor([[bad, 8.0], [0.3, 0.4]]), equal_nan=True)
    torch.testing.assert_close(bias.grad, torch.tensor([bad, 8.0]), equal_nan=True)


def test_agc_leaves_the_head_and_parameters_without_a_gradient_alone() -> None:
    head, body, ahead = (parameter([[3.0, 4.0]], [[6.0, 8.0]]) for _ in range(3))
    frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    agc(factor=0.1)([("head.weight", head), ("trunk.head.weight", body), ("header.weight", ahead), ("f", frozen)])
    assert gradient_of(head).tolist() == [[6.0, 8.0]]
    assert gradient_of(body).norm().item() == gradient_of(ahead).norm().item() == pytest.approx(0.5)
    assert frozen.grad is None


def test_the_head_has_this_name_in_every_model() -> None:
    from isometry import models

    folder = Path(models.__file__).parent
    files = [path for path in folder.glob("*.py") if "nn.Module)" in path.read_text()]
    assert len(files) >= 4
    for path in files:
        assert f"self.{clipping.HEAD.rstrip('.')} = " in path.read_text(), path.name


# ------------------------------------------------------------------------------------------ percentile
def clipped_norms(clip: Clip, norms: list[float]) -> list[float]:
    """What gradients of these norms become, one step after the other; 3/5 and 4/5 of each lie in two parameters."""
    after = []
    for norm in norms:
        two = [parameter([0.0], [0.6 * norm]), parameter([[0.0]], [[0.8 * norm]])]
        clip([("a", two[0]), ("head.b", two[1])])
        after.append(math.hypot(*(gradient_of(one).item() for one in two)))
    return after


@pytest.mark.parametrize("percent", [0.0, 10.0, 37.5, 50.0, 100.0])
def test_percentile_is_numpy_s_of_all_norms_up_to_this_one(percent: float) -> None:
    norms = torch.randn(60).exp().tolist()
    expected = [min(norm, float(np.percentile(norms[: n + 1], percent))) for n, norm in enumerate(norms)]
    assert clipped_norms(percentile(percentile=percent), norms) == pytest.approx(expected, rel=1e-6)
    assert (expected == norms) == (percent == 100)


def test_percentile_by_hand() -> None:
    """The median of 4; of 4, 8; of 4, 8, 1; of 4, 8, 1, 100."""
    assert clipped_norms(percentile(percentile=50), [4.0, 8.0, 1.0, 100.0]) == pytest.approx([4.0, 6.0, 1.0, 6.0])


def test_percentile_scales_all_alike_and_leaves_what_is_within_to_the_bit() -> None:
    clip, made = percentile(percentile=50), net()
    small = [gradient_of(parameter).clone() for _, parameter in with_gradients(made, 1.0)]
    for size, after in ((1.0, 1.0), (10.0, 5.5), (0.1, 0.1)):  # the medians of 1; of 1, 10; of 1, 10, 0.1
        for parameter, one in zip(made.parameters(), small, strict=True):
            parameter.grad = one * size
        before = [gradient_of(parameter).clone() for parameter in made.parameters()]
        clip(made.named_parameters())
        for parameter, one, given in zip(made.parameters(), small, before, strict=True):
            torch.testing.assert_close(parameter.grad, one * after)
            assert torch.equal(gradient_of(parameter), given) == (size == after)


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 1e19, 1e25])
def test_percentile_at_any_magnitude(size: float) -> None:
    """With limit/(‖g‖ + 1e-6), 0.01 of a gradient of 1e-8 would be left, and nothing of one of 1e-30."""
    norms = [2.0 * size, 1.0 * size, 4.0 * size]
    expected = [2.0 * size, 1.0 * size, 2.0 * size]
    assert clipped_norms(percentile(percentile=50), norms) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_percentile_passes_what_is_not_finite_on_and_forgets_it(bad: float) -> None:
    clip = percentile(percentile=50)
    broken = parameter([0.0, 0.0], [bad, 7.0])
    clip([("a", broken)])  # nothing to compare with, either
    torch.testing.assert_close(broken.grad, torch.tensor([bad, 7.0]), equal_nan=True)
    assert clipped_norms(clip, [4.0, 8.0]) == pytest.approx([4.0, 6.0])
    broken = parameter([0.0, 0.0], [bad, 7.0])
    clip([("a", broken)])
    torch.testing.assert_close(broken.grad, torch.tensor([bad, 7.0]), equal_nan=True)
    assert clipped_norms(clip, [1.0, 100.0]) == pytest.approx([1.0, 6.0])  # of 4, 8, 1 and 100


def test_percentile_looks_so_many_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipping, "HISTORY", 5)
    norms = torch.randn(23).exp().tolist()
    expected = [min(norm, float(np.percentile(norms[max(n - 4, 0) : n + 1], 50))) for n, norm in enumerate(norms)]
    assert clipped_norms(percentile(percentile=50), norms) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("steps", [0, 3, 5, 12])
def test_the_state_comes_back_from_a_plain_weights_only_file(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipping, "HISTORY", 5)
    norms = torch.randn(steps + 9).exp().tolist()
    whole, first, second = AutoClip(30.0), AutoClip(30.0), AutoClip(30.0)
    expected = clipped_norms(whole, norms)
    clipped_norms(first, norms[:steps])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert clipped_norms(second, norms[steps:]) == expected[steps:]
    assert len(first.state_dict()["norms"]) == min(steps, 5)  # the file holds no more than was seen


def test_a_state_that_was_saved_does_not_change_with_its_clip() -> None:
    clip = AutoClip(50.0)
    clipped_norms(clip, [1.0])
    state = clip.state_dict()
    clip.load_state_dict({"norms": torch.tensor([7.0], dtype=torch.float64), "steps": 1})
    assert state["norms"].tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("clip", [agc(factor=0.1), percentile(percentile=10)])
def test_a_clip_can_be_copied_and_pickled(clip: Clip) -> None:
    clipped_norms(clip, [4.0, 8.0])
    for other in (copy.deepcopy(clip), pickle.loads(pickle.dumps(clip))):
        assert clipped_norms(other, [16.0]) == clipped_norms(copy.deepcopy(clip), [16.0])


def test_without_any_gradient_nothing_happens() -> None:
    alone = [("a", nn.Parameter(torch.ones(2)))]
    clip = AutoClip(50.0)
    clip(alone)
    agc(factor=0.1)(alone)
    assert clip.state_dict()["steps"] == 0


# ------------------------------------------------------------------------------------------ in training
class Rows(nn.Module):
    """A vanilla RNN over the rows of an image, with recurrent weights that start as the identity (Le 2015)."""

    def __init__(self, nonlinearity: str = "relu") -> None:
        super().__init__()
        self.cell = nn.RNN(2, 16, nonlinearity=nonlinearity, batch_first=True)
        nn.init.eye_(self.cell.weight_hh_l0)
        self.head = nn.Linear(16, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cell(images[:, 0])[0][:, -1])
        return logits


class Recorded(Classifier):
    """Keeps the loss of each batch."""

    def on_fit_start(self) -> None:
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.item())
        return loss


def classifier(
    clip: Clip | None, *, lr: float = 0.05, nonlinearity: str = "relu", kind: type[Recorded] = Recorded
) -> Recorded:
    torch.manual_seed(0)

    def make_optimizer(named: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"name": "all", "params": [parameter for _, parameter in named]}], lr=lr)

    return kind(
        Rows(nonlinearity),
        class_names=["below", "above"],
        mean=[0.0],
        std=[1.0],
        make_optimizer=make_optimizer,
        make_schedule=lambda optimizer: [],
        clip=clip,
        label_smoothing=0.0,
        description={},
    )


def examples() -> tuple[Tensor, Tensor]:
    """Whether the first feature is above 0 on average, over 40 rows."""
    images = torch.randn(256, 1, 40, 2, generator=torch.Generator().manual_seed(1))
    return images, (images[:, 0, :, 0].mean(dim=1) > 0).long()


def loader(images: Tensor, labels: Tensor, batch_size: int = 32) -> DataLoader[Any]:
    return DataLoader(TensorDataset(images, labels), batch_size=batch_size)


def trainer(**options: Any) -> Trainer:
    quiet: dict[str, Any] = {"enable_checkpointing": False, "enable_progress_bar": False, "logger": False}
    return Trainer(accelerator="cpu", enable_model_summary=False, **{**quiet, **options})


CURES: dict[str, tuple[Clip | None, dict[str, Any]]] = {
    "gradient_clip_val": (None, {"gradient_clip_val": 0.1}),
    "agc": (agc(factor=0.1), {}),
}


def test_a_vanilla_rnn_diverges_without_clipping() -> None:
    module = classifier(None)
    trainer(max_epochs=8).fit(module, loader(*examples()))
    assert max(module.losses) > 1e6 * module.losses[0]
    assert math.isnan(module.losses[-1])


@pytest.mark.parametrize("cure", CURES)
def test_the_same_rnn_learns_with_clipping(cure: str) -> None:
    clip, options = CURES[cure]
    module = classifier(clip)
    trainer(max_epochs=8, **options).fit(module, loader(*examples()))
    assert max(module.losses) < 10 * module.losses[0]
    assert sum(module.losses[-8:]) / 8 < 0.55  # a coin has 0.69


@pytest.mark.parametrize("clip", [None, percentile(percentile=10)], ids=["without", "with"])
def test_percentile_cuts_a_batch_whose_gradient_would_undo_the_training(clip: Clip | None) -> None:
    """The fifth batch is 1000 times as large, and its labels are wrong. The very first could not have been judged."""
    images, labels = examples()
    images[128:160] *= 1000
    labels[128:160] = 1 - labels[128:160]
    module = classifier(clip, lr=0.005)
    trainer(max_epochs=8).fit(module, loader(images, labels))
    last = module.losses[-8:]
    mean = (sum(last) - last[4]) / 7
    assert mean < 0.5 if clip else math.isnan(mean)


@pytest.mark.parametrize("keeps", [True, False])
def test_resuming_clips_as_one_run_does(keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit of the weights; and the control: without the history of the first half they differ."""

    def weights(epochs: int, ckpt: Path | None = None) -> list[Tensor]:
        module, fitting = classifier(percentile(percentile=10), lr=0.005), trainer(max_epochs=epochs)
        fitting.fit(module, loader(*examples()), ckpt_path=ckpt, weights_only=True)
        fitting.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return [parameter.detach() for parameter in module.parameters()]

    whole = weights(4)
    weights(2)
    assert torch.load(tmp_path / "2.ckpt", weights_only=True)["clip"]["steps"] == 16
    if not keeps:
        monkeypatch.delattr(Classifier, "on_load_checkpoint")
    assert all(map(torch.equal, weights(4, tmp_path / "2.ckpt"), whole)) == keeps


def test_accumulated_batches_are_one_gradient() -> None:
    """Two batches of 16 are one of 32."""

    def seen(batch_size: int, batches: int) -> list[float]:
        clip = AutoClip(50.0)
        module = classifier(clip, nonlinearity="tanh")
        trainer(max_epochs=1, accumulate_grad_batches=batches).fit(module, loader(*examples(), batch_size))
        norms: list[float] = clip.state_dict()["norms"].tolist()
        return norms

    assert seen(16, 2) == pytest.approx(seen(32, 1), rel=1e-4)
    assert len(seen(16, 2)) == 8


def fp16(scale: float) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))


def test_the_scale_of_the_loss_is_not_seen() -> None:
    def seen(**options: Any) -> list[float]:
        clip = AutoClip(50.0)
        trainer(max_epochs=1, **options).fit(classifier(clip, nonlinearity="tanh"), loader(*examples()))
        norms: list[float] = clip.state_dict()["norms"].tolist()
        return norms

    full = seen()
    for scale in (1.0, 1024.0):
        assert seen(plugins=[fp16(scale)]) == pytest.approx(full, rel=0.05)


def test_an_overflow_is_skipped_by_the_scaler_and_forgotten() -> None:
    """fp16 ends at 65504: with a scale of 2^30 the first steps overflow, until it is halved often enough."""
    clip = AutoClip(50.0)
    module = classifier(clip, nonlinearity="tanh")
    trainer(max_epochs=4, plugins=[fp16(2.0**30)]).fit(module, loader(*examples()))
    norms = clip.state_dict()["norms"]
    overflows = norms.isnan()
    assert overflows[:3].all()
    assert 3 < overflows.sum() < 28
    assert (norms[~overflows] < 10).all()
    assert len(norms) == len(module.losses) == 32
    assert all(parameter.isfinite().all() for parameter in module.parameters())


# ------------------------------------------------------------------------------------- several processes
class Shared(Recorded):
    """Image n of a batch goes to process n % devices."""

    def train_dataloader(self) -> Any:
        devices, rank = self.trainer.world_size, self.trainer.global_rank
        images, labels = examples()
        return loader(images[rank::devices], labels[rank::devices], 32 // devices)


def train(folder: Path, devices: int) -> None:
    for name, clip in (("agc", agc(factor=0.01)), ("percentile", percentile(percentile=10))):
        module = classifier(clip, nonlinearity="tanh", kind=Shared)
        several: dict[str, Any] = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto"}
        fitting = trainer(max_epochs=2, use_distributed_sampler=False, **several)
        fitting.fit(module)
        torch.save(module.state_dict(), folder / f"{name}-{devices}-rank{fitting.global_rank}.pt")


@pytest.mark.slow  # two interpreters import torch and Lightning
def test_two_processes_clip_alike_and_as_one_does(tmp_path: Path) -> None:
    words = [sys.executable, __file__, str(tmp_path), "2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    train(tmp_path, 1)
    for name in ("agc", "percentile"):
        ranks = ("1-rank0", "2-rank0", "2-rank1")
        alone, first, second = (torch.load(tmp_path / f"{name}-{rank}.pt") for rank in ranks)
        for key in alone:
            assert torch.equal(first[key], second[key])
            torch.testing.assert_close(first[key], alone[key], rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), int(sys.argv[2]))
