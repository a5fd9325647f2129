"""`/v1/models` and `/v1/models/{model}`."""

from __future__ import annotations

from server.api.endpoint import Call, Endpoint, no_body
from server.api.errors import JSON, OPENAI
from server.api.replies import Reply
from server.api.routing import Route
from server.services.protocols import Services
from server.types.models import ShowRequest
from server.wire.openai.models import model_reply, models_reply


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    return [
        Route("GET", "/v1/models", Endpoint(services, no_body, _list, faults=OPENAI)),
        Route("GET", "/v1/models/{model}", Endpoint(services, _name, _retrieve, faults=OPENAI)),
    ]


def _name(call: Call) -> str:
    return call.path["model"]


async def _list(call: Call, _: None) -> Reply:
    return Reply.of(models_reply(await call.services.models.list_models()), content_type=JSON)


async def _retrieve(call: Call, name: str) -> Reply:
    info = await call.services.models.show(ShowRequest(model=name))
    return Reply.of(model_reply(name, info), content_type=JSON)
