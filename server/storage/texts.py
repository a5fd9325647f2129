"""The messages and params layers of a model as bytes."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from server.storage import gojson
from server.types.messages import Message, ToolCall


def read_params(raw: bytes) -> dict[str, Any]:
    """Options by name. Raises: ValueError."""
    value = gojson.decode_first(raw)[0]
    if value is not None and not isinstance(value, dict):
        raise ValueError("parameters are not a JSON object")
    return value or {}


def encode_params(params: dict[str, Any]) -> bytes:
    """Options as Ollama writes them, sorted by name. Raises: ValueError for what JSON has no form for."""
    return gojson.encode_sorted(params)


def read_messages(raw: bytes) -> tuple[Message, ...]:
    """A conversation that every chat with the model begins with. Raises: ValueError."""
    value = gojson.decode_first(raw)[0]
    if value is not None and not isinstance(value, list):
        raise ValueError("messages are not a JSON array")
    return tuple(_read_message(item) for item in value or [])


def encode_messages(messages: tuple[Message, ...]) -> bytes:
    """A conversation as Ollama writes it."""
    return gojson.encode([_message_object(message) for message in messages])


def _read_message(value: Any) -> Message:
    fields = gojson.folded(value)
    try:
        images = tuple(base64.b64decode(text) for text in gojson.texts_field(fields, "images"))
    except binascii.Error as error:
        raise ValueError("an image is not base64") from error
    return Message(
        role=gojson.text_field(fields, "role").lower(),
        content=gojson.text_field(fields, "content"),
        thinking=gojson.text_field(fields, "thinking"),
        images=images,
        tool_calls=tuple(_read_call(call) for call in gojson.list_field(fields, "tool_calls")),
        tool_name=gojson.text_field(fields, "tool_name"),
        tool_call_id=gojson.text_field(fields, "tool_call_id"),
    )


def _read_call(value: Any) -> ToolCall:
    fields = gojson.folded(value)
    function = gojson.folded(fields.get("function"))
    arguments = function.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise ValueError("arguments of a call are not a JSON object")
    return ToolCall(
        name=gojson.text_field(function, "name"),
        arguments=arguments,
        id=gojson.text_field(fields, "id"),
        index=gojson.int_field(function, "index"),
    )


def _message_object(message: Message) -> dict[str, Any]:
    value: dict[str, Any] = {"role": message.role, "content": message.content}
    optional: dict[str, Any] = {
        "thinking": message.thinking,
        "images": [base64.b64encode(image).decode() for image in message.images],
        "tool_calls": [_call_object(call) for call in message.tool_calls],
        "tool_name": message.tool_name,
        "tool_call_id": message.tool_call_id,
    }
    return value | {key: item for key, item in optional.items() if item}


def _call_object(call: ToolCall) -> dict[str, Any]:
    function = {"index": call.index, "name": call.name, "arguments": call.arguments}
    return ({"id": call.id} if call.id else {}) | {"function": function}
