"""Messages and tools as the OpenAI-shaped dicts that chat templates are written for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.types.messages import JsonObject, Message, Tool

_PARAMETER_KEYS = ("type", "$defs", "items", "required", "properties")
_PROPERTY_KEYS = ("anyOf", "type", "items", "description", "enum", "properties", "required")


def message_dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages with `role`, `content` and, where there is one, `reasoning_content`, `tool_calls`, `name`."""
    return [_message_dict(message) for message in messages]


def _message_dict(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        made["reasoning_content"] = message.thinking
    if message.tool_calls:
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
    if message.tool_name:
        made["name"] = message.tool_name
    return made


def tool_dict(tool: Tool) -> dict[str, Any]:
    """A tool, its keys in the order in which Ollama passes them on."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = _parameters(tool.parameters)
    return {"type": tool.type, "function": function}


def _parameters(schema: JsonObject) -> JsonObject:
    made: JsonObject = {"type": schema.get("type", "")}
    for key in ("$defs", "items", "required"):
        if schema.get(key):
            made[key] = schema[key]
    properties = schema.get("properties")
    made["properties"] = (
        {name: _property(value) for name, value in properties.items()}
        if isinstance(properties, dict)
        else None
    )
    return _with_others(made, schema, _PARAMETER_KEYS)


def _property(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = {key: schema[key] for key in _PROPERTY_KEYS if schema.get(key)}
    if isinstance(made.get("properties"), dict):
        made["properties"] = {name: _property(value) for name, value in made["properties"].items()}
    if isinstance(made.get("anyOf"), list):
        made["anyOf"] = [_property(value) for value in made["anyOf"]]
    return _with_others(made, schema, _PROPERTY_KEYS)


def _with_others(made: JsonObject, schema: JsonObject, known: tuple[str, ...]) -> JsonObject:
    """Keywords that Ollama would drop follow its own, in the caller's order."""
    made.update((key, value) for key, value in schema.items() if key not in known)
    return made
