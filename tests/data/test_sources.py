"""Proves for each source that the images and labels are those of its files, that files which lie are refused by name
(a pickle before it can run), and that a download from a real server on the loopback ends in whole files or none.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loopback import Loopback, Reply, md5, refusing_address
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

from isometry.data import sources
from isometry.data.assets import make_mnist_mini
from isometry.data.idx import parse_idx, to_idx
from isometry.data.sources import ImageSet, Request, cifar10, cifar100, fashion_mnist, image_folder, mnist, mnist_mini
from isometry.errors import DataError, ResourceError

REAL_MNIST = Path(__file__).parents[2].parent / "shared" / "data" / "mnist"
needs_real_mnist = pytest.mark.skipif(not REAL_MNIST.is_dir(), reason=f"{REAL_MNIST} is absent")
Source = Callable[[Request], ImageSet]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def refusal(source: Source, request: Request) -> str:
    with pytest.raises(DataError) as caught:
        source(request)
    return str(caught.value)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


# ----------------------------------------------------------------------------------------------------------- mnist_mini
@pytest.fixture(scope="module")
def mini() -> ImageSet:
    return mnist_mini(Request(Path("a folder nobody reads")))


def test_mnist_mini_has_the_shapes_and_types_of_an_image_set(mini: ImageSet) -> None:
    assert mini.train_images.shape == (10_000, 1, 28, 28)
    assert mini.test_images.shape == (2_000, 1, 28, 28)
    assert mini.train_images.dtype == mini.test_images.dtype == torch.uint8
    assert mini.train_labels.dtype == mini.test_labels.dtype == torch.int64
    assert mini.class_names == tuple("0123456789")
    assert mini.notes == ()


def test_mnist_mini_has_the_class_counts_of_the_first_images_of_mnist(mini: ImageSet) -> None:
    train, test = mini.train_labels.bincount().tolist(), mini.test_labels.bincount().tolist()
    assert train == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    assert test == [175, 234, 219, 207, 217, 179, 178, 205, 192, 194]
    assert (sum(train), sum(test)) == (10_000, 2_000)


def test_mnist_mini_starts_with_the_five_everybody_knows(mini: ImageSet) -> None:
    assert mini.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mini.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mini.train_images[0, 0, 5, 12:24].tolist() == [3, 18, 18, 18, 126, 136, 175, 26, 166, 255, 247, 127]


@needs_real_mnist
@pytest.mark.parametrize(("part", "count"), [("train", 10_000), ("t10k", 2_000)])
def test_mnist_mini_is_the_start_of_the_published_files(mini: ImageSet, part: str, count: int) -> None:
    images, labels = (
        parse_idx(gzip.decompress((REAL_MNIST / f"{part}-{kind}-ubyte.gz").read_bytes()), kind, axes)
        for kind, axes in (("images-idx3", 3), ("labels-idx1", 1))
    )
    train = part == "train"
    assert torch.equal(mini.train_images if train else mini.test_images, images[:count, None])
    assert torch.equal(mini.train_labels if train else mini.test_labels, labels[:count].long())


@needs_real_mnist
def test_the_packing_script_makes_the_content_that_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    compress = lzma.compress  # at its highest level the same content takes 9 s
    monkeypatch.setattr(lzma, "compress", lambda content, preset: compress(content, preset=0))
    shipped = Path(make_mnist_mini.__file__).with_name("mnist_mini.idx.xz").read_bytes()
    assert lzma.decompress(make_mnist_mini.pack(REAL_MNIST)) == lzma.decompress(shipped)


def test_a_damaged_asset_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "MNIST_MINI_SHA256", "0" * 64)
    assert "mnist_mini.idx.xz in the installed package is damaged" in refusal(mnist_mini, Request(tmp_path))


# ------------------------------------------------------------------------------------------------- MNIST, Fashion-MNIST
TRAIN_IMAGES = torch.arange(7 * 5 * 4, dtype=torch.uint8).view(7, 5, 4)  # not square: rows cannot pass for columns
TEST_IMAGES = 255 - TRAIN_IMAGES[:3]
TRAIN_LABELS = torch.tensor([3, 1, 4, 1, 5, 9, 2], dtype=torch.uint8)
TEST_LABELS = torch.tensor([6, 0, 9], dtype=torch.uint8)
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
CONTENTS = dict(zip(NAMES, map(to_idx, [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]), strict=True))
ARCHIVES = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def check_small(found: ImageSet) -> None:
    assert torch.equal(found.train_images, TRAIN_IMAGES[:, None])
    assert torch.equal(found.test_images, TEST_IMAGES[:, None])
    assert found.train_labels.tolist() == TRAIN_LABELS.tolist()
    assert found.test_labels.tolist() == TEST_LABELS.tolist()
    assert found.train_labels.dtype == found.test_labels.dtype == torch.int64


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Mirrors where nobody listens: no test reaches the network by mistake."""
    with refusing_address() as url:
        for published in (MNIST, FashionMNIST):
            monkeypatch.setattr(published, "mirrors", [f"{url}first/", f"{url}second/"])
        yield url


