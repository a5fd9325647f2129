"""Several schemas that all hold, as one: for `allOf`, and for what stands beside `anyOf` or `$ref`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from server.prompts.schema.reading import ANNOTATIONS, Schema, is_among, refused, same
from server.types.messages import JsonObject

Resolve = Callable[[Any, str], Any]
"""Replaces the reference of a schema by what it refers to."""

_MAX_CHOICES = 64
_HIGHEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_LOWEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")


def merged(parts: Sequence[Any], path: str, resolve: Resolve) -> Schema:
    """One schema for what satisfies all parts. Raises InvalidFormat where they cannot be merged."""
    made: JsonObject = {}
    for part in _flat(parts, path, resolve):
        for keyword, value in part.items():
            if value is None and keyword != "const":
                continue
            if keyword not in made or keyword in ANNOTATIONS:
                made[keyword] = value
            elif not same(made[keyword], value):
                made[keyword] = _both(keyword, made[keyword], value, path)
    _check_closed(parts, made, path, resolve)
    return made


def _flat(parts: Sequence[Any], path: str, resolve: Resolve, depth: int = 0) -> Iterator[JsonObject]:
    """All parts, with the `allOf` of each spread out."""
    if depth > 32:
        raise refused("allOf", path, "it is nested too deeply")
    for part in parts:
        whole = resolve(part, path)
        if whole is True:
            continue
        if not isinstance(whole, dict):
            raise refused("allOf", path, "nothing can satisfy one of its parts")
        inner = whole.get("allOf", ())
        yield from _flat(inner, path, resolve, depth + 1)
        yield {key: value for key, value in whole.items() if key != "allOf"}


def _both(keyword: str, first: Any, second: Any, path: str) -> Any:
    if keyword in _HIGHEST or keyword in _LOWEST:
        if not all(isinstance(value, int | float) for value in (first, second)):
            raise refused(keyword, path, "it must be a number")
        return max(first, second) if keyword in _HIGHEST else min(first, second)
    match keyword:
        case "type":
            return _common_types(first, second, path)
        case "required":
            return list(dict.fromkeys([*first, *second]))
        case "properties":
            return _joined_properties(first, second)
        case "additionalProperties" | "items":
            if first is False or second is False:
                return False
            return second if first is True else first if second is True else {"allOf": [first, second]}
        case "enum":
            return [value for value in first if is_among(value, second)]
        case "nullable":
            return False
        case "anyOf" | "oneOf":
            choices = [{"allOf": [one, other]} for one in first for other in second]
            if len(choices) <= _MAX_CHOICES:
                return choices
    raise refused(keyword, path, "it is given twice and differs")


def _common_types(first: Any, second: Any, path: str) -> list[str]:
    one, other = ([types] if isinstance(types, str) else types for types in (first, second))
    both = [type_ for type_ in one if type_ in other or (type_ == "integer" and "number" in other)]
    if "integer" in other and "number" in one and "integer" not in both:
        both.append("integer")
    if not both:
        raise refused("type", path, "nothing has all the types")
    return both


def _joined_properties(first: JsonObject, second: JsonObject) -> JsonObject:
    joined = dict(first)
    for key, value in second.items():
        joined[key] = (
            {"allOf": [joined[key], value]} if key in joined and not same(joined[key], value) else value
        )
    return joined


def _check_closed(parts: Sequence[Any], made: JsonObject, path: str, resolve: Resolve) -> None:
    """What a part says of further properties or items holds for those that other parts bring.

    Each part has its own idea of which these are.
    """
    flat = list(_flat(parts, path, resolve))
    properties = made.get("properties", {})
    if not isinstance(properties, dict):
        return
    for part in flat:
        others = properties.keys() - part.get("properties", {}).keys()
        for keyword in ("additionalProperties", "unevaluatedProperties"):
            if part.get(keyword) is False and others:
                raise refused(keyword, path, "another part has more properties")
        further = part.get("additionalProperties", True)
        if isinstance(further, dict) and further and others:
            made["properties"] = properties = {
                key: {"allOf": [value, further]} if key in others else value
                for key, value in properties.items()
            }
        if "prefixItems" in made and part.get("items", True) not in (True, {}) and "prefixItems" not in part:
            raise refused("prefixItems", path, "another part has a schema for all items")
        if isinstance(made.get("items"), list) and not same(made["items"], part.get("items", made["items"])):
            raise refused("items", path, "it is given twice and differs")
    for keyword in ("patternProperties", "propertyNames"):
        if keyword in made and len(flat) > 1 and any(keyword not in part for part in flat):
            brings = any("properties" in part for part in flat if keyword not in part)
            if brings:
                raise refused(keyword, path, "another part has properties")
