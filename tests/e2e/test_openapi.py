"""Requests made up from the OpenAPI document, sound and unsound: a fault of the caller's is never a 5xx."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server.wire.openapi.document import OPERATIONS, document
from server.wire.openapi.schema import Operation
from tests.e2e.conftest import BUNDLED
from tests.support.live_server import REPLY_TIMEOUT_S, create_model, live_server

N_EXAMPLES = 8
ALLOWED = {501, 503}
ELSEWHERE = {"/api/pull", "/api/push"}
"""They ask registries, and have tests with one of their own."""

BOUNDS: dict[str, Any] = {
    "num_predict": {"type": "integer", "minimum": -1, "maximum": 4},
    "num_ctx": {"type": "integer", "minimum": 4, "maximum": 300},
    "num_batch": {"type": "integer", "minimum": 1, "maximum": 64},
}
"""So that a request takes no minutes; -1 stays out of the way of `stop`."""

MOST = {"max_tokens": 4, "max_completion_tokens": 4, "max_output_tokens": 4, "n": 2}


def _bounded(value: Any) -> Any:
    """The document with models that are there, or nearly, and with short answers."""
    if isinstance(value, list):
        return [_bounded(item) for item in value]
    if not isinstance(value, dict):
        return value
    bounded = {key: _bounded(item) for key, item in value.items()}
    for name, schema in (bounded.get("properties") or {}).items():
        if name == "model" and schema.get("type") == "string":
            schema["enum"] = ["spark", "nobody", ""]
        elif name == "ignore_eos":
            schema["enum"] = [False]  # without an end of its own an answer takes minutes
        elif name in MOST:
            schema |= {"minimum": 0, "maximum": MOST[name]}
    return bounded


def _document() -> dict[str, Any]:
    whole: dict[str, Any] = _bounded(copy.deepcopy(document("0")))
    whole["components"]["schemas"]["Options"]["properties"] |= BOUNDS
    return whole


SCHEMA = schemathesis.openapi.from_dict(_document())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    parameters = {"num_predict": 4, "num_ctx": 256}
    with live_server(tmp_path_factory.mktemp("openapi")) as client:
        create_model(client, "spark", BUNDLED / "spark.gguf", parameters=parameters)
        yield client


def test_the_server_gives_the_document(server: httpx.Client) -> None:
    given = server.get("/openapi.json").json()
    assert given["openapi"] == "3.1.0"
    assert set(given["paths"]) == {operation.path for operation in OPERATIONS}


@pytest.mark.parametrize(
    "operation",
    [one for one in OPERATIONS if one.path not in ELSEWHERE],
    ids=lambda one: f"{one.method} {one.path}",
)
def test_no_request_is_the_servers_fault(operation: Operation, server: httpx.Client) -> None:
    described = SCHEMA[operation.path][operation.method]

    @settings(
        max_examples=N_EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described.as_strategy(), is_broken=st.booleans(), data=st.data())
    def ask(case: Any, is_broken: bool, data: st.DataObject) -> None:
        body = None if case.media_type != "application/json" else case.as_transport_kwargs().get("json")
        if not is_broken or body is None:
            reply = case.call(base_url=str(server.base_url), timeout=REPLY_TIMEOUT_S)
        else:
            raw = bytearray(msgspec.json.encode(body))
            for _ in range(data.draw(st.integers(1, 3))):
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
            reply = server.request(case.method, case.formatted_path, content=bytes(raw))
        assert reply.status_code < 500 or reply.status_code in ALLOWED, reply.text

    ask()
