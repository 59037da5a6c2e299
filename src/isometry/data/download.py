"""Downloads that end: each read has a time limit, all together a deadline, and no partial file stays behind.

torchvision's own downloader has no timeout and writes to the final name, so a host that hangs, hangs the training, and
a broken transfer counts as present ever after. Addresses and checksums are torchvision's.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from ..errors import ResourceError

READ_TIMEOUT = 20.0  # seconds without a byte


class DownloadFailed(Exception):  # noqa: N818 (a reason to collect, turned into a DataError by the caller)
    """One address did not deliver the file; the text says why."""


def download(urls: Sequence[str], target: Path, md5: str, deadline: float) -> list[str]:
    """Fetch the first address that delivers the right bytes into `target`.

    Args:
        urls: Mirrors of one file.
        target: Final name; written whole or not at all.
        md5: Of the file.
        deadline: `time.monotonic()` at which to give up.

    Returns:
        Why each address failed; empty when `target` is there.
    """
    failures = []
    for url in urls:
        try:
            _fetch(url, target, md5, deadline)
            return []
        except DownloadFailed as reason:
            failures.append(f"{url}: {reason}")
    return failures


def _fetch(url: str, target: Path, md5: str, deadline: float) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = _stream(url, partial, deadline)
        if digest != md5:
            raise DownloadFailed(f"wrong bytes: md5 {digest}, not {md5}")
        os.replace(partial, target)
    except (http.client.HTTPException, TimeoutError, ConnectionError, urllib.error.URLError) as error:
        raise DownloadFailed(str(error) or type(error).__name__) from None
    except OSError as error:
        raise ResourceError(
            f"error: cannot write {target}: {error.strerror}\n  fix:   data.dir=ANOTHER_FOLDER"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # absent, or a folder of its path is
            partial.unlink()


def _stream(url: str, partial: Path, deadline: float) -> str:
    """Copy `url` into `partial`; the md5 of what came."""
    digest = hashlib.md5(usedforsecurity=False)
    left = deadline - time.monotonic()
    if left <= 0:
        raise DownloadFailed("the deadline has passed")
    with urllib.request.urlopen(url, timeout=min(READ_TIMEOUT, left)) as response, open(partial, "wb") as file:
        while chunk := _read(response):
            if time.monotonic() > deadline:
                raise DownloadFailed("too slow: the deadline (data.download_deadline) has passed")
            digest.update(chunk)
            file.write(chunk)
        expected = response.headers.get("Content-Length")
        if expected and file.tell() != int(expected):
            raise DownloadFailed(f"broke off after {file.tell()} of {expected} bytes")
    return digest.hexdigest()


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(1 << 20)  # what has come, so that a trickle cannot hold the clock
    except OSError as error:  # of the network; the caller takes any other for one of the disk
        raise DownloadFailed(str(error) or type(error).__name__) from None
