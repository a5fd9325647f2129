"""Bodies of `/olla/status`, in both directions. The other routes below `/olla` carry structs as they are."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.types.status import StatusSnapshot


def status_body(snapshot: StatusSnapshot) -> dict[str, Any]:
    """A snapshot as JSON; a model that never expires has null for the time, since JSON knows no infinity."""
    body: dict[str, Any] = msgspec.to_builtins(snapshot)
    for model in body["running"]:
        if math.isinf(model["expires_at"]):
            model["expires_at"] = None
    return body


def status_from_body(reply: object) -> StatusSnapshot:
    """The snapshot of a reply. Raises: InvalidRequest for JSON of another shape."""
    try:
        for model in reply["running"]:  # type: ignore[index]  # a wrong shape is what the except is for
            if model["expires_at"] is None:
                model["expires_at"] = math.inf
        return msgspec.convert(reply, StatusSnapshot)
    except (msgspec.ValidationError, TypeError, KeyError) as error:
        raise InvalidRequest(f"this is no status of an olla server: {error}") from error
