"""JSON as Go's encoding/json writes it, and read as leniently as Go reads it.

A blob's name is the digest of its bytes: the same parameters must give the same bytes as Ollama's encoder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from server.prompts.gotemplate.json_text import json_float, json_string

# Halves of pairs, which JSON may escape and UTF-8 cannot hold; Go reads U+FFFD.
_SURROGATES = re.compile("[\ud800-\udfff]")
_DECODER = json.JSONDecoder()


def encode(value: Any) -> bytes:
    """Compact JSON with a final newline; keys stay in their order.

    Raises: ValueError for a number that is not finite, and for what JSON has no form for.
    """
    return (_encode(value) + "\n").encode()


def encode_sorted(value: Any) -> bytes:
    """As `encode`, with the keys of all objects sorted, as Go writes its maps."""
    return encode(_sorted(value))


def decode_first(raw: bytes) -> tuple[Any, int]:
    """The first JSON value, and how many bytes it and the blanks before it take; what follows is ignored.

    Raises: ValueError when there is none.
    """
    text = raw.decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value, len(text[:end].encode("utf-8", "surrogateescape"))


def folded(value: Any) -> dict[str, Any]:
    """An object's fields by lower-case name: Go matches names without regard to case. Null reads as empty.

    Raises: ValueError when the value is neither.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return {key.lower(): field for key, field in value.items()}


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """A string field, "" when absent or null. Raises: ValueError for another type."""
    value = fields.get(name.lower())
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def int_field(fields: Mapping[str, Any], name: str) -> int:
    """An integer field, 0 when absent or null. Raises: ValueError for another type."""
    value = fields.get(name.lower())
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is not an integer")
    return value


def list_field(fields: Mapping[str, Any], name: str) -> list[Any]:
    """An array field, empty when absent or null. Raises: ValueError for another type."""
    value = fields.get(name.lower())
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{name} is not an array")
    return value


def texts_field(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """An array of strings, empty when absent or null. Raises: ValueError for another type."""
    values = list_field(fields, name)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} is not an array of strings")
    return tuple(values)


def _encode(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_encode(str(key))}:{_encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_encode(item) for item in value) + "]"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number that is not finite has no JSON form")
        return json_float(value)
    if isinstance(value, str):
        return json_string(_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value))
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    raise ValueError(f"a {type(value).__name__} has no JSON form")


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
