"""One HTTP request and its reply over a connection of its own, for short commands.

Importing the standard library's `http.client`, with what mail and TLS need, takes as long as all the rest of
`olla list`. This speaks as much of HTTP/1.1 (RFC 9112) as one reply needs, and leaves TLS to that module.
"""

from __future__ import annotations

import socket
from typing import BinaryIO, NamedTuple
from urllib.parse import SplitResult

_MAX_LINE_BYTES = 1 << 16
_MAX_HEADERS = 100
"""Bounds of the head of a reply, those of `http.client`."""

_NO_BODY = (204, 304)


class BadReply(Exception):
    """What came is no HTTP reply, or not all of it."""


class RawReply(NamedTuple):
    """A reply; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(method: str, url: SplitResult, payload: bytes | None, timeout_s: float) -> RawReply:
    """Ask for one reply, with JSON as the body of the request. Raises: OSError, BadReply, ValueError."""
    path = url.path + (f"?{url.query}" if url.query else "")
    if url.scheme == "https":
        return _encrypted(method, url, path, payload, timeout_s)
    lines = [
        f"{method} {path or '/'} HTTP/1.1",
        f"Host: {url.netloc}",
        "Accept-Encoding: identity",
        "Connection: close",
        "Content-Type: application/json",
    ]
    if payload is not None:
        lines.append(f"Content-Length: {len(payload)}")
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    with socket.create_connection((url.hostname or "", url.port or 80), timeout_s) as sock:
        sock.sendall(head + (payload or b""))
        with sock.makefile("rb") as file:
            return read_reply(file)


def read_reply(file: BinaryIO) -> RawReply:
    """A reply up to its end, or that of the connection. Raises: OSError, BadReply."""
    status = 100
    while 100 <= status < 200:
        status, headers = _read_head(file)
    if status in _NO_BODY:
        return RawReply(status, headers, b"")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return RawReply(status, headers, _read_chunks(file))
    length = headers.get("content-length")
    if length is None:
        return RawReply(status, headers, file.read())
    return RawReply(status, headers, _read_exactly(file, _number(length, 10)))


def _read_head(file: BinaryIO) -> tuple[int, dict[str, str]]:
    version, _, rest = _read_line(file).partition(" ")
    if not version.startswith("HTTP/1."):
        raise BadReply(f"the answer is no HTTP/1.1: {version[:40]!r}" if version else "no answer came")
    status = _number(rest[:3], 10)
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = _read_line(file)
        if not line:
            return status, headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise BadReply("the answer has too many headers")


def _read_chunks(file: BinaryIO) -> bytes:
    chunks: list[bytes] = []
    while n_bytes := _number(_read_line(file).partition(";")[0].strip(), 16):
        chunks.append(_read_exactly(file, n_bytes))
        _read_line(file)
    return b"".join(chunks)


def _read_line(file: BinaryIO) -> str:
    line = file.readline(_MAX_LINE_BYTES)
    if len(line) == _MAX_LINE_BYTES:
        raise BadReply("the answer has a line that is too long")
    return line.decode("latin-1").rstrip("\r\n")


def _read_exactly(file: BinaryIO, n_bytes: int) -> bytes:
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise BadReply("the connection broke in the middle of the answer")
    return data


def _number(text: str, base: int) -> int:
    try:
        return int(text, base) if text.isalnum() and text.isascii() else _not_a_number(text)
    except ValueError:
        return _not_a_number(text)


def _not_a_number(text: str) -> int:
    raise BadReply(f"the answer has no number where one is needed: {text[:40]!r}")


def _encrypted(method: str, url: SplitResult, path: str, payload: bytes | None, timeout_s: float) -> RawReply:
    import http.client

    connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=timeout_s)
    try:
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return RawReply(response.status, headers, response.read())
    except http.client.HTTPException as error:
        raise BadReply(str(error) or type(error).__name__) from error
    finally:
        connection.close()
