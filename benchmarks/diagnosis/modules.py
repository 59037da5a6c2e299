"""Plain LightningModules of other kinds than the project's Classifier, made from a flat mapping of settings.

    module, batches = make("dense", ["depth=20", "init=xavier"], seed=1)

Nothing here knows of monitors or rules. `score` tells on data held aside how well a module learnt the task itself,
whatever loss it was given: 0 is perfect, 1 is what one gets without looking at the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import knobs
import networks
import round_1.kinds
import round_2.kinds
import round_2.losses
import round_2.tasks
import round_3.kinds
import round_3.losses
import round_3.tasks
import round_3.tasks_of_series
import round_4.kinds
import round_4.losses
import round_4.players
import round_4.tasks
import round_4.tasks_of_sequences
import round_5.kinds
import round_5.kinds_of_sequences
import round_5.losses
import round_5.losses_of_sequences
import round_5.tasks
import round_5.tasks_of_sequences
import round_6.kinds
import round_6.kinds_of_sequences
import round_6.losses
import round_6.losses_of_sequences
import round_6.tasks
import round_6.tasks_of_sequences
import round_7.kinds
import round_7.kinds_of_sequences
import round_7.losses
import round_7.losses_of_sequences
import round_7.tasks
import round_7.tasks_of_sequences
import round_8.kinds
import round_8.kinds_of_sequences
import round_8.losses
import round_8.losses_of_sequences
import round_8.tasks
import round_8.tasks_of_sequences
import tasks
import torch
import torch.nn.functional as F
from kind import Kind
from knobs import Settings
from pytorch_lightning import LightningModule
from tasks import TEST, Batches, Task
from torch import Tensor, nn

KINDS = (
    round_1.kinds.KINDS
    | round_2.kinds.KINDS
    | round_3.kinds.KINDS
    | round_4.kinds.KINDS
    | round_5.kinds.KINDS
    | round_5.kinds_of_sequences.KINDS
    | round_6.kinds.KINDS
    | round_6.kinds_of_sequences.KINDS
    | round_7.kinds.KINDS
    | round_7.kinds_of_sequences.KINDS
    | round_8.kinds.KINDS
    | round_8.kinds_of_sequences.KINDS
)
TASKS = (
    tasks.TASKS
    | round_2.tasks.TASKS
    | round_3.tasks.TASKS
    | round_3.tasks_of_series.TASKS
    | round_4.tasks.TASKS
    | round_4.tasks_of_sequences.TASKS
    | round_5.tasks.TASKS
    | round_5.tasks_of_sequences.TASKS
    | round_6.tasks.TASKS
    | round_6.tasks_of_sequences.TASKS
    | round_7.tasks.TASKS
    | round_7.tasks_of_sequences.TASKS
    | round_8.tasks.TASKS
    | round_8.tasks_of_sequences.TASKS
)
LOSSES = (
    round_2.losses.LOSSES
    | round_3.losses.LOSSES
    | round_4.losses.LOSSES
    | round_5.losses.LOSSES
    | round_5.losses_of_sequences.LOSSES
    | round_6.losses.LOSSES
    | round_6.losses_of_sequences.LOSSES
    | round_7.losses.LOSSES
    | round_7.losses_of_sequences.LOSSES
    | round_8.losses.LOSSES
    | round_8.losses_of_sequences.LOSSES
)
SCORES = (
    round_2.losses.SCORES
    | round_3.losses.SCORES
    | round_4.losses.SCORES
    | round_5.losses.SCORES
    | round_5.losses_of_sequences.SCORES
    | round_6.losses.SCORES
    | round_6.losses_of_sequences.SCORES
    | round_7.losses.SCORES
    | round_7.losses_of_sequences.SCORES
    | round_8.losses.SCORES
    | round_8.losses_of_sequences.SCORES
)


class Plain(LightningModule):
    """Automatic optimization of a network with a trunk and a head."""

    def __init__(self, network: networks.Net, task: Task, s: Settings) -> None:
        super().__init__()
        self.network, self.task, self.s = network, task, s

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        if self.s.mixup:
            return self._mixed(inputs, targets)
        return self._weighted(self._loss(inputs, targets))

    def _mixed(self, inputs: Tensor, targets: Tensor) -> Tensor:
        share = torch.distributions.Beta(1.0, 1.0).sample().item()
        mixed = share * inputs + (1 - share) * inputs.flip(0)
        loss = share * self._loss(mixed, targets) + (1 - share) * self._loss(mixed, targets.flip(0))
        return self._weighted(loss)

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.s.precision)
        with torch.autocast("cpu", dtype) if dtype else nullcontext():
            outputs = self.network(inputs)
            if self.s.loss == "mse":
                return F.mse_loss(outputs, F.one_hot(targets, self.task.outputs).to(outputs))
            return task_loss(self.task, outputs, targets, self.s)

    def _weighted(self, loss: Tensor) -> Tensor:
        return self.s.loss_sign * self.s.loss_scale * loss

    def configure_optimizers(self) -> dict[str, Any]:
        chosen = self.network.head if self.s.trains == "head" else self.network
        optimizer = knobs.make_optimizer([p for p in chosen.parameters() if p.requires_grad], self.s)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": knobs.make_schedule(optimizer, self.s), "interval": "step"},
        }

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        inputs, targets = self.task.inputs[-TEST:], self.task.targets[-TEST:]
        return task_score(self.task, self.network(inputs).float(), targets, self.s)


def task_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    if task.kind in LOSSES:
        return LOSSES[task.kind](task, outputs, targets, s)
    match task.kind:
        case "classes":
            return F.cross_entropy(outputs, targets, label_smoothing=s.smoothing)
        case "tokens":
            return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), label_smoothing=s.smoothing)
        case "pixels" if s.head == "logits":
            return F.binary_cross_entropy_with_logits(outputs, targets)
    return F.mse_loss(outputs, targets)


def task_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> dict[str, float]:
    """`score`, and what it was made from."""
    if not outputs.isfinite().all():
        return {"score": 1.0}
    if task.kind in SCORES:
        return {"score": _capped(SCORES[task.kind](task, outputs, targets, s))}
    match task.kind:
        case "classes":
            error = (outputs.argmax(dim=1) != targets).float().mean().item()
            entropy = F.cross_entropy(outputs, targets).item()
            return {"score": _capped(error / (1 - 1 / task.outputs)), "error": error, "cross_entropy": entropy}
        case "tokens":
            entropy = F.cross_entropy(outputs.flatten(0, 1), targets.flatten()).item()
            excess = (entropy - task.floor) / (math.log(task.outputs) - task.floor)
            return {"score": _capped(excess), "cross_entropy": entropy}
        case "pixels" if s.head == "logits":
            outputs = outputs.sigmoid()
    squares, variance = (outputs - targets).square().mean().item(), (targets - targets.mean(0)).square().mean().item()
    return {"score": _capped(squares / variance), "mse": squares}


def _capped(score: float) -> float:
    return max(min(score, 1.0), 0.0) if math.isfinite(score) else 1.0


class Adversarial(LightningModule):
    """A generator and a critic with an optimizer each, in manual optimization."""

    def __init__(self, network: networks.Net, critic: networks.Net, task: Task, s: Settings) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.critic, self.task, self.s = network, critic, task, s

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        points = batch[0]
        for_generator, for_critic = self.optimizers()
        drawn = self.network(torch.randn(len(points), 4))
        real, fake = self.critic(points), self.critic(drawn.detach())
        self._step(for_critic, _belief(real, 1.0) + _belief(fake, 0.0))
        if self.s.detach:
            drawn = drawn.detach() + 0.0 * self.network.head.bias
        self._step(for_generator, self.s.loss_sign * _belief(self.critic(drawn), 1.0))

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.s.clip:
            self.clip_gradients(optimizer, self.s.clip, self.s.clip_by)
        optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        betas = (0.5, 0.99)
        return [torch.optim.Adam(net.parameters(), self.s.lr, betas) for net in (self.network, self.critic)]

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """How far samples lie from the data, as seen along 32 lines; 1: as far as their mean alone would."""
        rng = torch.Generator().manual_seed(0)
        data = self.task.inputs[-TEST:]
        lines = F.normalize(torch.randn(2, 32, generator=rng), dim=0)
        drawn = self.network(torch.randn(TEST, 4, generator=rng))
        if not drawn.isfinite().all():
            return {"score": 1.0}
        far, mean = _distance(data @ lines, drawn @ lines), _distance(data @ lines, data.mean(0, keepdim=True) @ lines)
        return {"score": _capped(far / mean), "distance": far}


def _belief(logits: Tensor, truth: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def _distance(data: Tensor, drawn: Tensor) -> float:
    return (data.sort(dim=0).values - drawn.sort(dim=0).values).abs().mean().item()


# --------------------------------------------------------------------------------------------- making
@lru_cache(maxsize=8)
def task_of(name: str, length: int) -> Task:
    return TASKS[name](length)


def build(kind: Kind, s: Settings, task: Task) -> networks.Net:
    network = kind.network(s, task)
    knobs.initialize(network, s)
    return network


def settings(kind: str, words: Sequence[str]) -> Settings:
    """What words stand for, beside the kind's own defaults."""
    return knobs.read([*KINDS[kind].defaults.split(), *words])


