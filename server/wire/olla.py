"""The body of `/olla/status`. The other routes below `/olla` carry structs as they are."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from server.types.status import StatusSnapshot


def status_body(snapshot: StatusSnapshot) -> dict[str, Any]:
    """A snapshot as JSON; a model that never expires has null for the time, since JSON knows no infinity."""
    body: dict[str, Any] = msgspec.to_builtins(snapshot)
    for model in body["running"]:
        if math.isinf(model["expires_at"]):
            model["expires_at"] = None
    return body
