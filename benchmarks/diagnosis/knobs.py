"""The knobs of the suite's plain modules, each with a sane default: `read(["depth=20", "init=xavier"])`.

One mapping for all kinds of module, so that a fault, its twin and a cure are told in the same few words. A kind leaves
alone what it has no use for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "silu": nn.SiLU, "selu": nn.SELU, "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What can be turned, by theme."""

    # the network
    task: str = ""  # of tasks.py; empty: the kind's own
    depth: int = 6
    width: int = 64
    length: int = 30  # time steps
    activation: str = "relu"
    norm: str = "none"  # none | batch | layer | group; a transformer's: pre | post | none
    skip: bool = False
    branch_gain: float = 1.0  # what a residual branch is multiplied by
    rezero: bool = False  # that factor learned, from 0
    dropout: float = 0.0
    cell: str = "lstm"  # rnn (tanh) | irnn (ReLU, from the identity) | lstm | gru
    forget_bias: float = 1.0
    every_step: bool = False  # a loss at each time step
    # how it starts
    init: str = "he"  # default | he | xavier | lecun | orthogonal | normal | constant | zeros
    init_gain: float = 1.0
    recurrent_gain: float = 1.0
    bias: float = 0.0
    head_gain: float = 1.0
    # what is done to its values
    head: str = "logits"  # logits | softmax | sigmoid | relu
    op: str = "none"  # in the middle of the trunk: log | divide
    eps: float = 0.0  # what keeps it from 0
    detach: bool = False  # whether the head gets the features without their history
    trains: str = "all"  # all | head: what the optimizer is given
    freeze: bool = False  # the trunk, by requires_grad
    # the loss
    loss: str = ""  # empty: the task's own | mse
    loss_sign: int = 1
    loss_scale: float = 1.0
    smoothing: float = 0.0
    mixup: bool = False
    precision: str = "32"  # 32 | fp16 (no scaler) | fp16-scaled | bf16
    loss_exponent: int = 16  # log2 of the scaler's first scale
    # the optimizer
    optimizer: str = "adam"  # adam | adamw | sgd | rmsprop
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"  # constant | cosine | warmup | spike
    clip: float = 0.0  # 0: none
    clip_by: str = "norm"  # norm | value
    accumulate: int = 1
    steps: int = 100
    # the data
    batch: int = 64
    input_scale: float = 1.0
    input_shift: float = 0.0
    raw: bool = False  # features as they were recorded
    raw_targets: bool = False
    labels: str = "true"  # true | shuffled
    bad: str = "none"  # none | inputs | labels | nan: what is wrong with some batches
    every: int = 20  # one batch in so many


def read(words: Iterable[str]) -> Settings:
    """The settings that `key=value` words stand for, the last one of a key counts."""
    given = dict(word.split("=", 1) for word in words)
    types = {each.name: type(each.default) for each in fields(Settings)}
    unknown = sorted(set(given) - set(types))
    if unknown:
        raise ValueError(f"no such knob: {', '.join(unknown)}")
    return Settings(**{name: _value(text, types[name]) for name, text in given.items()})


def _value(text: str, kind: type) -> Any:
    if kind is str:
        return text
    return kind(ast.literal_eval(text.capitalize() if kind is bool else text))


# ------------------------------------------------------------------------------------------- the start
@torch.no_grad()
def initialize(network: nn.Module, s: Settings) -> None:
    """Dense and convolutional weights by `s.init`; recurrent layers are the matter of `networks`."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            _fill(module.weight, s)
            module.weight.mul_(s.init_gain)
            if s.init != "default" and module.bias is not None:
                module.bias.fill_(s.bias)
    head = getattr(network, "head", None)
    if isinstance(head, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
        head.weight.mul_(s.head_gain)
        if s.init != "default" and head.bias is not None:
            head.bias.zero_()


def _fill(weight: Tensor, s: Settings) -> None:
    match s.init:
        case "he":
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        case "xavier":
            nn.init.xavier_normal_(weight)
        case "lecun":
            nn.init.kaiming_normal_(weight, nonlinearity="linear")
        case "orthogonal":
            nn.init.orthogonal_(weight, 2**0.5 if s.activation == "relu" else 1.0)
        case "normal":
            nn.init.normal_(weight, std=0.01)
        case "constant":
            nn.init.constant_(weight, 1 / weight[0].numel())
        case "zeros":
            nn.init.zeros_(weight)


# --------------------------------------------------------------------------------------- the optimizer
def make_optimizer(parameters: Iterable[nn.Parameter], s: Settings) -> Optimizer:
    match s.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, s.lr, weight_decay=s.weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, s.lr, weight_decay=s.weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, s.lr, weight_decay=s.weight_decay)
    return torch.optim.SGD(parameters, s.lr, momentum=0.9, weight_decay=s.weight_decay)


def make_schedule(optimizer: Optimizer, s: Settings) -> LRScheduler:
    def factor(step: int) -> float:
        match s.schedule:
            case "cosine":
                return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / s.steps))))
            case "warmup":
                return min(step / (0.3 * s.steps), 1.0)
            case "spike":  # a schedule with a slip of the pen: for a few steps a thousand times the rate
                return 1000.0 if 10 <= step < 13 else 1.0
        return 1.0

    return LambdaLR(optimizer, factor)
