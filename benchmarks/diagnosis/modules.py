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
import losses_former
import losses_held_out
import networks
import networks_former
import networks_held_out
import sequences_former
import sequences_held_out
import series_held_out
import series_tasks_held_out
import tasks
import tasks_former
import tasks_held_out
import torch
import torch.nn.functional as F
from knobs import Settings
from pytorch_lightning import LightningModule
from tasks import TEST, Batches, Task
from torch import Tensor, nn

# For each kind: its network, and the defaults that make a sensible training of it.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dense": ("dense", ("task=flat_digits",)),
    "regression": ("dense", ("task=table", "depth=4", "lr=0.003")),
    "recurrent": ("recurrent", ("task=recall", "depth=1", "width=32", "lr=0.003", "init=default")),
    "bag": ("bag", ("task=texts", "depth=2", "lr=0.003")),
    "cell_loop": ("cell_loop", ("task=recall", "width=32", "lr=0.003", "init=orthogonal", "cell=gru")),
    "transformer": ("transformer", ("task=majority", "width=32", "depth=4", "norm=pre", "activation=gelu",
                                    "init=xavier", "length=16", "batch=32", "lr=0.002")),
    "autoencoder": ("autoencoder", ("task=pictures", "depth=4", "lr=0.003")),
    "signal_net": ("signal_net", ("task=waves", "length=64", "width=16", "depth=6", "lr=0.003")),
    "gan": ("generator", ("task=ring", "depth=3", "width=32", "lr=0.002", "head=logits", "activation=leaky_relu")),
    "pyramid": ("pyramid", ("task=flat_digits", "width=96", "depth=12")),
    "unet": ("unet", ("task=noisy_pictures", "width=8", "depth=6", "lr=0.003")),
    "two_towers": ("two_towers", ("task=digit_pairs", "depth=3")),
    "fine_tuned": ("image_net", ("task=digits", "depth=4", "width=8", "lr=0.003", "freeze=true")),
    "highway": ("highway", ("task=flat_digits", "depth=12", "width=48", "forget_bias=2", "init=lecun")),
    "maxout": ("maxout", ("task=flat_digits", "width=48", "init=lecun")),
    "experts": ("experts", ("task=regimes", "depth=2", "width=32", "lr=0.003")),
    "sine_net": ("sine_net", ("task=surface", "depth=5", "width=48", "lr=0.002")),
    "siamese": ("siamese", ("task=like_pairs", "depth=3")),
    "multi_task": ("shared_trunk", ("task=digits_and_slant", "depth=4")),
    "variational": ("variational", ("task=drawn_pictures", "depth=2", "width=128", "lr=0.005", "steps=300")),
    "mixer": ("mixer", ("task=digits", "depth=4", "width=32", "lr=0.002", "norm=layer", "skip=true",
                        "activation=gelu", "init=xavier")),
    "separable": ("separable", ("task=digits", "depth=6", "width=24", "lr=0.003")),
    "densenet": ("densenet", ("task=digits", "depth=6", "width=8", "lr=0.003", "batch=32")),
    "point_set": ("point_set", ("task=clouds", "depth=4", "width=32", "lr=0.003")),
    "graph": ("graph", ("task=communities", "length=16", "depth=4", "width=32", "lr=0.003", "eps=0.001",
                        "init=lecun")),
    "tagger": ("tagger", ("task=tags", "length=30", "depth=1", "width=32", "lr=0.01", "init=default")),
    "translator": ("translator", ("task=reversals", "length=6", "width=48", "lr=0.005", "init=default", "cell=gru",
                                  "steps=200")),
    "linear_recurrence": ("linear_recurrence", ("task=recall", "depth=2", "width=32", "lr=0.003", "forget_bias=4",
                                                "norm=layer", "activation=gelu", "init=lecun")),
    "gated_waves": ("gated_waves", ("task=tides", "length=48", "depth=6", "width=16", "lr=0.003", "skip=true",
                                    "init=lecun")),
    "inception": ("inception", ("task=digits", "depth=3", "width=8", "lr=0.002", "batch=32")),
    "squeeze": ("squeeze", ("task=digits", "depth=4", "width=16", "lr=0.003", "norm=batch", "skip=true")),
    "convnext": ("convnext", ("task=digits", "depth=3", "width=16", "lr=0.003", "norm=layer", "skip=true",
                              "activation=gelu", "init=lecun", "branch_gain=0.5", "batch=32")),
    "triplets": ("triplets", ("task=digit_triplets", "depth=2", "width=8", "lr=0.001", "init=he")),
    "enlarger": ("enlarger", ("task=small_and_large", "depth=4", "width=24", "lr=0.003", "steps=200")),
    "heat_maps": ("heat_maps", ("task=places", "depth=2", "width=8", "lr=0.003", "batch=32", "steps=200")),
    "crosses": ("crosses", ("task=products", "depth=2", "width=32", "lr=0.005", "init=lecun", "init_gain=0.5",
                            "steps=200")),
    "recommender": ("recommender", ("task=ratings", "depth=2", "width=32", "lr=0.005", "steps=250")),
    "gated_units": ("gated_units", ("task=visits", "depth=3", "width=48", "lr=0.003", "init=he", "steps=150")),
    "actor": ("actor", ("task=arms", "depth=2", "width=32", "lr=0.003", "activation=tanh", "init=lecun",
                        "head_gain=0.3", "steps=250")),
    "flow": ("flow", ("task=petals", "depth=8", "width=32", "lr=0.003", "init=default", "steps=250")),
    "denoiser": ("denoiser", ("task=swirl", "depth=4", "width=48", "lr=0.003", "skip=true", "init=lecun",
                              "branch_gain=0.5", "activation=silu", "steps=150")),
    "euler": ("euler", ("task=spirals", "depth=10", "width=32", "lr=0.003", "skip=true", "branch_gain=0.1",
                        "init=lecun", "activation=tanh", "steps=200")),
    "mean_of_both": ("mean_of_both", ("task=first_of_two", "length=24", "depth=1", "width=24", "lr=0.01",
                                      "init=default", "cell=gru", "steps=150")),
    "stacked": ("stacked", ("task=marked", "length=24", "depth=2", "width=24", "lr=0.01", "init=default",
                            "forget_bias=3", "activation=tanh", "steps=200")),
    "sketcher": ("sketcher", ("task=curves", "length=16", "width=40", "lr=0.005", "init=default", "cell=gru",
                              "steps=200")),
    "gaps": ("gaps", ("task=dialects", "length=16", "depth=3", "width=32", "lr=0.002", "norm=layer",
                      "activation=gelu", "init=xavier", "batch=32", "steps=150")),
    "tones": ("tones", ("task=chords", "length=64", "depth=5", "width=16", "lr=0.003")),
    "pooled_both_ways": ("pooled_both_ways", ("task=gestures", "length=30", "depth=1", "width=32", "lr=0.005",
                                              "init=default", "cell=gru")),
    "stacked_levels": ("stacked_levels", ("task=tank", "length=40", "width=32", "lr=0.01", "init=default",
                                          "forget_bias=2", "steps=150")),
    "sequence_code": ("sequence_code", ("task=contours", "length=20", "width=48", "lr=0.01", "init=default",
                                        "forget_bias=2", "steps=200")),
    "causal_classes": ("causal_classes", ("task=beats", "length=48", "depth=8", "width=24", "lr=0.003", "skip=true",
                                          "branch_gain=0.5")),
    "gap_filler": ("gap_filler", ("task=forms", "length=16", "depth=2", "width=32", "lr=0.005", "norm=pre",
                                  "activation=gelu", "init=xavier")),
}  # fmt: skip
NETWORKS = (
    networks.NETWORKS
    | networks_former.FORMER
    | sequences_former.FORMER
    | networks_held_out.HELD_OUT
    | sequences_held_out.HELD_OUT
    | series_held_out.HELD_OUT
)
TASKS = tasks.TASKS | tasks_former.FORMER | tasks_held_out.HELD_OUT | series_tasks_held_out.HELD_OUT
LOSSES = losses_former.LOSSES | losses_held_out.LOSSES
SCORES = losses_former.SCORES | losses_held_out.SCORES


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


def build(kind: str, s: Settings, task: Task) -> networks.Net:
    network = NETWORKS[kind](s, task)
    knobs.initialize(network, s)
    return network


def make(kind: str, words: Sequence[str], seed: int) -> tuple[LightningModule, Batches, Settings]:
    network_kind, defaults = KINDS[kind]
    s = knobs.read(words, defaults)
    task = tasks.prepare(task_of(s.task, s.length), s)
    torch.manual_seed(seed)
    network = build(network_kind, s, task)
    if kind == "gan":
        critic = build("dense", knobs.read([], ["depth=3", "width=32", "activation=leaky_relu"]), _beliefs(task))
        return Adversarial(network, critic, task, s), Batches(task, s, seed), s
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
