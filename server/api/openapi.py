"""`/openapi.json`: what the routes take and give, for programs."""

from __future__ import annotations

from server.api.endpoint import Call, Endpoint, no_body
from server.api.replies import Reply
from server.api.routing import Route
from server.services.protocols import Services
from server.version import OLLA_VERSION
from server.wire.openapi.document import document


def routes(services: Services) -> list[Route]:
    """The route of this module."""
    return [Route("GET", "/openapi.json", Endpoint(services, no_body, _document))]


async def _document(call: Call, _: None) -> Reply:
    return Reply.of(document(OLLA_VERSION))
