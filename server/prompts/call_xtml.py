"""Tool calls of Kimi K3, whose answers are elements of control tokens:

<|open|>call tool="get_weather" index="1"<|sep|>
<|open|>argument key="city" type="string"<|sep|>Paris<|close|>argument<|sep|>
<|close|>call<|sep|>

without the line ends. All arguments together may be one element `json`. Reasoning, the answer's text and the
calls stand in elements of their own.
"""

from __future__ import annotations

import re
from typing import Any, Final

from server.prompts.call_block import Call
from server.prompts.call_values import json_object, json_value
from server.prompts.partial import overlap
from server.types.messages import JsonObject

BLOCK: Final = ("<|open|>tools<|sep|>", "<|close|>tools<|sep|>")
CALL_END: Final = "<|close|>call<|sep|>"
TOKENS: Final = ("<|open|>", "<|close|>", "<|sep|>")
FRAME: Final = ("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>")
"""What stands around the text of an answer."""

_CALL = re.compile(
    r'\s*<\|open\|>call tool="([^"]+)"[^<]*<\|sep\|>(.*?)<\|close\|>call<\|sep\|>\s*', re.DOTALL
)
_ARGUMENT = re.compile(
    r'\s*<\|open\|>argument key="([^"]*)"(?: type="([a-z]*)")?[^<]*<\|sep\|>'
    r"(.*?)<\|close\|>argument<\|sep\|>\s*",
    re.DOTALL,
)
_OBJECT = re.compile(r"\s*<\|open\|>json[^<]*<\|sep\|>(.*?)<\|close\|>json<\|sep\|>\s*", re.DOTALL)


def is_xtml(source: str) -> bool:
    """Whether a template's model writes this form."""
    return "<|open|>" in source and "open_tag('response')" in source


def read_xtml(body: str) -> list[Call] | None:
    """The calls of a block."""
    calls: list[Call] = []
    at = 0
    while body[at:].strip():
        call = _CALL.match(body, at)
        arguments = None if call is None else _arguments(call.group(2))
        if call is None or arguments is None:
            return None
        calls.append((_plain(call.group(1)), arguments))
        at = call.end()
    return calls


def _arguments(text: str) -> JsonObject | None:
    if (whole := _OBJECT.fullmatch(text)) is not None:
        return json_object(whole.group(1))
    arguments: JsonObject = {}
    at = 0
    while text[at:].strip():
        one = _ARGUMENT.match(text, at)
        if one is None:
            return None
        key, kind, value = one.groups()
        arguments[_plain(key)] = _value(value, kind)
        at = one.end()
    return arguments


def _value(text: str, kind: str | None) -> Any:
    if kind == "string":
        return text
    try:
        return json_value(text)
    except ValueError:
        return text


def _plain(attribute: str) -> str:
    return attribute.replace("&quot;", '"').replace("&amp;", "&")


class Unframed:
    """Takes an answer in pieces and leaves the marks of `FRAME` out; any cut gives the same joined text."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that became certain."""
        self._held += text
        for mark in FRAME:
            self._held = self._held.replace(mark, "")
        cut = len(self._held) - max(overlap(self._held, mark) for mark in FRAME)
        certain, self._held = self._held[:cut], self._held[cut:]
        return certain

    def finish(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return held
