"""Replies of a server as typed values."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec

from server.errors import EngineError
from server.types.status import StatusSnapshot

T = TypeVar("T")


def status_snapshot(reply: Any) -> StatusSnapshot:
    """Reply of `/olla/status`. JSON has no infinity: a model that never expires comes with null."""
    for model in reply.get("running", ()) if isinstance(reply, dict) else ():
        if model.get("expires_at") is None:
            model["expires_at"] = math.inf
    return convert(reply, StatusSnapshot)


def convert(reply: object, kind: type[T]) -> T:
    """A reply as a typed value. Raises: EngineError when it has another shape."""
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as error:
        raise EngineError(f"the server's reply has another shape than expected: {error}") from error
