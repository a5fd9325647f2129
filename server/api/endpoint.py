"""One route as an ASGI application: body in, one reply out, errors in the words of the route's family."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from server.api.disconnect import ClientGone, read_body, until_disconnect
from server.api.encoding import plain_body
from server.api.errors import NATIVE, Faults, Phase, as_olla_error, row_of
from server.api.replies import Reply, StreamReply
from server.errors import InvalidRequest, OllaError
from server.services.protocols import Services
from server.types.generation import Origin
from server.wire.headers import hint_headers

T = TypeVar("T")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a route gets to know of a request.

    Attributes:
        path: parameters of the route's path, by name.
        query: the query string, undecoded.
    """

    services: Services
    body: bytes
    origin: Origin
    path: Mapping[str, str]
    query: str
    user_agent: str
    content_type: str


def keep(error: OllaError) -> OllaError:
    """The error as it is."""
    return error


class Endpoint(Generic[T]):
    """A route that reads its whole body first. A client that leaves cancels whatever is done for it.

    Args:
        decode: the request as domain objects, pure; its errors are those of the body.
        answer: the reply.
        faults: how errors are told.
        reword: gives an error the words of this route.
        statuses: where this route's status for a class of errors is not the table's.
    """

    def __init__(
        self,
        services: Services,
        decode: Callable[[Call], T],
        answer: Callable[[Call, T], Awaitable[Reply | StreamReply]],
        *,
        faults: Faults = NATIVE,
        reword: Callable[[OllaError], OllaError] = keep,
        statuses: Mapping[type[OllaError], int] | None = None,
    ) -> None:
        self._services = services
        self._decode = decode
        self._answer = answer
        self._faults = faults
        self._reword = reword
        self._statuses = statuses or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = Headers(scope=scope)
            body = await read_body(receive, headers.get("content-length", ""))
            if encoding := headers.get("content-encoding", ""):
                body = await asyncio.to_thread(plain_body, body, encoding)
        except ClientGone:
            return
        except InvalidRequest as error:
            await self._refuse(error, Phase.DECODE, row_of(error).status).send(send)
            return
        await until_disconnect(receive, self._respond(scope, body, send))

    async def _respond(self, scope: Scope, body: bytes, send: Send) -> None:
        phase = Phase.DECODE
        try:
            call = _call(self._services, scope, body)
            request = self._decode(call)
            phase = Phase.ANSWER
            reply = await self._answer(call, request)
            if isinstance(reply, StreamReply):
                phase = Phase.STREAM
                await reply.send(send, self._faults, scope["path"])
                return
        except Exception as error:
            known = self._reword(as_olla_error(error, scope["path"]))
            reply = self._refuse(known, phase, self._statuses.get(type(known), row_of(known).status))
        await reply.send(send)

    def _refuse(self, error: OllaError, phase: Phase, status: int) -> Reply:
        return refusal(error, self._faults, phase, status)


def refusal(error: OllaError, faults: Faults, phase: Phase, status: int) -> Reply:
    """A reply that is nothing but an error; the hint goes in a header, for the body's shape is not ours."""
    return Reply(
        faults.body(error, status),
        status=status,
        content_type=faults.content_type(error, phase),
        headers=hint_headers(error.hint),
    )


def no_body(call: Call) -> None:
    """Decode nothing: for routes that take no body, or do not look at it."""


def _call(services: Services, scope: Scope, body: bytes) -> Call:
    headers = Headers(scope=scope)
    agent = headers.get("user-agent", "")
    return Call(
        services=services,
        body=body,
        origin=Origin(route=scope["path"], client=_client(scope, agent)),
        path=scope.get("path_params", {}),
        query=scope["query_string"].decode("latin-1"),
        user_agent=agent,
        content_type=headers.get("content-type", ""),
    )


def _client(scope: Scope, user_agent: str) -> str:
    """Address of the caller and the product that its User-Agent names first."""
    address = scope["client"][0] if scope.get("client") else ""
    return f"{address} {user_agent.split(' ', 1)[0]}".strip()
