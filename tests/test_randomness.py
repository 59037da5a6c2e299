"""Proves that derived randomness is a stable function of its arguments and that `uniform` is SplitMix64's finaliser,
evenly spread and without a trace of one sample in its neighbour.
"""

from __future__ import annotations

import hashlib
import itertools
import math

import pytest
import torch
from torch import Tensor

from isometry import randomness
from isometry.randomness import derive, generator, permutation, seed_torch, uniform

KEYS = [0, 1, 2**62 + 12345, derive(1, "augment", 0)]
MANY = 200_000


def scrambled(counter: int, key: int) -> float:
    """SplitMix64 (Steele, Lea, Flood 2014) with Python's whole numbers: its top 24 bits, as a fraction."""
    state = (counter * 0x9E3779B97F4A7C15 + key) % 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return ((state ^ (state >> 31)) >> 40) / 2**24


def correlation(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.double(), second.double()]))[0, 1])


# --------------------------------------------------------------------------------------------------------------- derive
def test_derive_is_pinned() -> None:
    digest = hashlib.blake2b(b"(1, 'order', 0)", digest_size=8).digest()
    assert derive(1, "order", 0) == int.from_bytes(digest, "big") // 2
    assert derive(1, "order", 0) == 969933350306031620


def test_derive_is_distinct_over_a_grid_and_fits_an_int64() -> None:
    purposes, counters = (
        ["order", "augment", "init", "order1", ""],
        [(), (0,), (1,), ("1",), (1, 0), (0, 1), (10,), ("",)],
    )
    grid = list(itertools.product(range(-3, 40), purposes, counters))
    seeds = [derive(seed, purpose, *counter) for seed, purpose, counter in grid]
    assert len(set(seeds)) == len(grid)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_derive_does_not_run_arguments_together() -> None:
    assert derive(1, "a", 12, 3) != derive(1, "a", 1, 23)
    assert derive(1, "a", "b', 'c") != derive(1, "a", "b", "c")


def test_derived_bits_are_even() -> None:
    seeds = [derive(seed, "order") for seed in range(2000)]
    ones = [sum(seed >> bit & 1 for seed in seeds) for bit in range(63)]
    assert all(abs(count - 1000) < 5 * math.sqrt(2000 / 4) for count in ones)


def test_a_generator_carries_the_derived_seed_and_nothing_else() -> None:
    assert generator(3, "init", "layer").initial_seed() == derive(3, "init", "layer")
    before = torch.get_rng_state()
    torch.rand(5, generator=generator(3, "init"))
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------------------------------------------- permutation
@pytest.mark.parametrize("size", [1, 2, 10, 1000])
def test_a_permutation_holds_each_number_once(size: int) -> None:
    order = permutation(size, 1, "order", 0)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(size))


def test_a_permutation_depends_on_every_argument() -> None:
    base = permutation(100, 1, "order", 0)
    assert torch.equal(base, permutation(100, 1, "order", 0))
    for other in (permutation(100, 2, "order", 0), permutation(100, 1, "split", 0), permutation(100, 1, "order", 1)):
        assert not torch.equal(base, other)


def test_every_order_of_three_is_about_as_frequent() -> None:
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    for epoch in range(1200):
        counts[tuple(permutation(3, 1, "order", epoch).tolist())] += 1
    assert all(abs(count - 200) < 5 * math.sqrt(1200 * 5 / 36) for count in counts.values())


# -------------------------------------------------------------------------------------------------------------- uniform
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_uniform_is_splitmix_bit_for_bit(key: int, count: int) -> None:
    indices = [0, 1, 2, 63, 59_999, 2**31, 2**40]
    expected = [[scrambled(index * count + draw, key) for draw in range(count)] for index in indices]
    assert uniform(key, torch.tensor(indices), count).tolist() == expected


def test_the_shift_of_int64_itself_would_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: `>>` copies the sign bit in, and the reference notices."""
    monkeypatch.setattr(randomness, "_shift", lambda state, bits: state >> bits)
    expected = [[scrambled(index, 1)] for index in range(20)]
    assert uniform(1, torch.arange(20), 1).tolist() != expected


def test_a_sample_keeps_its_numbers_in_any_company() -> None:
    alone = uniform(7, torch.tensor([42]), 3)
    among = uniform(7, torch.tensor([5, 42, 0, 42]), 3)
    assert torch.equal(among[1:2], alone)
    assert torch.equal(among[3:4], alone)


def test_uniform_has_the_shape_and_type_promised() -> None:
    assert uniform(0, torch.arange(4), 3).shape == (4, 3)
    assert uniform(0, torch.arange(4), 3).dtype == torch.float32
    assert uniform(0, torch.arange(0), 3).shape == (0, 3)


@pytest.mark.parametrize("key", KEYS)
def test_uniform_has_the_range_mean_and_variance_of_the_uniform_law(key: int) -> None:
    draws = uniform(key, torch.arange(MANY), 1).double()
    assert 0 <= draws.min() < 1e-4
    assert 1 - 1e-4 < draws.max() < 1
    assert abs(draws.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / MANY)
    assert abs(draws.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / MANY)  # var (u - 1/2)² = 1/80 - 1/144 = 1/180


@pytest.mark.parametrize("key", KEYS)
def test_sixteen_equal_cells_are_equally_full(key: int) -> None:
    counts = (uniform(key, torch.arange(MANY), 1).flatten() * 16).long().bincount(minlength=16).double()
    chi_square = float(((counts - MANY / 16) ** 2 / (MANY / 16)).sum())
    assert chi_square < 15 + 5 * math.sqrt(2 * 15)  # mean and deviation of chi-square with 15 degrees of freedom


BOUND = 5 / math.sqrt(MANY)  # five standard errors of the correlation of independent numbers


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("lag", [1, 2, 10])
def test_neighbouring_samples_are_uncorrelated(key: int, lag: int) -> None:
    draws = uniform(key, torch.arange(MANY + lag), 1).flatten()
    assert abs(correlation(draws[:-lag], draws[lag:])) < BOUND


@pytest.mark.parametrize("key", KEYS)
def test_the_numbers_of_one_sample_are_uncorrelated(key: int) -> None:
    table = torch.corrcoef(uniform(key, torch.arange(MANY), 5).double().T)
    assert (table - torch.eye(5)).abs().max() < BOUND


def test_consecutive_epochs_are_uncorrelated() -> None:
    first, second = (uniform(derive(1, "augment", epoch), torch.arange(MANY), 1).flatten() for epoch in (0, 1))
    assert abs(correlation(first, second)) < BOUND


def test_without_the_finaliser_neighbours_are_correlated() -> None:
    """Negative control: the counter times the golden constant alone is evenly spread, and yet betrayed by the bound."""
    draws = (torch.arange(MANY).double() * 0.6180339887498949) % 1
    assert abs(draws.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / MANY)
    assert abs(correlation(draws[:-1], draws[1:])) > 10 * BOUND


def test_seeding_a_step_is_what_torch_would_do() -> None:
    seed_torch(derive(1, "batch", 2, 3, 0), torch.device("cpu"))
    mine = torch.rand(5)
    torch.manual_seed(derive(1, "batch", 2, 3, 0))
    assert torch.equal(mine, torch.rand(5))
