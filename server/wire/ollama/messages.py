"""Messages, tools, tool calls and log probabilities in Ollama's JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.types.generation import TokenLogprob, TopLogprob
from server.types.messages import JsonObject, Message, Tool, ToolCall
from server.wire.codec import GoObject

_MAX_SCHEMA_DEPTH = 64
"""Levels of nested schemas in a tool; deeper ones no model can follow and no stack should."""


class FunctionBody(msgspec.Struct, frozen=True):
    """`function` of a tool call in a reply."""

    index: int
    name: str
    arguments: JsonObject


class ToolCallBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool call in a reply."""

    id: str = ""
    function: FunctionBody


class MessageBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message in a reply; role and content are always there."""

    role: str
    content: str
    thinking: str = ""
    images: list[str] = []
    tool_calls: list[ToolCallBody] = []
    tool_name: str = ""
    tool_call_id: str = ""


class TopLogprobBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token and its log probability; `bytes` is left out for an empty token."""

    token: str
    logprob: float
    bytes: list[int] = []


class LogprobBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A generated token with its alternatives."""

    token: str
    logprob: float
    bytes: list[int] = []
    top_logprobs: list[TopLogprobBody] = []


def message_from_body(body: GoObject) -> Message:
    """A message of a request. Raises: InvalidRequest."""
    return Message(
        role=body.text("role").lower(),
        content=body.text("content"),
        thinking=body.text("thinking"),
        images=body.blobs("images"),
        tool_calls=tool_calls_from_body(body),
        tool_name=body.text("tool_name"),
        tool_call_id=body.text("tool_call_id"),
    )


def tool_calls_from_body(body: GoObject) -> tuple[ToolCall, ...]:
    """The `tool_calls` of a message. Raises: InvalidRequest."""
    return tuple(_call_from_body(call) for call in body.children("tool_calls", "api.ToolCall"))


def _call_from_body(body: GoObject) -> ToolCall:
    function = body.child("function", "api.ToolCallFunction")
    return ToolCall(
        name=function.text("name"),
        arguments=function.mapping("arguments"),
        id=body.text("id"),
        index=function.integer("index") or 0,
    )


def message_body(message: Message) -> MessageBody:
    """A message for a reply or a request."""
    return MessageBody(
        role=message.role,
        content=message.content,
        thinking=message.thinking,
        images=[base64.b64encode(image).decode("ascii") for image in message.images],
        tool_calls=tool_call_bodies(message.tool_calls),
        tool_name=message.tool_name,
        tool_call_id=message.tool_call_id,
    )


def tool_call_bodies(calls: Iterable[ToolCall]) -> list[ToolCallBody]:
    """Tool calls for a reply or a request."""
    return [
        ToolCallBody(
            id=call.id, function=FunctionBody(index=call.index, name=call.name, arguments=call.arguments)
        )
        for call in calls
    ]


def tool_from_body(body: GoObject) -> Tool:
    """A tool of a request, its schema reduced to the keywords and the key order that Ollama passes on.

    Raises: InvalidRequest.
    """
    function = body.child("function", "api.ToolFunction")
    return Tool(
        name=function.text("name"),
        description=function.text("description"),
        parameters=_parameters(function.child("parameters", "api.ToolFunctionParameters")),
        type=body.text("type"),
    )


def _parameters(body: GoObject) -> JsonObject:
    kept: JsonObject = {"type": body.text("type")}
    for key in ("$defs", "items"):
        if key in body:
            kept[key] = body.raw(key)
    if required := body.texts("required"):
        kept["required"] = list(required)
    kept["properties"] = _properties(body, 0)
    return kept


def _properties(body: GoObject, depth: int) -> JsonObject | None:
    """The `properties` of a schema, None when not given. Names of properties keep their spelling."""
    if "properties" not in body:
        return None
    return {
        name: _property(GoObject(schema, "ToolProperty"), depth + 1)
        for name, schema in body.mapping("properties").items()
    }


def _property(body: GoObject, depth: int) -> JsonObject:
    if depth > _MAX_SCHEMA_DEPTH:
        raise InvalidRequest(f"the schema of a tool is nested deeper than {_MAX_SCHEMA_DEPTH} levels")
    kept: JsonObject = {}
    if variants := body.children("anyof", "api.ToolProperty"):
        kept["anyOf"] = [_property(variant, depth + 1) for variant in variants]
    if type_ := _property_type(body):
        kept["type"] = type_
    if "items" in body:
        kept["items"] = body.raw("items")
    if description := body.text("description"):
        kept["description"] = description
    if values := body.items("enum"):
        kept["enum"] = values
    if (properties := _properties(body, depth)) is not None:
        kept["properties"] = properties
    if required := body.texts("required"):
        kept["required"] = list(required)
    return kept


def _property_type(body: GoObject) -> str | list[str]:
    """`type` as one name, or as a list of several."""
    if isinstance(body.raw("type"), str):
        return body.text("type")
    types = list(body.texts("type"))
    return types[0] if len(types) == 1 else types


def tool_body(tool: Tool) -> dict[str, Any]:
    """A tool for a request."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters
    return {"type": tool.type, "function": function}


def logprob_bodies(logprobs: Iterable[TokenLogprob]) -> list[LogprobBody]:
    """Log probabilities for a reply."""
    return [
        LogprobBody(
            item.token,
            item.logprob,
            list(item.token_bytes),
            [TopLogprobBody(top.token, top.logprob, list(top.token_bytes)) for top in item.top],
        )
        for item in logprobs
    ]


def logprobs_from_bodies(items: Iterable[GoObject]) -> tuple[TokenLogprob, ...]:
    """Log probabilities of a reply."""
    return tuple(
        TokenLogprob(
            item.text("token"),
            item.number("logprob") or 0.0,
            bytes(item.integers("bytes")),
            tuple(
                TopLogprob(top.text("token"), top.number("logprob") or 0.0, bytes(top.integers("bytes")))
                for top in item.children("top_logprobs", "api.TokenLogprob")
            ),
        )
        for item in items
    )
