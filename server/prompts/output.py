"""From the text that a model generates to content, thinking and tool calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from server.prompts.template import PromptTemplate
from server.types.messages import Tool, ToolCall


class Parsed(msgspec.Struct, frozen=True):
    """What became certain with the last piece of text."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class OutputParser(Protocol):
    """Feed pieces, then finish once; any cut into pieces gives the same joined result."""

    def feed(self, text: str) -> Parsed: ...

    def finish(self) -> Parsed: ...


def output_parser(
    template: PromptTemplate,
    *,
    prompt: str,
    think_on: bool,
    has_tools: bool,
    parser_name: str = "",
    new_call_id: Callable[[], str],
    tools: tuple[Tool, ...] = (),
) -> OutputParser:
    """The parser for one answer."""
    raise NotImplementedError
