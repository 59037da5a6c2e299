"""Proves against a real server on the loopback that a download ends, says why it failed, and leaves no half file."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loopback import Loopback, Reply, md5, refusing_address

from isometry.data import download as module
from isometry.data.download import download
from isometry.errors import ResourceError

BODY = bytes(range(256)) * 300  # more than one network packet


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """In a folder that is not there yet."""
    return tmp_path / "data" / "raw" / "file.gz"


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def failure(reply: Reply, target: Path, deadline: float | None = None) -> str:
    """Why the one address failed; proves that nothing is left behind."""
    with Loopback({"file.gz": reply}) as server:
        url = f"{server.url}file.gz"
        failures = download([url], target, md5(BODY), soon() if deadline is None else deadline)
    assert len(failures) == 1
    assert failures[0].startswith(f"{url}: ")
    assert files_below(target.parents[2]) == []
    return failures[0].removeprefix(f"{url}: ")


@pytest.mark.parametrize("promised", [None, -1], ids=["with length", "without length"])
def test_the_right_bytes_arrive_under_the_final_name_alone(target: Path, promised: int | None) -> None:
    with Loopback({"file.gz": Reply(BODY, promised=promised)}) as server:
        assert download([f"{server.url}file.gz"], target, md5(BODY), soon()) == []
    assert target.read_bytes() == BODY
    assert files_below(target.parent) == ["file.gz"]


def test_an_old_file_is_replaced_by_the_right_one_and_kept_when_the_new_is_wrong(target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")
    with Loopback({"wrong": Reply(b"wrong"), "right": Reply(BODY)}) as server:
        assert len(download([f"{server.url}wrong"], target, md5(BODY), soon())) == 1
        assert target.read_bytes() == b"old"
        with target.open("rb") as reader:
            assert download([f"{server.url}right"], target, md5(BODY), soon()) == []
            assert reader.read() == b"old"  # replaced whole: who reads the old file never sees a mixture
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_http_error_is_named(target: Path, status: int) -> None:
    assert f"HTTP Error {status}" in failure(Reply(BODY, status=status), target)


def test_wrong_bytes_are_refused_with_both_sums(target: Path) -> None:
    other = BODY[:-1] + b"\x00"
    assert failure(Reply(other), target) == f"wrong bytes: md5 {md5(other)}, not {md5(BODY)}"


def test_an_empty_answer_is_not_the_file(target: Path) -> None:
    assert failure(Reply(b""), target) == f"wrong bytes: md5 {md5(b'')}, not {md5(BODY)}"


def test_a_connection_that_breaks_off_is_told_from_wrong_bytes(target: Path) -> None:
    half = BODY[: len(BODY) // 2]
    assert failure(Reply(half, promised=len(BODY)), target) == f"broke off after {len(half)} of {len(BODY)} bytes"


def test_a_break_without_a_promised_length_is_caught_by_the_sum(target: Path) -> None:
    assert "wrong bytes" in failure(Reply(BODY[:100], promised=-1), target)


def test_a_silent_server_is_left_after_the_read_timeout(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.2)
    start = time.monotonic()
    assert "timed out" in failure(Reply(silent=True), target)
    assert 0.2 <= time.monotonic() - start < 5


def test_a_deadline_shorter_than_the_read_timeout_holds_for_the_first_byte(target: Path) -> None:
    assert module.READ_TIMEOUT > 10
    start = time.monotonic()
    assert "timed out" in failure(Reply(silent=True), target, deadline=soon(0.3))
    assert time.monotonic() - start < 5


def test_a_server_that_drips_is_left_at_the_deadline(target: Path) -> None:
    start = time.monotonic()  # at this pace the body takes 3 s, and no read longer than 20 ms
    reason = failure(Reply(BODY[:150], drip=0.02), target, deadline=soon(0.4))
    assert reason == "too slow: the deadline (data.download_deadline) has passed"
    assert 0.4 <= time.monotonic() - start < 2


def test_a_slow_server_within_the_deadline_is_waited_for(target: Path) -> None:
    body = b"0123456789"
    with Loopback({"file.gz": Reply(body, drip=0.02)}) as server:
        assert download([f"{server.url}file.gz"], target, md5(body), soon()) == []
    assert target.read_bytes() == body


def test_after_the_deadline_no_server_is_asked(target: Path) -> None:
    with Loopback({"file.gz": Reply(BODY)}) as server:
        failures = download([f"{server.url}file.gz"] * 2, target, md5(BODY), time.monotonic())
        assert server.asked == []
    assert [failure.rpartition(": ")[2] for failure in failures] == ["the deadline has passed"] * 2
    assert files_below(target.parent) == []


def test_a_refused_connection_is_named(target: Path) -> None:
    with refusing_address() as url:
        failures = download([f"{url}file.gz"], target, md5(BODY), soon())
    assert len(failures) == 1
    assert failures[0].startswith(f"{url}file.gz: ")
    assert "refused" in failures[0]


@pytest.mark.parametrize(
    "first",
    [Reply(status=404), Reply(b"wrong"), Reply(BODY[:10], promised=len(BODY))],
    ids=["404", "wrong bytes", "broken off"],
)
def test_the_next_mirror_delivers_when_the_first_fails(target: Path, first: Reply) -> None:
    with Loopback({"a/file.gz": first, "b/file.gz": Reply(BODY), "c/file.gz": Reply(BODY)}) as server:
        assert download([f"{server.url}{mirror}/file.gz" for mirror in "abc"], target, md5(BODY), soon()) == []
        assert server.asked == ["a/file.gz", "b/file.gz"]  # and no third once the second delivered
    assert target.read_bytes() == BODY
    assert files_below(target.parent) == ["file.gz"]


def test_every_mirror_that_failed_is_listed_in_order(target: Path) -> None:
    with Loopback({"b": Reply(b"wrong")}) as server:
        failures = download([f"{server.url}a", f"{server.url}b"], target, md5(BODY), soon())
        expected = [f"{server.url}a: HTTP Error 404", f"{server.url}b: wrong bytes"]
    assert [failure.startswith(start) for failure, start in zip(failures, expected, strict=True)] == [True, True]


def test_while_it_is_coming_the_file_has_another_name(target: Path) -> None:
    seen: set[str] = set()

    def look() -> None:
        """From the server's side, between two bytes, once the client has made its file."""
        stop = soon(2)
        while not (found := files_below(target.parents[2])) and time.monotonic() < stop:
            time.sleep(0.001)
        seen.update(found)

    with Loopback({"file.gz": Reply(b"abc", drip=0.001, between=look)}) as server:
        assert download([f"{server.url}file.gz"], target, md5(b"abc"), soon()) == []
    partial = str(target.with_name(f".file.gz.{os.getpid()}.part").relative_to(target.parents[2]))
    assert seen == {partial}
    assert files_below(target.parent) == ["file.gz"]


