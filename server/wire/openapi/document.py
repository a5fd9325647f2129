"""The whole document."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from server.wire.openapi import compatible, native, own
from server.wire.openapi.schema import MAPPING, TEXT, Operation, Schema, fields, options_schema

OPERATIONS: Final = (*native.OPERATIONS, *compatible.OPERATIONS, *own.OPERATIONS)

UNLISTED: Final = {
    "/api/me",
    "/api/signout",
    "/api/user/keys/{key}",
    "/api/experimental/web_search",
    "/api/experimental/web_fetch",
    "/api/experimental/model-recommendations",
}
"""Routes of Ollama's cloud, which say that there is none."""

_REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_STREAMS: Final = {"ndjson": "application/x-ndjson", "sse": "text/event-stream"}
_ERROR_STATUSES: Final = {
    400: "The request is at fault; the error says how.",
    500: "The server is at fault.",
    503: "Too many requests wait, or the model crashes again and again; try later.",
}


def document(version: str) -> dict[str, Any]:
    """The document, as what JSON can hold. `version`: of this server."""
    replies = {repr(operation.reply): operation.reply for operation in OPERATIONS}
    types = [reply for reply in replies.values() if reply is not None and not isinstance(reply, dict)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    of_type = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _operation(operation, of_type)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "olla",
            "version": version,
            "description": "Ollama's, OpenAI's and Anthropic's APIs, and olla's own.",
        },
        "paths": paths,
        "components": {"schemas": {**components, "Options": options_schema(), "Error": _error()}},
    }
    # Names of modules tell types of one name apart; where they lie is nobody's business.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(whole).replace(b"server.wire.", b""))
    return plain


def _operation(operation: Operation, of_type: dict[str, Schema]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _name(operation),
        "responses": _responses(operation, of_type),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": TEXT}
        for name in _PARAMETER.findall(operation.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        content = {_body_type(operation): {"schema": operation.body}}
        described["requestBody"] = {"content": content, "required": bool(operation.body.get("required"))}
    return described


def _responses(operation: Operation, of_type: dict[str, Schema]) -> dict[str, Any]:
    reply = operation.reply
    content: dict[str, Any] = {}
    if operation.reply_text:
        content["text/plain"] = {"schema": TEXT}
    elif reply is not None:
        schema = reply if isinstance(reply, dict) else of_type[repr(reply)]
        content["application/json"] = {"schema": schema}
        if operation.stream:
            one = schema if operation.stream == "ndjson" else MAPPING
            content[_STREAMS[operation.stream]] = {"schema": one}
    responses: dict[str, Any] = {"200": {"description": "Done.", **({"content": content} if content else {})}}
    error = {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}}
    for status, meaning in {**_ERROR_STATUSES, **operation.statuses}.items():
        fault = {"content": error} if status >= 400 else {}
        responses[str(status)] = {"description": meaning, **fault}
    return responses


def _body_type(operation: Operation) -> str:
    if operation.form:
        return "multipart/form-data"
    is_file = operation.body is not None and operation.body.get("format") == "binary"
    return "application/octet-stream" if is_file else "application/json"


def _name(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.path)
    return "_".join((operation.method.lower(), *words))


def _error() -> Schema:
    """Ollama's errors are a text, OpenAI's and Anthropic's an object."""
    detail = fields(("message",), message=TEXT, type=TEXT, param={}, code={})
    return {"type": "object", "properties": {"error": {"anyOf": [TEXT, detail]}}, "required": ["error"]}
