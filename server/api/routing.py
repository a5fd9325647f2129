"""The table of routes, with the manners of Ollama's router for what is not in it.

Unknown paths get a plain 404, wrong methods a plain 405 that lists the right ones, extra slashes a redirect.
HEAD is answered only where a route says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.replies import Reply

_METHODS = ("HEAD", "GET", "POST", "DELETE")
"""In the order in which Ollama lists them in `Allow`."""


class Route(NamedTuple):
    """An application for a method and a path; `{name}` in the path matches one segment."""

    method: str
    path: str
    app: ASGIApp


class Router:
    """Sends each request to the application of its route."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, ASGIApp]] = {}
        self._patterns: dict[re.Pattern[str], dict[str, ASGIApp]] = {}
        for route in routes:
            if "{" in route.path:
                pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route.path)))
                self._patterns.setdefault(pattern, {})[route.method] = route.app
            else:
                self._fixed.setdefault(route.path, {})[route.method] = route.app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        apps, params = self._find(path)
        if method in apps:
            await apps[method]({**scope, "path_params": params}, receive, send)
            return
        await self._refusal(path, method, scope["query_string"]).send(send)

    def allowed(self, path: str) -> str:
        """Methods of a path as in `Allow`, "" for an unknown path."""
        apps, _ = self._find(path)
        return ", ".join(method for method in _METHODS if method in apps)

    def _find(self, path: str) -> tuple[dict[str, ASGIApp], dict[str, str]]:
        if path in self._fixed:
            return self._fixed[path], {}
        for pattern, apps in self._patterns.items():
            if match := pattern.fullmatch(path):
                return apps, match.groupdict()
        return {}, {}

    def _refusal(self, path: str, method: str, query: bytes) -> Reply:
        clean = re.sub("/{2,}", "/", path)
        if len(clean) > 1:
            clean = clean.removesuffix("/")
        if clean != path and (method in self._find(clean)[0]):
            return _redirect(clean, method, query)
        if allow := self.allowed(path):
            return Reply(
                b"405 method not allowed",
                status=405,
                content_type="text/plain",
                headers=(("allow", allow),),
            )
        return Reply(b"404 page not found", status=404, content_type="text/plain")


def _redirect(path: str, method: str, query: bytes) -> Reply:
    """To the path without superfluous slashes; methods other than GET keep their body by 307."""
    clean = quote(path, safe="/:@")
    location = clean + (f"?{query.decode('latin-1')}" if query else "")
    headers = (("location", location),)
    if method != "GET":
        return Reply(status=307, content_type="", headers=headers)
    text = f'<a href="{clean}">Moved Permanently</a>.\n\n'
    return Reply(text.encode(), status=301, content_type="text/html; charset=utf-8", headers=headers)
