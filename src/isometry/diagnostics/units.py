"""Dead units: silent, exactly zero, in each of at least 1,000 samples. The zeros of one batch kill nobody.

(DeepDiagnosis took layers with 70 % zeros in a batch for dead and flagged 36 of 78 healthy MNIST models.)

A pass tells which units were silent in it; a `UnitWatch` goes on looking at these alone over the next batches. In a
healthy net hardly any is left after the first ones, so that the watch costs next to nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .hooks import Hook
from .layers import is_nonnegative
from .statistics import silent_units

MIN_SAMPLES = 1000


class Site(NamedTuple):
    """Where a layer's units are seen: at the output of its activation, or at the input of the next layer."""

    module: nn.Module
    is_input: bool
    number: int  # which call of the module in a pass
    axis: int  # of the units


class UnitWatch:
    """Args:
    silent: For each site the name of the layer whose units are seen there, and which were silent so far, bool `[C]`.
    samples: Seen so far, in one batch.
    """

    def __init__(self, silent: Mapping[Site, tuple[str, Tensor]], samples: int) -> None:
        self.samples = self._batch_size = samples
        self._sites = dict(silent)
        self._silent = {site: mask.clone() for site, (_, mask) in silent.items()}  # so far
        self._places = {(site.module, site.is_input, site.number): site for site in silent}
        self._numbers: Counter[tuple[nn.Module, bool]] = Counter()
        self._is_counted = False  # whether this batch's samples were
        self._handles: list[Any] = []

    @property
    def is_over(self) -> bool:
        return self.samples >= MIN_SAMPLES

    def attach(self) -> None:
        """For one batch: look at every module where a silent unit is left."""
        self._numbers.clear()
        self._is_counted = False
        waiting = {(site.module, site.is_input) for site, mask in self._silent.items() if _may_hold_any(mask)}
        for module, is_input in waiting:
            if is_input:
                self._handles.append(module.register_forward_pre_hook(Hook(self._on_input)))
            else:
                self._handles.append(module.register_forward_hook(Hook(self._on_output)))
        if not waiting:
            self._count(self._batch_size)  # nobody looks any more: all units have been seen at work

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def dead(self) -> dict[str, float]:
        """Share of dead units by layer, without the layers that had silent ones in too few samples."""
        if not self._sites:
            return {}
        counts = torch.stack([mask.sum() for mask in self._silent.values()]).tolist()  # in one transfer
        pairs = zip(self._sites.values(), counts, strict=True)
        return {name: count / len(mask) for (name, mask), count in pairs if self.is_over or not count}

    def state_dict(self, root: nn.Module) -> dict[str, Any]:
        """Between two batches; modules by their path below `root`."""
        paths = {module: path for path, module in root.named_modules()}
        sites = [
            {**site._asdict(), "module": paths[site.module], "name": name, "silent": self._silent[site]}
            for site, (name, _) in self._sites.items()
        ]
        return {"samples": self.samples, "batch_size": self._batch_size, "sites": sites}

    @classmethod
    def restored(cls, state: Mapping[str, Any], root: nn.Module) -> UnitWatch:
        silent = {}
        for row in state["sites"]:
            site = Site(root.get_submodule(row["module"]), row["is_input"], row["number"], row["axis"])
            silent[site] = row["name"], row["silent"]
        watch = cls(silent, state["batch_size"])
        watch.samples = state["samples"]
        return watch

    def _count(self, samples: int) -> None:
        if not self._is_counted:
            self.samples += samples
            self._is_counted = True

    def _on_output(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._see(module, False, output)

    def _on_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs:
            self._see(module, True, inputs[0])

    def _see(self, module: nn.Module, is_input: bool, activations: Any) -> None:
        self._numbers[module, is_input] += 1
        number = self._numbers[module, is_input]
        site = self._places.get((module, is_input, number))
        if site is None or not isinstance(activations, Tensor):
            return
        self._count(len(activations))
        mask = self._silent[site]
        nonnegative = not is_input and is_nonnegative(module)
        if mask.device.type == "cpu":
            left = mask.nonzero().flatten()
            mask[left] = silent_units(activations.detach().index_select(site.axis, left), site.axis, nonnegative)
        else:  # to narrow it down would wait for the device
            mask &= silent_units(activations.detach(), site.axis, nonnegative)


def _may_hold_any(mask: Tensor) -> bool:
    """Whether a silent unit is left; on a GPU, where asking would wait for it, always."""
    return mask.device.type != "cpu" or bool(mask.any())
