"""A small HTTP server whose replies a test writes down; it keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """A reply. `lines`: NDJSON; else `body` as JSON, or text when it is a string, or nothing when None."""

    status: int = 200
    body: Any = None
    lines: tuple[Any, ...] = ()
    truncated: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def content(self) -> bytes:
        """The bytes of the reply's body."""
        if self.lines:
            return b"".join(json.dumps(line).encode() + b"\n" for line in self.lines)
        if self.body is None:
            return b""
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


class Asked(NamedTuple):
    """A request that came in; `body` is parsed JSON, or bytes when it is none."""

    method: str
    path: str
    body: Any


class JsonServer:
    """Replies by "METHOD /path"; a list of replies is given one after the other, the last one for ever."""

    def __init__(self, replies: dict[str, Reply | list[Reply]]) -> None:
        self.replies = replies
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                outer.answer(self)

            do_GET = do_POST = do_DELETE = do_HEAD = _answer

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request from the script; what is not in it gets 404."""
        body = self._read(handler)
        try:
            parsed = json.loads(body) if body else None
        except ValueError:
            parsed = body
        self.asked.append(Asked(handler.command, handler.path, parsed))
        scripted = self.replies.get(f"{handler.command} {handler.path}", Reply(404, "404 page not found"))
        if isinstance(scripted, list):
            scripted = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        content = scripted.content()
        handler.send_response(scripted.status)
        handler.send_header("Content-Length", str(len(content) + (10 if scripted.truncated else 0)))
        for name, value in scripted.headers:
            handler.send_header(name, value)
        if scripted.truncated:
            handler.close_connection = True
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)

    def _read(self, handler: BaseHTTPRequestHandler) -> bytes:
        if handler.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(handler.rfile.readline(), 16):
                body += handler.rfile.read(size)
                handler.rfile.readline()
            handler.rfile.readline()
            return body
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    @contextmanager
    def running(self) -> Iterator[JsonServer]:
        """Serve in a thread while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
