"""Go's values as Python's, and how they are told apart.

| Go | here |
| --- | --- |
| nil, a missing map entry | None |
| bool, int, float64 | bool, int, float |
| string | str; bytes that are no UTF-8 stand as lone surrogates ("surrogateescape") |
| []byte | bytes |
| slice | list or tuple |
| map[string]any | dict; iterated and printed in the order of its keys |
| struct | Struct |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Value = Any
"""One of the above."""


class Struct:
    """A value with a fixed set of fields.

    Attributes:
        type_name: Go's name of the type, for error texts.
        fields: value by Go field name.
        json_value: what stands for it in JSON; None: it prints as Go prints a struct.
    """

    __slots__ = ("fields", "json_value", "type_name")

    def __init__(
        self, type_name: str, fields: dict[str, Value], json_value: dict[str, Value] | None = None
    ) -> None:
        self.type_name = type_name
        self.fields = fields
        self.json_value = json_value


class JsonMap(dict[str, Any]):
    """A map that prints as JSON."""


class JsonList(list[Any]):
    """A list that prints as JSON; `is_nil` makes an empty one print as null."""

    def __init__(self, items: list[Any], *, is_nil: bool = False) -> None:
        super().__init__(items)
        self.is_nil = is_nil


class OrderedObject(dict[str, Any]):
    """A JSON object whose keys keep their order; other dicts are written in the order of their keys."""


class TypeNames(list[str]):
    """The `type` of a JSON schema: one name prints bare, several as a list."""


def encode(text: str) -> bytes:
    """UTF-8 bytes of a string value."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def decode(data: bytes) -> str:
    """A string value of bytes that need not be UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def is_int(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_true(value: Value) -> bool:
    """Go's truth: false, zero, nil and whatever is empty are false; a struct is true."""
    if isinstance(value, Struct):
        return True
    return bool(value)


_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float64"),
    (str, "string"),
    (bytes, "[]uint8"),
    (JsonMap, "template.templateProperties"),
    (dict, "map[string]interface {}"),
    (JsonList, "template.templateTools"),
    (TypeNames, "api.PropertyType"),
    ((list, tuple), "[]interface {}"),
)


def type_name(value: Value) -> str:
    """Go's name for the type of a value."""
    if value is None:
        return "<nil>"
    if isinstance(value, Struct):
        return value.type_name
    for types, name in _NAMES:
        if isinstance(value, types):
            return name
    return type(value).__name__


Function = Callable[..., Value]
