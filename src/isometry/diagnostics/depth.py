"""How deep a layer lies, in autograd's graph: so far from the loss as the weight layers on the longest path to it.

The slope of a gradient is one over the way that it has come. In a chain, with skips or without, that is told as well by
the longest path from the input. But what enters half way, as the time does in each block of a denoiser, is one layer
away from its input and many from the loss.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


class GraphDepth:
    """Depths of one forward pass, asked for in the order of execution; each node of the graph is visited once."""

    def __init__(self) -> None:
        self._depths: dict[Any, int] = {}  # by autograd's node, inputs before what is made of them
        self._layers: list[Any] = []  # the node of each layer; None of one without a graph
        self._without_graph = 0
        self._deepest = 0  # of all layers so far
        self._has_gaps = False  # layers without a graph behind some that have one

    def of(self, z: Tensor) -> int:
        """The least depth of the weight layer that has just returned z: one more than the deepest layer behind it.

        Layers without a graph, frozen or checkpointed, follow each other and whatever ran before.
        """
        self._layers.append(z.grad_fn)
        if z.grad_fn is None:
            self._has_gaps = any(self._layers)
            self._without_graph = self._deepest = self._deepest + 1
            return self._without_graph
        depth = 1 + max(self._behind(z.grad_fn), self._without_graph)
        self._depths[z.grad_fn] = depth
        self._deepest = max(self._deepest, depth)
        return depth

    def latest(self) -> list[int | None]:
        """Of each layer that was asked for, in that order: the depth at which it has the longest path to the end.

        None where that cannot be told.
        """
        if self._has_gaps:
            return [None] * len(self._layers)
        layers, ahead = set(self._layers), dict.fromkeys(self._depths, 0)
        for node in reversed(self._depths):
            there = ahead[node] + (node in layers)
            for inner, _ in node.next_functions:
                if inner is not None:
                    ahead[inner] = max(ahead[inner], there)
        return [None if node is None else self._deepest - ahead[node] for node in self._layers]

    def behind(self, tensor: Tensor) -> int | None:
        """The depth of the deepest layer behind a tensor; None where there is no graph to tell."""
        return None if tensor.grad_fn is None else self._behind(tensor.grad_fn)

    def _behind(self, start: Any) -> int:
        stack = [start]  # no recursion: a graph of 1,000 layers is deeper than Python's stack
        while stack:
            node = stack[-1]
            below = [inner for inner, _ in node.next_functions if inner is not None]
            missing = [inner for inner in below if inner not in self._depths]
            if missing and node not in self._depths:
                stack += missing
                continue
            self._depths.setdefault(node, max((self._depths.get(inner, 0) for inner in below), default=0))
            stack.pop()
        return self._depths[start]
