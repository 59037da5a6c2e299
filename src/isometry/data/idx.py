"""Files as the data sets publish them: IDX (MNIST, Fashion-MNIST) and CIFAR's pickles, every byte checked.

IDX (LeCun): two zero bytes, a type code, the number of axes, each size as a big-endian int32, then the values.
"""

from __future__ import annotations

import math
import struct

import torch
from torch import Tensor

from ..errors import DataError

_UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes, name: str, axes: int) -> Tensor:
    """The uint8 array of an IDX file.

    Args:
        content: The whole file, uncompressed.
        name: For error messages.
        axes: Wanted number of axes: 3 for images `[N, H, W]`, 1 for labels `[N]`.

    Raises:
        DataError: Wrong magic number, or more or fewer bytes than the header promises.
    """
    array, rest = parse_idx_prefix(content, name, axes)
    if rest:
        raise DataError(f"error: {name} holds {len(rest)} bytes more than its header promises; get the file again")
    return array


def parse_idx_prefix(content: bytes, name: str, axes: int) -> tuple[Tensor, bytes]:
    """The first IDX array of `content` and the bytes behind it."""
    header = 4 + 4 * axes
    magic = bytes([0, 0, _UNSIGNED_BYTE, axes])
    if content[:4] != magic:
        raise DataError(
            f"error: {name} is not an IDX file of {axes} axes: it starts with {content[:4].hex() or 'nothing'}, "
            f"not {magic.hex()}; get the file again"
        )
    if len(content) < header:
        raise DataError(f"error: {name} is truncated: it ends within its header of {header} bytes; get the file again")
    shape = struct.unpack(f">{axes}i", content[4:header])
    size = math.prod(shape)
    if min(shape) <= 0 or len(content) < header + size:
        raise DataError(
            f"error: {name} is truncated: its header promises {'×'.join(map(str, shape))} bytes, "
            f"it holds {len(content) - header}; get the file again"
        )
    values = torch.frombuffer(bytearray(content[header : header + size]), dtype=torch.uint8).view(shape)
    return values, content[header + size :]


def to_idx(array: Tensor) -> bytes:
    """The IDX bytes of a uint8 array; the inverse of `parse_idx`."""
    header = bytes([0, 0, _UNSIGNED_BYTE, array.dim()]) + struct.pack(f">{array.dim()}i", *array.shape)
    return header + array.contiguous().numpy().tobytes()


def check_labels(images: Tensor, labels: Tensor, num_classes: int, name: str) -> None:
    """Raise `DataError` unless there is one label in `0 … num_classes-1` for each image."""
    if len(images) != len(labels):
        raise DataError(f"error: {name} has {len(images)} images but {len(labels)} labels; get the files again")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(
            f"error: {name} has labels from {int(labels.min())} to {int(labels.max())}, "
            f"not within 0 … {num_classes - 1}; get the files again"
        )