def publish(monkeypatch: pytest.MonkeyPatch, mirrors: list[str], archives: dict[str, bytes]) -> None:
    """Makes torchvision's MNIST the small files, at these addresses."""
    monkeypatch.setattr(MNIST, "mirrors", mirrors)
    monkeypatch.setattr(MNIST, "resources", [(name, md5(content)) for name, content in archives.items()])


@pytest.mark.parametrize("contents", [CONTENTS, ARCHIVES], ids=["plain", "gz"])
@pytest.mark.parametrize(("source", "kind"), [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")])
@pytest.mark.usefixtures("closed")
def test_idx_files_are_found_where_torchvision_puts_them(
    source: Source, kind: str, contents: dict[str, bytes], tmp_path: Path
) -> None:
    write(tmp_path / kind / "raw", contents)
    check_small(source(Request(tmp_path)))


@pytest.mark.usefixtures("closed")
def test_class_names_are_the_published_ones(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw", CONTENTS)
    write(tmp_path / "FashionMNIST" / "raw", CONTENTS)
    assert mnist(Request(tmp_path)).class_names == tuple("0123456789")
    fashion = fashion_mnist(Request(tmp_path)).class_names
    assert (fashion[0], fashion[9], len(fashion)) == ("T-shirt/top", "Ankle boot", 10)


@pytest.mark.usefixtures("closed")
def test_an_unpacked_file_is_read_before_its_archive(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw", CONTENTS | {f"{name}.gz": b"broken" for name in NAMES})
    check_small(mnist(Request(tmp_path)))


@needs_real_mnist
@pytest.mark.usefixtures("closed")
def test_the_whole_of_mnist_is_read_from_its_archives(mini: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / "raw").symlink_to(REAL_MNIST)
    found = mnist(Request(tmp_path))
    assert found.train_images.shape == (60_000, 1, 28, 28)
    assert found.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert found.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.equal(found.train_images[:10_000], mini.train_images)


@pytest.mark.parametrize("archive", list(ARCHIVES))
@pytest.mark.parametrize("damage", ["cut", "cut in its header", "flipped", "not gzip", "empty"])
@pytest.mark.usefixtures("closed")
def test_a_damaged_archive_is_named_with_what_to_do(archive: str, damage: str, tmp_path: Path) -> None:
    whole = ARCHIVES[archive]
    flipped = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]  # in the checksum
    broken = {
        "cut": whole[:-9],
        "cut in its header": whole[:5],
        "flipped": flipped,
        "not gzip": b"<html>",
        "empty": b"",
    }
    folder = write(tmp_path / "MNIST" / "raw", ARCHIVES | {archive: broken[damage]})
    message = refusal(mnist, Request(tmp_path))
    assert str(folder / archive) in message
    assert "again" in message


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        (NAMES[0], CONTENTS[NAMES[0]][:-1], "train-images-idx3-ubyte is truncated"),
        (NAMES[2], CONTENTS[NAMES[3]], "t10k-images-idx3-ubyte is not an IDX file of 3 axes"),
        (NAMES[1], CONTENTS[NAMES[3]], "(train) has 7 images but 3 labels"),
        (NAMES[3], to_idx(TEST_LABELS + 1), "(test) has labels from 1 to 10, not within 0 … 9"),
    ],
)
@pytest.mark.usefixtures("closed")
def test_idx_files_that_do_not_fit_are_refused(name: str, content: bytes, rule: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "MNIST" / "raw", CONTENTS | {name: content})
    message = refusal(mnist, Request(tmp_path))
    assert rule in message
    assert str(folder) in message


@pytest.mark.parametrize("present", [[], NAMES[:3]], ids=["all missing", "one missing"])
def test_what_is_missing_and_unreachable_is_told_with_every_way_out(
    present: list[str], closed: str, tmp_path: Path
) -> None:
    folder = tmp_path / "MNIST" / "raw"
    write(folder, {name: CONTENTS[name] for name in present})
    message = refusal(mnist, Request(tmp_path))
    wanted = f"{NAMES[len(present)]}.gz"
    assert f"MNIST is not in {folder}" in message
    for address in (f"{closed}first/{wanted}: ", f"{closed}second/{wanted}: "):
        assert address in message
    assert ", ".join(NAMES) + f" into {folder}" in message
    assert "data.dir=" in message
    assert "data=mnist_mini" in message
    assert files_below(tmp_path) == sorted(f"MNIST/raw/{name}" for name in present)


def test_what_is_missing_is_downloaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Loopback({name: Reply(content) for name, content in ARCHIVES.items()}) as server:
        publish(monkeypatch, [server.url], ARCHIVES)
        check_small(mnist(Request(tmp_path)))
        check_small(mnist(Request(tmp_path)))
        assert server.asked == list(ARCHIVES)
    assert files_below(tmp_path) == sorted(f"MNIST/raw/{name}" for name in ARCHIVES)


def test_only_what_is_missing_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw", {name: CONTENTS[name] for name in NAMES[1:]})
    with Loopback({name: Reply(content) for name, content in ARCHIVES.items()}) as server:
        publish(monkeypatch, [server.url], ARCHIVES)
        check_small(mnist(Request(tmp_path)))
        assert server.asked == [f"{NAMES[0]}.gz"]


def test_a_download_with_other_bytes_is_neither_used_nor_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Loopback({name: Reply(gzip.compress(CONTENTS[name[:-3]], 1, mtime=1)) for name in ARCHIVES}) as server:
        publish(monkeypatch, [server.url], ARCHIVES)
        assert "wrong bytes: md5" in refusal(mnist, Request(tmp_path))
    assert files_below(tmp_path) == []


def test_all_downloads_share_one_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replies = {name: Reply(content) for name, content in ARCHIVES.items()}
    replies[f"{NAMES[1]}.gz"] = Reply(silent=True)
    with Loopback(replies) as server:
        publish(monkeypatch, [server.url, server.url], ARCHIVES)
        message = refusal(mnist, Request(tmp_path, deadline=0.5))
        assert server.asked == [f"{NAMES[0]}.gz", f"{NAMES[1]}.gz"]
    assert "timed out" in message
    assert "the deadline has passed" in message  # the second mirror is not given another half second
    assert files_below(tmp_path) == [f"MNIST/raw/{NAMES[0]}.gz"]


# ---------------------------------------------------------------------------------------------------------------- CIFAR
ROWS = np.random.default_rng(0).integers(0, 256, (5, 3072), dtype=np.uint8)
LABELS = [2, 0, 1, 1, 2]
CLASSES = ("ape", "bee", "cat")


@dataclass(frozen=True)
class Small:
    """A data set of CIFAR's layout: five images in two training files and a test file."""

    source: Source
    published: Any
    contents: dict[str, bytes]

    def archive(self, extra: dict[str, bytes] | None = None, **changes: bytes) -> bytes:
        """The .tar.gz of the files, with some changed, and extra members under their own full names."""
        members = {f"{self.published.base_folder}/{name}": text for name, text in (self.contents | changes).items()}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, text in ((extra or {}) | members).items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
        return packed.getvalue()


@pytest.fixture(params=["cifar10", "cifar100"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    source, published, key = {"cifar10": (cifar10, CIFAR10, "labels"), "cifar100": (cifar100, CIFAR100, "fine_labels")}[
        request.param
    ]

    def batch(start: int, stop: int) -> bytes:
        return pickle.dumps({"data": ROWS[start:stop], key: LABELS[start:stop], "coarse_labels": [0] * (stop - start)})

    meta = pickle.dumps({published.meta["key"]: list(CLASSES), "coarse_label_names": ["none of these"]})
    contents = {"one": batch(0, 2), "two": batch(2, 3), "test": batch(3, 5), "meta": meta}
    with refusing_address() as url:
        monkeypatch.setattr(published, "url", f"{url}cifar.tar.gz")
        yield declare(monkeypatch, Small(source, published, contents))


def declare(monkeypatch: pytest.MonkeyPatch, small: Small) -> Small:
    """Writes the sums of the small files into torchvision's class."""
    sums = {name: md5(content) for name, content in small.contents.items()}
    monkeypatch.setattr(small.published, "train_list", [["one", sums["one"]], ["two", sums["two"]]])
    monkeypatch.setattr(small.published, "test_list", [["test", sums["test"]]])
    meta = {"filename": "meta", "key": small.published.meta["key"], "md5": sums["meta"]}
    monkeypatch.setattr(small.published, "meta", meta)
    return small


def check_cifar(found: ImageSet) -> None:
    """Against the published layout: 1024 red values row by row, then green, then blue."""
    images = torch.cat([found.train_images, found.test_images])
    assert (found.train_images.shape, found.test_images.shape) == ((3, 3, 32, 32), (2, 3, 32, 32))
    assert images.dtype == torch.uint8
    for number, channel, y, x in [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (1, 1, 31, 2),
        (2, 2, 7, 30),
        (3, 0, 5, 5),
        (4, 2, 31, 31),
    ]:
        assert int(images[number, channel, y, x]) == ROWS[number, 1024 * channel + 32 * y + x]
    assert images.flatten(1).tolist() == ROWS.tolist()
    assert found.train_labels.tolist() + found.test_labels.tolist() == LABELS
    assert found.class_names == CLASSES


def test_cifar_images_come_out_as_channel_row_column(small: Small, tmp_path: Path) -> None:
    write(tmp_path / small.published.base_folder, small.contents)
    check_cifar(small.source(Request(tmp_path)))


def python2_pickle(rows: np.ndarray[Any, np.dtype[np.uint8]], labels: list[int]) -> bytes:
    """The bytes Python 2 wrote for `{"data": rows, "labels": labels}`, as the published files are."""

    def text(word: bytes) -> bytes:
        return b"U" + bytes([len(word)]) + word

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    values = b"T" + struct.pack("<i", rows.nbytes) + rows.tobytes()
    array += (
        b"(" + number(1) + number(rows.shape[0]) + number(rows.shape[1]) + b"\x86" + dtype + b"\x89" + values + b"tb"
    )
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


@pytest.mark.filterwarnings("ignore:dtype:numpy.exceptions.VisibleDeprecationWarning")  # NumPy 2.4.0 to 2.4.4
def test_files_written_by_python_2_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = {"one": slice(0, 2), "two": slice(2, 3), "test": slice(3, 5)}
    contents = {name: python2_pickle(ROWS[part], LABELS[part]) for name, part in parts.items()}
    contents["meta"] = b"\x80\x02}(U\x0blabel_names](U\x03apeU\x03beeU\x03cateu."
    declare(monkeypatch, Small(cifar10, CIFAR10, contents))
    write(tmp_path / CIFAR10.base_folder, contents)
    check_cifar(cifar10(Request(tmp_path)))


class Malice:
    """Its pickle makes a folder when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("name", ["one", "two", "test", "meta"])
def test_a_pickle_with_another_sum_is_never_run(small: Small, name: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace of the malice"
    malice = pickle.dumps(Malice(trace))
    folder = write(tmp_path / small.published.base_folder, small.contents | {name: malice})
    message = refusal(small.source, Request(tmp_path))
    assert f"{folder / name} is damaged: md5 {md5(malice)}, not {md5(small.contents[name])}" in message
    assert not trace.exists()
    pickle.loads(malice)  # the negative control: read without the check, it does run
    assert trace.exists()


def test_a_pickle_with_another_sum_does_not_leave_its_archive(small: Small, tmp_path: Path) -> None:
    trace = tmp_path / "trace of the malice"
    write(tmp_path, {small.published.filename: small.archive(two=pickle.dumps(Malice(trace)))})
    message = refusal(small.source, Request(tmp_path))
    assert f"{tmp_path / small.published.filename} (two) is damaged: md5" in message
    assert not trace.exists()
    assert files_below(tmp_path / small.published.base_folder) == ["one"]


def serve_archive(monkeypatch: pytest.MonkeyPatch, server: Loopback, small: Small, content: bytes) -> None:
    monkeypatch.setattr(small.published, "url", f"{server.url}cifar.tar.gz")
    monkeypatch.setattr(small.published, "tgz_md5", md5(content))


def test_the_archive_is_downloaded_once_and_its_named_members_alone_are_unpacked(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base, data = small.published.base_folder, tmp_path / "data"
    extra = {
        f"{base}/readme.html": b"",
        "../outside": b"",
        f"{base}/../../outside": b"",
        str(tmp_path / "outside"): b"",
    }
    content = small.archive(extra)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert set(extra) < set(tar.getnames())  # the archive does lead outside
    with Loopback({"cifar.tar.gz": Reply(content)}) as server:
        serve_archive(monkeypatch, server, small, content)
        for _ in range(2):
            check_cifar(small.source(Request(data)))
        assert server.asked == ["cifar.tar.gz"]
    expected = [small.published.filename, *(f"{base}/{name}" for name in small.contents)]
    assert files_below(tmp_path) == sorted(f"data/{name}" for name in expected)


def test_a_deleted_member_is_unpacked_again_without_the_network(small: Small, tmp_path: Path) -> None:
    write(tmp_path, {small.published.filename: small.archive()})
    check_cifar(small.source(Request(tmp_path)))
    (tmp_path / small.published.base_folder / "two").unlink()
    check_cifar(small.source(Request(tmp_path)))


def test_an_archive_with_another_sum_is_neither_unpacked_nor_kept(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Loopback({"cifar.tar.gz": Reply(small.archive({"more": b""}))}) as server:
        serve_archive(monkeypatch, server, small, small.archive())
        assert "wrong bytes: md5" in refusal(small.source, Request(tmp_path))
    assert files_below(tmp_path) == []


def linked_archive(small: Small, secret: Path) -> bytes:
    """In place of the first file a link to a file outside."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo(f"{small.published.base_folder}/one")
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(info)
    return packed.getvalue()


def wrong_sum(archive: bytes) -> bytes:
    """The tar without its closing zeros, so that reading goes on to the gzip checksum, which is wrong."""
    tar = gzip.decompress(archive).rstrip(b"\0")
    packed = bytearray(gzip.compress(tar + bytes(-len(tar) % 512)))
    packed[-8] ^= 1
    return bytes(packed)


@pytest.mark.parametrize("damage", ["cut", "not a tar", "member missing", "member a link", "checksum", "empty"])
def test_an_archive_that_cannot_be_unpacked_is_named(small: Small, damage: str, tmp_path: Path) -> None:
    whole = small.archive()
    content = {
        "cut": lambda: whole[: len(whole) // 2],
        "not a tar": lambda: b"<html>",
        "member missing": lambda: Small(small.source, small.published, {"one": small.contents["one"]}).archive(),
        "member a link": lambda: linked_archive(small, tmp_path / small.published.filename),
        "checksum": lambda: wrong_sum(whole),
        "empty": lambda: b"",
    }[damage]()
    write(tmp_path, {small.published.filename: content})
    message = refusal(small.source, Request(tmp_path))
    assert f"cannot unpack {tmp_path / small.published.filename}" in message
    assert "delete the file" in message


def test_cifar_missing_and_unreachable_is_told_with_every_way_out(small: Small, tmp_path: Path) -> None:
    message = refusal(small.source, Request(tmp_path))
    folder = tmp_path / small.published.base_folder
    assert f"{small.published.__name__} is not in {folder}" in message
    assert f"{small.published.url}: " in message
    assert f"put the files one, two, test, meta into {folder}" in message
    assert "data=mnist_mini" in message
    assert files_below(tmp_path) == []


def test_a_file_in_the_way_of_the_unpacked_folder_is_a_resource_error(small: Small, tmp_path: Path) -> None:
    write(tmp_path, {small.published.filename: small.archive(), small.published.base_folder: b"in the way"})
    with pytest.raises(ResourceError, match="cannot unpack"):
        small.source(Request(tmp_path))


def test_cifar_labels_must_be_of_the_named_classes(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = small.published.meta["key"]
    fewer = Small(small.source, small.published, small.contents | {"meta": pickle.dumps({key: ["ape", "bee"]})})
    declare(monkeypatch, fewer)
    write(tmp_path / small.published.base_folder, fewer.contents)
    assert "(train) has labels from 0 to 2, not within 0 … 1" in refusal(small.source, Request(tmp_path))


# ---------------------------------------------------------------------------------------------------- your own pictures
def colours(number: int, shape: tuple[int, ...] = (4, 6, 3)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: two pictures and one for training, one each for the test; RGB, 4 rows and 6 columns."""
    for number, name in enumerate(
        ["train/cat/b.png", "train/ape/a.png", "train/ape/c.png", "test/ape/a.png", "test/cat/z.png"]
    ):
        save(tmp_path / name, colours(number))
    return tmp_path


def planes(*numbers: int) -> Tensor:
    return torch.stack([torch.from_numpy(colours(number)).permute(2, 0, 1) for number in numbers])


def test_colour_pictures_come_out_by_class_and_name(folder: Path) -> None:
    found = image_folder(Request(folder))
    assert found.class_names == ("ape", "cat")
    assert torch.equal(found.train_images, planes(1, 2, 0))
    assert torch.equal(found.test_images, planes(3, 4))
    assert found.train_labels.tolist() == [0, 0, 1]
    assert found.test_labels.tolist() == [0, 1]
    assert found.train_labels.dtype == torch.int64
    assert found.notes == ()


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    for number, name in enumerate(["train/a/1.png", "train/b/1.png", "test/a/1.png"]):
        save(tmp_path / name, colours(number, (4, 6)))
    found = image_folder(Request(tmp_path))
    assert torch.equal(found.train_images, torch.stack([torch.from_numpy(colours(n, (4, 6))) for n in (0, 1)])[:, None])
    assert found.test_images.shape == (1, 1, 4, 6)


def test_a_grey_picture_among_colours_gets_three_equal_channels(folder: Path) -> None:
    save(folder / "train" / "cat" / "grey.png", colours(9, (4, 6)))
    found = image_folder(Request(folder)).train_images
    assert torch.equal(found[:3], planes(1, 2, 0))
    assert torch.equal(found[3], torch.from_numpy(colours(9, (4, 6))).expand(3, 4, 6))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK"])
def test_other_kinds_of_picture_become_rgb(folder: Path, mode: str) -> None:
    red = Image.new("RGB", (6, 4), (255, 0, 0)).convert(mode)
    red.save(folder / "train" / "cat" / "red.tif")
    found = image_folder(Request(folder)).train_images[3]
    assert found.flatten(1).unique(dim=1).flatten().tolist() == [255, 0, 0]


def test_files_that_are_no_pictures_are_passed_over_and_endings_may_be_capital(folder: Path) -> None:
    (folder / "train" / "cat" / "Thumbs.db").write_bytes(b"?")
    (folder / "train" / "notes.txt").write_text("not a class")
    (folder / "train" / "cat" / "b.png").rename(folder / "train" / "cat" / "b.PNG")
    assert torch.equal(image_folder(Request(folder)).train_images, planes(1, 2, 0))


def test_different_sizes_are_refused_with_the_key_that_helps(folder: Path) -> None:
    save(folder / "train" / "cat" / "c.png", colours(9, (5, 6, 3)))
    message = refusal(image_folder, Request(folder))
    assert f"{folder / 'train/ape/a.png'} is 4×6, {folder / 'train/cat/c.png'} is 5×6" in message
    assert "data.image_size=" in message


@pytest.mark.parametrize(("shape", "shown"), [((8, 6, 3), "[3, 8, 6]"), ((4, 6), "[1, 4, 6]")], ids=["size", "colours"])
def test_test_pictures_of_another_shape_are_refused(folder: Path, shape: tuple[int, ...], shown: str) -> None:
    for name in ("ape/a.png", "cat/z.png"):
        save(folder / "test" / name, colours(7, shape))
    message = refusal(image_folder, Request(folder))
    assert f"train are [3, 4, 6], in {folder}/test {shown}" in message
    assert "data.image_size=" in message


@pytest.mark.parametrize("size", [4, 16])
def test_with_image_size_all_pictures_become_that_square(folder: Path, size: int) -> None:
    save(folder / "train" / "ape" / "c.png", np.full((40, 10, 3), (10, 20, 30), dtype=np.uint8))
    halves = np.zeros((8, 64, 3), dtype=np.uint8)
    halves[:, 32:] = 255
    save(folder / "train" / "cat" / "b.png", halves)
    found = image_folder(Request(folder, image_size=size))
    assert found.train_images.shape == (3, 3, size, size)
    assert found.test_images.shape == (2, 3, size, size)
    assert found.train_images[1].flatten(1).unique(dim=1).flatten().tolist() == [
        10,
        20,
        30,
    ]  # one colour stays that colour
    assert (found.train_images[2, :, :, : size // 4] < 5).all()  # left stays left
    assert (found.train_images[2, :, :, -size // 4 :] > 250).all()


@pytest.fixture
def without_test(tmp_path: Path) -> Path:
    """10 and 25 grey pictures of one pixel's difference, 0 to 34, in two classes."""
    for number in range(35):
        name = f"train/{'a' if number < 10 else 'b'}/{number:02}.png"
        save(tmp_path / name, np.full((3, 3), number, dtype=np.uint8))
    return tmp_path


def test_a_missing_test_set_is_a_fifth_of_each_class_of_train_and_noted(without_test: Path) -> None:
    found = image_folder(Request(without_test))
    train, test = found.train_images[:, 0, 0, 0].tolist(), found.test_images[:, 0, 0, 0].tolist()
    assert sorted(train + test) == list(range(35))
    assert found.test_labels.bincount().tolist() == [2, 5]
    assert [int(number >= 10) for number in train] == found.train_labels.tolist()
    assert [int(number >= 10) for number in test] == found.test_labels.tolist()
    assert found.notes == (
        f"{without_test / 'test'} is missing: 7 of 35 training pictures are cut off as the test set",
    )


def test_which_fifth_is_decided_by_the_split_seed(without_test: Path) -> None:
    first, again, other = (image_folder(Request(without_test, split_seed=seed)).test_images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_class_missing_from_the_test_set_keeps_the_labels_of_train(folder: Path) -> None:
    (folder / "test" / "ape" / "a.png").unlink()
    (folder / "test" / "ape").rmdir()
    assert image_folder(Request(folder)).test_labels.tolist() == [1]


def test_no_train_folder_is_refused(tmp_path: Path) -> None:
    message = refusal(image_folder, Request(tmp_path))
    assert f"{tmp_path / 'train'} is not a folder" in message
    assert "data.dir=" in message


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_are_refused(tmp_path: Path, classes: int) -> None:
    (tmp_path / "train").mkdir()
    for number in range(classes):
        save(tmp_path / "train" / f"class{number}" / "a.png", colours(0))
    message = refusal(image_folder, Request(tmp_path))
    assert str(tmp_path / "train") in message
    assert f"at least 2 classes, found {classes}" in message


def test_a_class_that_only_the_test_set_has_is_refused(folder: Path) -> None:
    save(folder / "test" / "dog" / "a.png", colours(0))
    assert f"{folder / 'test'} has classes that train has not: dog" in refusal(image_folder, Request(folder))


@pytest.mark.parametrize("part", ["train", "test"])
def test_folders_without_a_picture_are_refused(folder: Path, part: str) -> None:
    for path in (folder / part).glob("*/*"):
        path.rename(path.with_suffix(".txt"))
    assert f"no pictures in {folder / part}" in refusal(image_folder, Request(folder))


def huge_bitmap() -> bytes:
    """58 honest bytes that claim 60,000 × 60,000 pixels: 11 GB if they were believed."""
    packed = io.BytesIO()
    Image.new("RGB", (1, 1)).save(packed, "BMP")
    content = bytearray(packed.getvalue())
    content[18:26] = struct.pack("<ii", 60_000, 60_000)
    return bytes(content)


def cut_png() -> bytes:
    packed = io.BytesIO()
    Image.fromarray(colours(0, (40, 60, 3))).save(packed, "PNG")
    return packed.getvalue()[:2000]


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", cut_png()[:20], cut_png(), huge_bitmap()],
    ids=["empty", "text", "header", "cut", "huge"],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_corrupt_picture_is_named(folder: Path, part: str, content: bytes) -> None:
    broken = folder / part / "cat" / "broken.png"
    broken.write_bytes(content)
    message = refusal(image_folder, Request(folder))
    assert f"cannot read the picture {broken}: " in message
    assert "repair or remove it" in message
