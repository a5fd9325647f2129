"""Routes about the server itself, and those of Ollama's cloud, which answer as with OLLAMA_NO_CLOUD=1."""

from __future__ import annotations

from server.api.endpoint import Call, Endpoint, no_body
from server.api.replies import Reply
from server.api.routing import Route
from server.errors import Forbidden, InvalidRequest
from server.services.protocols import Services
from server.wire.codec import MISSING_BODY, encode
from server.wire.headers import VERSION_HEADER


def routes(services: Services, ollama_version: str) -> list[Route]:
    """The routes of this module."""

    async def version(call: Call, _: None) -> Reply:
        own = await call.services.status.version()
        return Reply.of({"version": ollama_version}, headers=((VERSION_HEADER, own),))

    root = Endpoint(services, no_body, _root)
    versions = Endpoint(services, no_body, version)
    web = Endpoint(services, _decode_web, _web)
    signout = Endpoint(services, no_body, _signout)
    return [
        Route("HEAD", "/", root),
        Route("GET", "/", root),
        Route("HEAD", "/api/version", versions),
        Route("GET", "/api/version", versions),
        Route("GET", "/api/status", Endpoint(services, no_body, _status)),
        Route("POST", "/api/me", Endpoint(services, no_body, _me)),
        Route("POST", "/api/signout", signout),
        Route("DELETE", "/api/user/keys/{key}", signout),
        Route("POST", "/api/experimental/web_search", web),
        Route("POST", "/api/experimental/web_fetch", web),
        Route(
            "GET",
            "/api/experimental/model-recommendations",
            Endpoint(services, no_body, _recommendations),
        ),
    ]


async def _root(call: Call, _: None) -> Reply:
    return Reply(b"Ollama is running", content_type="text/plain; charset=utf-8")


async def _status(call: Call, _: None) -> Reply:
    return Reply.of({"cloud": {"disabled": True, "source": "env"}})


async def _me(call: Call, _: None) -> Reply:
    return Reply(encode({"error": "account unavailable"}), status=503)


async def _signout(call: Call, _: None) -> Reply:
    return Reply(encode({"error": "you are not currently signed in"}), status=401)


def _decode_web(call: Call) -> str:
    if not call.body.strip():
        raise InvalidRequest(MISSING_BODY)
    return call.origin.route.rpartition("_")[2]


async def _web(call: Call, task: str) -> Reply:
    raise Forbidden(f"ollama cloud is disabled: web {task} is unavailable")


async def _recommendations(call: Call, _: None) -> Reply:
    """The models that ship with olla: they need no network."""
    bundled = await call.services.models.bundled()
    return Reply.of(
        {"recommendations": [{"model": model.name, "description": model.title} for model in bundled]}
    )
