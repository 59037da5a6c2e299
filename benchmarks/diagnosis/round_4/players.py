"""An actor and a critic, recurrent both, with an optimizer each, in manual optimization."""

from __future__ import annotations

from typing import Any

import knobs
import torch
import torch.nn.functional as F
from knobs import Settings
from networks import Net
from pytorch_lightning import LightningModule
from tasks import TEST, Task
from torch import Tensor

DISCOUNT, CURIOSITY = 0.5, 0.01


class ActorCritic(LightningModule):
    """The actor draws an action at each step; the critic says beforehand what is still to come."""

    def __init__(self, network: Net, critic: Net, task: Task, s: Settings) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.critic, self.task, self.s = network, critic, task, s

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        seen, rewards = batch
        for_actor, for_critic = self.optimizers()
        chances = F.log_softmax(self.network(seen), dim=2)
        with torch.no_grad():
            actions = torch.distributions.Categorical(logits=chances).sample()[..., None]
            returns = discounted(rewards.gather(2, actions)[..., 0])
        expected = self.critic(seen)[..., 0]
        self._step(for_critic, F.mse_loss(expected, returns))
        entropy = -(chances.exp() * chances).sum(dim=2).mean()
        gain = (chances.gather(2, actions)[..., 0] * (returns - expected.detach())).mean()
        self._step(for_actor, -self.s.loss_sign * self.s.loss_scale * (gain + CURIOSITY * entropy))

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.s.clip:
            self.clip_gradients(optimizer, self.s.clip, self.s.clip_by)
        optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        actor = self.network.head if self.s.trains == "head" else self.network
        return [knobs.make_optimizer(net.parameters(), self.s) for net in (actor, self.critic)]

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """What the likeliest actions miss of the best reward; 1: as much as any action does."""
        rewards, chances = self.task.targets[-TEST:], self.network(self.task.inputs[-TEST:])
        if not chances.isfinite().all():
            return {"score": 1.0}
        best, chance = rewards.amax(dim=2).mean(), rewards.mean()
        got = rewards.gather(2, chances.argmax(dim=2, keepdim=True)).mean()
        return {"score": float(((best - got) / (best - chance)).clamp(0, 1)), "reward": float(got)}


def discounted(rewards: Tensor) -> Tensor:
    """What is still to come, at each step: `[B, T]`."""
    total, returns = torch.zeros(len(rewards)), []
    for reward in rewards.flip(1).unbind(1):
        total = reward + DISCOUNT * total
        returns.append(total)
    return torch.stack(returns, dim=1).flip(1)
