"""Routes that this version does not have yet; they say so instead of pretending not to exist."""

from __future__ import annotations

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI
from server.api.replies import Reply
from server.api.routing import Route
from server.errors import OllaError
from server.services.protocols import Services

PATHS = ("/v1/audio/transcriptions",)


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    return [Route("POST", path, Endpoint(services, _path, _refuse, faults=OPENAI)) for path in PATHS]


def _path(call: Call) -> str:
    return call.origin.route


async def _refuse(call: Call, path: str) -> Reply:
    error = OllaError(f"{path} is not supported by this version of olla yet")
    return Reply(OPENAI.body(error, 501), status=501, content_type=JSON)
