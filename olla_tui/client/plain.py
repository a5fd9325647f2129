"""A blocking client for short commands, on the standard library alone.

`olla list` is over in a tenth of a second; the asynchronous client's imports alone would double that. It
knows requests and JSON, no shapes; everything longer than one reply goes through `olla_tui.client.remote`.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from olla_tui.client.failures import refusal, unreachable

TIMEOUT_S = 60.0
"""For one reply; listing and showing take milliseconds, removing a large model's files may take seconds."""


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
        status, text = self._exchange(method, path, body)
        reply = _parse(text)
        if status >= 400:
            message = reply["error"] if isinstance(reply, dict) and "error" in reply else text.strip()
            model = str((body or {}).get("model", ""))
            raise refusal(status, str(message), path=path, model=model, streaming=streaming)
        return reply

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        url = urlsplit(self.base_url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=self._timeout_s)
        payload = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            connection.request(method, url.path + path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.base_url, str(error) or type(error).__name__) from error
        finally:
            connection.close()


def _parse(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text
