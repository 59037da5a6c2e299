"""Where images come from. Every source is called as `source(request) -> ImageSet` and keeps the official test split;
what does not fit into memory is an `ImageData` with loaders of its own instead (`image_data.py`).

Files are looked for where torchvision puts them, so an existing download is found; what is missing is downloaded once.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import pickle
import tarfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, ResourceError
from .download import download
from .idx import check_labels, parse_idx, parse_idx_prefix
from .splits import stratified_split

MNIST_MINI_SHA256 = "68af2a28f206af74df178fe1e7279654923882c0dfb618b3a0441553dd2bee07"


@dataclass(frozen=True)
class Request:
    """Where and how to read.

    Args:
        folder: `data.dir`.
        deadline: Seconds for all downloads together.
        image_size: `image_folder`: resize to this many pixels square.
        split_seed: For cutting what is missing from train: `image_folder`'s test set.
        seed, batch_size, eval_batch_size, val_fraction, drop_last: As configured, for a source with loaders of its own.
    """

    folder: Path
    deadline: float = 600.0
    image_size: int | None = None
    split_seed: int = 0
    seed: int = 1
    batch_size: int = 64
    eval_batch_size: int = 500
    val_fraction: float = 0.1
    drop_last: bool = True


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 `[N, C, H, W]` and labels int64 `[N]`, split as published; `notes` are for the user."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------- MNIST and its kind
def mnist_mini(request: Request) -> ImageSet:
    """The first 10,000 training and 2,000 test images of MNIST, from the package."""
    packed = files("isometry.data.assets").joinpath("mnist_mini.idx.xz").read_bytes()
    if hashlib.sha256(packed).hexdigest() != MNIST_MINI_SHA256:
        raise DataError("error: mnist_mini.idx.xz in the installed package is damaged; install isometry again")
    content, arrays = lzma.decompress(packed), []
    for axes in (3, 1, 3, 1):
        array, content = parse_idx_prefix(content, "mnist_mini.idx.xz", axes)
        arrays.append(array)
    return _grey_images(arrays, tuple("0123456789"), "mnist_mini")


def mnist(request: Request) -> ImageSet:
    """The MNIST database of handwritten digits (LeCun, Cortes, Burges 1998)."""
    from torchvision.datasets import MNIST

    return _idx_source(request, MNIST, tuple("0123456789"), [request.folder / "MNIST" / "raw"])


def fashion_mnist(request: Request) -> ImageSet:
    """Fashion-MNIST (Xiao et al. 2017)."""
    from torchvision.datasets import FashionMNIST

    debian = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist
    places = [request.folder / "FashionMNIST" / "raw", debian]
    return _idx_source(request, FashionMNIST, tuple(FashionMNIST.classes), places)


def _idx_source(request: Request, published: Any, class_names: tuple[str, ...], places: list[Path]) -> ImageSet:
    """Read the four files from the first place that has them, after downloading what none has."""
    stop = time.monotonic() + request.deadline
    arrays, found_in = [], places[0]
    for archive, md5 in published.resources:
        path = _find_idx(archive, places)
        if path is None:
            path = places[0] / archive
            failures = download([mirror + archive for mirror in published.mirrors], path, md5, stop)
            if failures:
                names = [name.removesuffix(".gz") for name, _ in published.resources]
                raise _unreachable(published.__name__, failures, places[0], names)
        arrays.append(parse_idx(_unpacked(path), str(path), axes=3 if "idx3" in archive else 1))
        found_in = path.parent
    return _grey_images(arrays, class_names, str(found_in))


def _find_idx(archive: str, places: Sequence[Path]) -> Path | None:
    candidates = [place / name for place in places for name in (archive.removesuffix(".gz"), archive)]
    return next((path for path in candidates if path.is_file()), None)


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"error: cannot read {path}: {error}; delete the file, it will be fetched again") from None


def _grey_images(arrays: Sequence[Tensor], class_names: tuple[str, ...], name: str) -> ImageSet:
    train_images, train_labels, test_images, test_labels = arrays
    check_labels(train_images, train_labels, len(class_names), f"{name} (train)")
    check_labels(test_images, test_labels, len(class_names), f"{name} (test)")
    if train_images.shape[1:] != test_images.shape[1:]:
        sizes = f"{list(train_images.shape[1:])} and {list(test_images.shape[1:])}"
        raise DataError(f"error: training and test images of {name} differ in size: {sizes}; get the files again")
    return ImageSet(
        train_images.unsqueeze(1), train_labels.long(), test_images.unsqueeze(1), test_labels.long(), class_names
    )


# ----------------------------------------------------------------------------------------------- CIFAR
def cifar10(request: Request) -> ImageSet:
    """CIFAR-10 (Krizhevsky 2009)."""
    from torchvision.datasets import CIFAR10

    return _cifar(request, CIFAR10, label_key="labels")


def cifar100(request: Request) -> ImageSet:
    """CIFAR-100 (Krizhevsky 2009), the 100 fine classes."""
    from torchvision.datasets import CIFAR100

    return _cifar(request, CIFAR100, label_key="fine_labels")


def _cifar(request: Request, published: Any, label_key: str) -> ImageSet:
    folder = request.folder / published.base_folder
    meta = (published.meta["filename"], published.meta["md5"])
    members = [*published.train_list, *published.test_list, meta]
    if not all((folder / name).is_file() for name, _ in members):
        _fetch_cifar(request, published, folder, members)
    train = [_cifar_batch(folder, name, md5, label_key) for name, md5 in published.train_list]
    test = [_cifar_batch(folder, name, md5, label_key) for name, md5 in published.test_list]
    class_names = tuple(_unpickle(folder, *meta)[published.meta["key"]])
    train_images, train_labels = (torch.cat(parts) for parts in zip(*train, strict=True))
    test_images, test_labels = (torch.cat(parts) for parts in zip(*test, strict=True))
    check_labels(train_images, train_labels, len(class_names), f"{folder} (train)")
    check_labels(test_images, test_labels, len(class_names), f"{folder} (test)")
    return ImageSet(train_images, train_labels, test_images, test_labels, class_names)


def _fetch_cifar(request: Request, published: Any, folder: Path, members: Sequence[tuple[str, str]]) -> None:
    archive = request.folder / published.filename
    if not archive.is_file():
        failures = download([published.url], archive, published.tgz_md5, time.monotonic() + request.deadline)
        if failures:
            raise _unreachable(published.__name__, failures, folder, [name for name, _ in members])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for name, md5 in members:  # by name, so that a path in the archive cannot lead elsewhere
                member = tar.extractfile(f"{published.base_folder}/{name}")
                content = member.read() if member else b""
                _check_md5(content, md5, f"{archive} ({name})")
                partial = folder / f".{name}.{os.getpid()}.part"
                partial.write_bytes(content)
                os.replace(partial, folder / name)
    except (tarfile.TarError, KeyError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"error: cannot unpack {archive}: {error}; delete the file, it will be fetched again") from None
    except OSError as error:
        raise ResourceError(
            f"error: cannot unpack {archive} into {folder}: {error.strerror}\n  fix:   data.dir=ANOTHER_FOLDER"
        ) from None


def _cifar_batch(folder: Path, name: str, md5: str, label_key: str) -> tuple[Tensor, Tensor]:
    batch = _unpickle(folder, name, md5)
    images = torch.from_numpy(np.asarray(batch["data"], dtype=np.uint8)).view(-1, 3, 32, 32)
    return images, torch.tensor(batch[label_key], dtype=torch.int64)


def _unpickle(folder: Path, name: str, md5: str) -> Any:
    """Only bytes with the published checksum are unpickled: a pickle can run code."""
    content = (folder / name).read_bytes()
    _check_md5(content, md5, str(folder / name))
    return pickle.loads(content, encoding="latin1")


def _check_md5(content: bytes, md5: str, name: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"error: {name} is damaged: md5 {found}, not {md5}; delete the file, it will be fetched again")


def _unreachable(name: str, failures: Sequence[str], folder: Path, names: Sequence[str]) -> DataError:
    tried = "\n".join(f"         {failure}" for failure in failures)
    return DataError(
        f"error: {name} is not in {folder} and could not be downloaded\n  tried:\n{tried}\n"
        f"  fix:   put the files {', '.join(names)} into {folder}\n"
        f"         or   data.dir=FOLDER_THAT_HAS_THEM   or   data=mnist_mini, which needs no download"
    )


# ----------------------------------------------------------------------------------- your own pictures
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
_TEST_SHARE = 0.2


def image_folder(request: Request) -> ImageSet:
    """Pictures in `train/<class>/*` and `test/<class>/*`, all of one size unless `image_size` is given.

    Grey when every picture is, else RGB. Without `test/`, a fifth of train is cut off by `split_seed`, stratified.
    """
    train_folder, test_folder = request.folder / "train", request.folder / "test"
    if not train_folder.is_dir():
        raise DataError(
            f"error: {train_folder} is not a folder\n  fix:   data.dir=PATH with PATH/train/<class>/<picture>"
        )
    class_names = tuple(sorted(_class_folders(train_folder)))
    if len(class_names) < 2:
        raise DataError(
            f"error: {train_folder} needs a folder for each of at least 2 classes, found {len(class_names)}"
        )
    train_images, train_labels = _read_pictures(train_folder, class_names, request.image_size)
    if test_folder.is_dir():
        test_images, test_labels = _read_pictures(test_folder, class_names, request.image_size)
        _check_same_shape(train_images, test_images, request.folder)
        return ImageSet(train_images, train_labels, test_images, test_labels, class_names)
    kept, cut = stratified_split(train_labels, _TEST_SHARE, request.split_seed)
    note = f"{test_folder} is missing: {len(cut)} of {len(train_labels)} training pictures are cut off as the test set"
    return ImageSet(train_images[kept], train_labels[kept], train_images[cut], train_labels[cut], class_names, (note,))


def _class_folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def _read_pictures(folder: Path, class_names: Sequence[str], image_size: int | None) -> tuple[Tensor, Tensor]:
    from concurrent.futures import ThreadPoolExecutor

    unknown = _class_folders(folder) - set(class_names)
    if unknown:
        raise DataError(f"error: {folder} has classes that train has not: {', '.join(sorted(unknown))}")
    paths, labels = [], []
    for label, class_name in enumerate(class_names):
        found = sorted(path for path in (folder / class_name).glob("*") if path.suffix.lower() in _PICTURES)
        if not found and (folder / class_name).is_dir():
            raise DataError(f"error: no pictures in {folder / class_name} (looked for {', '.join(sorted(_PICTURES))})")
        paths += found
        labels += [label] * len(found)
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
        arrays = list(pool.map(_picture_reader(image_size), paths))
    _check_sizes(paths, arrays)
    if any(array.ndim == 3 for array in arrays):
        arrays = [array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2) for array in arrays]
    images = torch.from_numpy(np.stack(arrays))
    images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(labels)


def _picture_reader(image_size: int | None) -> Callable[[Path], np.ndarray[Any, np.dtype[np.uint8]]]:
    from PIL import Image

    def read(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """uint8 `[H, W]` for a grey picture, `[H, W, 3]` for any other."""
        try:
            with Image.open(path) as picture:
                if picture.mode.startswith(("I", "F")):  # Pillow would cut everything above 255 off
                    raise ValueError("it has more than 8 bits a channel; convert it first")
                converted = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
                if image_size:
                    converted = converted.resize((image_size, image_size), Image.Resampling.BILINEAR)
                return np.asarray(converted, dtype=np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"error: cannot read the picture {path}: {error}; repair or remove it") from None

    return read


def _check_sizes(paths: Sequence[Path], arrays: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> None:
    for path, array in zip(paths, arrays, strict=True):
        if array.shape[:2] != arrays[0].shape[:2]:
            first, other = ("×".join(map(str, shape[:2])) for shape in (arrays[0].shape, array.shape))
            raise DataError(
                f"error: pictures differ in size: {paths[0]} is {first}, {path} is {other}\n  fix:   data.image_size=32"
            )


def _check_same_shape(train: Tensor, test: Tensor, folder: Path) -> None:
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"error: pictures in {folder}/train are {list(train.shape[1:])}, in {folder}/test {list(test.shape[1:])} "
            "(channels, height, width)\n  fix:   data.image_size=32, and the same colours in both"
        )
