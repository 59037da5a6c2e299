"""Proves that the IDX reader returns exactly the published bytes and refuses by name and rule every file that lies."""

from __future__ import annotations

import struct

import pytest
import torch

from isometry.data.idx import check_labels, parse_idx, parse_idx_prefix, to_idx
from isometry.errors import DataError

NAME = "some-images-idx3-ubyte"
SMALL = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 4)
HEADER = 16  # magic and three sizes


def header(*sizes: int, magic: bytes | None = None) -> bytes:
    return (magic or bytes([0, 0, 8, len(sizes)])) + struct.pack(f">{len(sizes)}i", *sizes)


def refusal(content: bytes, axes: int = 3) -> str:
    with pytest.raises(DataError) as caught:
        parse_idx(content, NAME, axes)
    return str(caught.value)


def test_bytes_written_by_hand_come_out_in_row_order() -> None:
    found = parse_idx(bytes.fromhex("00000803 00000002 00000001 00000003 090807 FF0001"), NAME, 3)
    assert found.dtype == torch.uint8
    assert found.tolist() == [[[9, 8, 7]], [[255, 0, 1]]]


@pytest.mark.parametrize("shape", [(1,), (300,), (2, 3, 4), (1, 1, 1), (5, 28, 28)], ids=str)
def test_writing_and_reading_returns_the_array(shape: tuple[int, ...]) -> None:
    array = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(parse_idx(to_idx(array), NAME, len(shape)), array)


def test_the_header_written_is_lecuns() -> None:
    assert to_idx(SMALL)[:HEADER] == bytes.fromhex("00000803 00000002 00000003 00000004")


def test_a_transposed_view_is_written_in_its_own_order() -> None:
    turned = SMALL.transpose(1, 2)
    assert torch.equal(parse_idx(to_idx(turned), NAME, 3), turned)


def test_the_array_read_does_not_share_memory_with_the_file() -> None:
    content = to_idx(SMALL)
    parse_idx(content, NAME, 3).zero_()
    assert content == to_idx(SMALL)


def test_a_prefix_leaves_the_rest_for_the_next_array() -> None:
    labels = torch.tensor([4, 2], dtype=torch.uint8)
    first, rest = parse_idx_prefix(to_idx(SMALL) + to_idx(labels), NAME, 3)
    second, nothing = parse_idx_prefix(rest, NAME, 1)
    assert torch.equal(first, SMALL)
    assert torch.equal(second, labels)
    assert nothing == b""


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        (b"", "it starts with nothing, not 00000803"),
        (b"\x00\x00", "it starts with 0000, not 00000803"),
        (b"\x1f\x8b\x08\x00", "it starts with 1f8b0800, not 00000803"),  # still gzipped
        (b"\x00\x00\x09\x03", "it starts with 00000903, not 00000803"),  # signed bytes
        (b"\x00\x00\x08\x01", "it starts with 00000801, not 00000803"),  # labels where images belong
        (b"\x03\x08\x00\x00", "it starts with 03080000, not 00000803"),  # other byte order
    ],
)
def test_a_wrong_magic_number_is_refused(start: bytes, shown: str) -> None:
    content = start if len(start) < 4 else header(2, 3, 4, magic=start) + bytes(24)
    message = refusal(content)
    assert f"{NAME} is not an IDX file of 3 axes" in message
    assert shown in message


@pytest.mark.parametrize("length", [4, 5, 8, HEADER - 1])
def test_a_file_that_ends_in_its_header_is_truncated(length: int) -> None:
    assert f"{NAME} is truncated: it ends within its header of 16 bytes" in refusal(to_idx(SMALL)[:length])


@pytest.mark.parametrize("kept", [0, 1, 12, 23])
def test_a_file_that_ends_in_its_values_is_truncated(kept: int) -> None:
    message = refusal(to_idx(SMALL)[: HEADER + kept])
    assert f"{NAME} is truncated: its header promises 2×3×4 bytes, it holds {kept}" in message


@pytest.mark.parametrize("extra", [1, 100])
def test_bytes_behind_the_array_are_refused(extra: int) -> None:
    assert f"{NAME} holds {extra} bytes more than its header promises" in refusal(to_idx(SMALL) + bytes(extra))


@pytest.mark.parametrize(
    "sizes", [(-2, 3, 4), (2, -3, -4), (-1, -1, 24), (0, 3, 4), (2, 0, 4), (-(2**31), 1, 1)], ids=str
)
def test_sizes_that_are_not_positive_are_refused(sizes: tuple[int, int, int]) -> None:
    message = refusal(header(*sizes) + bytes(24))
    assert NAME in message
    assert f"its header promises {sizes[0]}×{sizes[1]}×{sizes[2]} bytes, it holds 24" in message


def test_sizes_beyond_any_memory_are_refused_without_allocating() -> None:
    largest = 2**31 - 1
    assert "truncated" in refusal(header(largest, largest, largest) + bytes(24))


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        ([0], "2 images but 1 labels"),
        ([0, 1, 2], "2 images but 3 labels"),
        ([0, 3], "labels from 0 to 3, not within 0 … 2"),
        ([7, 255], "labels from 7 to 255, not within 0 … 2"),
        ([-1, 2], "labels from -1 to 2, not within 0 … 2"),
    ],
)
def test_labels_must_fit_the_images_and_the_classes(labels: list[int], rule: str) -> None:
    with pytest.raises(DataError) as caught:
        check_labels(SMALL, torch.tensor(labels), 3, "shop (train)")
    assert "shop (train) has" in str(caught.value)
    assert rule in str(caught.value)


def test_the_largest_label_allowed_is_the_last_class() -> None:
    check_labels(SMALL, torch.tensor([2, 0]), 3, "shop")
    with pytest.raises(DataError, match="not within 0 … 1"):
        check_labels(SMALL, torch.tensor([2, 0]), 2, "shop")
