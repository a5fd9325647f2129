"""What a parser of answers gives."""

from __future__ import annotations

from typing import Protocol

import msgspec

from server.types.messages import ToolCall


class Parsed(msgspec.Struct, frozen=True):
    """What became certain with the last piece of text."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class OutputParser(Protocol):
    """Feed pieces, then finish once; any cut into pieces gives the same joined result."""

    def feed(self, text: str) -> Parsed:
        """What the piece makes certain; parts that may yet become a tag are held back."""
        ...

    def finish(self) -> Parsed:
        """What was still held back."""
        ...
