"""Pieces of JSON schemas, and what is said of a route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from server.types.options import OPTIONS, OptionSpec

Schema = dict[str, Any]

ANY: Schema = {}
TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer", "format": "int64"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
MAPPING: Schema = {"type": "object"}
BASE64: Schema = {"type": "string", "format": "byte"}
JSON_SCHEMA: Schema = {"type": "object", "description": "A JSON schema."}
TEXT_MAPPING: Schema = {"type": "object", "additionalProperties": TEXT}


def array(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def either(*schemas: Schema) -> Schema:
    """One of several shapes."""
    return {"anyOf": list(schemas)}


def choice(*values: str) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": list(values)}


def fields(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object; unknown fields are ignored. A name that Python reserves has an underscore behind it."""
    named = {name.removesuffix("_"): schema for name, schema in properties.items()}
    schema: Schema = {"type": "object", "properties": named}
    return {**schema, "required": list(required)} if required else schema


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A route.

    Attributes:
        body: of the request; None: none is read.
        form: the body is a form with files.
        reply: a msgspec type, a schema, or None for an empty reply.
        stream: how a reply comes in pieces, "" when it does not.
        streamed_by_default: it does unless `stream` is false.
        query: parameters behind the path.
        statuses: beyond 200 and what every route may answer.
    """

    method: str
    path: str
    summary: str
    body: Schema | None = None
    form: bool = False
    reply: Any = None
    reply_text: bool = False
    stream: Literal["", "ndjson", "sse"] = ""
    query: Mapping[str, Schema] = {}
    statuses: Mapping[int, str] = {}


def options_schema() -> Schema:
    """Ollama's options, from the table that everything else takes them from."""
    described = {spec.name: _option(spec) for spec in OPTIONS}
    return {"type": "object", "description": "Options of the model.", "properties": described}


def _option(spec: OptionSpec) -> Schema:
    kinds: dict[str, Schema] = {
        "int": INTEGER,
        "float": NUMBER,
        "bool": FLAG,
        "strings": either(array(TEXT), TEXT),
    }
    schema = {**kinds[spec.type], "description": spec.help + (f", in {spec.unit}" if spec.unit else "")}
    if spec.default is not None:
        schema["default"] = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    return schema
