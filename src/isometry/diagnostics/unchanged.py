"""A network that is looked at and left as it was, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Whatever happens inside, the model and the random state are afterwards, bit for bit, as they were."""
    saved = [(module, {name: _saved(value) for name, value in vars(module).items()}) for module in model.modules()]
    devices = {tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, attributes in saved:
            content = {name: restore() for name, restore in attributes.items()}
            module.__dict__.clear()
            module.__dict__.update(content)


def _saved(value: Any, nesting: int = 3) -> Callable[[], Any]:
    """What gives an attribute back: the same object, and of tensors and containers the content they had."""
    if isinstance(value, Tensor):
        copy = value.detach().clone()
        return lambda: _refilled(value, copy)
    if isinstance(value, dict) and nesting:
        return _saved_dict(value, nesting)
    if isinstance(value, list) and nesting:
        return _saved_list(value, nesting)
    return lambda: value


def _saved_dict(value: dict[Any, Any], nesting: int) -> Callable[[], Any]:
    items = {key: _saved(item, nesting - 1) for key, item in value.items()}

    def restore() -> dict[Any, Any]:
        content = {key: item() for key, item in items.items()}
        value.clear()
        value.update(content)
        return value

    return restore


def _saved_list(value: list[Any], nesting: int) -> Callable[[], Any]:
    items = [_saved(item, nesting - 1) for item in value]

    def restore() -> list[Any]:
        value[:] = [item() for item in items]
        return value

    return restore


def _refilled(tensor: Tensor, content: Tensor) -> Tensor:
    tensor.data.copy_(content)  # through .data: a graph that waits for its backward pass must not take it for a change
    return tensor
