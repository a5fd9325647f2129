"""`/olla/gc` and `/olla/fsck`: garbage in the store, and checking it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from server.api.endpoint import Call, Endpoint
from server.api.replies import NDJSON, Reply, StreamReply
from server.api.routing import Route
from server.errors import InvalidRequest
from server.services.protocols import Services
from server.wire.codec import GoObject, decode, encode


class _Collection(NamedTuple):
    age_s: float | None
    dry_run: bool


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    return [
        Route("POST", "/olla/gc", Endpoint(services, _decode_gc, _gc)),
        Route("POST", "/olla/fsck", Endpoint(services, _decode_fsck, _fsck)),
    ]


def _decode_gc(call: Call) -> _Collection:
    fields = GoObject(decode(call.body) if call.body.strip() else {}, "CollectRequest")
    age_s = fields.raw("age_s")
    if age_s is not None and (
        isinstance(age_s, bool) or not isinstance(age_s, int | float) or not 0 <= age_s < math.inf
    ):
        raise InvalidRequest("age_s must be a number of seconds, 0 or more")
    return _Collection(age_s, fields.flag("dry_run", False))


async def _gc(call: Call, wanted: _Collection) -> Reply:
    return Reply.of(await call.services.upkeep.collect_garbage(wanted.age_s, dry_run=wanted.dry_run))


def _decode_fsck(call: Call) -> bool:
    return GoObject(decode(call.body) if call.body.strip() else {}, "CheckRequest").flag("quick", False)


async def _fsck(call: Call, quick: bool) -> StreamReply:
    return StreamReply(_check_lines(call.services, quick), NDJSON)


async def _check_lines(services: Services, quick: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(services.upkeep.check(quick=quick)) as steps:
        async for progress in steps:
            yield encode(progress) + b"\n"
