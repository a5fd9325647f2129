"""Routes below `/olla/transfers`: the list of pulls and pushes, and the switches for them."""

from __future__ import annotations

from typing import NamedTuple

from server.api.endpoint import Call, Endpoint, no_body
from server.api.ollama.inference import require_model
from server.api.replies import Reply
from server.api.routing import Route
from server.errors import InvalidRequest
from server.services.protocols import Services
from server.types.transfers import TransferKind, TransferRequest
from server.wire.codec import GoObject, decode
from server.wire.ollama.transfers import read_limit, transfer_from_body

_MAX_DIGITS = 18


class _Limit(NamedTuple):
    bytes_per_s: int
    transfer_id: int | None


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    one = "/olla/transfers/{id}"
    return [
        Route("GET", "/olla/transfers", Endpoint(services, no_body, _list)),
        Route("POST", "/olla/transfers", Endpoint(services, _decode_start, _start)),
        Route("POST", "/olla/transfers/limit", Endpoint(services, _decode_limit, _set_limit)),
        Route("POST", f"{one}/pause", Endpoint(services, _decode_id, _pause)),
        Route("POST", f"{one}/resume", Endpoint(services, _decode_id, _resume)),
        Route("POST", f"{one}/cancel", Endpoint(services, _decode_id, _cancel)),
        Route("POST", f"{one}/forget", Endpoint(services, _decode_id, _forget)),
        Route("POST", f"{one}/move", Endpoint(services, _decode_move, _move)),
        Route("GET", "/olla/partials", Endpoint(services, no_body, _partials)),
        Route("POST", "/olla/partials/{digest}/remove", Endpoint(services, _decode_digest, _remove_partial)),
    ]


async def _list(call: Call, _: None) -> Reply:
    return Reply.of(await call.services.transfers.transfers())


def _decode_start(call: Call) -> tuple[TransferKind, TransferRequest]:
    kind = GoObject(decode(call.body), "TransferRequest").text("kind") or "pull"
    if kind not in ("pull", "push"):
        raise InvalidRequest("kind must be pull or push")
    request = transfer_from_body(call.body, "TransferRequest").request
    require_model(request.model)
    return kind, request  # type: ignore[return-value]


async def _start(call: Call, wanted: tuple[TransferKind, TransferRequest]) -> Reply:
    return Reply.of({"id": await call.services.transfers.start_transfer(*wanted)})


def _decode_digest(call: Call) -> str:
    return call.path["digest"]


async def _partials(call: Call, _: None) -> Reply:
    return Reply.of(await call.services.transfers.partials())


async def _remove_partial(call: Call, digest: str) -> Reply:
    await call.services.transfers.remove_partial(digest)
    return Reply.of({})


def _decode_id(call: Call) -> int:
    text = call.path["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise InvalidRequest("id must be a number")
    return int(text)


async def _pause(call: Call, transfer_id: int) -> Reply:
    await call.services.transfers.pause_transfer(transfer_id)
    return Reply.of({})


async def _resume(call: Call, transfer_id: int) -> Reply:
    await call.services.transfers.resume_transfer(transfer_id)
    return Reply.of({})


async def _cancel(call: Call, transfer_id: int) -> Reply:
    await call.services.transfers.cancel_transfer(transfer_id)
    return Reply.of({})


async def _forget(call: Call, transfer_id: int) -> Reply:
    await call.services.transfers.forget_transfer(transfer_id)
    return Reply.of({})


def _decode_move(call: Call) -> tuple[int, int]:
    position = GoObject(decode(call.body), "MoveRequest").integer("position")
    if position is None:
        raise InvalidRequest("position is required")
    return _decode_id(call), position


async def _move(call: Call, wanted: tuple[int, int]) -> Reply:
    await call.services.transfers.move_transfer(*wanted)
    return Reply.of({})


def _decode_limit(call: Call) -> _Limit:
    fields = GoObject(decode(call.body), "LimitRequest")
    bytes_per_s = fields.integer("limit_bytes_per_s")
    if bytes_per_s is None:
        raise InvalidRequest("limit_bytes_per_s is required")
    return _Limit(read_limit(bytes_per_s), fields.integer("id"))


async def _set_limit(call: Call, limit: _Limit) -> Reply:
    await call.services.transfers.limit_transfers(limit.bytes_per_s, limit.transfer_id)
    return Reply.of({})
