"""Routes about models: tags, ps, show, copy, delete and create."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.api.endpoint import Call, Endpoint, no_body
from server.api.errors import JOB, JSON
from server.api.ollama.inference import require_model
from server.api.replies import EMPTY, NDJSON, Reply, StreamReply
from server.api.routing import Route
from server.errors import ModelNotFound, OllaError
from server.services.protocols import Services
from server.types.create_checks import check_form
from server.types.models import CreateRequest, ShowRequest
from server.wire.codec import encode
from server.wire.ollama.create import CreateCall, create_from_body, progress_body
from server.wire.ollama.models import (
    copy_from_body,
    name_from_body,
    ps_reply,
    show_from_body,
    show_reply,
    tags_reply,
)

_COPILOT = "GitHubCopilotChat/"
"""User-Agent of a client that shows the base name of a model as the model's name."""


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    tags = Endpoint(services, no_body, _tags)
    return [
        Route("HEAD", "/api/tags", tags),
        Route("GET", "/api/tags", tags),
        Route("GET", "/api/ps", Endpoint(services, no_body, _ps)),
        Route("POST", "/api/show", Endpoint(services, _decode_show, _show)),
        Route("POST", "/api/copy", Endpoint(services, _decode_copy, _copy, reword=_quoted)),
        Route("DELETE", "/api/delete", Endpoint(services, _decode_delete, _delete)),
        Route("POST", "/api/create", Endpoint(services, _decode_create, _create, faults=JOB)),
    ]


async def _tags(call: Call, _: None) -> Reply:
    return Reply.of(tags_reply(await call.services.models.list_models()))


async def _ps(call: Call, _: None) -> Reply:
    return Reply.of(ps_reply(await call.services.status.running(), time.time()))


def _decode_show(call: Call) -> ShowRequest:
    request = show_from_body(call.body)
    require_model(request.model)
    return request


async def _show(call: Call, request: ShowRequest) -> Reply:
    reply = show_reply(await call.services.models.show(request))
    if call.user_agent.startswith(_COPILOT):
        reply.model_info["general.basename"] = request.model
    return Reply.of(reply)


def _decode_copy(call: Call) -> tuple[str, str]:
    return copy_from_body(call.body)


async def _copy(call: Call, names: tuple[str, str]) -> Reply:
    await call.services.models.copy(*names)
    return EMPTY


def _quoted(error: OllaError) -> OllaError:
    """A missing model in copy's words."""
    if isinstance(error, ModelNotFound):
        error.message = f'model "{error.name}" not found'
    return error


def _decode_delete(call: Call) -> str:
    name, _ = name_from_body(call.body, "DeleteRequest")
    require_model(name)
    return name


async def _delete(call: Call, name: str) -> Reply:
    await call.services.models.delete(name)
    return EMPTY


def _decode_create(call: Call) -> CreateCall:
    decoded = create_from_body(call.body)
    check_form(decoded.request)
    return decoded


async def _create(call: Call, decoded: CreateCall) -> Reply | StreamReply:
    if decoded.stream:
        return StreamReply(_progress_lines(call.services, decoded.request), NDJSON)
    async with aclosing(call.services.models.create(decoded.request)) as steps:
        lines = [progress async for progress in steps]
    return Reply.of(progress_body(lines[-1]), content_type=JSON)


async def _progress_lines(services: Services, request: CreateRequest) -> AsyncGenerator[bytes, None]:
    async with aclosing(services.models.create(request)) as steps:
        async for progress in steps:
            yield encode(progress_body(progress)) + b"\n"
