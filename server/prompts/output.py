"""From the text that a model generates to content, thinking and tool calls."""

from __future__ import annotations

import re
from collections.abc import Callable

from server.prompts import harmony, recipients
from server.prompts.call_block import Call
from server.prompts.call_xtml import Unframed, is_xtml
from server.prompts.parsed import OutputParser, Parsed
from server.prompts.template import PromptTemplate
from server.prompts.thinking import ThinkingParser
from server.prompts.tool_calls import CallParser, call_marks, call_parser
from server.types.messages import Tool, ToolCall

__all__ = ["OutputParser", "Parsed", "output_parser", "parser_marks"]

_PASS_THROUGH = "passthrough"
"""Ollama's name for the parser of a model whose answers are text alone."""
_TOKEN_OF_TAG = re.compile(r"<[^<>]+>|\[[^\[\]]+\]")


class _Parser:
    def __init__(
        self,
        thinking: ThinkingParser | None,
        calls: CallParser | None,
        *,
        frame: Unframed | None = None,
        think_on: bool,
        new_call_id: Callable[[], str],
    ) -> None:
        self._thinking = thinking
        self._frame = frame
        self._calls = calls
        self._think_on = think_on
        self._new_call_id = new_call_id
        self._n_calls = 0

    def feed(self, text: str) -> Parsed:
        thought, answer = self._thinking.feed(text) if self._thinking else ("", text)
        if self._frame:
            answer = self._frame.feed(answer)
        content, calls = self._calls.feed(answer) if self._calls else (answer, [])
        return self._parsed(thought, content, calls)

    def finish(self) -> Parsed:
        thought, answer = self._thinking.finish() if self._thinking else ("", "")
        if self._frame:
            answer = self._frame.feed(answer) + self._frame.finish()
        content, calls = self._calls.feed(answer) if self._calls else (answer, [])
        if self._calls:
            last_content, last_calls = self._calls.finish()
            content, calls = content + last_content, calls + last_calls
        return self._parsed(thought, content, calls)

    def _parsed(self, thought: str, content: str, calls: list[Call]) -> Parsed:
        made = tuple(self._numbered(call) for call in calls)
        return Parsed(content, thought if self._think_on else "", made)

    def _numbered(self, call: Call) -> ToolCall:
        name, arguments = call
        self._n_calls += 1
        return ToolCall(name, arguments, id=self._new_call_id(), index=self._n_calls - 1)


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
    """The parser for one answer to a prompt of the template.

    Reasoning is taken out of the answer whether thinking is on or off; when it is off it is not reported
    either, so that no tags of a model that thinks anyway reach the content.

    Args:
        prompt: as rendered; when it ends with the opening tag the answer begins inside the reasoning.
        has_tools: the request has tools; without, calls are content.
        parser_name: the built-in parser that the model names, "" for none.
        new_call_id: makes the id of each call.
        tools: what may be called. Without them any name counts, and forms that need names find no calls.
    """
    if harmony.is_harmony(template.source, parser_name):
        return harmony.HarmonyParser(
            prompt=prompt, think_on=think_on, has_tools=has_tools, new_call_id=new_call_id
        )
    if recipients.has_recipients(template.source):
        names = tuple(tool.name for tool in tools) if has_tools else ()
        return recipients.RecipientParser(prompt=prompt, names=names, new_call_id=new_call_id)
    thinking: ThinkingParser | None = None
    calls: CallParser | None = None
    if parser_name != _PASS_THROUGH:
        if template.thinking_tags is not None:
            opening, closing = template.thinking_tags
            thinking = ThinkingParser(
                opening,
                closing,
                inside=prompt.rstrip().endswith(opening),
                keeps_blanks=template.keeps_thinking_blanks,
            )
        if has_tools:
            calls = call_parser(template.source, template.tool_call_tag or "{", tools, parser_name)
    frame = Unframed() if is_xtml(template.source) else None
    return _Parser(thinking, calls, frame=frame, think_on=think_on, new_call_id=new_call_id)


def parser_marks(template: PromptTemplate, parser_name: str, *, has_tools: bool) -> tuple[str, ...]:
    """The texts that `output_parser` looks for, which can be control tokens of the model."""
    if harmony.is_harmony(template.source, parser_name):
        return harmony.MARKS
    marks = template.thinking_tags or ()
    # A tag can be tokens and a word.
    marks = (*marks, *(token for tag in marks for token in _TOKEN_OF_TAG.findall(tag) if token != tag))
    if has_tools:
        marks = (*marks, *call_marks(template.source, template.tool_call_tag or "{", parser_name))
    return marks