def in_the_way_of_the_folder(target: Path) -> None:
    target.parents[1].mkdir()
    target.parent.write_text("a file where the folder belongs")


def in_the_way_above_the_folder(target: Path) -> None:
    target.parents[1].write_text("a file where the folder's folder belongs")


def in_the_way_of_the_file(target: Path) -> None:
    (target / "folder where the file belongs").mkdir(parents=True)


def not_writable(target: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    target.parent.mkdir(parents=True)
    target.parent.chmod(0o500)


@pytest.mark.parametrize(
    "block", [in_the_way_of_the_folder, in_the_way_above_the_folder, in_the_way_of_the_file, not_writable]
)
def test_a_target_that_cannot_be_written_is_a_resource_error(target: Path, block: Callable[[Path], None]) -> None:
    block(target)
    before = files_below(target.parents[2])
    with Loopback({"file.gz": Reply(BODY)}) as server, pytest.raises(ResourceError) as caught:
        download([f"{server.url}file.gz"], target, md5(BODY), soon())
    assert f"cannot write {target}" in str(caught.value)
    assert "data.dir=" in str(caught.value)
    assert files_below(target.parents[2]) == before


def test_a_name_longer_than_the_disk_takes_is_a_resource_error(tmp_path: Path) -> None:
    with Loopback({"file.gz": Reply(BODY)}) as server, pytest.raises(ResourceError, match="cannot write"):
        download([f"{server.url}file.gz"], tmp_path / ("x" * 300), md5(BODY), soon())
    assert files_below(tmp_path) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel lets this process write no more than `size` bytes into a file: a full disk, as a program meets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_is_a_resource_error(target: Path) -> None:
    body = bytes(2_000_000)
    with Loopback({"file.gz": Reply(body)}) as server, pytest.raises(ResourceError, match="cannot write"):  # noqa: SIM117
        with largest_file(1_000_000):
            download([f"{server.url}file.gz"], target, md5(body), soon())
    assert files_below(target.parent) == []
