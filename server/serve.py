"""Listening: the socket, the server on this thread or on a thread of its own.

What answers requests is imported when a server is made: a screen that finds the address taken attaches to the
server there, and needs none of it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from server.errors import OllaError
from server.settings import Settings

if TYPE_CHECKING:
    import uvicorn

    from server.services.container import ServerServices

BACKLOG = 2048
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class AddressInUse(OllaError):
    """Another process listens on the address."""


def bind(settings: Settings) -> socket.socket:
    """A listening socket on the settings' address.

    Raises: AddressInUse, or OllaError when the address cannot be bound for another reason.
    """
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    # asyncio sends without delay only on sockets that name TCP; otherwise each reply on a kept connection
    # waits 40 ms for the client's acknowledgement.
    try:
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError:
        family = socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6 and not host:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"listen tcp {host}:{port}: bind: address already in use",
                hint=f"Another server listens on port {port}; stop it, or set OLLAMA_HOST to a free port.",
            ) from None
        raise OllaError(
            f"listen tcp {host}:{port}: {error}", hint="Set OLLAMA_HOST to an address of this machine."
        ) from None
    return sock


def settings_of(sock: socket.socket, settings: Settings) -> Settings:
    """The settings with the port that the socket has: port 0 lets the system choose one."""
    address = settings.address._replace(port=sock.getsockname()[1])
    return settings._replace(address=address)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop that a server runs on: libuv's, which takes a fifth off its processor time for a token."""
    import uvloop

    return uvloop.new_event_loop()


def _server(services: ServerServices, settings: Settings) -> uvicorn.Server:
    """uvicorn without signal handlers: whoever starts it decides what a signal means."""
    import uvicorn

    from server.api.app import ApiSettings, create_app

    class Server(uvicorn.Server):
        def install_signal_handlers(self) -> None:
            """Leave signals alone."""

        def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
            """Leave signals alone."""
            return nullcontext()

    api = ApiSettings(origins=settings.origins, bound_host=settings.host)
    config = uvicorn.Config(
        create_app(services, api, services.responses),
        http="h11",
        ws="none",
        lifespan="off",
        loop="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
    )
    return Server(config)


async def serve(
    services: ServerServices,
    sock: socket.socket,
    settings: Settings,
    *,
    started: Callable[[], None],
    stop: asyncio.Event,
    services_started: Callable[[], None] = lambda: None,
) -> None:
    """Serve on the socket until `stop` is set; then end open requests, workers and the socket.

    Args:
        started: called once requests are answered.
        services_started: called once the services work, a little before.
    """
    await services.start()
    services_started()
    # In a thread, because the services are used meanwhile: its imports take a tenth of a second.
    server = await asyncio.to_thread(_server, services, settings)
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="http")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        started()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        await services.aclose()
        await asyncio.gather(serving, stopping, return_exceptions=True)
        sock.close()


class ServerThread:
    """The server on a loop and a thread of its own, so that a stalled screen never holds it up.

    Attributes:
        settings: as given, with the port that the socket has.
        services: live on `loop` alone; the screen reaches them through an adapter.
    """

    def __init__(self, settings: Settings, sock: socket.socket) -> None:
        from server.services.container import build_services

        self.settings = settings_of(sock, settings)
        self._sock = sock
        self._has_services = threading.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="olla-server", daemon=True)
        self.services = build_services(self.settings)
        self.loop = new_event_loop()

    def launch(self) -> None:
        """Begin to start; whoever wants to know when requests are answered calls `wait_until_started`."""
        self._thread.start()

    def start(self) -> None:
        """Start serving; returns once requests are answered. Raises: what kept the server from starting."""
        self.launch()
        self.wait_until_started()

    def wait_for_services(self) -> None:
        """Wait until the services work. Raises: what kept the server from starting."""
        self._wait_for(self._has_services)

    def wait_until_started(self) -> None:
        """Wait until requests are answered. Raises: what kept the server from starting."""
        self._wait_for(self._ready)

    def _wait_for(self, event: threading.Event) -> None:
        if not event.wait(START_TIMEOUT_S):
            raise OllaError("the server did not start in time")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop serving and wait until workers and socket are gone."""
        if self._stop is not None and self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_TIMEOUT_S)

    def join(self) -> None:
        """Wait until the server has ended."""
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._main())
        except BaseException as error:
            self._failure = error
        finally:
            self._has_services.set()
            self._ready.set()
            self.loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        await serve(
            self.services,
            self._sock,
            self.settings,
            started=self._ready.set,
            stop=self._stop,
            services_started=self._has_services.set,
        )
