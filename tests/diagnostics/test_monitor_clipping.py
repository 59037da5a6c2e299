"""GradientMonitor and modules that clip by themselves: the norm is measured after their hook, before the step."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fixed import LIGHTNING_SAYS, Fixed, Regression, fit, fp16, loader, make_trainer
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.plugins import Precision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from isometry import GradientMonitor
from isometry.diagnostics.window import Window
from isometry.training.classifier import Classifier
from isometry.training.clipping import AutoClip, agc

pytestmark = LIGHTNING_SAYS

HOOK = "configure_gradient_clipping"


class Halving(Fixed):
    """Clips by itself: half of a gradient that is larger than 4."""

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        if torch.nn.utils.get_total_norm(gradients) > 4:
            for gradient in gradients:
                gradient.data.mul_(0.5)


class Unmoved(Halving):
    """Weights are zero, so that the loss is finite whatever the batch and the scale."""

    def __init__(self) -> None:
        super().__init__()
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


def before_and_after(monitor: GradientMonitor) -> list[tuple[float, float]]:
    return [(record.total, record.total_clipped) for record in monitor.history]


# ------------------------------------------------------------------------------------------------ values
def test_the_norm_after_a_module_s_own_clipping() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    logger = fit(monitor, [[3.0, 4.0], [0.0, 3.0], [6.0, 8.0]], Halving())
    assert before_and_after(monitor) == [(5.0, 2.5), (3.0, 3.0), (10.0, 5.0)]
    assert [record.clip_fraction for record in monitor.history] == [1.0, 0.0, 1.0]
    assert logger.series("grad_norm/total_clipped") == {0: 2.5, 1: 3.0, 2: 5.0}
    assert logger.series("clip/coefficient") == {0: 0.5, 1: 1.0, 2: 0.5}
    assert [row.norm for row in monitor.history.records[0].layers.values()] == [3.0, 4.0]  # of before


def test_the_share_of_clipped_steps_is_of_all_since_the_last_record() -> None:
    monitor = GradientMonitor(every_n_steps=8)
    fit(monitor, [[9.0 if n % 2 else 1.0, 0.0] for n in range(8)], Halving())
    totals = [record.totals for record in monitor.history]
    assert totals == [[1.0], [9.0], [1.0], [9.0, 1.0], [9.0, 1.0, 9.0]]
    assert [record.clip_fraction for record in monitor.history] == [0.0, 1.0, 0.0, 1 / 2, 2 / 3]


def test_a_gradient_that_is_made_longer_has_changed_as_well() -> None:
    class Normalised(Fixed):
        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            for layer in (self.a, self.b):
                layer.weight.grad.sign_()

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[0.3, 0.4], [1.0, 1.0]], Normalised())
    assert monitor.history.records[0].total_clipped == pytest.approx(math.sqrt(2))
    assert [record.clip_fraction for record in monitor.history] == [1.0, 0.0]


def test_a_gradient_that_is_replaced_or_taken_away() -> None:
    class Replacing(Fixed):
        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            self.a.weight.grad = torch.full((1, 1), 7.0)
            self.b.weight.grad = None

    class Emptying(Fixed):
        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            optimizer.zero_grad()

    for module, after in ((Replacing(), 7.0), (Emptying(), 0.0)):
        monitor = GradientMonitor(every_n_steps=1)
        fit(monitor, [[3.0, 4.0]], module)
        assert before_and_after(monitor) == [(5.0, after)]


def test_it_is_the_gradient_that_the_optimizer_steps_with() -> None:
    """Plain SGD with rate 1 moves the weights by exactly the clipped gradient."""
    monitor, module = GradientMonitor(every_n_steps=1), Halving(lr=1.0)
    start = [module.a.weight.item(), module.b.weight.item()]
    fit(monitor, [[3.0, 4.0]], module)
    moved = math.hypot(module.a.weight.item() - start[0], module.b.weight.item() - start[1])
    assert monitor.history.records[0].total_clipped == pytest.approx(moved, rel=1e-6) == pytest.approx(2.5)


class Scribbling(torch.optim.SGD):
    """Writes its step into `.grad`, as SGD with Nesterov momentum does on a GPU."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(100)
        return loss


