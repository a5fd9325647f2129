"""`olla web`: the workstation in a browser. Each visitor has a process of their own, which attaches."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from olla_tui.client.launch import LOCAL_HOSTS, ensure_server
from server.errors import CapabilityMissing, InvalidRequest, OllaError
from server.settings import Settings

if TYPE_CHECKING:
    from aiohttp.web import Application, Request, StreamResponse

COOKIE = "olla-web"
MAX_PORT = 65_535


def serve_web(host: str, port: int, token: str) -> None:
    """Serve the screen until a signal ends it.

    Args:
        host: address to listen on.
        token: what the first visit must bring; "" for one that is made up and printed.
    Raises: CapabilityMissing without the extra, InvalidRequest, ServerUnreachable.
    """
    if not 1 <= port <= MAX_PORT:
        raise InvalidRequest(f"{port} is no port")
    settings = Settings.load()
    server_class = _server_class()
    ensure_server(settings)
    key = token or secrets.token_urlsafe(24)
    server = server_class(visitor_command(settings.base_url), key, host=host, port=port)
    if host not in LOCAL_HOSTS - {"", "0.0.0.0", "::"}:
        print(f"Warning: {host or 'every address'} can be reached from other machines, without encryption.")
    print(f"The workstation is at http://{host}:{port}/?token={key}\nctrl+c ends it; the server goes on.")
    sys.stdout.flush()
    try:
        server.serve()
    except OSError as error:
        raise OllaError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}", hint="Choose another --port."
        ) from None


def visitor_command(base_url: str) -> str:
    """What a visitor's process runs: a client of the running server, and never a server of its own."""
    words = [sys.executable, "-P", "-m", "olla_tui", "web-visitor", base_url]
    # A browser has all colours and letters, whatever the terminal is that `olla web` was started on.
    return "COLORTERM=truecolor LC_ALL=C.UTF-8 NO_COLOR= exec " + shlex.join(words)


def is_allowed(headers_origin: str | None, host: str, cookie: str, token: str) -> bool:
    """Whether a request may pass: it has the token, and comes from no page of another site. Pure."""
    is_ours = headers_origin is None or urlsplit(headers_origin).netloc == host
    return is_ours and secrets.compare_digest(cookie.encode(), token.encode())


def _server_class() -> Any:
    """Textual's server with a gate before it; the extra is imported here alone."""
    try:
        import aiohttp_jinja2
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError:
        raise CapabilityMissing(
            "`olla web` needs the package textual-serve", hint="Install it: pip install 'olla[web]'."
        ) from None

    class GatedServer(Server):  # type: ignore[misc]
        """Lets in who brings the token, once in the address and then in a cookie."""

        def __init__(self, command: str, token: str, *, host: str, port: int) -> None:
            super().__init__(command, host=host, port=port, title="olla")
            self._token = token

        def initialize_logging(self) -> None:
            """What goes wrong is in the logs of the processes."""

        async def on_startup(self, app: Application) -> None:
            """No words of its own."""

        async def _make_app(self) -> Application:
            app: Application = await super()._make_app()
            app.middlewares.append(self._gate)
            return app

        @web.middleware
        async def _gate(
            self, request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
        ) -> StreamResponse:
            given = request.query.get("token")
            if request.path == "/" and given is not None:
                if not is_allowed(None, request.host, given, self._token):
                    raise web.HTTPForbidden(text="This is not the token that `olla web` printed.\n")
                reply = web.HTTPFound("/")
                reply.set_cookie(COOKIE, self._token, httponly=True, samesite="Strict")
                raise reply
            cookie = request.cookies.get(COOKIE, "")
            if not is_allowed(request.headers.get("Origin"), request.host, cookie, self._token):
                raise web.HTTPForbidden(text="Open the address that `olla web` printed.\n")
            return await handler(request)

        async def handle_index(self, request: Request) -> StreamResponse:
            """The page, with addresses as the visitor has them: through a tunnel the port is another."""
            scheme = "wss" if request.scheme == "https" else "ws"
            context = {
                "font_size": 16,
                "app_websocket_url": f"{scheme}://{request.host}/ws",
                "config": {"static": {"url": "/static/"}},
                "application": {"name": self.title},
            }
            page: StreamResponse = aiohttp_jinja2.render_template("app_index.html", request, context)
            return page

    return GatedServer
