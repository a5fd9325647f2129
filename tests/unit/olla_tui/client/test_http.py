"""Lines of NDJSON, whatever the pieces in which they come, and failures of connections as our errors."""

from __future__ import annotations

import json
import socket
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.client import http
from olla_tui.client.failures import HttpReply
from olla_tui.client.http import HttpApi, LineSplitter
from server.errors import EngineError, InvalidRequest, ServerUnreachable
from tests.support.json_server import JsonServer, Reply


@given(st.lists(st.text(), max_size=6), st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_lines_are_whole_whatever_the_pieces(texts: list[str], cuts: list[int], ends_open: bool) -> None:
    data = b"".join(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for text in texts)
    if ends_open:
        data = data[:-1]
    splitter = LineSplitter()
    got: list[bytes] = []
    begin = 0
    for cut in [*sorted(cut for cut in cuts if cut <= len(data)), len(data)]:
        got += splitter.feed(data[begin:cut])
        begin = cut
    got += splitter.finish()
    assert b"\n".join(got) == data.rstrip(b"\n")
    assert len(got) == len(texts)


def test_line_ends_of_other_kinds_do_not_cut() -> None:
    line = '"a\u2028b\x85c"'.encode()
    assert LineSplitter().feed(line + b"\n") == [line]


def test_a_line_without_end_is_refused() -> None:
    splitter = LineSplitter(max_line_bytes=10)
    with pytest.raises(EngineError, match="10 bytes"):
        splitter.feed(b"x" * 11)


async def test_lines_of_a_reply() -> None:
    with JsonServer({"POST /api/chat": Reply(lines=({"a": 1}, {"b": "é\u2028"}))}).running() as server:
        api = HttpApi(server.url)
        async with aclosing(api.lines("/api/chat", b"{}")) as lines:
            assert [line async for line in lines] == [{"a": 1}, {"b": "é\u2028"}]
        await api.aclose()


async def test_a_refused_stream_carries_its_status() -> None:
    with JsonServer({"POST /api/chat": Reply(400, {"error": "no"})}).running() as server:
        api = HttpApi(server.url)
        with pytest.raises(InvalidRequest, match=r"^no$") as caught:
            async with aclosing(api.lines("/api/chat", b"{}")) as lines:
                await anext(lines)
        await api.aclose()
    cause = caught.value.__cause__
    assert isinstance(cause, HttpReply)
    assert str(cause) == "400 Bad Request"
    assert cause.streaming


async def test_a_connection_that_breaks_off_is_said_so() -> None:
    with JsonServer({"GET /x": Reply(body={"a": 1}, truncated=True)}).running() as server:
        api = HttpApi(server.url)
        with pytest.raises(ServerUnreachable, match="broke off"):
            await api.json("GET", "/x")
        await api.aclose()


async def test_what_is_no_json_is_said_so() -> None:
    with JsonServer({"GET /x": Reply(body="<html>")}).running() as server:
        api = HttpApi(server.url)
        with pytest.raises(EngineError, match="no JSON"):
            await api.json("GET", "/x")
        await api.aclose()


async def test_a_link_that_died_is_noticed_by_whoever_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LOOK_TIMEOUT_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = HttpApi(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ServerUnreachable, match="ReadTimeout"):
            await api.json("GET", "/olla/status")
        await api.aclose()


async def test_nobody_there() -> None:
    with JsonServer({}).running() as server:
        url = server.url
    api = HttpApi(url)
    with pytest.raises(ServerUnreachable, match="could not connect"):
        await api.json("GET", "/x")
    await api.aclose()
