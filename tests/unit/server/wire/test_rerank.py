"""Rerank bodies, in both directions."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from server.errors import InvalidRequest
from server.types.generation import Origin
from server.types.ranking import Ranked, RerankRequest, RerankResult
from server.wire.codec import encode
from server.wire.rerank import rerank_body, rerank_from_body, rerank_reply, rerank_result

RESULT = RerankResult(
    ranking=(Ranked(1, 0.5), Ranked(0, -1.25)), n_prompt_tokens=9, total_duration_ns=3, load_duration_ns=2
)


def call(**fields: Any) -> Any:
    body = {"model": "m", "query": "q", "documents": ["a", "b"], **fields}
    given = {name: value for name, value in body.items() if value is not ...}
    return rerank_from_body(json.dumps(given).encode(), Origin("r"))


def written(decoded: Any, *, is_native: bool = False) -> Any:
    return json.loads(encode(rerank_reply(decoded, RESULT, is_native=is_native)))


def test_a_request() -> None:
    decoded = call(top_n=1, truncate=False, options={"num_ctx": 8}, keep_alive="5m", return_documents=True)
    assert decoded.request == RerankRequest(
        model="m",
        query="q",
        documents=("a", "b"),
        n_top=1,
        truncate=False,
        options={"num_ctx": 8},
        keep_alive_s=300,
        origin=Origin("r"),
    )
    assert (decoded.with_documents, decoded.is_plain_list) == (True, False)


def test_documents_may_be_objects_with_a_text() -> None:
    decoded = call(query={"text": "q"}, documents=[{"text": "a", "id": 7}, "b"])
    assert (decoded.request.query, decoded.request.documents) == ("q", ("a", "b"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ...}, "model is required"),
        ({"query": ...}, "query must be a text that is not empty"),
        ({"query": ""}, "query must be a text that is not empty"),
        ({"query": 5}, "query must be a text that is not empty"),
        ({"documents": ...}, "documents must be a list of texts, at least one"),
        ({"documents": []}, "documents must be a list of texts, at least one"),
        ({"documents": "a"}, "documents must be a list of texts, at least one"),
        ({"documents": ["a", 5]}, "documents must be a list of texts, at least one"),
        ({"documents": [{"title": "a"}]}, "documents must be a list of texts, at least one"),
        ({"texts": []}, "texts must be a list of texts, at least one"),
        ({"top_n": 0}, "top_n must be at least 1; leave it out for all documents"),
        ({"top_n": -3}, "top_n must be at least 1; leave it out for all documents"),
    ],
)
def test_bad_requests(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call(**fields)
    assert caught.value.message == message


def test_a_reply() -> None:
    assert written(call()) == {
        "model": "m",
        "object": "list",
        "results": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": -1.25}],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }


def test_a_reply_with_documents_and_durations() -> None:
    reply = written(call(return_documents=True), is_native=True)
    assert reply["results"][0] == {"index": 1, "relevance_score": 0.5, "document": {"text": "b"}}
    assert (reply["total_duration"], reply["load_duration"], reply["prompt_eval_count"]) == (3, 2, 9)


def test_the_reply_of_text_embeddings_inference() -> None:
    assert written(call(documents=..., texts=["a", "b"], return_text=True)) == [
        {"index": 1, "score": 0.5, "text": "b"},
        {"index": 0, "score": -1.25, "text": "a"},
    ]
    assert written(call(documents=..., texts=["a", "b"]))[1] == {"index": 0, "score": -1.25}


def test_a_document_that_was_cut_is_told() -> None:
    result = RerankResult(
        ranking=(Ranked(1, 0.5, 7), Ranked(0, -1.25)), n_prompt_tokens=9, n_dropped_tokens=7, n_ctx=8
    )
    decoded = call()
    reply = json.loads(encode(rerank_reply(decoded, result, is_native=True)))
    assert [one.get("olla") for one in reply["results"]] == [{"dropped_tokens": 7}, None]
    context = {"limit": 8, "used": 9, "dropped_messages": 0, "dropped_tokens": 7}
    assert reply["olla"] == {"context": context}
    assert msgspec.structs.replace(result, total_duration_ns=0) == rerank_result(reply)
    plain = rerank_reply(call(documents=..., texts=["a", "b"]), result, is_native=False)
    assert [one.get("olla") for one in json.loads(encode(plain))] == [{"dropped_tokens": 7}, None]


def test_what_one_side_writes_the_other_reads() -> None:
    request = RerankRequest(
        model="m",
        query="q",
        documents=("a", "b"),
        n_top=2,
        truncate=False,
        options={"num_ctx": 8},
        keep_alive_s=60,
    )
    decoded = rerank_from_body(rerank_body(request), Origin())
    assert decoded.request == request
    assert rerank_result(written(decoded, is_native=True)) == RESULT
