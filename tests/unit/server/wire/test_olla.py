"""The status of the server as JSON."""

from __future__ import annotations

import math

from server.types.models import ModelDetails, RunningModel
from server.types.status import StatusSnapshot
from server.wire.codec import decode, encode
from server.wire.olla import status_body


def test_a_model_that_never_expires_has_no_time() -> None:
    models = tuple(
        RunningModel(
            name="m",
            digest="",
            details=ModelDetails(),
            size_bytes=1,
            size_vram_bytes=0,
            expires_at=expires_at,
            n_ctx=4,
        )
        for expires_at in (math.inf, 5.0)
    )
    snapshot = StatusSnapshot(version="1", started_at=0.0, taken_at=1.0, host="h", running=models)
    reply = decode(encode(status_body(snapshot)))
    assert isinstance(reply, dict)
    assert [model["expires_at"] for model in reply["running"]] == [None, 5.0]
    assert reply["version"] == "1"
