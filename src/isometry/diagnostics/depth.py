"""How deep a layer lies: the weight layers on the longest path from the input, in autograd's graph."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class GraphDepth:
    """Depths of one forward pass, asked for in the order of execution; each node of the graph is visited once."""

    def __init__(self) -> None:
        self._depths: dict[Any, int] = {}  # by autograd's node
        self._without_graph = 0
        self._deepest = 0  # of all layers so far

    def of(self, z: Tensor) -> int:
        """The depth of the weight layer that has just returned z: one more than the deepest layer behind it.

        Layers without a graph, frozen or checkpointed, follow each other and whatever ran before.
        """
        if z.grad_fn is None:
            self._without_graph = self._deepest = self._deepest + 1
            return self._without_graph
        depth = 1 + max(self._behind(z.grad_fn), self._without_graph)
        self._depths[z.grad_fn] = depth
        self._deepest = max(self._deepest, depth)
        return depth

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
