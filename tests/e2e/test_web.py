"""`olla web` by HTTP and WebSocket: who is let in, and that a visitor sees and steers the workstation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psutil
import pytest

from olla_tui.cli.main import run_command
from olla_tui.cli.web import is_allowed, visitor_command
from tests.e2e.test_watching import environment
from tests.support.json_server import JsonServer, Reply
from tests.support.until import until
from tests.unit.olla_tui.cli.test_top import OLLAMA

TOKEN = "let-me-in"
WAIT_S = 60


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def web(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """`olla web` as a client of a server that is an Ollama."""
    home = tmp_path_factory.mktemp("home")
    replies = {**OLLAMA, "GET /api/tags": Reply(body={"models": []})}
    with JsonServer(replies).running() as server:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "olla_tui", "web", "--port", str(port), "--token", TOKEN],
            env={**os.environ, "TERM": "dumb", **environment(home, server.url)},
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            try:
                told = process.stdout.readline()
                assert told == f"The workstation is at http://127.0.0.1:{port}/?token={TOKEN}\n"
                yield psutil.Process(process.pid)
            finally:
                process.terminate()


def browser() -> aiohttp.ClientSession:
    """Keeps cookies, also those of an address."""
    jar = aiohttp.CookieJar(unsafe=True)
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WAIT_S), cookie_jar=jar)


class Page(NamedTuple):
    """A reply that was read to its end, so that its connection is given back."""

    status: int
    url: str
    text: str


async def page_at(session: aiohttp.ClientSession, url: str, **headers: str) -> Page:
    """What is at an address, asked for again as long as nobody listens yet."""
    while True:
        try:
            async with session.get(url, headers=headers) as reply:
                return Page(reply.status, str(reply.url), await reply.text())
        except aiohttp.ClientConnectorError:
            continue


async def test_only_who_brings_the_token_is_let_in(web: psutil.Process, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    async with browser() as session:
        for path in ("/", "/?token=guess", "/static/js/textual.js", "/ws"):
            assert (await page_at(session, url + path)).status == 403
        page = await page_at(session, f"{url}/?token={TOKEN}")
        assert page.status == 200 and page.url == f"{url}/"
        assert f"ws://127.0.0.1:{port}/ws" in page.text
        assert (await page_at(session, f"{url}/static/js/textual.js")).status == 200
        stranger = await page_at(session, f"{url}/ws", Origin="http://elsewhere.example")
        assert stranger.status == 403
    assert not web.children(), "nobody has a process before the page asks for one"


async def test_a_visitor_sees_the_screen_and_has_a_process_that_ends_with_the_visit(
    web: psutil.Process, port: int
) -> None:
    url = f"http://127.0.0.1:{port}"
    async with browser() as session:
        assert (await page_at(session, f"{url}/?token={TOKEN}")).status == 200
        async with session.ws_connect(f"{url}/ws?width=100&height=30") as visit:
            await seen(visit, b"Ollama")
            command = [word for child in web.children(recursive=True) for word in child.cmdline()]
            assert "web-visitor" in command and "serve" not in command
            await visit.send_json(["stdin", "\x1b2"])
            await seen(visit, b"Models")
            await visit.send_json(["resize", {"width": 60, "height": 20}])
            await visit.send_json(["stdin", "\x11"])
            async for _ in visit:
                continue
        await until(lambda: not web.children(recursive=True))


async def seen(visit: aiohttp.ClientWebSocketResponse, text: bytes) -> None:
    """Read until a text has come."""
    data = b""
    while text not in data:
        message = await visit.receive(WAIT_S)
        assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), message
        data += message.data if isinstance(message.data, bytes) else message.data.encode()


def test_a_page_of_another_site_is_none_of_ours() -> None:
    assert is_allowed("http://h:1", "h:1", "t", "t") and is_allowed(None, "h:1", "t", "t")
    assert not is_allowed("http://evil", "h:1", "t", "t") and not is_allowed(None, "h:1", "", "t")
    assert "web-visitor 'http://[::1]:1'" in visitor_command("http://[::1]:1")


@pytest.mark.parametrize("port_text", ["0", "70000", "x"])
def test_a_port_that_is_none_is_refused(
    port_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_command(["web", "--port", port_text]) == 1
