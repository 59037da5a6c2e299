"""The guard of conftest.py can fail: reaching out of this machine fails a test."""

from __future__ import annotations

import socket
import urllib.request

import pytest


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "http://example.invalid/"])  # reserved for documentation
def test_reaching_a_host_fails_by_name(url: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="tried to"):
        urllib.request.urlopen(url, timeout=1)


def test_loopback_is_allowed() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
