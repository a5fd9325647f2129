"""`/api/pull` and `/api/push`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from server.api.endpoint import Call, Endpoint
from server.api.errors import JOB, JSON, row_of
from server.api.ollama.inference import require_model
from server.api.replies import NDJSON, Reply, StreamReply
from server.api.routing import Route
from server.errors import InvalidModelName, ModelNotFound, OllaError
from server.services.protocols import Services
from server.types.models import ShowRequest
from server.types.names import ModelName
from server.types.transfers import TransferProgress, TransferRequest
from server.wire.codec import encode
from server.wire.ollama.transfers import TransferCall, transfer_from_body, transfer_progress_body

Open = Callable[[TransferRequest], AsyncGenerator[TransferProgress, None]]


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    return [
        Route("POST", "/api/pull", Endpoint(services, _decode_pull, _pull, faults=JOB)),
        Route("POST", "/api/push", Endpoint(services, _decode_push, _push, faults=JOB)),
    ]


def _decode_pull(call: Call) -> TransferCall:
    decoded = transfer_from_body(call.body, "PullRequest")
    ModelName.parse(decoded.request.model)
    return decoded


async def _pull(call: Call, decoded: TransferCall) -> Reply | StreamReply:
    return await _reply(call.services.transfers.pull, decoded)


def _decode_push(call: Call) -> TransferCall:
    decoded = transfer_from_body(call.body, "PushRequest")
    require_model(decoded.request.model)
    return decoded


async def _push(call: Call, decoded: TransferCall) -> Reply | StreamReply:
    name = decoded.request.model
    try:
        await call.services.models.show(ShowRequest(model=name))
    except (ModelNotFound, InvalidModelName) as error:
        return _no_manifest(name, error)
    return await _reply(call.services.transfers.push, decoded)


async def _reply(open_stream: Open, decoded: TransferCall) -> Reply | StreamReply:
    if decoded.stream:
        return StreamReply(_lines(open_stream, decoded.request), NDJSON)
    async with aclosing(open_stream(decoded.request)) as stream:
        lines = [progress async for progress in stream]
    return Reply.of(transfer_progress_body(lines[-1]), content_type=JSON)


async def _lines(open_stream: Open, request: TransferRequest) -> AsyncGenerator[bytes, None]:
    async with aclosing(open_stream(request)) as stream:
        async for progress in stream:
            yield encode(transfer_progress_body(progress)) + b"\n"


def _no_manifest(name: str, error: OllaError) -> Reply:
    """The reply for a model that cannot be pushed because it is not here, in Ollama's words."""
    if isinstance(error, InvalidModelName):
        text, status = error.message, row_of(error).status
    else:
        path = ModelName.parse(name).relative_path()
        text, status = f"open $OLLAMA_MODELS/manifests/{path}: no such file or directory", 500
    return Reply(encode({"error": text}), status=status, content_type=JSON)
