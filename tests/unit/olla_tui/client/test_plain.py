"""The blocking client: JSON in and out, refusals as errors with the status behind them."""

from __future__ import annotations

import pytest

from olla_tui.client.failures import HttpReply
from olla_tui.client.plain import PlainClient
from server.errors import (
    BlobNotFound,
    EngineError,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    OllaError,
    ServerUnreachable,
)
from tests.support.json_server import JsonServer, Reply


def test_a_reply_is_json() -> None:
    with JsonServer({"GET /api/tags": Reply(body={"models": []})}).running() as server:
        assert PlainClient(server.url).call("GET", "/api/tags") == {"models": []}


def test_a_body_is_sent_as_json_and_an_empty_reply_is_none() -> None:
    with JsonServer({"POST /api/copy": Reply()}).running() as server:
        assert PlainClient(server.url).call("POST", "/api/copy", {"source": "ä"}) is None
    assert server.asked[0].body == {"source": "ä"}


def test_a_path_in_the_base_url_stands_before_every_route() -> None:
    with JsonServer({"GET /p/api/tags": Reply(body=1)}).running() as server:
        assert PlainClient(f"{server.url}/p").call("GET", "/api/tags") == 1


@pytest.mark.parametrize(
    ("status", "path", "kind"),
    [
        (400, "/api/show", InvalidRequest),
        (403, "/api/show", Forbidden),
        (404, "/api/show", ModelNotFound),
        (404, "/api/blobs/sha256:x", BlobNotFound),
        (500, "/api/show", EngineError),
    ],
)
def test_a_refusal_is_an_error_with_the_servers_words(status: int, path: str, kind: type[OllaError]) -> None:
    with JsonServer({f"POST {path}": Reply(status, {"error": "as I say"})}).running() as server:
        with pytest.raises(kind, match=r"^as I say$") as caught:
            PlainClient(server.url).call("POST", path, {"model": "m"})
    cause = caught.value.__cause__
    assert isinstance(cause, HttpReply)
    assert (cause.status, cause.streaming) == (status, False)


def test_a_refusal_keeps_the_servers_hint() -> None:
    refused = Reply(404, {"error": "gone"}, headers=(("olla-hint", "See `olla list`: 100%25."),))
    with JsonServer({"POST /api/show": refused}).running() as server:
        with pytest.raises(ModelNotFound) as caught:
            PlainClient(server.url).call("POST", "/api/show", {"model": "m"})
    assert (caught.value.message, caught.value.hint) == ("gone", "See `olla list`: 100%.")


def test_a_route_that_is_not_there_is_no_missing_model() -> None:
    with JsonServer({}).running() as server, pytest.raises(NotFound, match="404 page not found") as caught:
        PlainClient(server.url).call("GET", "/olla/status")
    assert not isinstance(caught.value, ModelNotFound)


def test_a_server_that_is_not_there_is_said_so() -> None:
    with JsonServer({}).running() as server:
        url = server.url
    with pytest.raises(ServerUnreachable, match=url) as caught:
        PlainClient(url).call("GET", "/api/tags")
    assert "olla serve" in caught.value.hint
