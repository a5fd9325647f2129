"""The HTTP application: every route, behind the guards."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from server.api import olla, openapi, rerank, tokens
from server.api.anthropic import messages
from server.api.middleware import HostGuard, OriginGuard
from server.api.ollama import blobs, general, inference, models, transfers
from server.api.openai import chat, completions, embeddings, responses, transcriptions
from server.api.openai import models as openai_models
from server.api.routing import Route, Router
from server.services.protocols import ResponseArchive, Services
from server.version import OLLAMA_VERSION


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the application needs to know of the server it runs in.

    Attributes:
        origins: browser origins that may call, beyond those that always may; a "*" matches anything.
        bound_host: address that the server listens on; the Host header is checked when it is a loopback one.
        ollama_version: version of the Ollama whose API this is, for clients that ask for a lowest one.
    """

    origins: tuple[str, ...] = ()
    bound_host: str = "127.0.0.1"
    ollama_version: str = OLLAMA_VERSION


def create_app(services: Services, settings: ApiSettings, archive: ResponseArchive | None = None) -> ASGIApp:
    """The application over these services; HTTP only, without lifespan.

    `archive`: where responses are kept; without it none is.
    """
    router = Router(all_routes(services, settings, archive))
    return OriginGuard(HostGuard(router, settings.bound_host), router, settings.origins)


def all_routes(
    services: Services, settings: ApiSettings, archive: ResponseArchive | None = None
) -> list[Route]:
    """Every route of the application."""
    return [
        *general.routes(services, settings.ollama_version),
        *inference.routes(services),
        *models.routes(services),
        *blobs.routes(services),
        *transfers.routes(services),
        *chat.routes(services),
        *completions.routes(services),
        *embeddings.routes(services),
        *rerank.routes(services),
        *tokens.routes(services),
        *openai_models.routes(services),
        *responses.routes(services, archive),
        *messages.routes(services),
        *transcriptions.routes(services),
        *olla.routes(services),
        *openapi.routes(services),
    ]
