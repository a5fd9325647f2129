"""Tool calls in blocks: whatever stands between an opening and a closing text is read at once."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from server.prompts.partial import overlap
from server.types.messages import JsonObject

Call = tuple[str, JsonObject]
"""Name and arguments."""

ReadBlock = Callable[[str], list[Call] | None]
"""Reads what stands between the tags; None when it is no call."""


class _State(Enum):
    LOOKING = auto()
    BLOCK = auto()
    BETWEEN = auto()


class BlockCalls:
    """Fed in pieces; any cut gives the same joined result. A block is read at its closing text.

    What is between the tags and is no call stays content, tags included. Blanks behind calls are dropped.

    Args:
        opening, closing: around a block, which may hold several calls.
        read: reads a block.
        ends: texts with which the inside of a whole block ends. Models often leave the closing text out at
            the end of an answer; what ends so is read all the same.
    """

    def __init__(self, opening: str, closing: str, read: ReadBlock, *, ends: tuple[str, ...] = ()) -> None:
        self._opening = opening
        self._closing = closing
        self._read = read
        self._ends = ends
        self._held = ""
        self._searched = 0
        self._state = _State.LOOKING

    def feed(self, text: str) -> tuple[str, list[Call]]:
        """Content and calls that have become certain."""
        self._held += text
        content: list[str] = []
        calls: list[Call] = []
        while self._advance(content, calls):
            pass
        return "".join(content), calls

    def finish(self) -> tuple[str, list[Call]]:
        """What was held back: calls of a block that lacks nothing but its closing text, else content."""
        held, self._held = self._held, ""
        if self._state is _State.BLOCK and held.rstrip().endswith(self._ends or ("\0",)):
            calls = self._read(held[len(self._opening) :])
            if calls:
                return "", calls
        return held, []

    def _advance(self, content: list[str], calls: list[Call]) -> bool:
        if self._state is _State.BLOCK:
            return self._close(content, calls)
        if self._state is _State.BETWEEN:
            self._held = self._held.lstrip()
            if not self._held:
                return False
            self._state = _State.LOOKING
        at = self._held.find(self._opening)
        cut = at if at >= 0 else len(self._held) - overlap(self._held, self._opening)
        content.append(self._held[:cut])
        self._held = self._held[cut:]
        if at < 0:
            return False
        self._state, self._searched = _State.BLOCK, len(self._opening)
        return True

    def _close(self, content: list[str], calls: list[Call]) -> bool:
        at = self._held.find(self._closing, self._searched)
        if at < 0:
            self._searched = max(self._searched, len(self._held) - len(self._closing) + 1)
            return False
        end = at + len(self._closing)
        found = self._read(self._held[len(self._opening) : at])
        if found:
            calls.extend(found)
            self._state = _State.BETWEEN
        else:
            content.append(self._held[:end])
            self._state = _State.LOOKING
        self._held = self._held[end:]
        return True
