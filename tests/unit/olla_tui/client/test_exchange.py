"""Replies as they come over a connection: whole, in chunks, up to its end, cut short, or none at all."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.client.exchange import BadReply, RawReply, read_reply


def read(raw: bytes) -> RawReply:
    return read_reply(io.BytesIO(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello and what comes behind",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    ],
)
def test_a_body_is_read_as_the_head_says(raw: bytes) -> None:
    reply = read(raw)
    assert (reply.status, reply.body) == (200, b"hello")


def test_names_of_headers_are_in_lower_case() -> None:
    reply = read(b"HTTP/1.1 404 Not Found\r\nOlla-Hint: a: b \r\nContent-Length: 0\r\n\r\n")
    assert (reply.status, reply.headers["olla-hint"]) == (404, "a: b")


def test_a_reply_without_content_ends_with_its_head() -> None:
    assert read(b"HTTP/1.1 204 No Content\r\n\r\nmore").body == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * (1 << 17) + b"\r\n\r\n",
    ],
)
def test_what_is_no_whole_reply_is_refused(raw: bytes) -> None:
    with pytest.raises(BadReply):
        read(raw)


@given(st.binary(max_size=200), st.lists(st.integers(1, 60), max_size=8))
def test_any_chunks_are_joined(body: bytes, sizes: list[int]) -> None:
    raw, rest = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body
    for size in [*sizes, 200]:
        piece, rest = rest[:size], rest[size:]
        if piece:
            raw += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    assert read(raw + b"0\r\n\r\n").body == body


@given(st.binary(max_size=60))
def test_any_bytes_are_a_reply_or_refused(raw: bytes) -> None:
    try:
        reply = read(b"HTTP/1.1 " + raw)
    except BadReply:
        return
    assert 0 <= reply.status <= 999
