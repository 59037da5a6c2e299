"""Norms by arithmetic, also where squares leave float32."""

from __future__ import annotations

import math

import pytest
import torch

from isometry.diagnostics.statistics import combine_norms, count_nonfinite, tensor_norms


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
