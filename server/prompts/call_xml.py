"""Tool calls as marked-up parameters, as Qwen3-Coder and its kin write them:

<tool_call>
<function=name>
<parameter=key>
value
</parameter>
</function>
</tool_call>
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from server.prompts.partial import overlap
from server.types.messages import JsonObject

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*?)(?:</function>)?\s*", re.DOTALL)
_PARAMETER = re.compile(
    r"\s*<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=[^>\n]+>)|\Z)\s*", re.DOTALL
)


class _State(Enum):
    LOOKING = auto()
    CALL = auto()
    BETWEEN = auto()


class XmlCalls:
    """Fed in pieces; any cut gives the same joined result. A call is read at its closing tag.

    What is between the tags and is no call stays content, tags included.

    Args:
        parameters: JSON schema of each tool's arguments, by name, for the types of values.
    """

    def __init__(self, parameters: dict[str, JsonObject]) -> None:
        self._parameters = parameters
        self._held = ""
        self._searched = 0
        self._state = _State.LOOKING

    def feed(self, text: str) -> tuple[str, list[tuple[str, JsonObject]]]:
        """Content and calls that have become certain."""
        self._held += text
        content: list[str] = []
        calls: list[tuple[str, JsonObject]] = []
        while self._advance(content, calls):
            pass
        return "".join(content), calls

    def finish(self) -> tuple[str, list[tuple[str, JsonObject]]]:
        """What was held back: a call without its closing tag when it is whole else, or content."""
        held, self._held = self._held, ""
        if self._state is _State.CALL and held.rstrip().endswith("</function>"):
            call = self._read(held[len(_OPEN) :])
            if call is not None:
                return "", [call]
        return held, []

    def _advance(self, content: list[str], calls: list[tuple[str, JsonObject]]) -> bool:
        if self._state is _State.CALL:
            return self._close(content, calls)
        if self._state is _State.BETWEEN:
            self._held = self._held.lstrip()
            if not self._held:
                return False
            self._state = _State.LOOKING
        at = self._held.find(_OPEN)
        cut = at if at >= 0 else len(self._held) - overlap(self._held, _OPEN)
        content.append(self._held[:cut])
        self._held = self._held[cut:]
        if at < 0:
            return False
        self._state, self._searched = _State.CALL, len(_OPEN)
        return True

    def _close(self, content: list[str], calls: list[tuple[str, JsonObject]]) -> bool:
        at = self._held.find(_CLOSE, self._searched)
        if at < 0:
            self._searched = max(self._searched, len(self._held) - len(_CLOSE) + 1)
            return False
        end = at + len(_CLOSE)
        call = self._read(self._held[len(_OPEN) : at])
        if call is None:
            content.append(self._held[:end])
            self._state = _State.LOOKING
        else:
            calls.append(call)
            self._state = _State.BETWEEN
        self._held = self._held[end:]
        return True

    def _read(self, body: str) -> tuple[str, JsonObject] | None:
        function = _FUNCTION.fullmatch(body)
        if function is None:
            return None
        name = function.group(1).strip()
        properties = self._parameters.get(name, {}).get("properties") or {}
        inner = function.group(2)
        arguments: JsonObject = {}
        at = 0
        while inner[at:].strip():
            parameter = _PARAMETER.match(inner, at)
            if parameter is None:
                return None
            key = parameter.group(1).strip()
            arguments[key] = _typed(_unwrapped(parameter.group(2)), properties.get(key))
            at = parameter.end()
        return name, arguments


def _unwrapped(value: str) -> str:
    return value.removeprefix("\n").removesuffix("\n")


def _typed(text: str, schema: Any) -> Any:
    """The value as the first type of its schema that it reads as; text when none."""
    types = _types_of(schema)
    if text.strip().lower() == "null" and (not types or "null" in types):
        return None
    for type_, reads in _READERS:
        if type_ in types:
            try:
                return reads(text)
            except (ValueError, RecursionError):
                continue
    return text


def _types_of(schema: Any) -> frozenset[str]:
    if not isinstance(schema, dict):
        return frozenset()
    types = schema.get("type", ())
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
        value = json.loads(text, strict=False)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return read


_READERS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    ("boolean", _boolean),
    ("integer", int),
    ("number", float),
    ("array", _json_of(list)),
    ("object", _json_of(dict)),
)
