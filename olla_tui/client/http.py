"""JSON and NDJSON over HTTP, asynchronously, with refusals as our errors.

It knows requests, lines and status codes; the shapes of bodies are `server.wire`'s.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from olla_tui.client.failures import failure, refusal, unreachable
from server.errors import EngineError, ServerUnreachable
from server.wire.headers import HINT_HEADER
from server.wire.olla import fault_of_line

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 5.0
"""A server on this machine or its network answers in milliseconds. Most replies may take long: loads do."""

LOOK_TIMEOUT_S = 30.0
"""Longest wait for a piece of a reply that tells how things stand (GET): a link that died says nothing."""

MAX_LINE_BYTES = 256 * 1024 * 1024
"""Longest line that is read; the longest that servers send are vectors and vocabularies."""


class LineSplitter:
    """Lines from pieces of bytes, cut at the line feed alone: JSON texts may hold other line ends."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._parts: list[bytes] = []
        self._n_bytes = 0
        self._max_line_bytes = max_line_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without blank ones. Raises: EngineError when one is too long."""
        *complete, rest = data.split(b"\n")
        lines = []
        for part in complete:
            lines.append(b"".join([*self._parts, part]))
            self._parts, self._n_bytes = [], 0
        if rest:
            self._parts.append(rest)
            self._n_bytes += len(rest)
        if self._n_bytes > self._max_line_bytes:
            raise EngineError(f"the server sent a line of more than {self._max_line_bytes} bytes")
        return [line for line in lines if line.strip()]

    def finish(self) -> list[bytes]:
        """What stands behind the last line feed."""
        rest = b"".join(self._parts)
        self._parts, self._n_bytes = [], 0
        return [rest] if rest.strip() else []


class HttpApi:
    """Calls one server over connections that are kept open.

    Proxies of the environment are not asked: the server is on this machine or its own network. The library
    that does it is imported for the first request, because a screen shows its first frame before that.
    """

    def __init__(self, base_url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.base_url = base_url
        self._transport = transport

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            base_url=self.base_url,
            trust_env=False,
            transport=self._transport,
            # Certificates are read for addresses that need them alone: they take longer than a request.
            verify=httpx.URL(self.base_url).scheme != "http",
            headers={"Content-Type": "application/json", "User-Agent": "olla"},
        )

    async def json(
        self, method: str, path: str, body: bytes | AsyncIterable[bytes] | None = None, *, model: str = ""
    ) -> Any:
        """One JSON value; None for an empty reply. `model` names the model that a 404 is about.

        Raises: ServerUnreachable, or the error of `failures.refusal`.
        """
        async with self._exchange(method, path, body) as response:
            content = await response.aread()
            self._check(response, content, path, model, streaming=False)
            return _decode(content) if content.strip() else None

    async def header(self, path: str, name: str) -> tuple[Any, str]:
        """One JSON value, and a header of the reply, "" when it has none. Raises: as `json`."""
        async with self._exchange("GET", path, None) as response:
            content = await response.aread()
            self._check(response, content, path, "", streaming=False)
            return _decode(content), response.headers.get(name, "")

    async def status(
        self, method: str, path: str, body: bytes | AsyncIterable[bytes] | None = None, *, allowed: int = 0
    ) -> int:
        """The status of a reply whose body does not matter. Raises: as `json`, but not for `allowed`."""
        async with self._exchange(method, path, body) as response:
            content = await response.aread()
            if response.status_code != allowed:
                self._check(response, content, path, "", streaming=False)
            return response.status_code

    async def lines(self, path: str, body: bytes, *, model: str = "") -> AsyncGenerator[Any, None]:
        """The JSON values of an NDJSON reply. Closing the generator closes the connection.

        Raises: as `json`, also for an error line; EngineError for one that tells no status.
        """
        async with self._exchange("POST", path, body) as response:
            if response.status_code >= 400:
                self._check(response, await response.aread(), path, model, streaming=True)
            splitter = LineSplitter()
            async for data in response.aiter_bytes():
                for line in splitter.feed(data):
                    yield _value(line, path, model)
            for line in splitter.finish():
                yield _value(line, path, model)

    async def aclose(self) -> None:
        """Close all connections; open replies fail with ServerUnreachable."""
        if "_client" in vars(self):
            await self._client.aclose()

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: bytes | AsyncIterable[bytes] | None
    ) -> AsyncIterator[httpx.Response]:
        if "httpx" not in sys.modules:  # in a thread, because keys are typed meanwhile
            await asyncio.to_thread(importlib.import_module, "httpx")
        import httpx

        try:
            reads_s = LOOK_TIMEOUT_S if method == "GET" else None
            timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S, read=reads_s)
            async with self._client.stream(method, path, content=body, timeout=timeout) as response:
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise unreachable(self.base_url, str(error) or type(error).__name__) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise ServerUnreachable(
                f"the connection to {self.base_url} broke off ({str(error) or type(error).__name__})",
                hint="The server's log tells why.",
            ) from error

    def _check(
        self, response: httpx.Response, content: bytes, path: str, model: str, *, streaming: bool
    ) -> None:
        if response.status_code < 400:
            return
        text = content.decode("utf-8", "replace")
        hint = response.headers.get(HINT_HEADER)
        raise refusal(response.status_code, text, hint, path=path, model=model, streaming=streaming)


def _value(line: bytes, path: str, model: str) -> Any:
    """A line's JSON value. Raises: the error that it tells."""
    value = _decode(line)
    fault = fault_of_line(value)
    if fault is not None:
        raise failure(fault.status, fault.message, fault.hint, path=path, model=model)
    return value


def _decode(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise EngineError(f"the server sent what is no JSON: {error}") from error
