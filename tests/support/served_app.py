"""An ASGI application on a real socket, within a test's own event loop."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.types import ASGIApp

REPLY_TIMEOUT_S = 20.0


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # Without the server's main loop, which looks for its end only each tenth of a second.
    await server.startup(sockets=[sock])
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{sock.getsockname()[1]}", timeout=REPLY_TIMEOUT_S, trust_env=False
        ) as client:
            yield client
    finally:
        await server.shutdown(sockets=[sock])
