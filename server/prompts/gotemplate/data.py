"""Messages and tools as the structs that Ollama's templates see."""

from __future__ import annotations

from typing import Any

from server.prompts.gotemplate.values import (
    JsonList,
    JsonMap,
    OrderedObject,
    Struct,
    TypeNames,
    Value,
)
from server.types.messages import JsonObject, Message, Tool, ToolCall

_PROPERTY_KEYS = ("anyOf", "type", "items", "description", "enum", "properties", "required")
_PARAMETER_KEYS = ("type", "$defs", "items", "required", "properties")


def message_value(message: Message) -> Struct:
    """A message; fields Role, Content, Thinking, Images, ToolCalls, ToolName, ToolCallID."""
    return Struct(
        "template.templateMessage",
        {
            "Role": message.role,
            "Content": message.content,
            "Thinking": message.thinking,
            "Images": list(message.images),
            "ToolCalls": [_call_value(call) for call in message.tool_calls],
            "ToolName": message.tool_name,
            "ToolCallID": message.tool_call_id,
        },
    )


def _call_value(call: ToolCall) -> Struct:
    arguments = JsonMap({key: go_number(value) for key, value in call.arguments.items()})
    function = Struct(
        "template.templateToolCallFunction",
        {"Index": call.index, "Name": call.name, "Arguments": arguments},
        {"index": call.index, "name": call.name, "arguments": arguments},
    )
    return Struct("template.templateToolCall", {"ID": call.id, "Function": function})


def go_number(value: Any) -> Value:
    """A JSON value as Go decodes it: every number is a float64."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if isinstance(value, dict):
        return {str(key): go_number(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [go_number(item) for item in value]
    return value


def tools_value(tools: tuple[Tool, ...]) -> JsonList:
    """The list of tools; it and each tool print as JSON. Without tools it prints null and is false."""
    return JsonList([_tool_value(tool) for tool in tools], is_nil=not tools)


def _tool_value(tool: Tool) -> Struct:
    parameters = _parameters_value(tool.parameters)
    function = Struct(
        "template.templateToolFunction",
        {"Name": tool.name, "Description": tool.description, "Parameters": parameters},
        {"name": tool.name, "description": tool.description, "parameters": parameters},
    )
    return Struct(
        "template.templateTool",
        {"Type": tool.type, "Items": None, "Function": function},
        {"type": tool.type, "function": function},
    )


def _parameters_value(schema: JsonObject) -> Struct:
    raw = schema.get("properties")
    properties: JsonMap | None = None
    if isinstance(raw, dict):
        properties = JsonMap({name: _property_value(value) for name, value in raw.items()})
    type_ = schema.get("type")
    fields: dict[str, Value] = {
        "Type": type_ if isinstance(type_, str) else "",
        "Defs": go_number(schema.get("$defs")),
        "Items": go_number(schema.get("items")),
        "Required": list(schema.get("required") or ()),
        "Properties": properties,
    }
    json_value: dict[str, Value] = {"type": go_number(type_) if type_ is not None else ""}
    for key in ("$defs", "items", "required"):
        if schema.get(key):
            json_value[key] = go_number(schema[key])
    json_value["properties"] = properties
    _add_others(json_value, schema, _PARAMETER_KEYS)
    return Struct("template.templateToolFunctionParameters", fields, json_value)


def _property_value(schema: Any) -> Value:
    if not isinstance(schema, dict):
        return go_number(schema)
    type_ = schema.get("type")
    properties = schema.get("properties")
    inner = (
        OrderedObject({name: _property_value(value) for name, value in properties.items()})
        if isinstance(properties, dict)
        else None
    )
    any_of = [_property_value(value) for value in schema.get("anyOf") or ()]
    fields: dict[str, Value] = {
        "AnyOf": any_of,
        "Type": TypeNames([type_] if isinstance(type_, str) else list(type_ or ())),
        "Items": go_number(schema.get("items")),
        "Description": schema.get("description") or "",
        "Enum": go_number(schema.get("enum") or []),
        "Properties": inner,
        "Required": list(schema.get("required") or ()),
    }
    ordered = {
        "anyOf": any_of,
        "type": fields["Type"],
        "items": fields["Items"],
        "description": fields["Description"],
        "enum": fields["Enum"],
        "properties": inner,
        "required": fields["Required"],
    }
    json_value = {
        key: value
        for key, value in ordered.items()
        if value or (key in ("items", "properties") and value is not None)
    }
    _add_others(json_value, schema, _PROPERTY_KEYS)
    return Struct("api.ToolProperty", fields, json_value)


def _add_others(json_value: dict[str, Value], schema: JsonObject, known: tuple[str, ...]) -> None:
    """Keywords that Ollama would drop follow its own, in the caller's order."""
    for key, value in schema.items():
        if key not in known:
            json_value[key] = go_number(value)
