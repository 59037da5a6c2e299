"""With and without GradientMonitor: the same weights and random numbers to the bit, and nothing left behind."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fixed import LIGHTNING_SAYS, Fixed, Regression, fit, fp16, loader, make_trainer
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn

from isometry import GradientMonitor

pytestmark = LIGHTNING_SAYS


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 6, num_layers=2, dropout=0.2, batch_first=True), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, (last, _) = self.lstm(x[..., None])
        return self.head(states[:, -1] + last[-1])  # type: ignore[no-any-return]


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Dropout2d(0.3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(16, 1),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


class Adversarial(LightningModule):
    """A GAN by hand: the discriminator steps twice, the generator once."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 16))
        self.discriminator = nn.Sequential(nn.Linear(16, 8), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(8, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        first, second = self.optimizers()  # type: ignore[misc, attr-defined]
        for _ in range(2):
            made = self.generator(torch.randn(len(batch[0]), 3)).detach()
            loss = self.discriminator(made).mean() - self.discriminator(batch[0]).sigmoid().mean()
            first.zero_grad()
            self.manual_backward(loss)
            first.step()
        second.zero_grad()
        self.manual_backward(-self.discriminator(self.generator(torch.randn(len(batch[0]), 3))).mean())
        second.step()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.discriminator.parameters()), torch.optim.Adam(self.generator.parameters())


class Metered(Regression):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        loss = super().training_step(batch, batch_idx)
        assert loss is not None
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def compiled() -> LightningModule:
    module = Metered(mlp())
    module.net = torch.compile(module.net, backend="aot_eager")  # type: ignore[assignment]
    return module


CASES: dict[str, tuple[Callable[[], LightningModule], dict[str, Any]]] = {
    "cnn": (lambda: Metered(cnn()), {"gradient_clip_val": 0.5}),
    "lstm": (lambda: Metered(Recurrent()), {}),
    "compiled": (compiled, {}),
    "fp16": (lambda: Metered(mlp()), {"plugins": lambda: [fp16(2.0**15, growth_interval=2)]}),
    "bf16": (lambda: Metered(mlp()), {"precision": "bf16-mixed"}),
    "gan": (Adversarial, {}),
    "accumulated": (lambda: Metered(cnn()), {"accumulate_grad_batches": 3}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_weights_are_the_same_to_the_bit(case: str) -> None:
    make, options = CASES[case]

    def trained(monitored: bool) -> tuple[list[Any], ...]:
        torch.manual_seed(4)
        torch._dynamo.reset()
        module = make()
        monitor = GradientMonitor(every_n_steps=1, histograms=True, layer_series=True)
        given = {key: value() if callable(value) else value for key, value in options.items()}
        trainer = make_trainer(*([monitor] if monitored else []), max_epochs=2, **given)
        torch.manual_seed(5)
        trainer.fit(module, loader(torch.rand(40, 16, generator=torch.Generator().manual_seed(1)), 8))
        assert bool(monitor.history.profiles and len(monitor.history)) == monitored
        logged = [float(value) for value in trainer.logged_metrics.values()]
        state = [tensor.clone() for tensor in module.state_dict().values()]
        moments = [
            value for optimizer in trainer.optimizers for kept in optimizer.state.values() for value in kept.values()
        ]
        return state, moments, [torch.get_rng_state()], [torch.tensor(logged)]

    for mine, its in zip(trained(True), trained(False), strict=True):
        assert len(mine) == len(its)
        assert all(map(torch.equal, mine, its))


# ------------------------------------------------------------------------------------ nothing stays behind
def hooks(module: LightningModule, optimizers: list[torch.optim.Optimizer]) -> list[Any]:
    """All hooks that there are on the module, its submodules, parameters and optimizers; and replaced methods."""
    kinds = [
        "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
    ]  # fmt: skip
    found: list[Any] = []
    for inner in module.modules():
        found += [(kind, hook) for kind in kinds for hook in getattr(inner, kind).values()]
        call = inner._compiled_call_impl
        found += [("call", call)] if call is not None and "Replay" in getattr(call, "__qualname__", "") else []
    for parameter in module.parameters():
        found += list((parameter._backward_hooks or {}).values())
        found += list((getattr(parameter, "_post_accumulate_grad_hooks", None) or {}).values())
    for optimizer in optimizers:
        found += [*optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]
    for name in ("log", "log_dict", "training_step", "forward"):
        found += [name] if name in vars(module) else []
    return found


class Failing(Callback):
    """Raises at a place of the third batch, or inside the module by its switch."""

    def __init__(self, where: str, error: BaseException) -> None:
        self.where, self.error = where, error
        self.optimizers: list[torch.optim.Optimizer] = []

    def raise_at(self, where: str, batch_idx: int) -> None:
        if where == self.where and batch_idx == 2:
            raise self.error

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.optimizers, self.batch_idx = trainer.optimizers, batch_idx
        self.raise_at("on_train_batch_start", batch_idx)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.raise_at("on_before_optimizer_step", self.batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.raise_at("on_train_batch_end", batch_idx)


class Switched(Regression):
    failing: Failing | None = None

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        loss = super().training_step(batch, batch_idx)
        if self.failing:
            self.failing.raise_at("training_step", batch_idx)
        return loss


def dying() -> nn.Module:
    """With silent units, so that a watch goes on."""
    net = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    nn.init.constant_(net[0].bias, -100.0)
    return net


PLACES = ["training_step", "on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end", "nowhere"]


@pytest.mark.parametrize("first", ["monitor", "other"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("where", PLACES)
def test_no_hook_stays(where: str, error: BaseException, first: str) -> None:
    module, monitor = Switched(dying()), GradientMonitor(every_n_steps=1)
    compiled_part = nn.Sequential(nn.Linear(1, 1))
    compiled_part.compile(backend="aot_eager")  # never called: hooks on it would not come off by running
    module.part = compiled_part
    failing = Failing(where, error)
    module.failing = failing
    callbacks = [monitor, failing] if first == "monitor" else [failing, monitor]
    trainer = make_trainer(*callbacks)
    before = hooks(module, [])
    if where == "nowhere":
        trainer.fit(module, loader(torch.rand(40, 16), 8))
    else:
        with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
            trainer.fit(module, loader(torch.rand(40, 16), 8))
        assert failing.batch_idx == 2
    assert len(monitor.history) >= 2
    assert hooks(module, failing.optimizers) == before == []
    monitor_keeps = [value for value in vars(monitor).values() if isinstance(value, LightningModule)]
    assert monitor_keeps == []


def test_a_fit_after_a_failed_one_begins_anew() -> None:
    module, monitor = Switched(mlp()), GradientMonitor(every_n_steps=1)
    module.failing = Failing("training_step", RuntimeError("boom"))
    with pytest.raises(RuntimeError, match="boom"):
        fit(monitor, torch.rand(40, 16), module, batch_size=8)
    module.failing = None
    fit(monitor, torch.rand(24, 16), module, batch_size=8)
    assert [record.step for record in monitor.history] == [0, 1, 0, 1, 2]
    assert [profile.step for profile in monitor.history.profiles] == [0, 1, 0, 1, 2]


def test_max_steps_and_should_stop_leave_nothing() -> None:
    class Stopping(Failing):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer.should_stop = True

    for options in ({"max_steps": 2}, {"max_epochs": 3}):
        module, stopping = Switched(dying()), Stopping("nowhere", RuntimeError())
        make_trainer(GradientMonitor(every_n_steps=1), stopping, **options).fit(module, loader(torch.rand(40, 16), 8))
        assert hooks(module, stopping.optimizers) == []


class Validated(Regression):
    """Its first batch of the second epoch is skipped, and there is validation."""

    skips = False

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if self.skips and self.current_epoch == 1 and batch_idx == 0 else None

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        if self.hooked is not None:
            self.hooked += [hook for inner in self.modules() for hook in inner._forward_hooks.values()]
            self.hooked += [hook for inner in self.modules() for hook in inner._forward_pre_hooks.values()]
        self.net(batch[0])

    hooked: Any = None


@pytest.mark.parametrize("skips", [False, True])
def test_no_hook_is_on_during_validation(skips: bool) -> None:
    """Also where the module skips an epoch by returning -1: the batch that was to be probed never ran."""
    module, monitor = Validated(dying()), GradientMonitor(every_n_steps=1)
    module.skips, module.hooked = skips, []
    rows = torch.rand(16, 16)
    trainer = make_trainer(monitor, max_epochs=3, num_sanity_val_steps=0)
    trainer.fit(module, loader(rows, 8), loader(rows, 8))
    assert module.hooked == []
    steps = 4 if skips else 6
    assert [profile.step for profile in monitor.history.profiles] == list(range(steps))
    for profile in monitor.history.profiles:
        assert [row.name for row in profile.layers] == ["net.0", "net.2", "net.4"]  # not net.0@2 of another pass


# --------------------------------------------------------------------------------------- copies, checkpoints
def plain(module: LightningModule) -> bytes:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return buffer.getvalue()


class Copying(Callback):
    """Copies and pickles module and optimizer in every hook of a batch, as EMA callbacks do, and runs the copies."""

    def __init__(self) -> None:
        self.copies: list[Any] = []

    def copy(self, pl_module: LightningModule, optimizer: Any) -> None:
        for other in (copy.deepcopy(pl_module), pickle.loads(pickle.dumps(pl_module))):
            other.net(torch.full((8, 16), 1e3))
            self.copies.append(other)
        for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            assert other.state_dict().keys() == optimizer.state_dict().keys()
            other.step()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.copy(pl_module, trainer.optimizers[0])

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.copy(pl_module, optimizer)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.copy(pl_module, optimizer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.copy(pl_module, trainer.optimizers[0])


@pytest.mark.parametrize("first", ["monitor", "other"])
def test_module_and_optimizer_can_be_copied_during_a_fit(first: str) -> None:
    """The monitor sees nothing of the copies, and they see nothing of it: profiles and dead units are the module's."""

    def seen(*callbacks: Callback) -> list[Any]:
        torch.manual_seed(2)
        module, monitor = Regression(dying()), GradientMonitor(every_n_steps=1)
        where = 1 if first == "monitor" else 0
        trainer = make_trainer(*([*callbacks, monitor] if where == 0 else [monitor, *callbacks]))
        trainer.fit(module, loader(torch.rand(1280, 16), 128))
        totals = [record.totals for record in monitor.history]
        return [totals, [profile.layers for profile in monitor.history.profiles], monitor.history.units[0]]

    copying = Copying()
    assert seen(copying) == seen()
    assert len(copying.copies) == 10 * 4 * 2


def test_module_and_optimizer_can_be_copied_after_a_fit() -> None:
    module, monitor, failing = Regression(mlp()), GradientMonitor(every_n_steps=1), Failing("nowhere", RuntimeError())
    make_trainer(monitor, failing).fit(module, loader(torch.rand(24, 16), 8))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert plain(other) == plain(module)
    copying = Copying()
    copying.copy(module, failing.optimizers[0])
    again = pickle.loads(pickle.dumps(monitor.history))
    assert [record.total for record in again] == [record.total for record in monitor.history]


def test_the_monitor_can_be_copied_and_its_copy_used() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, [[3.0, 4.0]])
    for other in (copy.deepcopy(monitor), pickle.loads(pickle.dumps(monitor))):
        fit(other, [[5.0, 12.0]])
        assert [record.total for record in other.history] == [5.0, 13.0]
    assert len(monitor.history) == 1


def test_a_checkpoint_is_the_same_but_for_the_monitors_own_key_and_needs_no_monitor(tmp_path: Path) -> None:
    def keys(value: Any, path: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {path}
        return {path}.union(*(keys(item, f"{path}/{key}") for key, item in value.items()))

    for name, callbacks in {"with": [GradientMonitor(every_n_steps=1)], "without": []}.items():
        trainer = make_trainer(*callbacks)
        trainer.fit(Fixed(lr=0.1), loader([[3.0, 4.0]] * 3))
        trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
    mine, its = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("with", "without"))
    assert keys({key: value for key, value in mine.items() if key != "gradient_monitor"}) == keys(its)
    module = Fixed(lr=0.1)
    trainer = make_trainer(max_epochs=2)  # warnings are errors
    trainer.fit(module, loader([[3.0, 4.0]] * 3), ckpt_path=tmp_path / "with.ckpt", weights_only=True)
    assert trainer.global_step == 6
    monitor = GradientMonitor(every_n_steps=1)
    make_trainer(monitor, max_epochs=2).fit(
        Fixed(lr=0.1), loader([[3.0, 4.0]] * 3), ckpt_path=tmp_path / "without.ckpt", weights_only=True
    )
    assert [record.step for record in monitor.history] == [3, 4, 5]


# ------------------------------------------------------------------------------------------------ dead units
class Units(Regression):
    """Unit 0 of `net.0` never fires, unit 1 only for x > 100, the other two always."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1)), lr=0.0)
        with torch.no_grad():
            self.net[0].weight.copy_(torch.tensor([[0.0], [1.0], [1.0], [0.0]]))
            self.net[0].bias.copy_(torch.tensor([-1.0, -100.0, 1.0, 1.0]))


def test_a_dead_unit_and_none_that_wakes_up() -> None:
    rows = torch.rand(64 * 20, 1)
    monitor = GradientMonitor(every_n_steps=1000)
    logger = fit(monitor, rows, Units(), batch_size=64)
    (record,) = monitor.history.units[:1]
    assert (record.step, record.until, record.samples) == (0, 16, 1024)
    assert record.dead == {"net.0": 0.5}  # units 0 and 1 of 4
    assert monitor.history.profiles[0].layers[0].dead is None  # one batch kills nobody
    assert next(iter(logger.series("units/dead").values())) == 0.5

    rows[64 * 9 + 5] = 101.0
    monitor = GradientMonitor(every_n_steps=1000)
    fit(monitor, rows, Units(), batch_size=64)
    assert monitor.history.units[0].dead == {"net.0": 0.25}


def test_fewer_samples_than_a_thousand_kill_nobody() -> None:
    monitor = GradientMonitor(every_n_steps=1000)
    logger = fit(monitor, torch.rand(64 * 15, 1), Units(), batch_size=64)
    assert monitor.history.units == []
    assert logger.series("units/dead") == {}


def test_where_every_unit_works_none_is_dead() -> None:
    monitor, module = GradientMonitor(every_n_steps=1000), Units()
    nn.init.ones_(module.net[0].bias)
    logger = fit(monitor, torch.rand(64 * 20, 1), module, batch_size=64)
    assert monitor.history.units[0].step == 0
    assert sum(monitor.history.units[0].dead.values()) == 0
    assert monitor.history.profiles[0].layers[0].dead == 0.0
    assert set(logger.series("units/dead").values()) == {0.0}


def test_validation_batches_neither_count_nor_wake_up() -> None:
    class Checked(Units):
        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.net(batch[0])

    rows = torch.rand(64 * 20, 1)
    monitor = GradientMonitor(every_n_steps=1000)
    trainer = make_trainer(monitor, val_check_interval=2)
    trainer.fit(Checked(), loader(rows, 64), loader(torch.full((640, 1), 1000.0), 64))
    record = monitor.history.units[0]
    assert (record.step, record.until, record.samples, record.dead) == (0, 16, 1024, {"net.0": 0.5})


def test_a_watch_goes_on_over_epochs_and_probed_steps() -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(monitor, torch.rand(64 * 5, 1), Units(), batch_size=64, max_epochs=7)
    first, second = monitor.history.units[:2]
    assert (first.step, first.until, first.samples, first.dead) == (0, 16, 1024, {"net.0": 0.5})
    assert (second.step, second.samples, second.dead) == (16, 1024, {"net.0": 0.5})
