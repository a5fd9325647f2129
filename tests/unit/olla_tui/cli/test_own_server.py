"""The server of the screen's process before it has started."""

from __future__ import annotations

import asyncio

import pytest

from olla_tui.cli.own_server import OwnServer
from server import serve
from server.errors import StoreError
from server.serve import bind
from server.settings import Settings


@pytest.fixture
def own() -> OwnServer:
    settings = Settings.load(environ={"HOME": "/nowhere", "OLLAMA_HOST": "127.0.0.1:0"})
    return OwnServer(settings, bind(settings))


def test_one_that_was_never_told_to_start_gives_its_port_back(own: OwnServer) -> None:
    assert own.settings.port > 0
    own.stop()
    bind(own.settings).close()


async def test_what_keeps_it_from_starting_is_told_to_all_who_wait(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("there is no room")

    monkeypatch.setattr(serve, "ServerThread", fail)
    for wait in (own.services, own.answering):
        with pytest.raises(StoreError, match="no room"):
            await wait()
    await asyncio.to_thread(own.stop)
    with pytest.raises(StoreError, match="no room"):
        own.join()
    bind(own.settings).close()
