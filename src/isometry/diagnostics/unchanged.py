"""A network that is looked at and left as it was, bit for bit."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Restore = Callable[[], Any]
_CONTENT = (Tensor, torch.Generator, np.ndarray, dict, list, deque, set)  # what can change and stay the same object


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Whatever happens inside, the model and all random states are afterwards as they were.

    Of every module: parameters, buffers and other attributes, down into containers of containers of containers.
    """
    saved = [(module, {name: _saved(value) for name, value in vars(module).items()}) for module in model.modules()]
    devices = {tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        for module, attributes in saved:
            content = {name: restore() for name, restore in attributes.items()}
            module.__dict__.clear()
            module.__dict__.update(content)


def _saved(value: Any, nesting: int = 3) -> Restore:
    """What gives an attribute back: the same object with the content it had."""
    if isinstance(value, Tensor):
        return _saved_tensor(value)
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)
    if isinstance(value, np.ndarray):
        array = value.copy()
        return lambda: _filled(value, lambda: np.copyto(value, array))
    if not nesting:
        return lambda: value
    if isinstance(value, dict):
        return _saved_members(value, dict(value), value.items(), nesting)
    if isinstance(value, list | deque):
        return _saved_members(value, list(value), enumerate(value), nesting)
    if isinstance(value, set):
        return _saved_set(value)
    return lambda: value


def _saved_set(value: set[Any]) -> Restore:
    members = set(value)

    def restore() -> set[Any]:
        value.clear()
        value.update(members)
        return value

    return restore


def _saved_members(
    container: Any, copy: dict[Any, Any] | list[Any], items: Iterable[tuple[Any, Any]], nesting: int
) -> Restore:
    inner = {key: _saved(item, nesting - 1) for key, item in items if isinstance(item, _CONTENT)}

    def restore() -> Any:
        for key, member in inner.items():
            copy[key] = member()
        container.clear()
        container.update(copy) if isinstance(container, dict) else container.extend(copy)
        return container

    return restore


def _saved_tensor(tensor: Tensor) -> Restore:
    place = tensor.data  # a graph that waits for its backward pass must not take the writing for a change
    for axis in range(place.dim() if place.layout is torch.strided else 0):
        if place.stride(axis) == 0 and place.shape[axis] > 1:  # expanded: one element at many places
            place = place.narrow(axis, 0, 1)
    content, data = place.clone(), tensor.data

    def restore() -> Tensor:
        if tensor.layout is torch.strided and tensor.data_ptr() != data.data_ptr():
            tensor.data = data  # the pass has put it elsewhere
        place.copy_(content)
        return tensor

    return restore


def _filled(value: Any, fill: Restore) -> Any:
    fill()
    return value
