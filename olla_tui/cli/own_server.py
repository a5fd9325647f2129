"""The server of the workstation's own process, which starts while the screen shows its first frames."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from server.serve import settings_of
from server.settings import Settings

if TYPE_CHECKING:
    from server.serve import ServerThread
    from server.services.protocols import Services


class OwnServer:
    """A server that is told to start, and waited for, from the screen's loop.

    Attributes:
        settings: as given, with the port that the socket has.
    """

    def __init__(self, settings: Settings, sock: socket.socket) -> None:
        self.settings = settings_of(sock, settings)
        self._sock = sock
        self._starter = threading.Thread(target=self._start, name="olla-start", daemon=True)
        self._is_told = False
        self._with_services: Future[ServerThread] = Future()
        self._answering: Future[None] = Future()

    def begin(self) -> None:
        """Tell it to start, once."""
        if not self._is_told:
            self._is_told = True
            self._starter.start()

    async def services(self) -> Services:
        """Begin, and wait for the services. Raises: what kept the server from starting."""
        from olla_tui.client.crossloop import CrossLoopServices

        self.begin()
        thread = await asyncio.shield(asyncio.wrap_future(self._with_services))
        return CrossLoopServices(thread.services, thread.loop)

    async def answering(self) -> None:
        """Wait until requests are answered. Raises: what kept the server from starting."""
        await asyncio.shield(asyncio.wrap_future(self._answering))

    def stop(self) -> None:
        """Stop serving and wait until workers and socket are gone, also where it is still starting."""
        if not self._is_told:
            self._sock.close()
            return
        self._starter.join()
        if self._with_services.exception() is None:
            self._with_services.result().stop()
        self._sock.close()

    def join(self) -> None:
        """Wait until the server has ended. Raises: what kept it from starting."""
        self.begin()
        self._with_services.result().join()

    def _start(self) -> None:
        thread = None
        try:
            from server.serve import ServerThread

            thread = ServerThread(self.settings, self._sock)
            thread.launch()
            thread.wait_for_services()
            self._with_services.set_result(thread)
            thread.wait_until_started()
        except BaseException as error:
            if not self._with_services.done():
                self._with_services.set_exception(error)
            self._answering.set_exception(error)
        else:
            self._answering.set_result(None)
