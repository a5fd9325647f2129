"""Finds the JSON object of a tool call in text that is still being written, and reads it."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from server.types.messages import JsonObject

_NAME_KEYS = ("name", "tool_name", "function")
_ARGUMENT_KEYS = ("arguments", "parameters")


class ObjectScanner:
    """Finds where a JSON object ends, without reading a character twice.

    Args:
        stop: text that, outside of strings, means the object is broken; "" for none.
    """

    def __init__(self, stop: str = "") -> None:
        self._marks = re.compile('["{}\\\\]' + (f"|{re.escape(stop)}" if stop else ""))
        self._stop = stop
        self._n_held = max(len(stop) - 1, 0)
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._start = -1

    def start(self, at: int) -> None:
        """Begin at an opening brace."""
        self._at, self._depth, self._in_string, self._start = at, 0, False, at

    def scan(self, text: str) -> tuple[int, bool] | None:
        """The end of the object and whether it is whole; None while more text is needed.

        When the object is broken the end is behind the stop text. `text` is what it was at the last call and
        what came after.
        """
        while (mark := self._marks.search(text, self._at)) is not None:
            found = mark.group()
            if found == "\\":
                if mark.end() >= len(text):
                    self._at = mark.start()
                    return None
                self._at = mark.end() + (1 if self._in_string else 0)
                continue
            self._at = mark.end()
            if found == '"':
                self._in_string = not self._in_string
            elif self._in_string:
                continue
            elif found == "{":
                self._depth += 1
            elif found == "}":
                self._depth -= 1
                if self._depth == 0:
                    return mark.end(), True
            else:
                return mark.end(), False
        self._at = max(self._at, len(text) - self._n_held)
        return None


def read_call(text: str, before: str, names: tuple[str, ...]) -> tuple[str, JsonObject] | None:
    """Name and arguments of the call that a JSON object means; None when it means none.

    Args:
        text: the object.
        before: text of the call in front of it, where some forms put the name.
        names: tools that the model may call; empty: not known.
    """
    try:
        value = json.loads(text, strict=False, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return _named_call(value, names) or _keyed_call(value, names) or _preceded_call(value, before, names)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _named_call(value: JsonObject, names: tuple[str, ...]) -> tuple[str, JsonObject] | None:
    inner = value.get("function")
    if isinstance(inner, dict):
        return _named_call(inner, names)
    for key in _NAME_KEYS:
        name = value.get(key)
        if not isinstance(name, str) or not name:
            continue
        for argument_key in _ARGUMENT_KEYS:
            arguments = _arguments(value.get(argument_key))
            if arguments is not None:
                return name, arguments
        if name in names and all(value.get(argument_key) is None for argument_key in _ARGUMENT_KEYS):
            return name, {}
    return None


def _arguments(value: Any) -> JsonObject | None:
    if isinstance(value, str):
        try:
            value = json.loads(value, strict=False, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _keyed_call(value: JsonObject, names: tuple[str, ...]) -> tuple[str, JsonObject] | None:
    """`{"get_weather": {...}}`"""
    for name in names:
        arguments = _arguments(value.get(name))
        if arguments is not None:
            return name, arguments
    return None


def _preceded_call(value: JsonObject, before: str, names: tuple[str, ...]) -> tuple[str, JsonObject] | None:
    """`get_weather{...}`: the first name in front of the object, the longest where several begin."""
    found = [(before.find(name), -len(name), name) for name in names if name and name in before]
    return (min(found)[2], value) if found else None
