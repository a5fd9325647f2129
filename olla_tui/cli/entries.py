"""Typed lines to what they mean: a prompt, a command or a system message, over one line or several. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

QUOTES = '"""'


class Entry(NamedTuple):
    """A whole input. For a command `text` is its line."""

    kind: Literal["prompt", "command", "system"]
    text: str


class EntryReader:
    """Puts lines together: `\"\"\"` opens an input of several lines and closes it at the end of a line."""

    def __init__(self) -> None:
        self._open: Literal["prompt", "system"] | None = None
        self._lines: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether more lines belong to the input."""
        return self._open is not None

    def drop(self) -> None:
        """Forget an input that is not finished."""
        self._open, self._lines = None, []

    def feed(self, line: str) -> Entry | None:
        """The entry that a line completes, None while more is needed or there is nothing to do.

        `line` may hold line breaks: pasted text comes whole, and is a prompt whatever it begins with.
        """
        if self._open is not None:
            return self._go_on(line)
        if line.startswith(QUOTES):
            return self._begin("prompt", line.removeprefix(QUOTES))
        words = line.split()
        if words[:2] == ["/set", "system"] and len(words) > 2:
            text = line.split(None, 2)[2]
            if text.startswith(QUOTES):
                return self._begin("system", text.removeprefix(QUOTES))
            return Entry("system", text)
        if line.startswith("/") and "\n" not in line:
            return Entry("command", line)
        return Entry("prompt", line) if line else None

    def _begin(self, kind: Literal["prompt", "system"], text: str) -> Entry | None:
        self._open = kind
        return self._go_on(text)

    def _go_on(self, line: str) -> Entry | None:
        kind = self._open
        if kind is None or not line.endswith(QUOTES):
            # The break right behind the opening quotes is no part of a system message.
            if line or self._lines or kind != "system":
                self._lines.append(line)
            return None
        text = "\n".join([*self._lines, line.removesuffix(QUOTES)])
        self.drop()
        return Entry(kind, text) if text or kind == "system" else None
