"""Whether the keywords of a schema have values of the right kind, so that all other code can rely on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.errors import InvalidFormat
from server.prompts.schema.reading import pointer, refused
from server.types.messages import JsonObject

MAX_DEPTH = 200


def check_shapes(schema: Any, path: str, depth: int = 0) -> None:
    """Raises: InvalidFormat naming the first keyword that is not what it must be, here or below.

    What only a reference leads to is not looked at; null is a keyword that is not given.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise InvalidFormat(f"format: there must be a schema at {path[:200]}")
    if depth > MAX_DEPTH:
        raise InvalidFormat(f"format is nested deeper than {MAX_DEPTH} levels at {path[:80]}")
    for keyword, value in schema.items():
        shape = _SHAPES.get(keyword)
        if shape is None or value is None:
            continue
        must_be, holds = shape
        if not holds(value):
            raise refused(keyword, path, f"it must be {must_be}")
        for step, inner in _schemas_in(keyword, value):
            check_shapes(inner, pointer(path, keyword, *step), depth + 1)


def _schemas_in(keyword: str, value: Any) -> list[tuple[tuple[str | int, ...], Any]]:
    """The schemas that a keyword holds, each with the way to it."""
    if keyword in _MAPPINGS:
        return [((key,), inner) for key, inner in value.items()]
    if keyword in _LISTS or (keyword == "items" and isinstance(value, list)):
        return [((index,), inner) for index, inner in enumerate(value)]
    return [((), value)] if keyword in _SINGLE else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_list_of_schemas(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_schema, value))


def _is_mapping_of_schemas(value: JsonObject) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


_MAPPINGS = ("properties", "patternProperties")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("additionalItems", "additionalProperties", "items", "propertyNames")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")

_SHAPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "type": ("a name or a list of names", lambda value: isinstance(value, str) or _is_list_of_names(value)),
    "required": ("a list of names", _is_list_of_names),
    "enum": ("a list of values", lambda value: isinstance(value, list)),
    "items": ("a schema", lambda value: _is_schema(value) or _is_list_of_schemas(value)),
    "exclusiveMinimum": ("a number", lambda value: _is_number(value) or isinstance(value, bool)),
    "exclusiveMaximum": ("a number", lambda value: _is_number(value) or isinstance(value, bool)),
    "nullable": ("true or false", lambda value: isinstance(value, bool)),
    **dict.fromkeys(_MAPPINGS, ("an object of schemas", _is_mapping_of_schemas)),
    **dict.fromkeys(_LISTS, ("a list of schemas", _is_list_of_schemas)),
    **dict.fromkeys((key for key in _SINGLE if key != "items"), ("a schema", _is_schema)),
    **dict.fromkeys(("minimum", "maximum", "multipleOf", *_COUNTS), ("a number", _is_number)),
    **dict.fromkeys(("pattern", "format", "$ref"), ("a text", lambda value: isinstance(value, str))),
}
"""What the value of a keyword must be, in words and as a test."""
