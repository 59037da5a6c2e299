"""How deep a layer lies: the weight layers on the longest path from the input, in autograd's graph."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class GraphDepth:
    """Depths of one forward pass, asked for in the order of execution; each node of the graph is visited once."""

    def __init__(self) -> None:
        self._depths: dict[Any, int] = {}  # by autograd's node
        self._without_graph = 0

    def of(self, z: Tensor) -> int:
        """The depth of the weight layer that has just returned z: one more than the deepest layer behind it.

        Frozen layers have no graph: they follow each other.
        """
        if z.grad_fn is None:
            self._without_graph += 1
            return self._without_graph
        depth = 1 + max(self._behind(z.grad_fn), self._without_graph)
        self._depths[z.grad_fn] = depth
        return depth

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
