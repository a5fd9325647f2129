"""The table of statuses, and the bodies that errors get."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterator

import httpx
import pytest

from server import errors
from server.api.errors import JOB, NATIVE, OPENAI, TABLE, Phase, as_olla_error, row_of
from server.wire.headers import HINT_HEADER, read_hint
from server.wire.ollama.inference import UnknownFormat
from tests.support.scripted_services import ScriptedServices


def subclasses(kind: type[errors.OllaError]) -> Iterator[type[errors.OllaError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def test_every_class_of_the_tree_has_a_row() -> None:
    tree = {kind for kind in subclasses(errors.OllaError) if kind.__module__ == errors.__name__}
    assert {kind.__name__ for kind in tree} == set(errors.__all__)
    assert tree - TABLE.keys() == set()


def test_a_class_without_a_row_takes_its_ancestors() -> None:
    class Rare(errors.QueueFull):
        """For this test."""

    assert row_of(Rare("full")).status == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidOption("x"), 500),
        (UnknownFormat("x"), 500),
        (errors.InvalidFormat("x"), 400),
        (errors.ModelNotFound("x"), 404),
        (errors.Cancelled("x"), 499),
        (errors.OutOfMemory("x"), 500),
        (errors.DigestMismatch("x"), 400),
    ],
)
def test_statuses(error: errors.OllaError, status: int) -> None:
    assert row_of(error).status == status


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "not_found_error"), (500, "api_error"), (503, "api_error")],
)
def test_openais_envelope(status: int, kind: str) -> None:
    body = json.loads(OPENAI.body(errors.OllaError("x"), status))
    assert body == {"error": {"message": "x", "type": kind, "param": None, "code": None}}


def test_content_types() -> None:
    early, late = errors.ModelNotFound("x"), errors.EngineHung("x")
    assert NATIVE.content_type(late, Phase.ANSWER) == "application/json; charset=utf-8"
    assert NATIVE.content_type(early, Phase.STREAM) == "application/json; charset=utf-8"
    assert NATIVE.content_type(late, Phase.STREAM) == "application/json"
    assert JOB.content_type(early, Phase.STREAM) == "application/json"
    assert JOB.content_type(early, Phase.ANSWER) == "application/json; charset=utf-8"
    assert OPENAI.content_type(early, Phase.DECODE) == "application/json; charset=utf-8"
    assert OPENAI.content_type(early, Phase.ANSWER) == "application/json"


def test_what_is_nested_too_deeply_is_the_callers_fault() -> None:
    assert row_of(as_olla_error(RecursionError("x"), "/")).status == 400


def test_errors_for_users_stay_as_they_are() -> None:
    error = errors.BlobNotFound("x")
    assert as_olla_error(error, "/") is error


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_hint_goes_in_a_header_and_leaves_the_body_as_it_is(
    path: str, client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [errors.ModelNotFound("m", hint="See `olla list`.\r\nÉ")]
    reply = await client.post(path, json={"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert reply.status_code == 404
    assert read_hint(reply.headers[HINT_HEADER]) == "See `olla list`.\r\nÉ"
    error = reply.json()["error"]
    assert list(reply.json()) == ["error"]
    assert error in ("model 'm' not found", {**OPENAI_FAULT, "message": "model 'm' not found"})


OPENAI_FAULT = {"type": "not_found_error", "param": None, "code": None}


async def test_a_refused_upload_has_its_hint_too(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    async def full(digest: str, body: AsyncIterable[bytes]) -> bool:
        raise errors.DiskFull("no room", hint="Delete a model.")

    services.scripted_models.put_blob = full  # type: ignore[method-assign]
    reply = await client.post("/api/blobs/sha256:x", content=b"x")
    assert (reply.status_code, reply.json()) == (500, {"error": "no room"})
    assert read_hint(reply.headers[HINT_HEADER]) == "Delete a model."
