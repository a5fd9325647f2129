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


class CallSyntax(NamedTuple):
    """The texts around the JSON objects of calls, as a model writes them and its parser reads them.

    Attributes:
        opening, closing: around each call, or around the whole list; `closing` may be "".
        arguments_key: key of the arguments in a call's object, beside `name`.
        is_list: all calls stand in one JSON list.
        between: between two calls that are not in a list; "" where there can be only one.
    """

    opening: str
    closing: str = ""
    arguments_key: str = "arguments"
    is_list: bool = False
    between: str = ""


class Form(NamedTuple):
    """How calls are written.

    Attributes:
        marks: texts that all stand in a template whose model writes calls so.
        make: the parser, from the template's tag for calls, the tools' names and their parameters.
        syntax: for forms that are JSON.
    """

    name: str
    marks: tuple[str, ...]
    make: Callable[[str, tuple[str, ...], dict[str, JsonObject]], CallParser]
    syntax: CallSyntax | None = None


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
    Form(
        "hermes",
        ("<tool_call>",),
        _hermes,
        CallSyntax("<tool_call>\n", "\n</tool_call>", between="\n"),
    ),
    Form("mistral", ("[TOOL_CALLS]",), _mistral, CallSyntax("[TOOL_CALLS]", is_list=True)),
    Form("llama3", ("<|python_tag|>",), _llama3, CallSyntax("", arguments_key="parameters")),
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
    form = _form(source, parser_name)
    return (form.make if form else _by_tag)(tag, names, parameters)


def call_syntax(source: str, tag: str, parser_name: str = "") -> CallSyntax | None:
    """How the calls are written that `call_parser` reads; None for a form that is not JSON."""
    form = _form(source, parser_name)
    if form is not None:
        return form.syntax
    if tag == "[":
        return CallSyntax("", is_list=True)
    closing = "" if tag == "{" else _closing_of(tag)
    opening = "" if tag == "{" else f"{tag}\n"
    return CallSyntax(opening, f"\n{closing}" if closing else "", between="\n" if closing else "")


def call_marks(source: str, tag: str, parser_name: str = "") -> tuple[str, ...]:
    """Texts that the parser of calls looks for, which can be control tokens of the model."""
    form = _form(source, parser_name)
    marks = form.marks if form else (tag,)
    return (*marks, *(closing for mark in marks if (closing := _closing_of(mark))))


def _form(source: str, parser_name: str) -> Form | None:
    """The form by the parser's name, else by the template; None: the template's own tag opens calls."""
    named = PARSER_FORMS.get(parser_name)
    for form in FORMS:
        if form.name == named if named else all(mark in source for mark in form.marks):
            return form
    return None


def _closing_of(tag: str) -> str:
    """`<x>` is closed by `</x>`, `<|x|>` by `<|/x|>`, a code fence by a fence."""
    if "```" in tag:
        return "```"
    angle = _ANGLE_TAG.fullmatch(tag)
    return f"<{angle.group(1)}/{angle.group(2)}>" if angle else ""