class Elsewhere(Callback):
    """Measures at the two places that Lightning has callbacks for."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def measure(self, where: str, pl_module: LightningModule) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        self.seen[where] = torch.nn.utils.get_total_norm(gradients).item()

    def on_before_optimizer_step(self, trainer: Any, pl_module: LightningModule, optimizer: Any) -> None:
        self.measure("before clipping", pl_module)

    def on_before_zero_grad(self, trainer: Any, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step:
            self.measure("after the step", pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: LightningModule, *args: Any) -> None:
        self.measure("after the step", pl_module)


def test_no_callback_of_lightning_s_would_have_seen_it() -> None:
    """The control: what is measured before the hook or after the step is another number."""

    class Scribbled(Halving):
        def configure_optimizers(self) -> Any:
            return Scribbling(self.parameters(), lr=0.0)

    monitor, elsewhere = GradientMonitor(every_n_steps=1), Elsewhere()
    fit(monitor, [[3.0, 4.0]], Scribbled(), others=[elsewhere])
    assert before_and_after(monitor) == [(5.0, 2.5)]
    assert elsewhere.seen == {"before clipping": 5.0, "after the step": 250.0}


# -------------------------------------------------------------------------------------- ways of clipping
@pytest.mark.parametrize(("algorithm", "after"), [("norm", 2.5), ("value", math.hypot(2.5, 2.5))])
def test_a_module_that_uses_the_trainer_s_settings_itself(algorithm: str, after: float) -> None:
    class Delegating(Fixed):
        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
        ) -> None:
            assert gradient_clip_val == 2.5
            if self.global_step:  # the first gradient is not clipped, whatever the Trainer is set to
                self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    monitor = GradientMonitor(every_n_steps=1)
    rows = [[3.0, 4.0], [3.0, 4.0]]
    fit(monitor, rows, Delegating(), gradient_clip_val=2.5, gradient_clip_algorithm=algorithm)
    assert [record.total for record in monitor.history] == [5.0, 5.0]
    assert [record.total_clipped for record in monitor.history] == [5.0, pytest.approx(after, rel=1e-5)]


def test_a_hook_that_the_user_put_on_the_module_is_called_and_stays() -> None:
    def quarter(optimizer: Any, **kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad *= 0.25

    monitor, module = GradientMonitor(every_n_steps=1), Fixed()
    module.configure_gradient_clipping = quarter  # type: ignore[method-assign]
    fit(monitor, [[3.0, 4.0], [6.0, 8.0]], module)
    assert before_and_after(monitor) == [(5.0, 1.25), (10.0, 2.5)]
    assert vars(module)[HOOK] is quarter


def test_accumulated_gradients_are_measured_once_a_step() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[4.0, 0.0], [8.0, 0.0], [10.0, 0.0]], Halving(), accumulate_grad_batches=2)
    assert before_and_after(monitor) == [(6.0, 3.0), (5.0, 2.5)]


def test_lbfgs_shows_the_first_gradient_of_a_step_before_and_after() -> None:
    class Quadratic(Halving):
        """(w - x)² with w = 1, x = 3."""

        def __init__(self) -> None:
            super().__init__()
            nn.init.constant_(self.a.weight, 1.0)

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return (self.a(torch.ones(1, 1)) - batch[0][0, 0]).square().sum() * 2

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.a.parameters(), lr=0.1, max_iter=4)

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0]], Quadratic())
    assert before_and_after(monitor) == [(8.0, 4.0)]


def test_with_manual_optimization_the_hook_is_not_called_and_not_touched() -> None:
    class Manual(Halving):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.found: list[bool] = []

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch[0]))
            optimizer.step()

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.found.append(HOOK in vars(self))

    monitor, module = GradientMonitor(every_n_steps=1), Manual()
    logger = fit(monitor, [[3.0, 4.0]], module)
    assert before_and_after(monitor) == [(5.0, 5.0)]
    assert monitor.history.records[0].clip_fraction is None
    assert logger.series("grad_norm/total_clipped") == {}
    assert module.found == [False]


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_without_a_gradient_leaves_nothing() -> None:
    class Skipping(Halving):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
            return None if batch_idx == 1 else self.loss(batch[0])

        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            if self.a.weight.grad is not None:
                super().configure_gradient_clipping(optimizer)

    monitor, module = GradientMonitor(every_n_steps=1), Skipping()
    fit(monitor, [[3.0, 4.0], [1.0, 1.0], [6.0, 8.0]], module)
    assert before_and_after(monitor) == [(5.0, 2.5), (10.0, 5.0)]
    assert HOOK not in vars(module)


# -------------------------------------------------------------------------------------------- precision
def test_under_a_loss_scale_both_norms_are_unscaled() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0], [5.0, 12.0]], Halving(), plugins=[fp16(1024)])
    assert before_and_after(monitor) == [(5.0, 2.5), (13.0, 6.5)]


def test_a_step_that_the_scaler_skips_leaves_nothing_and_the_next_one_is_right() -> None:
    monitor, module = GradientMonitor(every_n_steps=1), Unmoved()
    fit(monitor, [[3.0, 4.0], [1e36, 0.0], [6.0, 8.0]], module, plugins=[fp16(1024)])
    assert before_and_after(monitor) == [(5.0, 2.5), (math.inf, math.inf), (10.0, 5.0)]
    assert [record.clip_fraction for record in monitor.history] == [1.0, 0.0, 1.0]
    assert [record.skipped for record in monitor.history] == [0, 1, 0]
    assert HOOK not in vars(module)


def test_an_optimizer_that_unscales_in_its_step() -> None:
    """The module halves what is still multiplied by 1024."""

    class Fused(Halving):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0, fused=True)

    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0], [6.0, 8.0]], Fused(), plugins=[fp16(1024)])
    assert before_and_after(monitor) == [(5.0, 2.5), (10.0, 5.0)]


# ------------------------------------------------------------------------------------- nothing stays behind
class Looking(Callback):
    """What stands on the module between the monitor's hook and the module's, and afterwards."""

    def __init__(self) -> None:
        self.before: list[bool] = []
        self.after: list[bool] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: LightningModule, optimizer: Any) -> None:
        self.before.append(HOOK in vars(pl_module))

    def on_before_zero_grad(self, trainer: Any, pl_module: LightningModule, optimizer: Any) -> None:
        self.after.append(HOOK in vars(pl_module))

    def on_train_batch_end(self, trainer: Any, pl_module: LightningModule, *args: Any) -> None:
        self.after.append(HOOK in vars(pl_module))


def test_the_module_is_touched_from_the_monitor_s_hook_to_its_own_alone() -> None:
    for module, options, touched in (
        (Halving(), {}, True),
        (Fixed(), {"gradient_clip_val": 1.0}, False),
        (Fixed(), {}, False),
    ):
        looking = Looking()
        fit(GradientMonitor(every_n_steps=1), [[3.0, 4.0]] * 3, module, others=[looking], **options)
        assert looking.before == [touched] * 3
        assert looking.after == [False] * 6


def failing_modules() -> Iterator[tuple[LightningModule, list[Callback]]]:
    class InTheHook(Fixed):
        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            assert HOOK not in vars(self)
            raise RuntimeError("boom")

    class BeforeTheHook(Halving):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            raise RuntimeError("boom")

    class Other(Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: LightningModule, optimizer: Any) -> None:
            raise RuntimeError("boom")

    yield InTheHook(), []
    yield BeforeTheHook(), []
    yield Halving(), [Other()]


@pytest.mark.parametrize("monitors", [1, 2])
@pytest.mark.parametrize("which", range(3))
def test_nothing_stays_when_something_raises(which: int, monitors: int) -> None:
    module, others = list(failing_modules())[which]
    more = [GradientMonitor() for _ in range(monitors - 1)]
    with pytest.raises(RuntimeError, match="boom"):
        fit(GradientMonitor(), [[3.0, 4.0]], module, others=[*more, *others])
    assert HOOK not in vars(module)


def test_nothing_stays_where_the_hook_is_never_called() -> None:
    """A precision plugin of somebody's that clips in its own way: nothing was measured, nothing is shown."""

    class Deaf(Precision):
        def _clip_gradients(self, *args: Any, **kwargs: Any) -> None: ...

    monitor, module, looking = GradientMonitor(every_n_steps=1), Halving(), Looking()
    fit(monitor, [[3.0, 4.0]] * 2, module, plugins=[Deaf()], others=[looking], gradient_clip_val=1.0)
    assert before_and_after(monitor) == [(5.0, 5.0)] * 2
    assert [record.clip_fraction for record in monitor.history] == [None, None]
    assert looking.after[1::2] == [False] * 2
    assert HOOK not in vars(module)


