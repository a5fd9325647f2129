"""The comparison of replies with recorded ones: what counts as equal, and that all else is found."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from tests.support.golden import Response, body_differences, differences, joined, parse_body, shape

DIGEST = "sha256:" + "a" * 64


def differ(recorded: Any, got: Any, *, store: str = "") -> list[str]:
    return body_differences({"json": recorded}, {"json": got}, store)


@pytest.mark.parametrize(
    ("recorded", "got"),
    [
        ({"created_at": "a"}, {"created_at": "b"}),
        ({"total_duration": 1}, {"total_duration": 2}),
        ({"error": f"no {DIGEST}"}, {"error": "no sha256:" + "b" * 64}),
        ({"path": "sha256-" + "a" * 64}, {"path": "sha256-" + "b" * 64}),
        ({"x": 1}, {"x": 1.0}),
        ({"embedding": [0.5] * 8}, {"embedding": [0.5001] * 8}),
        ({"logprob": -1.0}, {"logprob": -1.01}),
        ({"models": [{"name": "a"}, {"name": "b"}]}, {"models": [{"name": "b"}, {"name": "a"}]}),
        (
            {"data": [{"id": "a", "owned_by": "x"}, {"id": "b", "owned_by": "x"}]},
            {"data": [{"id": "b", "owned_by": "x"}, {"id": "a", "owned_by": "x"}]},
        ),
        ({"parameters": "a 1\nb 2"}, {"parameters": "b 2\na 1"}),
        (
            {"modelfile": "FROM x\nPARAMETER a 1\nPARAMETER b 2\nSYSTEM s"},
            {"modelfile": "FROM x\nPARAMETER b 2\nPARAMETER a 1\nSYSTEM s"},
        ),
    ],
)
def test_equal(recorded: Any, got: Any) -> None:
    assert differ(recorded, got) == []


@pytest.mark.parametrize(
    ("recorded", "got", "path"),
    [
        ({"a": 1}, {"a": 2}, "body.json.a"),
        ({"a": 1}, {"a": "1"}, "body.json.a"),
        ({"a": 1}, {"a": True}, "body.json.a"),
        ({"a": None}, {"a": False}, "body.json.a"),
        ({"a": 1}, {}, "body.json"),
        ({}, {"a": 1}, "body.json"),
        ({"created_at": "a"}, {"created_at": 1}, "body.json.created_at"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "body.json.a[1]"),
        ({"a": [1]}, {"a": [1, 2]}, "body.json.a"),
        ({"a": "x"}, {"a": "y"}, "body.json.a"),
        ({"embedding": [0.5] * 8}, {"embedding": [0.5] * 7 + [-0.5]}, "body.json.embedding"),
        ({"embedding": [0.5] * 8}, {"embedding": [0.5] * 9}, "body.json.embedding"),
        ({"logprob": -1.0}, {"logprob": -2.0}, "body.json.logprob"),
        ({"models": [{"name": "a"}]}, {"models": [{"name": "b"}]}, "body.json.models[0].name"),
        ({"parameters": "a 1"}, {"parameters": "a 2"}, "body.json.parameters"),
        ({"modelfile": "A\nB"}, {"modelfile": "B\nA"}, "body.json.modelfile"),
    ],
)
def test_different(recorded: Any, got: Any, path: str) -> None:
    (found,) = differ(recorded, got)
    assert found.startswith(f"{path}: ")


def test_the_stores_path_stands_for_its_variable() -> None:
    recorded = {"error": "open $OLLAMA_MODELS/x"}
    assert differ(recorded, {"error": "open /tmp/models/x"}, store="/tmp/models") == []
    assert differ(recorded, {"error": "open /tmp/other/x"}, store="/tmp/models") != []


def test_vectors_in_base64() -> None:
    def body(*numbers: float) -> dict[str, Any]:
        return {"embedding": base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()}

    assert differ(body(1, 0), body(1, 0.001)) == []
    assert differ(body(1, 0), body(0, 1)) != []


def test_status_and_headers() -> None:
    recorded = {"status": 200, "headers": {"vary": "Origin"}, "body": {"text": "x"}}
    assert differences(recorded, Response(200, {"vary": "Origin", "date": "now"}, {"text": "x"})) == []
    assert differences(recorded, Response(404, {}, {"json": 1})) == [
        "status: 200 -> 404",
        "headers.vary: 'Origin' -> None",
        'body: text -> {"json": 1}',
    ]


def line(text: str, **more: Any) -> dict[str, Any]:
    return {"response": text, "done": False, **more}


END = {"response": "", "done": True, "eval_count": 3}


def stream_differs(recorded: list[Any], got: list[Any]) -> list[str]:
    found = body_differences({"ndjson": recorded}, {"ndjson": got})
    return [difference.partition(":")[0].removeprefix("body.ndjson.") for difference in found]


def test_streams_in_other_pieces_are_equal() -> None:
    assert stream_differs([line("a"), line("b"), line("c"), END], [line("ab"), line("c"), END]) == []
    assert stream_differs([line("a"), line("b"), END], [line("ab"), END]) == []


@pytest.mark.parametrize(
    ("got", "where"),
    [
        ([line("a"), line("x"), END], "joined.response"),
        ([line("a", extra=1), line("b"), END], "first"),
        ([line("a"), line("b", extra=1), END], "middle"),
        ([line("a"), line("b"), {**END, "eval_count": 4}], "last[0].eval_count"),
        ([line("a"), line("b")], "last[0]"),
    ],
)
def test_streams_that_differ(got: list[Any], where: str) -> None:
    assert where in stream_differs([line("a"), line("b"), END], got)


def test_an_empty_stream_differs() -> None:
    assert body_differences({"ndjson": [END]}, {"ndjson": []}) == ["body.ndjson: 1 items -> none"]


def test_events_are_compared_by_their_names() -> None:
    def events(*names: str) -> dict[str, Any]:
        return {"sse": [{"event": name, "data": {"delta": "x"}} for name in names]}

    assert body_differences(events("a", "b", "b", "c"), events("a", "b", "b", "c")) == []
    found = body_differences(events("a", "b", "c"), events("a", "c"))
    assert any(difference.startswith("body.sse.events") for difference in found)


def test_the_item_before_done_is_compared_whole() -> None:
    def chunks(reason: str) -> dict[str, Any]:
        return {"sse": [{"data": {"x": "a"}}, {"data": {"finish_reason": reason}}, {"data": "[DONE]"}]}

    assert body_differences(chunks("stop"), chunks("stop")) == []
    assert body_differences(chunks("stop"), chunks("length")) != []


def test_bodies_are_parsed_by_their_type() -> None:
    assert parse_body("application/x-ndjson", '{"a":1}\n{"a":2}\n') == {"ndjson": [{"a": 1}, {"a": 2}]}
    assert parse_body("application/json; charset=utf-8", "[1]") == {"json": [1]}
    assert parse_body("application/json", "") == {"text": ""}
    assert parse_body("text/plain", "x") == {"text": "x"}
    assert parse_body("text/event-stream", 'event: e\ndata: {"a":1}\n\ndata: [DONE]\n\n') == {
        "sse": [{"event": "e", "data": {"a": 1}}, {"data": "[DONE]"}]
    }


def test_shapes_and_joined_texts() -> None:
    assert shape({"a": [{"b": 1}, {"c": 2}]}) == {".a", ".a[].b", ".a[].c"}
    assert joined(
        [
            {"message": {"content": "a", "thinking": "t"}},
            {"message": {"content": "b", "tool_calls": [{"id": "1"}]}},
            {"status": "done"},
        ]
    ) == {"content": "ab", "thinking": "t", "status": "done\n", "tool_calls": [{"id": "1"}]}
