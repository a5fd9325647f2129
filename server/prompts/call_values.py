"""Arguments that a model writes as bare text, by the schema of its tool."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from server.types.messages import JsonObject

Parameters = dict[str, JsonObject]
"""JSON schema of each tool's arguments, by the tool's name."""


def typed_argument(text: str, parameters: Parameters, tool: str, key: str) -> Any:
    """The value as the first type of its schema that it reads as; text when none."""
    properties = parameters.get(tool, {}).get("properties") or {}
    return typed_value(text, properties.get(key) if isinstance(properties, dict) else None)


def typed_value(text: str, schema: Any) -> Any:
    """The value as the first type of a schema that it reads as; text when none."""
    types = _types_of(schema)
    if text.strip().lower() == "null" and (not types or "null" in types):
        return None
    for type_, reads in _READERS:
        if type_ in types:
            try:
                return reads(text)
            except (ValueError, RecursionError, OverflowError):
                continue
    return text


def json_value(text: str) -> Any:
    """A JSON value; NaN and infinity are none. Raises: ValueError."""
    try:
        return json.loads(text, strict=False, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def json_object(text: str) -> JsonObject | None:
    """A JSON object, None for anything else."""
    try:
        value = json_value(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _types_of(schema: Any) -> frozenset[str]:
    if not isinstance(schema, dict):
        return frozenset()
    types = schema.get("type") or ()
    found = {types} if isinstance(types, str) else {name for name in types if isinstance(name, str)}
    for branch in schema.get("anyOf") or ():
        found |= _types_of(branch)
    return frozenset(found)


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise ValueError(text)
    return word == "true"


def _json_of(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = json_value(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return read


_READERS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    ("boolean", _boolean),
    ("integer", int),
    ("number", _finite),
    ("array", _json_of(list)),
    ("object", _json_of(dict)),
)
