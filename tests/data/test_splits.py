"""Proves that a split loses no image, has none twice, keeps the shares of the classes and depends on its seed alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from isometry.data.splits import stratified_split

COUNTS = [100, 37, 5, 64]


def mixed_labels(counts: list[int]) -> Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_kept_and_cut_are_disjoint_and_together_everything(share: float, seed: int) -> None:
    labels = mixed_labels(COUNTS)
    kept, cut = stratified_split(labels, share, seed)
    assert torch.equal(torch.cat([kept, cut]).sort().values, torch.arange(len(labels)))
    assert torch.equal(kept, kept.sort().values)
    assert torch.equal(cut, cut.sort().values)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.3, 0.5])
def test_each_class_gives_its_share_to_the_nearest_image_and_at_least_one(share: float) -> None:
    labels = mixed_labels(COUNTS)
    _, cut = stratified_split(labels, share, 0)
    for label, count in enumerate(COUNTS):
        given = int((labels[cut] == label).sum())
        assert abs(given - count * share) <= 0.5 or given == 1 > count * share


def test_exact_shares_are_cut_exactly() -> None:
    labels = mixed_labels([50, 100, 30])
    _, cut = stratified_split(labels, 0.1, 0)
    assert labels[cut].bincount().tolist() == [5, 10, 3]


def test_the_same_seed_cuts_the_same_and_another_seed_cuts_others() -> None:
    labels = mixed_labels(COUNTS)
    first, again, other = (stratified_split(labels, 0.2, seed)[1] for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_class_is_cut_the_same_whatever_the_other_classes_are() -> None:
    alone = stratified_split(torch.zeros(40, dtype=torch.int64), 0.25, 7)[1]
    _, both = stratified_split(torch.repeat_interleave(torch.arange(2), 40), 0.25, 7)
    assert torch.equal(both[both < 40], alone)
    assert not torch.equal(both[both >= 40] - 40, alone)  # nor are two classes cut alike


def test_the_cut_is_not_the_start_of_a_class() -> None:
    _, cut = stratified_split(torch.zeros(1000, dtype=torch.int64), 0.1, 0)
    assert 400 < cut.double().mean() < 600  # the standard error of 100 of 1000 is 27


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.5, 1), (3, 0.01, 1), (3, 0.99, 2), (10, 0.04, 1)]
)
def test_tiny_classes_keep_one_and_give_one(count: int, share: float, expected: int) -> None:
    kept, cut = stratified_split(mixed_labels([count, 20]), share, 0)
    labels = mixed_labels([count, 20])
    assert int((labels[cut] == 0).sum()) == expected
    assert int((labels[kept] == 0).sum()) == count - expected


def test_classes_may_be_missing_from_the_labels() -> None:
    kept, cut = stratified_split(torch.tensor([5, 5, 9, 9]), 0.5, 0)
    assert len(kept) == len(cut) == 2