def make(kind: str, words: Sequence[str], seed: int) -> tuple[LightningModule, Batches, Settings]:
    s = settings(kind, words)
    task = tasks.prepare(task_of(s.task, s.length), s)
    torch.manual_seed(seed)
    network = build(KINDS[kind], s, task)
    if kind == "gan":
        critic = build(KINDS["dense"], knobs.read(["depth=3", "width=32", "activation=leaky_relu"]), _beliefs(task))
        return Adversarial(network, critic, task, s), Batches(task, s, seed), s
    if kind == "actor_critic":
        critic = build(KINDS[kind], s, _beliefs(task))
        return round_4.players.ActorCritic(network, critic, task, s), Batches(task, s, seed), s
    if kind == "fine_tuned":
        _pretrain(network, task, seed)
        network.trunk.requires_grad_(not s.freeze)
    return Plain(network, task, s), Batches(task, s, seed), s


def _beliefs(task: Task) -> Task:
    return Task("values", task.inputs, task.targets, 1)


def _pretrain(network: networks.Net, task: Task, seed: int) -> None:
    """The trunk learns digits 0 to 4 from all of them; a new head will have to tell all ten."""
    head = nn.Linear(network.head.in_features, 5)
    optimizer = torch.optim.Adam([*network.trunk.parameters(), *head.parameters()], 0.003)
    rows = (task.targets[: tasks.TRAIN] < 5).nonzero().flatten()
    rng = torch.Generator().manual_seed(seed)
    for _ in range(60):
        chosen = rows[torch.randint(len(rows), (64,), generator=rng)]
        loss = F.cross_entropy(head(network.trunk(task.inputs[chosen])), task.targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
