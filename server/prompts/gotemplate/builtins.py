"""The functions that Go gives every template: comparison, indexing, printing, escaping.

A function raises `CallFault` with Go's words; the evaluator adds where it happened. `and` and `or` are not
here: the evaluator runs them, for they stop at the operand that decides.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import NamedTuple

from server.prompts.gotemplate.formatting import sprint, sprintf, sprintln
from server.prompts.gotemplate.values import Struct, Value, decode, encode, is_int, is_true, type_name


class CallFault(Exception):
    """A function does not take what it was given."""


class Builtin(NamedTuple):
    """A function and how many arguments it takes; `most` None for any number.

    Attributes:
        types: types that arguments must have, by position; the last one holds for all that follow.
    """

    call: Callable[..., Value]
    least: int
    most: int | None
    types: tuple[str, ...] = ()


def index(item: Value, *keys: Value) -> Value:
    """`index x 1 2` is x[1][2]; a missing map entry is nil."""
    if item is None:
        raise CallFault("index of untyped nil")
    for key in keys:
        if item is None:
            raise CallFault("index of untyped nil")
        if isinstance(item, dict):
            if key is None:
                raise CallFault("value is nil; should be of type string")
            if not isinstance(key, str):
                raise CallFault(f"value has type {type_name(key)}; should be string")
            item = item.get(key)
        elif isinstance(item, str | bytes | list | tuple):
            data = encode(item) if isinstance(item, str) else item
            item = data[_position(key, len(data) - 1)]
        else:
            raise CallFault(f"can't index item of type {type_name(item)}")
    return item


def slice_(item: Value, *bounds: Value) -> Value:
    """`slice x i j` is x[i:j]; strings are cut by bytes."""
    if item is None:
        raise CallFault("slice of untyped nil")
    if len(bounds) > 3:
        raise CallFault(f"too many slice indexes: {len(bounds)}")
    if not isinstance(item, str | bytes | list | tuple):
        raise CallFault(f"can't slice item of type {type_name(item)}")
    if isinstance(item, str) and len(bounds) == 3:
        raise CallFault("cannot 3-index slice a string")
    data = encode(item) if isinstance(item, str) else item
    places = [_position(bound, len(data)) for bound in bounds]
    start = places[0] if places else 0
    end = places[1] if len(places) > 1 else len(data)
    if start > end or (len(places) == 3 and end > places[2]):
        raise CallFault(f"invalid slice index: {start} > {end}")
    cut = data[start:end]
    return decode(cut) if isinstance(item, str) and isinstance(cut, bytes) else cut


def _position(key: Value, most: int) -> int:
    if key is None:
        raise CallFault("cannot index slice/array with nil")
    if not is_int(key):
        raise CallFault(f"cannot index slice/array with type {type_name(key)}")
    position = int(key)
    if not 0 <= position <= most:
        raise CallFault(f"index out of range: {position}")
    return position


def length(item: Value) -> int:
    """Bytes of a string, entries of a list or map."""
    if isinstance(item, str):
        return len(encode(item))
    if isinstance(item, bytes | list | tuple | dict):
        return len(item)
    raise CallFault("len of nil pointer" if item is None else f"len of type {type_name(item)}")


def not_(value: Value) -> bool:
    return not is_true(value)


def call(function: Value, *_args: Value) -> Value:
    """No value of a prompt is a function."""
    if function is None:
        raise CallFault("call of nil")
    raise CallFault(f"non-function of type {type_name(function)}")


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    return "string" if isinstance(value, str) else "invalid"


def _incompatible(first: Value, second: Value) -> CallFault:
    names = f"{type_name(first)} and {type_name(second)}"
    return CallFault(f"incompatible types for comparison: {names}")


def eq(first: Value, *others: Value) -> bool:
    """Whether the first equals any of the others."""
    if not others:
        raise CallFault("missing argument for comparison")
    kind = _kind(first)
    for other in others:
        if kind != _kind(other):
            if first is not None and other is not None:
                raise _incompatible(first, other)
        elif kind != "invalid":
            if first == other:
                return True
        elif first is None or other is None:
            if first is other:
                return True
        elif isinstance(first, Struct) and isinstance(other, Struct):
            if first is other:
                return True
        else:
            raise CallFault(f"non-comparable type {type_name(first)}: cannot be compared")
    return False


def ne(first: Value, second: Value) -> bool:
    return not eq(first, second)


def lt(first: Value, second: Value) -> bool:
    kind = _kind(first)
    if kind == "invalid" or _kind(second) == "invalid":
        raise CallFault("invalid type for comparison")
    if kind != _kind(second):
        raise _incompatible(first, second)
    if kind == "bool":
        raise CallFault("invalid type for comparison")
    if kind == "string":
        return encode(first) < encode(second)
    return bool(first < second)


def le(first: Value, second: Value) -> bool:
    return lt(first, second) or eq(first, second)


def gt(first: Value, second: Value) -> bool:
    return not le(first, second)


def ge(first: Value, second: Value) -> bool:
    return not lt(first, second)


_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def html(*values: Value) -> str:
    return _text_of(values).translate(_HTML)


def js(*values: Value) -> str:
    out: list[str] = []
    for char in _text_of(values):
        if char in _JS:
            out.append(_JS[char])
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\u{ord(char):04X}")
    return "".join(out)


def urlquery(*values: Value) -> str:
    return urllib.parse.quote_plus(encode(_text_of(values)), safe="-_.~")


def _text_of(values: tuple[Value, ...]) -> str:
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return sprint(tuple("<no value>" if value is None else value for value in values))


BUILTINS: dict[str, Builtin] = {
    "call": Builtin(call, 1, None),
    "html": Builtin(html, 0, None),
    "index": Builtin(index, 1, None),
    "js": Builtin(js, 0, None),
    "len": Builtin(length, 1, 1),
    "not": Builtin(not_, 1, 1),
    "print": Builtin(lambda *values: sprint(values), 0, None),
    "printf": Builtin(lambda template, *values: sprintf(template, values), 1, None, ("string", "")),
    "println": Builtin(lambda *values: sprintln(values), 0, None),
    "slice": Builtin(slice_, 1, None),
    "urlquery": Builtin(urlquery, 0, None),
    "eq": Builtin(eq, 1, None),
    "ge": Builtin(ge, 2, 2),
    "gt": Builtin(gt, 2, 2),
    "le": Builtin(le, 2, 2),
    "lt": Builtin(lt, 2, 2),
    "ne": Builtin(ne, 2, 2),
}
"""By name; `and` and `or` are the evaluator's."""
