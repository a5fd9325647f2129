"""Which form a model's tool calls have. One form is one row of `FORMS` and one parser class."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from server.prompts.call_block import BlockCalls, Call
from server.prompts.call_gemma import QUOTE, read_gemma
from server.prompts.call_glm import pairs_reader
from server.prompts.call_invoke import invoke_reader
from server.prompts.call_python import read_python
from server.prompts.call_sections import DEEPSEEK, KIMI, SOLAR, Marks, sections_reader
from server.prompts.call_text import TaggedCalls
from server.prompts.call_values import Parameters
from server.prompts.call_xml import ENDS, read_functions
from server.types.messages import Tool


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
        texts: texts of the form beside `marks` that can be control tokens.
    """

    name: str
    marks: tuple[str, ...]
    make: Callable[[str, tuple[str, ...], Parameters], CallParser]
    syntax: CallSyntax | None = None
    texts: tuple[str, ...] = ()


def _tagged(opening: str, closing: str = "") -> Callable[[str, tuple[str, ...], Parameters], CallParser]:
    return lambda _tag, names, _parameters: TaggedCalls((opening,), closing, names)


def _functions(opening: str, closing: str) -> Callable[[str, tuple[str, ...], Parameters], CallParser]:
    return lambda _tag, _names, parameters: BlockCalls(
        opening, closing, lambda body: read_functions(body, parameters), ends=ENDS
    )


def _invokes(
    opening: str, closing: str, prefix: str = ""
) -> Callable[[str, tuple[str, ...], Parameters], CallParser]:
    return lambda _tag, _names, parameters: BlockCalls(
        opening, closing, invoke_reader(parameters, prefix=prefix), ends=(f"</{prefix}invoke>",)
    )


def _elements(_tag: str, _names: tuple[str, ...], parameters: Parameters) -> CallParser:
    """Calls without a block around them: the element itself is the block."""
    read = invoke_reader(parameters, call="function", parameter="param")
    opening, closing = "<function name=", "</function>"
    return BlockCalls(opening, closing, lambda body: read(opening + body + closing))


def _pairs(suffix: str = "") -> Callable[[str, tuple[str, ...], Parameters], CallParser]:
    return lambda _tag, _names, parameters: BlockCalls(
        f"<tool_call{suffix}>",
        f"</tool_call{suffix}>",
        pairs_reader(parameters, suffix=suffix),
        ends=(f"</arg_value{suffix}>",),
    )


def _sections(
    opening: str, closing: str, marks: Marks
) -> Callable[[str, tuple[str, ...], Parameters], CallParser]:
    return lambda _tag, _names, _parameters: BlockCalls(
        opening, closing, sections_reader(marks), ends=(marks.end, "}", "```")
    )


def _gemma(_tag: str, _names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    return BlockCalls("<|tool_call>", "<tool_call|>", read_gemma, ends=("}",))


def _python(_tag: str, _names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    return BlockCalls("<|tool_call_start|>", "<|tool_call_end|>", read_python, ends=("]", ")"))


def _llama3(_tag: str, names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    return TaggedCalls(("{", "<|python_tag|>"), "", names, anchored=True)


def _by_tag(tag: str, names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    if tag in ("{", "["):
        return TaggedCalls((tag,), "", names, anchored=True)
    return TaggedCalls((tag,), _closing_of(tag), names)


_DSML = "｜DSML｜"
_HERMES = CallSyntax("<tool_call>\n", "\n</tool_call>", between="\n")
_DEEPSEEK_BLOCK = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_KIMI_BLOCK = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")

FORMS: tuple[Form, ...] = (
    Form("seed", ("<seed:tool_call>", "<function="), _functions("<seed:tool_call>", "</seed:tool_call>")),
    Form("xml", ("<tool_call>", "<function=", "<parameter="), _functions("<tool_call>", "</tool_call>")),
    Form("glm", ("<tool_call>", "<arg_key>", "<arg_value>"), _pairs(), texts=("</arg_value>", "</arg_key>")),
    Form("hunyuan", ("<tool_call:opensource>", "<arg_key:opensource>"), _pairs(":opensource")),
    Form(
        "minimax", ("<minimax:tool_call>", "<invoke"), _invokes("<minimax:tool_call>", "</minimax:tool_call>")
    ),
    Form(
        "deepseek-dsml",
        (_DSML, "function_calls"),
        _invokes(f"<{_DSML}function_calls>", f"</{_DSML}function_calls>", _DSML),
    ),
    Form(
        "deepseek-v4", (_DSML, "tool_calls"), _invokes(f"<{_DSML}tool_calls>", f"</{_DSML}tool_calls>", _DSML)
    ),
    Form(
        "deepseek",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"),
        _sections(*_DEEPSEEK_BLOCK, DEEPSEEK),
        texts=(*_DEEPSEEK_BLOCK, *DEEPSEEK),
    ),
    Form(
        "kimi",
        ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"),
        _sections(*_KIMI_BLOCK, KIMI),
        texts=(*_KIMI_BLOCK, *KIMI),
    ),
    Form(
        "solar",
        ("<|tool_calls|>", "<|tool_call:begin|>"),
        _sections("<|tool_calls|>", "<|calls|>", SOLAR),
        texts=("<|calls|>", "<|tool_call:name|>", *SOLAR),
    ),
    Form("gemma", ("<|tool_call>", "<tool_call|>"), _gemma, texts=(QUOTE,)),
    Form("lfm2", ("<|tool_call_start|>",), _python, texts=("<|tool_call_end|>",)),
    Form(
        "lfm2",
        ("List of tools: <|tool_list_start|>",),
        _python,
        texts=("<|tool_call_start|>", "<|tool_call_end|>"),
    ),
    Form("minicpm", ("<function name=", "<param name="), _elements),
    Form(
        "cohere",
        ("<|START_ACTION|>",),
        _tagged("<|START_ACTION|>", "<|END_ACTION|>"),
        texts=("<|END_ACTION|>",),
    ),
    Form(
        "apertus",
        ("<|tools_prefix|>",),
        _tagged("<|tools_prefix|>", "<|tools_suffix|>"),
        texts=("<|tools_suffix|>",),
    ),
    Form("gigachat", ("<|function_call|>",), _tagged("<|function_call|>")),
    Form("nemotron-v2", ("<TOOLCALL>",), _tagged("<TOOLCALL>", "</TOOLCALL>")),
    Form("hermes", ("<tool_call>",), _tagged("<tool_call>", "</tool_call>"), _HERMES),
    Form("plural", ("<tool_calls>",), _tagged("<tool_calls>", "</tool_calls>")),
    Form("mistral-named", ("[TOOL_CALLS]", "[ARGS]"), _tagged("[TOOL_CALLS]"), texts=("[ARGS]", "[CALL_ID]")),
    Form("mistral", ("[TOOL_CALLS]",), _tagged("[TOOL_CALLS]"), CallSyntax("[TOOL_CALLS]", is_list=True)),
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
    "ministral": "mistral-named",
    "cohere": "cohere",
    "cogito": "deepseek",
    "deepseek3": "deepseek",
    "gemma4": "gemma",
    "gemma4-no-thinking": "gemma",
    "glm-4.7": "glm",
    "glm-ocr": "glm",
    "laguna": "glm",
    "poolside-v1": "glm",
    "lfm2": "lfm2",
    "lfm2-thinking": "lfm2",
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
    texts = form.texts if form else ()
    return (*marks, *(closing for mark in marks if (closing := _closing_of(mark))), *texts)


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
