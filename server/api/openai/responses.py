"""`/v1/responses` and what stands below it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

from server.api.counting import count_prompt_tokens
from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI, as_olla_error, row_of
from server.api.replies import SSE, Reply, StreamReply
from server.api.routing import Route
from server.errors import Busy, InvalidRequest, NotFound, StoreError
from server.services.protocols import ResponseArchive, Services
from server.types.generation import ChatRequest, Chunk, Completed
from server.types.messages import JsonObject
from server.types.responses import KeptResponse
from server.wire.folding import fold
from server.wire.headers import ignored_headers
from server.wire.openai.responses.replies import (
    Head,
    ResponseWriter,
    error_of,
    output_items,
    response_body,
    status_of,
)
from server.wire.openai.responses.requests import ResponsesCall, responses_from_body

MAX_BACKGROUND = 64
"""Most responses that are made in the background at once."""
MAX_LISTED = 100
_PATH = "/v1/responses"

_log = logging.getLogger("olla")


def routes(services: Services, archive: ResponseArchive | None) -> list[Route]:
    """The routes of this module. Without an archive nothing is kept."""
    routes = _Responses(archive)

    def endpoint(decode: Any, answer: Any) -> Endpoint[Any]:
        return Endpoint(services, decode, answer, faults=OPENAI)

    return [
        Route("POST", _PATH, endpoint(_decode, routes.create)),
        Route("POST", f"{_PATH}/input_tokens", endpoint(_decode, routes.count)),
        Route("GET", f"{_PATH}/{{id}}", endpoint(_id, routes.retrieve)),
        Route("DELETE", f"{_PATH}/{{id}}", endpoint(_id, routes.delete)),
        Route("POST", f"{_PATH}/{{id}}/cancel", endpoint(_id, routes.cancel)),
        Route("GET", f"{_PATH}/{{id}}/input_items", endpoint(_page, routes.input_items)),
    ]


def _decode(call: Call) -> ResponsesCall:
    return responses_from_body(call.body, call.origin)


def _id(call: Call) -> str:
    if parse_qs(call.query).get("stream", [""])[-1] == "true":
        raise InvalidRequest("a kept response cannot be streamed again; leave stream out")
    return call.path["id"]


def _page(call: Call) -> tuple[str, Mapping[str, str]]:
    return call.path["id"], {name: texts[-1] for name, texts in parse_qs(call.query).items()}


class _Responses:
    """The routes, which share what is kept and what is being made in the background."""

    def __init__(self, archive: ResponseArchive | None) -> None:
        self._archive = archive
        self._running: dict[str, asyncio.Task[None]] = {}

    async def create(self, call: Call, decoded: ResponsesCall) -> Reply | StreamReply:
        """Answer, at once or in the background."""
        request = decoded.chat(await self._earlier(decoded.previous_response_id))
        head = Head(
            id=f"resp_{secrets.token_hex(24)}",
            model=request.model,
            created_s=int(time.time()),
            previous_id=decoded.previous_response_id,
            echo=decoded.echo if self._archive else {**decoded.echo, "store": False},
        )
        headers = ignored_headers(decoded.ignored)
        if decoded.background:
            return Reply.of(await self._begin(call.services, decoded, request, head), headers=headers)
        if decoded.stream:
            pieces = self._stream(call.services, decoded, request, head)
            return StreamReply(pieces, SSE, headers=(("cache-control", "no-cache"), *headers))
        body = await _answer(call.services, request, head)
        await self._keep(decoded, body)
        return Reply.of(body, content_type=JSON, headers=headers)

    async def count(self, call: Call, decoded: ResponsesCall) -> Reply:
        """How long the prompt is."""
        request = decoded.chat(await self._earlier(decoded.previous_response_id))
        n_tokens = await count_prompt_tokens(call.services, request)
        return Reply.of({"object": "response.input_tokens", "input_tokens": n_tokens}, content_type=JSON)

    async def retrieve(self, call: Call, response_id: str) -> Reply:
        """A kept response as it is now."""
        return Reply.of(await self._present(response_id), content_type=JSON)

    async def delete(self, call: Call, response_id: str) -> Reply:
        """Forget a response; one that is still being made ends first."""
        await self._end(response_id)
        if self._archive is None:
            raise NotFound(f"Response with id '{response_id}' not found.")
        await self._archive.delete(response_id)
        return Reply.of({"id": response_id, "object": "response", "deleted": True}, content_type=JSON)

    async def cancel(self, call: Call, response_id: str) -> Reply:
        """End a response that is made in the background."""
        await self._end(response_id)
        body = await self._present(response_id)
        if not body["background"]:
            raise InvalidRequest("Cannot cancel a synchronous response.")
        return Reply.of(body, content_type=JSON)

    async def input_items(self, call: Call, page: tuple[str, Mapping[str, str]]) -> Reply:
        """The conversation that a response answers, in pages."""
        response_id, query = page
        kept = await self._get(response_id)
        items = [*await self._earlier(kept.previous_id), *kept.items]
        return Reply.of(_listed(items, query), content_type=JSON)

    async def _earlier(self, response_id: str) -> list[JsonObject]:
        if not response_id:
            return []
        if self._archive is None:
            raise InvalidRequest(f"Previous response with id '{response_id}' not found.")
        return await self._archive.conversation(response_id)

    async def _get(self, response_id: str) -> KeptResponse:
        if self._archive is None:
            raise NotFound(f"Response with id '{response_id}' not found.")
        return await self._archive.get(response_id)

    async def _keep(self, decoded: ResponsesCall, body: JsonObject) -> None:
        if decoded.store and self._archive is not None:
            await self._archive.keep(KeptResponse(body, decoded.items))

    async def _present(self, response_id: str) -> JsonObject:
        """A kept response as it is now; one that nobody makes any more has failed."""
        is_made = response_id in self._running  # asked first: it may be complete once it has been read
        body = (await self._get(response_id)).body
        if body["status"] != "in_progress" or is_made:
            return body
        error = {"code": "server_error", "message": "the server was stopped before the response was complete"}
        return {**body, "status": "failed", "error": error}

    async def _stream(
        self, services: Services, decoded: ResponsesCall, request: ChatRequest, head: Head
    ) -> AsyncGenerator[bytes, None]:
        writer = ResponseWriter(head)
        has_begun = False
        try:
            async with aclosing(services.inference.chat(request)) as events:
                async for event in events:
                    if isinstance(event, Chunk):
                        has_begun = True
                        yield b"".join(writer.chunk(event))
                    elif isinstance(event, Completed):
                        pieces, body = writer.end(event, int(time.time()))
                        # Kept before it is told, so that the next request can follow it at once.
                        await self._keep(decoded, body)
                        yield b"".join(pieces)
        except Exception as error:
            if not has_begun:
                raise
            known = as_olla_error(error, _PATH)
            yield b"".join(writer.fail(error_of(known, row_of(known).status))[0])

    async def _begin(
        self, services: Services, decoded: ResponsesCall, request: ChatRequest, head: Head
    ) -> JsonObject:
        if self._archive is None:
            raise InvalidRequest("this server keeps no responses, so none can be made in the background")
        if len(self._running) >= MAX_BACKGROUND:
            raise Busy(f"{MAX_BACKGROUND} responses are being made in the background; try again later")
        body = response_body(head, "in_progress", [])
        await self._keep(decoded, body)

        async def make() -> None:
            try:
                try:
                    made = await _answer(services, request, head)
                except asyncio.CancelledError:
                    made = response_body(head, "cancelled", [])
                except Exception as error:
                    known = as_olla_error(error, _PATH)
                    made = response_body(head, "failed", [], error=error_of(known, row_of(known).status))
                await self._keep(decoded, made)
            except StoreError as error:
                _log.error("a response that was made in the background cannot be kept: %s", error)
            finally:
                del self._running[head.id]

        self._running[head.id] = asyncio.create_task(make(), name=head.id)
        return body

    async def _end(self, response_id: str) -> None:
        """Cancel a response that is being made, and wait until its end is kept."""
        if (task := self._running.get(response_id)) is not None:
            task.cancel()
            await asyncio.wait((task,))


async def _answer(services: Services, request: ChatRequest, head: Head) -> JsonObject:
    async with aclosing(services.inference.chat(request)) as events:
        answer = await fold(events)
    return response_body(
        head,
        status_of(answer.completed),
        output_items(answer),
        completed=answer.completed,
        completed_s=int(time.time()),
    )


def _listed(items: list[JsonObject], query: Mapping[str, str]) -> JsonObject:
    """A page of items, the newest first unless `order` is "asc"."""
    limit_text, order = query.get("limit", "20"), query.get("order", "desc")
    if not (limit_text.isascii() and limit_text.isdigit() and 1 <= int(limit_text[:9]) <= MAX_LISTED):
        raise InvalidRequest(f"limit must be between 1 and {MAX_LISTED}")
    if order not in ("asc", "desc"):
        raise InvalidRequest('order must be "asc" or "desc"')
    ordered = items if order == "asc" else items[::-1]
    if after := query.get("after", ""):
        at = next((index for index, item in enumerate(ordered) if item.get("id") == after), None)
        if at is None:
            raise InvalidRequest(f"after: there is no item '{after}'")
        ordered = ordered[at + 1 :]
    data = ordered[: int(limit_text)]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0].get("id") if data else None,
        "last_id": data[-1].get("id") if data else None,
        "has_more": len(ordered) > len(data),
    }
