"""Norms by arithmetic, also where squares leave float32."""

from __future__ import annotations

import math

import pytest
import torch

from isometry.diagnostics.statistics import (
    combine_norms,
    count_nonfinite,
    spread,
    tensor_norms,
    total_norm,
    underflow_share,
    unit_sum,
    unit_zeros,
)


def test_hand_set_gradients_have_the_norms_of_arithmetic() -> None:
    norms = tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([[12.0]]), torch.zeros(5)])
    assert norms.dtype == torch.float64
    assert norms.tolist() == [5.0, 12.0, 0.0]
    assert combine_norms(norms).item() == 13.0


@pytest.mark.parametrize("value", [1e-30, 1e-38, 1e-20, 1e-14, 1.0, 1e14, 1e18, 1e20, 1e30, 3e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_are_right_where_squares_leave_float32(value: float, dtype: torch.dtype) -> None:
    tensor = torch.full((64, 64), value, dtype=dtype)
    (norm,) = tensor_norms([tensor]).tolist()
    assert norm == pytest.approx(64 * float(tensor[0, 0]), rel=1e-5)


def test_the_plain_float32_norm_would_be_wrong() -> None:
    """The control: what the function above guards against does happen."""
    assert torch.linalg.vector_norm(torch.full((64, 64), 1e-30)) == 0
    assert torch.linalg.vector_norm(torch.full((64, 64), 1e30)) == math.inf


def test_small_and_large_tensors_stand_side_by_side() -> None:
    tensors = [torch.full((4,), value) for value in (1e-30, 1.0, 1e30)]
    assert tensor_norms(tensors).tolist() == pytest.approx([2e-30, 2.0, 2e30], rel=1e-6)
    assert combine_norms(tensor_norms(tensors[:1])).item() == pytest.approx(2e-30)


def test_nan_and_infinity_are_counted_and_stay_in_the_norm() -> None:
    tensors = [torch.tensor([math.nan, 1.0, math.inf]), torch.tensor([-math.inf, math.nan, math.nan])]
    assert [count_nonfinite(tensor).tolist() for tensor in tensors] == [[1, 1], [2, 1]]
    assert all(math.isnan(norm) for norm in tensor_norms(tensors).tolist())
    assert tensor_norms([torch.tensor([math.inf, 1.0])]).item() == math.inf


def test_sparse_gradients_count_their_values() -> None:
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[0, 2, 2]]), torch.tensor([3.0, 1.0, 3.0]), (5,), check_invariants=True
    )
    assert tensor_norms([sparse]).item() == 5.0  # 3 and 1+3


def test_no_tensors_have_no_norm() -> None:
    assert combine_norms(tensor_norms([])).item() == 0


# -------------------------------------------------------------------------------------------------- units
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], 0.0),  # equal units
        ([[0.0, 0.0], [0.0, 0.0]], 0.0),  # no weights at all
        ([[1.0, 0.0], [0.0, 1.0]], math.sqrt(1 / 2)),  # the mean is (½, ½): half of the square is left
        ([[3.0, -4.0], [-3.0, 4.0]], 1.0),  # their mean is 0
        ([[1e-30, 0.0], [0.0, 1e-30]], math.sqrt(1 / 2)),  # its squares are 0 in float32
    ],
)
def test_the_spread_by_hand(values: list[list[float]], expected: float) -> None:
    assert float(spread(torch.tensor(values))) == pytest.approx(expected, abs=1e-7)


def test_random_units_spread_and_nearly_equal_ones_hardly_do() -> None:
    assert float(spread(torch.randn(8, 3, 5, 5))) == pytest.approx(math.sqrt(7 / 8), abs=0.05)
    equal = torch.randn(1, 400).repeat(8, 1) * (1 + 1e-7)
    assert float(spread(equal)) < 1e-6
    assert float(spread(equal + 0.1 * torch.randn(8, 400))) > 0.05


def norm(tensor: torch.Tensor) -> float:
    return float(tensor.double().norm())