def test_two_monitors_see_the_same_and_leave_nothing() -> None:
    first, second, module = GradientMonitor(every_n_steps=1), GradientMonitor(every_n_steps=2), Halving()
    fit(first, [[3.0, 4.0], [6.0, 8.0]], module, others=[second])
    assert before_and_after(first) == before_and_after(second) == [(5.0, 2.5), (10.0, 5.0)]
    assert HOOK not in vars(module)


class Copying(Callback):
    """Copies the module between the monitor's hook and the module's, as EMA callbacks do."""

    def __init__(self) -> None:
        self.copies: list[LightningModule] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: LightningModule, optimizer: Any) -> None:
        self.copies += [copy.deepcopy(pl_module), pickle.loads(pickle.dumps(pl_module))]


def test_a_copy_of_the_module_has_the_hook_itself() -> None:
    monitor, copying = GradientMonitor(every_n_steps=1), Copying()
    fit(monitor, [[3.0, 4.0]], Halving(), others=[copying])
    assert before_and_after(monitor) == [(5.0, 2.5)]
    assert len(copying.copies) == 2
    for copied in copying.copies:
        hook: Any = copied.configure_gradient_clipping
        assert hook.__func__ is Halving.configure_gradient_clipping
        assert hook.__self__ is copied
        other = GradientMonitor(every_n_steps=1)
        fit(other, [[6.0, 8.0]], copied)
        assert before_and_after(other) == [(10.0, 5.0)]


