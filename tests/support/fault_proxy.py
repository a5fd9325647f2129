"""A proxy before a registry that breaks replies with blobs in every way that networks and caches do."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.support.registry import served_handler

FAULTS = ("refuse", "drop", "truncate", "stall", "other range", "whole", "busy", "redirect", "gzip")


class FaultProxy:
    """What the proxy does to requests for blobs.

    Attributes:
        share: of the requests that are broken.
        kinds: which of `FAULTS`, and "corrupt".
        fetched: bytes that were sent whole, by their ranges, in order.
        n_faults: how many were broken.
    """

    def __init__(self, upstream: str, seed: int, share: float, kinds: tuple[str, ...] = FAULTS) -> None:
        self.upstream = upstream
        self.share = share
        self.kinds = kinds
        self.host = ""
        self.fetched: list[tuple[int, int]] = []
        self.n_faults = 0
        self.ended = threading.Event()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def fault(self) -> str:
        """What becomes of the next request, "" for no fault."""
        with self._lock:
            if self._random.random() >= self.share:
                return ""
            self.n_faults += 1
            return self._random.choice(self.kinds)

    def below(self, n: int) -> int:
        """A number below n."""
        with self._lock:
            return self._random.randrange(n) if n > 0 else 0

    def note(self, start: int, end: int) -> None:
        """Note bytes that were sent."""
        with self._lock:
            self.fetched.append((start, end))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _ask(self, **changed: str) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.proxy.upstream)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name: value for name, value in {**dict(self.headers.items()), **changed}.items() if value}
        upstream.request(self.command, self.path.removeprefix("/again"), body, headers)
        reply = upstream.getresponse()
        data = reply.read()
        upstream.close()
        dropped = ("content-length", "connection", "date", "server")
        kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in dropped]
        return reply.status, kept, data

    def _send(
        self, status: int, headers: list[tuple[str, str]], data: bytes, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self) -> None:
        is_data = "/blobs/" in self.path and self.command == "GET"
        fault = self.proxy.fault() if is_data and not self.path.startswith("/again") else ""
        match fault:
            case "refuse":
                self._send(500, [], b"broken on purpose")
                return
            case "busy":
                self._send(429, [], b"too many requests")
                return
            case "redirect":
                self._send(307, [("Location", f"http://{self.proxy.host}/again{self.path}")], b"")
                return
            case "whole":
                status, headers, data = self._ask(Range="")
            case "other range":
                status, headers, data = self._ask(Range="bytes=1-1")
            case _:
                status, headers, data = self._ask()
        self._mangle(fault, status, headers, data)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def _mangle(self, fault: str, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        length = len(data)
        if fault in ("drop", "truncate", "stall"):
            data = data[: self.proxy.below(length)]
        elif fault == "corrupt" and data:
            at = self.proxy.below(length)
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        elif fault == "gzip":
            headers = [*headers, ("Content-Encoding", "gzip")]
        if fault == "drop":
            self.close_connection = True
            return
        self._send(status, headers, data, length)
        if fault == "stall":
            self.proxy.ended.wait(60)
        if fault in ("truncate", "stall"):
            self.close_connection = True
        place = dict(headers).get("Content-Range")
        if place and fault in ("", "redirect"):
            start = int(place.split()[1].split("-")[0])
            self.proxy.note(start, start + len(data))


@contextmanager
def served_faults(
    upstream: str, seed: int, share: float, kinds: tuple[str, ...] = FAULTS
) -> Iterator[FaultProxy]:
    """A proxy before a host that answers on a port of its own until the end of the block."""
    proxy = FaultProxy(upstream, seed, share, kinds)
    with served_handler(type("Handler", (_Handler,), {"proxy": proxy})) as host:
        proxy.host = host
        try:
            yield proxy
        finally:
            proxy.ended.set()