@pytest.mark.parametrize(
    ("gradient", "total"),
    [
        ([[0.5, -0.25, -0.25], [-1.0, 1.0, 0.0]], 0.0),  # as behind a softmax
        ([[1.0, 1.0], [-2.0, -2.0]], math.sqrt(2)),  # all alike: √K
        ([[3.0, 4.0]], 7 / 5),
        ([[1.0, 0.0, 0.0, 0.0]], 1.0),  # a single one
    ],
)
def test_the_sum_over_units_by_hand(gradient: list[list[float]], total: float) -> None:
    tensor = torch.tensor(gradient)
    assert float(unit_sum(tensor, -1, norm(tensor)) or 0.0) == pytest.approx(total, abs=1e-6)
    assert float(unit_sum(1e-12 * tensor, -1, 1e-12 * norm(tensor)) or 0.0) == pytest.approx(total, abs=1e-6)
    channels = tensor[:, :, None, None].expand(-1, -1, 2, 3)
    assert float(unit_sum(channels, 1, norm(channels)) or 0.0) == pytest.approx(total, abs=1e-6)


def test_independent_gradients_have_the_sum_1() -> None:
    tensor = torch.randn(4000, 10)
    assert float(unit_sum(tensor, -1, norm(tensor)) or 0.0) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("gradient", [torch.ones(4), torch.ones(4, 1), torch.zeros(4, 3)])
def test_there_is_no_sum_of_a_single_unit_nor_of_nothing(gradient: torch.Tensor) -> None:
    assert unit_sum(gradient, -1, norm(gradient) if gradient.dim() == 1 or gradient.shape[1] == 1 else 0.0) is None


@pytest.mark.parametrize(
    ("gradient", "share"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], 0.0),
        ([[1.0, 0.0], [0.0, 4.0]], 1 / 2),
        ([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], 3 / 8),
        ([[1.0, 0.0], [0.0, 0.0]], 1 / 2),  # a sample without any gradient tells nothing
        ([[0.0, 0.0], [0.0, 0.0]], 0.0),
    ],
)
def test_the_share_of_zeros_among_samples_with_a_gradient(gradient: list[list[float]], share: float) -> None:
    tensor = torch.tensor(gradient)
    assert float(unit_zeros(tensor, -1)) == pytest.approx(share)  # type: ignore[arg-type]
    assert float(unit_zeros(tensor.T.contiguous()[None], 1)) == pytest.approx(share)  # type: ignore[arg-type]
    assert unit_zeros(tensor[0], -1) is None


def test_of_a_single_output_the_share_of_zeros_is_among_all_samples() -> None:
    assert float(unit_zeros(torch.tensor([[0.0], [2.0], [0.0], [0.0]]), -1)) == 3 / 4  # type: ignore[arg-type]
    assert float(unit_zeros(torch.zeros(2, 1, 4, 4), 1)) == 1.0  # type: ignore[arg-type]


def test_the_share_of_numbers_with_hardly_a_bit_left_by_hand() -> None:
    """float16: its smallest number is 2^-24, 6e-8; below 2^-21 there are the seven multiples of it."""
    half = torch.tensor([0.0, 0.0, 1.0, -(2.0**-15), 2.0**-21, -(2.0**-21.5), 2e-7, 6e-8], dtype=torch.float16)
    assert float(underflow_share(half)) == pytest.approx(3 / 6)
    assert float(underflow_share(half.float())) == 0.0  # float32 goes down to 1.4e-45
    assert float(underflow_share(torch.zeros(4, dtype=torch.float16))) == 0.0
    assert float(underflow_share(torch.tensor([math.inf, math.nan, 1e-7], dtype=torch.float16))) == pytest.approx(1 / 3)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e15, 1e30])
def test_the_norm_of_all_is_that_of_the_norms(scale: float) -> None:
    """Small ones strung together, a large one, another type, one without axes."""
    torch.manual_seed(3)
    shapes = [(3,), (64, 64), (200, 300), (), (7, 5)]
    tensors = [torch.randn(shape) * scale for shape in shapes] + [torch.randn(9, dtype=torch.float64) * scale]
    expected = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))
    assert total_norm(tensors).item() == pytest.approx(expected, rel=1e-5)
    assert total_norm(tensors).dtype == torch.float64


@pytest.mark.parametrize(("bad", "expected"), [([math.nan], math.nan), ([math.inf], math.inf), ([], 5.0)])
def test_the_norm_of_all_hides_nothing(bad: list[float], expected: float) -> None:
    tensors = [torch.tensor([3.0]), torch.tensor([4.0]), torch.tensor(bad), torch.zeros(1 << 15)]
    assert total_norm(tensors).item() == pytest.approx(expected, nan_ok=True)
    assert total_norm([]).item() == 0.0
