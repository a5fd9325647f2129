"""`olla serve`: the server alone, on the main thread, its log on stderr."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys

from server.serve import bind, new_event_loop, serve, settings_of
from server.services.container import build_services
from server.settings import Settings
from server.version import OLLA_VERSION

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def run_server() -> None:
    """Serve until SIGINT or SIGTERM. Raises: OllaError when the address cannot be bound."""
    settings = Settings.load()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger("olla").addHandler(handler)
    sock = bind(settings)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(settings_of(sock, settings), sock))


async def _serve(settings: Settings, sock: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    host, port = sock.getsockname()[:2]

    def started() -> None:
        shown = f"[{host}]" if ":" in host else host
        print(f"Listening on {shown}:{port} (version {OLLA_VERSION})", file=sys.stderr, flush=True)
        # What the imports have made stays. To look through it takes as long as a step, for every stream.
        gc.freeze()

    await serve(build_services(settings), sock, settings, started=started, stop=stop)
