"""Rebuilds mnist_mini.idx.xz from MNIST's four files: `python -m isometry.data.assets.make_mnist_mini FOLDER`.

The first 10,000 training and 2,000 test images with their labels, as four IDX arrays one after another, xz-packed.
"""

import gzip
import hashlib
import lzma
import sys
from pathlib import Path

from isometry.data.idx import parse_idx, to_idx

KEPT = {"train-images-idx3-ubyte": 10_000, "train-labels-idx1-ubyte": 10_000}
KEPT |= {"t10k-images-idx3-ubyte": 2_000, "t10k-labels-idx1-ubyte": 2_000}


def pack(folder: Path) -> bytes:
    """The bytes of mnist_mini.idx.xz, made from the (gzipped) IDX files in `folder`."""
    content = b""
    for name, count in KEPT.items():
        plain, gzipped = folder / name, folder / f"{name}.gz"
        raw = plain.read_bytes() if plain.is_file() else gzip.decompress(gzipped.read_bytes())
        content += to_idx(parse_idx(raw, name, axes=3 if "idx3" in name else 1)[:count])
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)


if __name__ == "__main__":
    packed = pack(Path(sys.argv[1]))
    target = Path(__file__).with_name("mnist_mini.idx.xz")
    target.write_bytes(packed)
    print(f"{target}: {len(packed)} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")
