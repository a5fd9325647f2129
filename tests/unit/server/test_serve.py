"""The socket that the server listens on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from server.serve import AddressInUse, bind, settings_of
from server.settings import Settings


def settings_for(host: str) -> Settings:
    return Settings.load(environ={"HOME": "/nowhere", "OLLAMA_HOST": host})


async def test_replies_on_a_kept_connection_do_not_wait_for_acknowledgements() -> None:
    sock = bind(settings_for("127.0.0.1:0"))
    no_delay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        no_delay.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(connected, sock=sock):
        _, writer = await asyncio.open_connection(*sock.getsockname()[:2])
        assert await no_delay == 1
        writer.close()
        await writer.wait_closed()


def test_the_settings_tell_the_port_that_the_system_chose() -> None:
    with bind(settings_for("127.0.0.1:0")) as sock:
        chosen = settings_of(sock, settings_for("127.0.0.1:0"))
        assert chosen.port == sock.getsockname()[1] > 0
        assert chosen.base_url == f"http://127.0.0.1:{chosen.port}"


def test_an_address_that_is_taken_is_told() -> None:
    with (
        bind(settings_for("127.0.0.1:0")) as sock,
        pytest.raises(AddressInUse, match="address already in use"),
    ):
        bind(settings_for(f"127.0.0.1:{sock.getsockname()[1]}"))