class Clipped(Regression):
    """A real net, with a strategy that remembers."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1)))
        self.clip = AutoClip(30.0)

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.clip(self.net.named_parameters())


@pytest.mark.parametrize("scale", [None, 2.0**24])
def test_the_training_is_the_same_to_the_bit(scale: float | None) -> None:
    """With a scale that overflows at first, too."""

    def trained(*monitors: GradientMonitor) -> list[Tensor]:
        torch.manual_seed(4)
        module = Clipped()
        trainer = make_trainer(*monitors, max_epochs=3, plugins=[fp16(scale)] if scale else [])
        trainer.fit(module, loader(torch.rand(40, 16, generator=torch.Generator().manual_seed(1)), 4))
        return [*module.state_dict().values(), module.clip.state_dict()["norms"], torch.get_rng_state()]

    monitor = GradientMonitor(every_n_steps=1)
    mine, its = trained(monitor), trained()
    assert all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(mine, its, strict=True))
    assert any(after < before for before, after in before_and_after(monitor))
    assert any(record.skipped for record in monitor.history) == bool(scale)


# ---------------------------------------------------------------------------------------- the Classifier
def classifier(clip: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 3)),
        class_names=["a", "b", "c"],
        mean=[0.0],
        std=[1.0],
        make_optimizer=lambda named: torch.optim.SGD([{"name": "all", "params": [p for _, p in named]}], lr=0.1),
        make_schedule=lambda optimizer: [],
        clip=clip,
        label_smoothing=0.0,
        description={},
    )


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
@pytest.mark.parametrize(
    ("clip", "options", "measured", "fraction"),
    [(None, {}, 0, None), (None, {"gradient_clip_val": 1e-3}, 0, 1.0), (agc(factor=1e-3), {}, 3, 1.0)],
    ids=["nothing", "trainer", "strategy"],
)
def test_the_classifier_s_gradient_is_measured_again_only_where_a_strategy_clips(
    clip: Any, options: dict[str, Any], measured: int, fraction: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Window] = []
    measure_clipped = Window.measure_clipped
    monkeypatch.setattr(Window, "measure_clipped", lambda window: (calls.append(window), measure_clipped(window)))
    monitor = GradientMonitor(every_n_steps=1)
    data = TensorDataset(torch.randn(6, 1, 2, 2), torch.arange(6) % 3)
    make_trainer(monitor, **options).fit(classifier(clip), DataLoader(data, batch_size=2))
    assert len(calls) == measured
    assert [record.clip_fraction for record in monitor.history] == [fraction] * 3
    for record in monitor.history:
        assert (record.total_clipped < record.total / 2) == (fraction is not None)
