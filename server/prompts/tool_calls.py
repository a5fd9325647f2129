"""Which form a model's tool calls have. One form is one row of `FORMS` and one parser class."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from server.prompts.call_text import Call, TaggedCalls
from server.prompts.call_xml import XmlCalls
from server.types.messages import JsonObject, Tool


class CallParser(Protocol):
    """Takes an answer in pieces and gives content and calls; joined results do not depend on the cut."""

    def feed(self, text: str) -> tuple[str, list[Call]]: ...

    def finish(self) -> tuple[str, list[Call]]: ...


class Form(NamedTuple):
    """How calls are written.

    Attributes:
        marks: texts that all stand in a template whose model writes calls so.
        make: the parser, from the template's tag for calls, the tools' names and their parameters.
    """

    name: str
    marks: tuple[str, ...]
    make: Callable[[str, tuple[str, ...], dict[str, JsonObject]], CallParser]


def _hermes(_tag: str, names: tuple[str, ...], _parameters: dict[str, JsonObject]) -> CallParser:
    return TaggedCalls(("<tool_call>",), "</tool_call>", names)


def _xml(_tag: str, _names: tuple[str, ...], parameters: dict[str, JsonObject]) -> CallParser:
    return XmlCalls(parameters)


def _mistral(_tag: str, names: tuple[str, ...], _parameters: dict[str, JsonObject]) -> CallParser:
    return TaggedCalls(("[TOOL_CALLS]",), "", names)


def _llama3(_tag: str, names: tuple[str, ...], _parameters: dict[str, JsonObject]) -> CallParser:
    return TaggedCalls(("{", "<|python_tag|>"), "", names, anchored=True)


def _by_tag(tag: str, names: tuple[str, ...], _parameters: dict[str, JsonObject]) -> CallParser:
    if tag in ("{", "["):
        return TaggedCalls((tag,), "", names, anchored=True)
    return TaggedCalls((tag,), _closing_of(tag), names)


FORMS: tuple[Form, ...] = (
    Form("xml", ("<tool_call>", "<function=", "<parameter="), _xml),
    Form("hermes", ("<tool_call>",), _hermes),
    Form("mistral", ("[TOOL_CALLS]",), _mistral),
    Form("llama3", ("<|python_tag|>",), _llama3),
)
"""The first form whose marks all stand in the template is the model's; else its own tag opens calls."""

PARSER_FORMS: dict[str, str] = {
    "qwen3": "hermes",
    "qwen3-thinking": "hermes",
    "qwen3-vl-instruct": "hermes",
    "qwen3-vl-thinking": "hermes",
    "qwen3-coder": "xml",
    "qwen3.5": "xml",
    "ornith": "xml",
    "nemotron-3-nano": "xml",
    "nemotron-3.5-nano": "xml",
    "ministral": "mistral",
}
"""Forms by the names that models give Ollama's built-in parsers; others go by the template."""

_ANGLE_TAG = re.compile(r"<(\|?)([\w-]+\|?)>")


def call_parser(source: str, tag: str, tools: tuple[Tool, ...], parser_name: str = "") -> CallParser:
    """The parser for the answers to a template.

    Args:
        source: the template.
        tag: its text that opens calls.
        tools: what the model may call; empty: not known.
        parser_name: the built-in parser that the model names, "" for none.
    """
    names = tuple(tool.name for tool in tools)
    parameters = {tool.name: tool.parameters for tool in tools}
    named = PARSER_FORMS.get(parser_name)
    for form in FORMS:
        chosen = form.name == named if named else all(mark in source for mark in form.marks)
        if chosen:
            return form.make(tag, names, parameters)
    return _by_tag(tag, names, parameters)


def _closing_of(tag: str) -> str:
    """`<x>` is closed by `</x>`, `<|x|>` by `<|/x|>`, a code fence by a fence."""
    if "```" in tag:
        return "```"
    angle = _ANGLE_TAG.fullmatch(tag)
    return f"<{angle.group(1)}/{angle.group(2)}>" if angle else ""
