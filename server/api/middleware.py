"""Who may call: browser origins and Host headers, by Ollama's rules.

A web page on another site must not reach a server on this machine, neither by its own origin nor by a name
that was made to point here.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import psutil
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from server.api.replies import Reply
from server.api.routing import Router

ALLOWED_ORIGINS = (
    *(
        f"{scheme}://{host}{port}"
        for host in ("localhost", "127.0.0.1", "0.0.0.0")
        for port in ("", ":*")
        for scheme in ("http", "https")
    ),
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)
"""Origins that may always call; "*" matches anything."""

_PREFLIGHT_HEADERS = (
    ("access-control-allow-methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
    (
        "access-control-allow-headers",
        "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
        "X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,"
        "X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,"
        "X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout,X-Api-Key,Anthropic-Version",
    ),
    ("access-control-max-age", "43200"),
)

_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")

_FORBIDDEN = Reply(status=403, content_type="")


class OriginGuard:
    """CORS: refuses foreign origins with any method, answers preflights, marks other replies."""

    def __init__(self, app: HostGuard, router: Router, origins: tuple[str, ...]) -> None:
        self._app = app
        self._router = router
        self._patterns = tuple(origin.lower() for origin in (*origins, *ALLOWED_ORIGINS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        host = headers.get("host", "")
        if not origin or origin in (f"http://{host}", f"https://{host}"):
            await self._app(scope, receive, send)
            return
        if not self._allows(origin):
            await _FORBIDDEN.send(send)
            return
        if scope["method"] == "OPTIONS":
            await self._preflight(scope["path"], origin).send(send)
            return
        await self._app(scope, receive, self._marked(send, origin))

    def _allows(self, origin: str) -> bool:
        return any(_matches(pattern, origin) for pattern in self._patterns)

    def _marks(self, origin: str) -> tuple[tuple[str, str], ...]:
        """Headers that let the page of `origin` read the reply."""
        if "*" in self._patterns:
            return (("access-control-allow-origin", "*"),)
        return (("access-control-allow-origin", origin), ("vary", "Origin"))

    def _preflight(self, path: str, origin: str) -> Reply:
        headers = [*self._marks(origin), *_PREFLIGHT_HEADERS]
        headers.append(("vary", "Access-Control-Request-Method"))
        headers.append(("vary", "Access-Control-Request-Headers"))
        if allow := self._router.allowed(path):
            headers.append(("allow", allow))
        return Reply(status=204, content_type="", headers=tuple(headers))

    def _marked(self, send: Send, origin: str) -> Send:
        marks = [(name.encode(), value.encode("latin-1")) for name, value in self._marks(origin)]

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *marks]
            await send(message)

        return marked


def _matches(pattern: str, origin: str) -> bool:
    """Whether an origin is what a pattern with at most one "*" means."""
    before, star, after = pattern.partition("*")
    if not star:
        return origin == pattern
    fits = len(origin) >= len(before) + len(after)
    return fits and origin.startswith(before) and origin.endswith(after)


class HostGuard:
    """Refuses names that were made to point at this machine, when only the machine itself may call.

    `own_addresses`: addresses of this machine's network interfaces.
    """

    def __init__(
        self, app: Router, bound_host: str, *, own_addresses: Callable[[], set[str]] | None = None
    ) -> None:
        self._app = app
        self._guards = _is_loopback(bound_host)
        self._own_addresses = own_addresses or interface_addresses
        self._hostname = socket.gethostname().lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._guards:
            await self._app(scope, receive, send)
            return
        host = _without_port(Headers(scope=scope).get("host", ""))
        if self._allows_address(host):
            await self._app(scope, receive, send)
        elif not self._allows_name(host.lower()):
            await _FORBIDDEN.send(send)
        elif scope["method"] == "OPTIONS":
            await Reply(status=204, content_type="").send(send)
        else:
            await self._app(scope, receive, send)

    def _allows_address(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if address.is_loopback or address.is_unspecified:
            return True
        is_private = any(address in network for network in _PRIVATE if network.version == address.version)
        return is_private or str(address) in self._own_addresses()

    def _allows_name(self, host: str) -> bool:
        return host in ("", "localhost", self._hostname) or host.endswith(_LOCAL_SUFFIXES)


def interface_addresses() -> set[str]:
    """IP addresses of this machine's network interfaces."""
    found: set[str] = set()
    for addresses in psutil.net_if_addrs().values():
        found.update(
            address.address.split("%", 1)[0]
            for address in addresses
            if address.family in (socket.AF_INET, socket.AF_INET6)
        )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
