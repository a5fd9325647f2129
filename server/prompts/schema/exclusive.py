"""Whether the choices of a `oneOf` exclude each other, so that a document made for one satisfies no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.prompts.schema.reading import Schema, is_a, is_among, object_parts, types_of

Flatten = Callable[[Any], Schema]
"""Replaces references and joins `allOf`. Raises InvalidFormat."""

_MAX_DEPTH = 8
_JSON_TYPES = frozenset(("object", "array", "string", "number", "boolean", "null"))


def may_satisfy(made_for: Any, other: Any, flatten: Flatten, depth: int = 0) -> bool:
    """Whether a document that the grammar of one schema accepts may satisfy another; True when in doubt."""
    one, two = flatten(made_for), flatten(other)
    if one is False or two is False:
        return False
    if one is True or two is True or depth > _MAX_DEPTH:
        return True
    values, others = _values(one), _values(two)
    if values is not None:
        types = _types(two)
        kept = [value for value in values if any(is_a(value, type_) for type_ in types)]
        return any(others is None or is_among(value, others) for value in kept)
    common = _made_types(one) & _types(two)
    if common != {"object"}:
        return bool(common)
    return _may_satisfy_object(one, two, flatten, depth)


def _may_satisfy_object(one: dict[str, Any], two: dict[str, Any], flatten: Flatten, depth: int) -> bool:
    properties, required, extra = object_parts(one, "")
    others = two.get("properties", {})
    if extra is False and any(key not in properties for key in two.get("required", ())):
        return False
    if two.get("additionalProperties") is False and not two.get("patternProperties"):
        if any(key not in others for key in required):
            return False
    shared = [key for key in required if key in others]
    return all(may_satisfy(properties[key], others[key], flatten, depth + 1) for key in shared)


def _values(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _types(schema: dict[str, Any]) -> frozenset[str]:
    """Types of the documents that a schema may accept; an integer is a number."""
    values = _values(schema)
    if values is not None:
        return frozenset(type_ for type_ in _JSON_TYPES if any(is_a(value, type_) for value in values))
    if "type" not in schema:
        return _JSON_TYPES
    return _as_numbers(types_of(schema, ""))


def _made_types(schema: dict[str, Any]) -> frozenset[str]:
    """Types of the documents that the schema's grammar accepts."""
    if any(keyword in schema for keyword in ("anyOf", "oneOf")):
        return _types(schema)
    return _as_numbers(types_of(schema, "")) or _JSON_TYPES


def _as_numbers(types: tuple[str, ...]) -> frozenset[str]:
    return frozenset("number" if type_ == "integer" else type_ for type_ in types)
