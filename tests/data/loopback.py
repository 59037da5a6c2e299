"""A web server on 127.0.0.1 that keeps or breaks its promises as told: what the download tests talk to."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """What one path answers.

    Args:
        body: The bytes sent.
        status: Of HTTP.
        promised: Content-Length where it is a lie; -1: no such header.
        silent: Take the request and never answer.
        drip: Seconds between single bytes of the body.
        between: Called between two of these bytes.
    """

    body: bytes = b""
    status: int = 200
    promised: int | None = None
    silent: bool = False
    drip: float = 0.0
    between: Callable[[], None] = lambda: None


class Loopback(ThreadingHTTPServer):
    """Serves `replies` and keeps the paths asked for in `asked`; leaving the context lets hanging requests go."""

    daemon_threads = False  # so that leaving the context waits for them

    def __init__(self, replies: dict[str, Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = {path.removeprefix("/"): reply for path, reply in replies.items()}
        self.asked: list[str] = []
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Loopback

    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        self.server.asked.append(path)
        reply = self.server.replies.get(path, Reply(status=404))
        if reply.silent:
            self.server.closing.wait(20)
            return
        self.send_response(reply.status)
        promised = len(reply.body) if reply.promised is None else reply.promised
        if promised >= 0:
            self.send_header("Content-Length", str(promised))
        self.end_headers()
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        step = 1 if reply.drip else len(reply.body) or 1
        try:
            for start in range(0, len(reply.body), step):
                self.wfile.write(reply.body[start : start + step])
                if start + step < len(reply.body):
                    reply.between()
                    if self.server.closing.wait(reply.drip):
                        return
        except ConnectionError:
            pass  # the client gave up, as it should

    def log_message(self, *arguments: object) -> None:
        """Silence."""


@contextmanager
def refusing_address() -> Iterator[str]:
    """An address of this machine where nobody listens, kept reserved so that nobody starts to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}/"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
