"""The status of the server as JSON, and errors within a stream."""

from __future__ import annotations

import math
from typing import Any

import pytest

from server.errors import Cancelled, EngineCrashed, OllaError
from server.types.models import ModelDetails, RunningModel
from server.types.status import StatusSnapshot
from server.wire.codec import decode, encode
from server.wire.olla import Fault, fault_body, fault_of_line, status_body


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


@pytest.mark.parametrize("error", [Cancelled("gone"), EngineCrashed("it ended", hint="Try again.")])
def test_an_error_line_reads_back(error: OllaError) -> None:
    line = decode(encode({"error": error.message, "olla": fault_body(error, 499)}))
    assert fault_of_line(line) == Fault(error.message, 499, error.hint)


@pytest.mark.parametrize(
    "line", [{"error": "x"}, {"error": "x", "olla": 1}, {"error": "x", "olla": {"hint": 1}}]
)
def test_an_error_line_of_a_real_ollama_is_an_error_too(line: Any) -> None:
    assert fault_of_line(line) == Fault("x")


@pytest.mark.parametrize("line", [None, [], {}, {"done": True}, {"error": ""}])
def test_other_lines_tell_no_error(line: Any) -> None:
    assert fault_of_line(line) is None
