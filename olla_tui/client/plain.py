"""A blocking client for short commands, on the standard library alone.

`olla list` is over in less than a tenth of a second; the asynchronous client's imports alone would double
that. It knows requests and JSON, no shapes; everything else goes through `olla_tui.client.remote`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from olla_tui.client.exchange import BadReply, RawReply, exchange
from olla_tui.client.failures import refusal, unreachable
from server.wire.headers import HINT_HEADER

TIMEOUT_S = 60.0
"""For one reply; listing and showing take milliseconds, removing a large model's files may take seconds."""


class PlainReply(NamedTuple):
    """A JSON value, None for an empty reply, and the headers that came with it, by name in lower case."""

    value: Any
    headers: dict[str, str]


class PlainClient:
    """Calls one server, a connection for each call."""

    def __init__(self, base_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.base_url = base_url
        self._timeout_s = timeout_s

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, streaming: bool = False
    ) -> Any:
        """Ask for one JSON value; None for an empty reply.

        Args:
            streaming: whether the route is one that Ollama's command line counts as streaming; it only
                decides how the error is shown.
        Raises: ServerUnreachable, or the error of `failures.refusal`.
        """
        return self.call_for(method, path, body, streaming=streaming).value

    def call_for(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, streaming: bool = False
    ) -> PlainReply:
        """As `call`, with the headers of the reply."""
        reply = self._exchange(method, path, body)
        text = reply.body.decode("utf-8", "replace")
        if reply.status >= 400:
            model = str((body or {}).get("model", ""))
            hint = reply.headers.get(HINT_HEADER)
            raise refusal(reply.status, text, hint, path=path, model=model, streaming=streaming)
        return PlainReply(_parse(text), reply.headers)

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> RawReply:
        payload = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            return exchange(method, urlsplit(self.base_url + path), payload, self._timeout_s)
        except (OSError, ValueError, BadReply) as error:
            raise unreachable(self.base_url, str(error) or type(error).__name__) from error


def _parse(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text
