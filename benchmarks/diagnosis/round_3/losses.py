"""Losses and scores of the round's tasks: margins, distances, labels, counts, rewards, densities, gaps."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from knobs import Settings
from tasks import Task
from torch import Tensor

from round_3.tasks import UNASKED

MARGIN = 0.5


def triplets_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """The like one is to be nearer by a margin."""
    anchor, like, unlike = F.normalize(outputs, dim=2).unbind(1)
    return F.triplet_margin_loss(anchor, like, unlike, MARGIN)


def triplets_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """How often the unlike one is nearer; 1: as often as not."""
    anchor, like, unlike = F.normalize(outputs, dim=2).unbind(1)
    near, far = (anchor - like).square().sum(dim=1), (anchor - unlike).square().sum(dim=1)
    wrong = (far < near).float() + 0.5 * (far == near).float()
    return wrong.mean().item() / 0.5


def absolute_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    return F.l1_loss(outputs, targets)


def absolute_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Of what the best constant picture leaves."""
    return ((outputs - targets).abs().mean() / (targets - targets.median(0).values).abs().mean()).item()


def labels_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets)


def labels_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """Wrong labels, of what the more frequent answer leaves."""
    often = targets.mean(0)
    return (((outputs > 0) != (targets > 0.5)).float().mean() / torch.minimum(often, 1 - often).mean()).item()


def counts_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Poisson's, of the logarithm of a rate."""
    return F.poisson_nll_loss(outputs, targets)


def counts_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """From the true rates to one rate for all."""
    mean = targets.mean()
    alike = mean - mean * mean.log()
    return ((counts_loss(task, outputs, targets, s) - task.floor) / (alike - task.floor)).item()


def rewards_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """REINFORCE with a learnt baseline and a little entropy: only the reward of the arm that was pulled is seen."""
    choice, expected = torch.distributions.Categorical(logits=outputs[:, :-1]), outputs[:, -1]
    pulled = choice.sample()
    reward = targets.gather(1, pulled[:, None]).squeeze(1)
    gained = reward - expected.detach()
    return F.mse_loss(expected, reward) - (gained * choice.log_prob(pulled) + 0.01 * choice.entropy()).mean()


def rewards_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """From the best arm for each to the best one for all."""
    got = targets.gather(1, outputs[:, :-1].argmax(dim=1, keepdim=True)).mean()
    best, alike = targets.amax(dim=1).mean(), targets.mean(0).amax()
    return ((best - got) / (best - alike)).item()


def density_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """What a point costs, in nats: that of its noise, less the volume that grew."""
    noise, volume = outputs[:, :-1], outputs[:, -1]
    return (0.5 * noise.square().sum(dim=1) - volume).mean() + 0.5 * noise.shape[1] * math.log(2 * math.pi)


def density_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    """From the true density to a normal distribution of the data's mean and spread; in the units of the inputs."""
    normal = 0.5 * torch.logdet(2 * math.pi * math.e * torch.cov(targets.T))
    return ((density_loss(task, outputs, targets, s) - task.floor) / (normal - task.floor)).item()


def hidden_loss(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> Tensor:
    """Cross-entropy of the hidden tokens alone."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=UNASKED, label_smoothing=s.smoothing)


def hidden_score(task: Task, outputs: Tensor, targets: Tensor, s: Settings) -> float:
    entropy = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=UNASKED).item()
    return (entropy - task.floor) / (math.log(task.outputs) - task.floor)


LOSSES: dict[str, Callable[[Task, Tensor, Tensor, Settings], Tensor]] = {
    "triplets": triplets_loss, "absolute": absolute_loss, "labels": labels_loss, "counts": counts_loss,
    "rewards": rewards_loss, "density": density_loss, "hidden": hidden_loss,
}  # fmt: skip
SCORES: dict[str, Callable[[Task, Tensor, Tensor, Settings], float]] = {
    "triplets": triplets_score, "absolute": absolute_score, "labels": labels_score, "counts": counts_score,
    "rewards": rewards_score, "density": density_score, "hidden": hidden_score,
}  # fmt: skip
