"""Reading of a schema's keywords, and the refusal of those that a grammar cannot enforce."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import unquote

from server.errors import InvalidFormat
from server.prompts.schema.numbers import Bounds, multiples
from server.types.messages import JsonObject

Schema = JsonObject | bool

ANNOTATIONS = frozenset(
    """$anchor $comment $defs $id $schema contentEncoding contentMediaType default definitions deprecated
    description discriminator example examples readOnly title writeOnly""".split()
)
"""Keywords that constrain nothing."""

_NOT_ENFORCED = frozenset(
    """$dynamicRef $recursiveRef contains dependencies dependentRequired dependentSchemas else if maxContains
    minContains not then unevaluatedItems unevaluatedProperties uniqueItems""".split()
)
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "unevaluatedItems": (True, {}),
    "unevaluatedProperties": (True, {}),
    "uniqueItems": (False,),
}
"""Values of those keywords that ask for nothing."""

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_IMPLIED = {
    "object": (
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_SIZED_INTEGERS = {"int32": 31, "int64": 63}
_MAX_COUNT = 100_000


def refused(keyword: str, path: str, why: str) -> InvalidFormat:
    """The error for a keyword that cannot be enforced."""
    return InvalidFormat(
        f"format: {keyword!r} at {path} cannot be enforced: {why}",
        hint="Leave the keyword out of the schema, or check the answer against it yourself.",
    )


def pointer(path: str, *steps: str | int) -> str:
    """The JSON pointer of what lies further down."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return "/".join([path, *escaped])


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: true is not 1, but 1.0 is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (type(one) is type(other) and one == other) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def is_among(value: Any, values: Any) -> bool:
    """Whether a JSON value is one of a list."""
    return any(same(value, other) for other in values)


def is_a(value: Any, type_: str) -> bool:
    """Whether a JSON value is of a schema's type."""
    if value is None or isinstance(value, bool):
        return type_ == ("null" if value is None else "boolean")
    if type_ == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    kinds = {"string": str, "number": int | float, "array": list, "object": dict}
    return type_ in kinds and isinstance(value, kinds[type_])


def check_keywords(schema: JsonObject, path: str) -> None:
    """Raise InvalidFormat for a keyword that would go unenforced. Unknown keywords mean nothing."""
    for keyword in sorted(schema.keys() & _NOT_ENFORCED):
        value = schema[keyword]
        if keyword == "unevaluatedProperties" and value is False and "properties" in schema:
            continue
        if keyword == "uniqueItems" and schema.get("maxItems") in (0, 1):
            continue
        if value not in _HARMLESS.get(keyword, ()):
            raise refused(keyword, path, "a grammar cannot say it")


def types_of(schema: JsonObject, path: str) -> tuple[str, ...]:
    """The types that a schema allows, by `type` or by what its other keywords are about; () for any."""
    given = schema.get("type")
    if given is None:
        return tuple(type_ for type_, keywords in _IMPLIED.items() if schema.keys() & set(keywords))
    types = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else ()
    if not types or any(type_ not in _TYPES for type_ in types):
        raise refused("type", path, f"it must be one or several of {', '.join(_TYPES)}")
    if "number" in types:
        types = tuple(type_ for type_ in types if type_ != "integer")
    return tuple(dict.fromkeys(types))


def count(schema: JsonObject, keyword: str, path: str) -> int | None:
    """The value of a keyword that counts, None without it."""
    value = schema.get(keyword)
    if value is None:
        return None
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    ):
        raise refused(keyword, path, "it must be a whole number from 0 on")
    if value < 0:
        raise refused(keyword, path, "it must be a whole number from 0 on")
    if value > _MAX_COUNT:
        raise refused(keyword, path, f"it is more than {_MAX_COUNT}")
    return int(value)


def number_bounds(schema: JsonObject, type_: str, path: str) -> Bounds | None:
    """The bounds of a number, None without any."""
    least, over = _bound(schema, "minimum", "exclusiveMinimum", path)
    most, under = _bound(schema, "maximum", "exclusiveMaximum", path)
    n_bits = _SIZED_INTEGERS.get(str(schema.get("format")))
    if n_bits and type_ == "integer":
        least = -(2**n_bits) if least is None else max(least, -(2**n_bits))
        most = 2**n_bits - 1 if most is None else min(most, 2**n_bits - 1)
    if least is None and most is None:
        return None
    if type_ == "integer":
        if least is not None and least != math.floor(least):
            least, over = math.ceil(least), False
        if most is not None and most != math.floor(most):
            most, under = math.floor(most), False
    for keyword, value in (("minimum", least), ("maximum", most)):
        if value is not None and value != math.floor(value):
            raise refused(keyword, path, "bounds of numbers must be whole")
    return Bounds(None if least is None else int(least), None if most is None else int(most), over, under)


def _bound(schema: JsonObject, keyword: str, exclusive: str, path: str) -> tuple[int | float | None, bool]:
    """The tighter of a bound and its exclusive form, and whether it is exclusive."""
    value, beyond = schema.get(keyword), schema.get(exclusive)
    if isinstance(beyond, bool):  # the form of draft 4
        return _finite(value, keyword, path), beyond and value is not None
    plain, strict = _finite(value, keyword, path), _finite(beyond, exclusive, path)
    if strict is None:
        return plain, False
    if plain is None:
        return strict, True
    is_tighter = strict >= plain if keyword == "minimum" else strict <= plain
    return (strict, True) if is_tighter else (plain, False)


def _finite(value: Any, keyword: str, path: str) -> int | float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise refused(keyword, path, "it must be a number")
    if abs(value) > 1e30:
        raise refused(keyword, path, "it is too large")
    return value


def object_parts(schema: JsonObject, path: str) -> tuple[dict[str, Schema], frozenset[str], Schema]:
    """Properties in order, the required ones, and the schema of any others.

    Without `additionalProperties` an object with properties has no others: that is what answers are for.
    """
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict):
        raise refused("properties", path, "it must be an object of schemas")
    if not isinstance(required, list) or not all(isinstance(key, str) for key in required):
        raise refused("required", path, "it must be a list of names")
    extra = schema.get("additionalProperties", not properties)
    if not isinstance(extra, dict | bool):
        raise refused("additionalProperties", path, "it must be a schema")
    for key in required:
        if key not in properties and "patternProperties" in schema:
            raise refused("patternProperties", path, f"{key!r} is required and not among the properties")
        if key not in properties and extra is False and "additionalProperties" in schema:
            raise refused("required", path, f"there is no property {key!r}")
    unlisted = {key: True if extra is False else extra for key in required if key not in properties}
    known = {key: value for key, value in properties.items() if value is not False or key in required}
    return {**known, **unlisted}, frozenset(required), extra


def resolve_pointer(root: JsonObject, pointer: Any, path: str) -> Any:
    """What a `$ref` within the schema refers to."""
    if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
        raise refused("$ref", path, f"{pointer!r} is not within the schema")
    found: Any = root
    for step in pointer.split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            raise refused("$ref", path, f"there is no {pointer}")
    return found


def multiples_of(step: Any, bounds: Bounds | None, type_: str, path: str) -> str:
    """GBNF for the multiples of a `multipleOf`. Raises InvalidFormat."""
    if isinstance(step, bool) or not isinstance(step, int | float) or step <= 0:
        raise refused("multipleOf", path, "it must be a number greater than 0")
    if bounds is not None:
        raise refused("multipleOf", path, "it stands beside bounds")
    body = multiples(step, of_integers=type_ == "integer")
    if body is None:
        raise refused("multipleOf", path, "only 1, 2 or 5 times a power of ten shows in the digits")
    return body
