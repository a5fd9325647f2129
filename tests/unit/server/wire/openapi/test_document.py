"""The OpenAPI document: whole, sound, and about the routes that are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest

from server.api.app import ApiSettings, all_routes
from server.types.generation import Origin
from server.types.options import OPTIONS
from server.wire import codec, rerank
from server.wire.anthropic.requests import messages_from_body
from server.wire.ollama import create, inference, models, transfers
from server.wire.openai.chat import chat_from_body
from server.wire.openai.completions import completion_from_body
from server.wire.openai.embeddings import embeddings_from_body
from server.wire.openai.responses.requests import responses_from_body
from server.wire.openapi.document import OPERATIONS, UNLISTED, document
from tests.support.scripted_services import ScriptedServices

DOCUMENT = document("1.2.3")
ORIGIN = Origin(route="/", client="")

READERS: dict[str, Callable[[bytes], Any]] = {
    "/api/chat": lambda body: inference.chat_from_body(body, ORIGIN),
    "/api/generate": lambda body: inference.generate_from_body(body, ORIGIN),
    "/api/embed": lambda body: inference.embed_from_body(body, ORIGIN),
    "/api/embeddings": lambda body: inference.embeddings_from_body(body, ORIGIN),
    "/api/rerank": lambda body: rerank.rerank_from_body(body, ORIGIN),
    "/api/show": models.show_from_body,
    "/api/copy": models.copy_from_body,
    "/api/delete": lambda body: models.name_from_body(body, "DeleteRequest"),
    "/api/create": create.create_from_body,
    "/api/pull": lambda body: transfers.transfer_from_body(body, "PullRequest"),
    "/v1/chat/completions": lambda body: chat_from_body(body, ORIGIN),
    "/v1/completions": lambda body: completion_from_body(body, ORIGIN),
    "/v1/embeddings": lambda body: embeddings_from_body(body, ORIGIN),
    "/v1/responses": lambda body: responses_from_body(body, ORIGIN),
    "/v1/messages": lambda body: messages_from_body(body, ORIGIN),
}
"""What reads the body of a route."""

OLD_NAMES = {"name", "quantization"}
"""Names of fields that newer ones stand for."""

WITHOUT_EFFECT = {
    "/v1/chat/completions": {
        *("audio", "function_call", "functions", "modalities", "prediction", "store", "verbosity"),
        *("web_search_options", "best_of"),
    },
    "/v1/completions": {"best_of"},
    "/v1/responses": {
        *("conversation", "max_tool_calls", "prompt", "prompt_cache_key", "safety_identifier"),
    },
    "/v1/messages": {"container", "context_management", "mcp_servers"},
}
"""Fields that are refused, or named in a header."""

UNSAID = {"_debug_render_only", "texts", "return_text", "output_format", "_debug"}
"""Fields of older clients and for finding faults, which nobody should begin to use."""


def test_every_route_is_there_and_nothing_else() -> None:
    routes = all_routes(ScriptedServices(), ApiSettings())
    served = {(route.method, route.path) for route in routes if route.method != "HEAD"}
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    assert {(method, path) for method, path in served if path not in UNLISTED} == described
    assert {path for _, path in served} >= UNLISTED


def test_it_is_json_with_references_that_lead_somewhere() -> None:
    text = msgspec.json.encode(DOCUMENT).decode()
    assert "server." not in text
    schemas = DOCUMENT["components"]["schemas"]
    references: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                references.add(value["$ref"])
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    collect(DOCUMENT)
    assert references
    assert {reference.rpartition("/")[2] for reference in references} <= set(schemas)
    names = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_options_are_those_of_the_table() -> None:
    assert set(DOCUMENT["components"]["schemas"]["Options"]["properties"]) == {spec.name for spec in OPTIONS}


@pytest.mark.parametrize("path", READERS)
def test_a_body_has_the_fields_that_are_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader looks for each field that is named, and for no other on the outermost level."""
    (operation,) = [one for one in OPERATIONS if one.path == path and one.body is not None]
    assert operation.body is not None
    asked: set[str] = set()

    class Noting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

        def __contains__(self, key: object) -> bool:
            asked.add(str(key))
            return super().__contains__(key)

    created = codec.GoObject.__init__

    def noting(self: codec.GoObject, value: object, struct: str, **more: Any) -> None:
        created(self, value, struct, **more)
        if not more.get("path") and struct.endswith("Request"):
            self._fields = Noting(self._fields)

    monkeypatch.setattr(codec.GoObject, "__init__", noting)
    READERS[path](msgspec.json.encode(_example(operation.body)))
    named = set(operation.body["properties"])
    assert named <= asked | {"documents"}
    assert asked - named <= OLD_NAMES | UNSAID | WITHOUT_EFFECT.get(path, set())


def _example(schema: dict[str, Any]) -> dict[str, Any]:
    """A body with nothing but what must be there."""
    values: dict[str, Any] = {"model": "m", "max_tokens": 1, "query": "q", "documents": ["d"], "input": "x"}
    values |= {"messages": [{"role": "user", "content": "x"}], "prompt": "x"}
    return {name: values.get(name, "x") for name in schema.get("required", ())}
