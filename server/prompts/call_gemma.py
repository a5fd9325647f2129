"""Tool calls of Gemma 4: `<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>`.

Values are as in JSON, but texts stand between `<|"|>` without escapes, and keys without quotes.
"""

from __future__ import annotations

import re
from typing import Any

from server.prompts.call_block import Call
from server.prompts.call_values import json_value

QUOTE = '<|"|>'
MAX_DEPTH = 64

_HEAD = re.compile(r"\s*call:([^\s{]+)\s*(?=\{)")
_KEY = re.compile(r'\s*(?:<\|"\|>(.*?)<\|"\|>|"([^"]*)"|([^\s:,{}\[\]]+))\s*:', re.DOTALL)
_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,{}\[\]]+')
_BLANKS = re.compile(r"\s*")


def read_gemma(body: str) -> list[Call] | None:
    """The calls of a block."""
    calls: list[Call] = []
    at = 0
    while body[at:].strip():
        head = _HEAD.match(body, at)
        if head is None:
            return None
        try:
            arguments, at = _Reader(body).value(head.end(), 0)
        except ValueError:
            return None
        calls.append((head.group(1), arguments))
    return calls


class _Reader:
    """Reads values from a text; all methods give a value and where it ends, and raise ValueError."""

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """A value of any kind."""
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        at = self._skip(at)
        if self._text.startswith(QUOTE, at):
            end = self._text.index(QUOTE, at + len(QUOTE))
            return self._text[at + len(QUOTE) : end], end + len(QUOTE)
        opening = self._text[at : at + 1]
        if opening == "{":
            return self._object(at + 1, depth)
        if opening == "[":
            return self._list(at + 1, depth)
        scalar = _SCALAR.match(self._text, at)
        if scalar is None:
            raise ValueError("no value")
        try:
            return json_value(scalar.group()), scalar.end()
        except ValueError:
            return scalar.group(), scalar.end()

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        made: dict[str, Any] = {}
        at = self._skip(at)
        while not self._text.startswith("}", at):
            key = _KEY.match(self._text, at)
            if key is None:
                raise ValueError("no key")
            made[next(group for group in key.groups() if group is not None)], at = self.value(
                key.end(), depth + 1
            )
            at = self._next(at, "}")
        return made, at + 1

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        made: list[Any] = []
        at = self._skip(at)
        while not self._text.startswith("]", at):
            item, at = self.value(at, depth + 1)
            made.append(item)
            at = self._next(at, "]")
        return made, at + 1

    def _next(self, at: int, closing: str) -> int:
        """Behind the comma, or at the closing bracket."""
        at = self._skip(at)
        if self._text.startswith(closing, at):
            return at
        if not self._text.startswith(",", at):
            raise ValueError("no comma")
        return self._skip(at + 1)

    def _skip(self, at: int) -> int:
        blanks = _BLANKS.match(self._text, at)
        return blanks.end() if blanks else at
