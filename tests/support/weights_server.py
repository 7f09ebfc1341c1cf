"""A local HTTP server that serves one file, well or in one of the ways that downloads go wrong.

Under `/OWNER/NAME/resolve/REVISION/FILE` it is a mirror of Hugging Face's Hub: it answers HEAD with
what it knows of the file, wants a token where the repository is gated, and sends on to the file.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal[
    "none",  # the file, whole
    "404",  # no such file
    "break",  # the length of the whole file, half of it, and the end of the connection
    "no-length",  # no length, half of the file, and the end of the connection
    "hang",  # half of the file, then nothing until `release` is set
    "mute",  # no answer at all until `release` is set
    "endless",  # no length, and bytes for as long as they are taken
]


class WeightsServer(ThreadingHTTPServer):
    """Serves `body` under every path."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.fault: Fault = "none"
        self.ranges = True
        """Whether a Range request is answered with the range, or with all."""
        self.requested: list[str | None] = []
        """The Range header of every request, None where it had none."""
        self.token: str | None = None
        """The one token that the Hub takes, None where it wants none."""
        self.asked: list[tuple[str, str]] = []
        """Method and path of every request to the Hub."""
        self.tokens: list[str | None] = []
        """The token of every request for the file itself."""
        self.waiting = threading.Event()
        """Set once a request hangs."""
        self.release = threading.Event()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/weights.bin"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that are killed or hang up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: WeightsServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self._as_the_hub()

    def do_GET(self) -> None:
        if self.path.startswith("/api/") or "/resolve/" in self.path:
            self._as_the_hub()
            return
        server = self.server
        server.tokens.append(self.headers.get("Authorization"))
        asked = self.headers.get("Range")
        server.requested.append(asked)
        if server.fault == "404":
            self.send_error(404)
            return
        if server.fault == "mute":
            self._wait()
            return
        body, start = server.body, 0
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if server.fault not in ("no-length", "endless"):
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self._send(body[start:])

    def _as_the_hub(self) -> None:
        server = self.server
        server.asked.append((self.command, self.path))
        found = re.fullmatch(r"/[\w-]+/[\w.-]+/resolve/([0-9a-f]{40})/[\w.]+", self.path)
        allowed = server.token is None or self.headers.get("Authorization") == (
            f"Bearer {server.token}"
        )
        if found is None or server.fault == "404" or not allowed:
            self.send_response(404 if allowed else 401)
            self.send_header("X-Error-Code", "EntryNotFound" if allowed else "GatedRepo")
        else:
            self.send_response(302)
            # Another name of the same machine, as the Hub sends on to where large files are.
            self.send_header("Location", server.url.replace("127.0.0.1", "localhost"))
            self.send_header("X-Repo-Commit", found[1])
            self.send_header("X-Linked-Size", str(len(server.body)))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(server.body).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, rest: bytes) -> None:
        fault = self.server.fault
        if fault == "none":
            self.wfile.write(rest)
            return
        self.wfile.write(rest[: len(rest) // 2])
        if fault == "hang":
            self._wait()
            self.wfile.write(rest[len(rest) // 2 :])
        while fault == "endless":
            self.wfile.write(rest)

    def _wait(self) -> None:
        self.server.waiting.set()
        self.server.release.wait()


@contextmanager
def serving(body: bytes) -> Iterator[WeightsServer]:
    """A running server of `body`."""
    with WeightsServer(body) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()
