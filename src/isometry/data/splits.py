"""Cutting a validation (or missing test) set off the training set. The published test set is never touched."""

from __future__ import annotations

import torch
from torch import Tensor

from ..randomness import permutation


def stratified_split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (kept, cut off), each sorted; of every class the same share is cut off, by seed.

    A class with at least 2 images keeps at least one and gives at least one.
    """
    cut = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        cut.append(members[permutation(len(members), seed, "split", label)[:count]])
    is_cut = torch.zeros(len(labels), dtype=torch.bool)
    is_cut[torch.cat(cut)] = True
    return (~is_cut).nonzero().flatten(), is_cut.nonzero().flatten()
