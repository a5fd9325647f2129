"""olla's own routes, below `/olla`: what a workstation in another process needs beyond Ollama's API."""

from __future__ import annotations

from urllib.parse import parse_qs

from server.api import transfers, upkeep
from server.api.endpoint import Call, Endpoint, no_body
from server.api.ollama.inference import require_model
from server.api.replies import Reply
from server.api.routing import Route
from server.errors import InvalidRequest
from server.services.protocols import Services
from server.types.durations import parse_keep_alive
from server.wire.codec import GoObject, decode
from server.wire.olla import status_body

DEFAULT_LOG_LINES = 1000
MAX_LOG_LINES = 10_000
MAX_WINDOW_S = 86_400


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    return [
        Route("GET", "/olla/status", Endpoint(services, no_body, _status)),
        Route("GET", "/olla/history", Endpoint(services, _decode_history, _history)),
        Route("GET", "/olla/logs", Endpoint(services, _decode_logs, _logs)),
        Route("POST", "/olla/requests/{id}/cancel", Endpoint(services, _decode_request_id, _cancel)),
        Route("GET", "/olla/requests/{id}/prompt", Endpoint(services, _decode_request_id, _prompt)),
        Route("POST", "/olla/unload", Endpoint(services, _decode_unload, _unload)),
        Route("POST", "/olla/keep-alive", Endpoint(services, _decode_keep_alive, _keep_alive)),
        Route("GET", "/olla/footprints", Endpoint(services, no_body, _footprints)),
        Route("GET", "/olla/bundled", Endpoint(services, no_body, _bundled)),
        Route("POST", "/olla/bundled/{name}", Endpoint(services, _decode_bundled, _install)),
        *upkeep.routes(services),
        *transfers.routes(services),
    ]


async def _status(call: Call, _: None) -> Reply:
    return Reply.of(status_body(await call.services.status.snapshot()))


def _decode_history(call: Call) -> int:
    given = {name: texts[-1] for name, texts in parse_qs(call.query).items()}
    window_s = _count("window_s", given.get("window_s", "3600"))
    if not 1 <= window_s <= MAX_WINDOW_S:
        raise InvalidRequest(f"window_s must be a number of seconds from 1 to {MAX_WINDOW_S}")
    return window_s


async def _history(call: Call, window_s: int) -> Reply:
    return Reply.of(await call.services.status.history(window_s))


def _decode_logs(call: Call) -> tuple[int, int]:
    """The lines wanted: after which number, and how many at most."""
    given = {name: texts[-1] for name, texts in parse_qs(call.query).items()}
    after = _count("after", given.get("after", "0"))
    return after, min(_count("limit", given.get("limit", str(DEFAULT_LOG_LINES))), MAX_LOG_LINES)


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest(f"{name} must be a number")
    return int(text)


async def _logs(call: Call, wanted: tuple[int, int]) -> Reply:
    after, limit = wanted
    return Reply.of(await call.services.status.logs(after, limit))


def _decode_request_id(call: Call) -> int:
    return _count("id", call.path["id"])


async def _cancel(call: Call, request_id: int) -> Reply:
    await call.services.status.cancel_request(request_id)
    return Reply.of({})


async def _prompt(call: Call, request_id: int) -> Reply:
    return Reply.of(await call.services.status.prompt(request_id))


def _decode_unload(call: Call) -> str:
    model = GoObject(decode(call.body), "UnloadRequest").text("model")
    require_model(model)
    return model


async def _unload(call: Call, model: str) -> Reply:
    await call.services.status.unload(model)
    return Reply.of({})


def _decode_keep_alive(call: Call) -> tuple[str, float]:
    fields = GoObject(decode(call.body), "KeepAliveRequest")
    model = fields.text("model")
    require_model(model)
    keep_alive_s = parse_keep_alive(fields.raw("keep_alive"))
    if keep_alive_s is None:
        raise InvalidRequest("keep_alive is required")
    return model, keep_alive_s


async def _keep_alive(call: Call, wanted: tuple[str, float]) -> Reply:
    model, keep_alive_s = wanted
    await call.services.status.set_keep_alive(model, keep_alive_s)
    return Reply.of({})


async def _footprints(call: Call, _: None) -> Reply:
    return Reply.of(await call.services.models.footprints())


async def _bundled(call: Call, _: None) -> Reply:
    return Reply.of(await call.services.models.bundled())


def _decode_bundled(call: Call) -> str:
    return call.path["name"]


async def _install(call: Call, name: str) -> Reply:
    await call.services.models.install_bundled(name)
    return Reply.of({})
