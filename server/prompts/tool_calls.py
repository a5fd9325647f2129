"""Which form a model's tool calls have. One form is one row of `FORMS` and one parser class."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from server.prompts import call_syntax as forms
from server.prompts.call_block import BlockCalls, Call
from server.prompts.call_gemma import QUOTE, read_gemma
from server.prompts.call_glm import pairs_list_reader, pairs_reader
from server.prompts.call_invoke import invoke_reader
from server.prompts.call_named import read_named
from server.prompts.call_python import read_python
from server.prompts.call_sections import DEEPSEEK, KIMI, SOLAR, Marks, sections_reader
from server.prompts.call_text import TaggedCalls
from server.prompts.call_tree import MARK, tree_reader
from server.prompts.call_values import Parameters
from server.prompts.call_xml import ENDS, read_functions
from server.prompts.call_xtml import BLOCK as XTML_BLOCK
from server.prompts.call_xtml import CALL_END, TOKENS, read_xtml
from server.prompts.harmony import is_harmony
from server.prompts.recipients import has_recipients
from server.types.messages import Tool


class CallParser(Protocol):
    """Takes an answer in pieces and gives content and calls; joined results do not depend on the cut."""

    def feed(self, text: str) -> tuple[str, list[Call]]: ...

    def finish(self) -> tuple[str, list[Call]]: ...


class Form(NamedTuple):
    """How calls are written.

    Attributes:
        marks: texts that all stand in a template whose model writes calls so.
        make: the parser, from the template's tag for calls, the tools' names and their parameters.
        syntax: for grammars that make the model call; None: there is none.
        texts: texts of the form beside `marks` that can be control tokens.
    """

    name: str
    marks: tuple[str, ...]
    make: Callable[[str, tuple[str, ...], Parameters], CallParser]
    syntax: forms.CallSyntax | None = None
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


def _trees(_tag: str, _names: tuple[str, ...], parameters: Parameters) -> CallParser:
    return BlockCalls(
        f"{MARK}<tool_call>", f"{MARK}</tool_call>", tree_reader(parameters), ends=(f"{MARK}</invoke>",)
    )


def _xtml(_tag: str, _names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    return BlockCalls(*XTML_BLOCK, read_xtml, ends=(CALL_END,))


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


def _pair_lists(_tag: str, _names: tuple[str, ...], parameters: Parameters) -> CallParser:
    return BlockCalls(
        "<tool_calls:opensource>",
        "</tool_calls:opensource>",
        pairs_list_reader(parameters, suffix=":opensource"),
        ends=("</tool_call:opensource>",),
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


def _named(_tag: str, _names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    return BlockCalls("<function=", "</function>", read_named, ends=("}",))


def _actions(_tag: str, names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    return TaggedCalls(("Action:\n```json", "Action: ```json", "Action:```json"), "```", names)


def _llama3(_tag: str, names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    return TaggedCalls(("{", "<|python_tag|>"), "", names, anchored=True)


def _by_tag(tag: str, names: tuple[str, ...], _parameters: Parameters) -> CallParser:
    if tag in ("{", "["):
        return TaggedCalls((tag,), "", names, anchored=True)
    return TaggedCalls((tag,), _closing_of(tag), names)


_DSML = "｜DSML｜"
_DEEPSEEK_BLOCK = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK_TEXTS = (*_DEEPSEEK_BLOCK, *DEEPSEEK)
_KIMI_BLOCK = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
_XML_BLOCK = ("<tool_call>", "</tool_call>")
_SEED_BLOCK = ("<seed:tool_call>", "</seed:tool_call>")
_MINIMAX_BLOCK = ("<minimax:tool_call>", "</minimax:tool_call>")
_DSML_BLOCK = (f"<{_DSML}function_calls>", f"</{_DSML}function_calls>")
_DSML_V4_BLOCK = (f"<{_DSML}tool_calls>", f"</{_DSML}tool_calls>")
_LFM2_SYNTAX = forms.CallSyntax("<|tool_call_start|>", "<|tool_call_end|>", is_list=True)
_HUNYUAN_TEXTS = tuple(
    f"<{end}{name}:opensource>"
    for name in ("tool_calls", "tool_call", "tool_sep", "arg_key", "arg_value")
    for end in ("", "/")
)
_LFM2_TEXTS = ("<|tool_call_start|>", "<|tool_call_end|>")

FORMS: tuple[Form, ...] = (
    Form(
        "seed",
        ("<seed:tool_call>", "<function="),
        _functions(*_SEED_BLOCK),
        forms.functions_syntax(*_SEED_BLOCK),
    ),
    Form(
        "xml",
        ("<tool_call>", "<function=", "<parameter="),
        _functions(*_XML_BLOCK),
        forms.functions_syntax(*_XML_BLOCK),
    ),
    Form("glm", ("<tool_call>", "<arg_key>", "<arg_value>"), _pairs(), forms.pairs_syntax()),
    Form(
        "hunyuan",
        ("<tool_call:opensource>", "<arg_key:opensource>"),
        _pairs(":opensource"),
        forms.pairs_syntax(":opensource"),
    ),
    # Hunyuan 3 makes the names of its tags with the suffix.
    Form(
        "hunyuan-3",
        ("'<tool_calls{}>'", ":opensource"),
        _pair_lists,
        texts=_HUNYUAN_TEXTS,
    ),
    Form("minimax-m3", (MARK, "<tool_call>", "<invoke name="), _trees),
    Form(
        "minimax",
        ("<minimax:tool_call>", "<invoke"),
        _invokes(*_MINIMAX_BLOCK),
        forms.invokes_syntax(*_MINIMAX_BLOCK),
    ),
    Form(
        "deepseek-dsml",
        (_DSML, "function_calls"),
        _invokes(*_DSML_BLOCK, _DSML),
        forms.invokes_syntax(*_DSML_BLOCK, _DSML, tells_texts=True),
    ),
    Form(
        "deepseek-v4",
        (_DSML, "tool_calls"),
        _invokes(*_DSML_V4_BLOCK, _DSML),
        forms.invokes_syntax(*_DSML_V4_BLOCK, _DSML, tells_texts=True),
    ),
    Form(
        "deepseek-r1",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "```json"),
        _sections(*_DEEPSEEK_BLOCK, DEEPSEEK),
        forms.headed_syntax(
            _DEEPSEEK_BLOCK[0],
            (f"{DEEPSEEK.begin}function{DEEPSEEK.separator}", "\n```json\n"),
            f"\n```{DEEPSEEK.end}",
            _DEEPSEEK_BLOCK[1],
            between="\n",
        ),
        _DEEPSEEK_TEXTS,
    ),
    Form(
        "deepseek",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"),
        _sections(*_DEEPSEEK_BLOCK, DEEPSEEK),
        forms.headed_syntax(
            _DEEPSEEK_BLOCK[0], (DEEPSEEK.begin, DEEPSEEK.separator), DEEPSEEK.end, _DEEPSEEK_BLOCK[1]
        ),
        _DEEPSEEK_TEXTS,
    ),
    Form(
        "kimi",
        ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"),
        _sections(*_KIMI_BLOCK, KIMI),
        forms.headed_syntax(
            _KIMI_BLOCK[0], (f"{KIMI.begin}functions.", f":0{KIMI.separator}"), KIMI.end, _KIMI_BLOCK[1]
        ),
        (*_KIMI_BLOCK, *KIMI),
    ),
    Form("kimi-k3", ("<|open|>", "open_tag('call'"), _xtml, texts=TOKENS),
    Form(
        "solar",
        ("<|tool_calls|>", "<|tool_call:begin|>"),
        _sections("<|tool_calls|>", "<|calls|>", SOLAR),
        forms.headed_syntax(
            "<|tool_calls|>",
            (f"{SOLAR.begin}call<|tool_call:name|>", SOLAR.separator),
            SOLAR.end,
            "<|calls|>",
        ),
        ("<|calls|>", "<|tool_call:name|>", *SOLAR),
    ),
    Form("gemma", ("<|tool_call>", "<tool_call|>"), _gemma, texts=(QUOTE,)),
    Form("lfm2", ("<|tool_call_start|>",), _python, _LFM2_SYNTAX, _LFM2_TEXTS),
    Form("lfm2", ("List of tools: <|tool_list_start|>",), _python, _LFM2_SYNTAX, _LFM2_TEXTS),
    Form("lfm2", ("List of tools: [",), _python, _LFM2_SYNTAX, _LFM2_TEXTS),
    Form("minicpm", ("<function name=", "<param name="), _elements, forms.ELEMENTS),
    Form(
        "cohere",
        ("<|START_ACTION|>",),
        _tagged("<|START_ACTION|>", "<|END_ACTION|>"),
        forms.COHERE,
        ("<|END_ACTION|>",),
    ),
    Form(
        "apertus",
        ("<|tools_prefix|>",),
        _tagged("<|tools_prefix|>", "<|tools_suffix|>"),
        forms.APERTUS,
        ("<|tools_suffix|>",),
    ),
    Form(
        "gigachat",
        ("<|function_call|>",),
        _tagged("<|function_call|>"),
        forms.CallSyntax("<|function_call|>"),
    ),
    Form(
        "nemotron-v2",
        ("<TOOLCALL>",),
        _tagged("<TOOLCALL>", "</TOOLCALL>"),
        forms.CallSyntax("<TOOLCALL>", "</TOOLCALL>", is_list=True),
    ),
    Form("hermes", ("<tool_call>",), _tagged(*_XML_BLOCK), forms.HERMES),
    Form(
        "plural",
        ("<tool_calls>",),
        _tagged("<tool_calls>", "</tool_calls>"),
        forms.CallSyntax("<tool_calls>", "</tool_calls>", is_list=True),
    ),
    Form(
        "mistral-named",
        ("[TOOL_CALLS]", "[ARGS]"),
        _tagged("[TOOL_CALLS]"),
        forms.headed_syntax("", ("[TOOL_CALLS]", "[ARGS]"), "", ""),
        ("[ARGS]", "[CALL_ID]"),
    ),
    Form("mistral", ("[TOOL_CALLS]",), _tagged("[TOOL_CALLS]"), forms.MISTRAL),
    Form(
        "command-r-plus",
        ("Action:\\n```json\\n[",),
        _actions,
        forms.ACTIONS,
    ),
    Form(
        "functionary",
        ("<function=example_function_name>",),
        _named,
        forms.headed_syntax("", ("<function=", ">"), "</function>", ""),
    ),
    Form("llama3", ("<|python_tag|>",), _llama3, forms.LLAMA3),
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
    form = call_form(source, parser_name)
    return (form.make if form else _by_tag)(tag, names, parameters)


def call_syntax(source: str, tag: str, parser_name: str = "") -> forms.CallSyntax | None:
    """How the calls are written that `call_parser` reads; None for a form without a grammar."""
    if is_harmony(source, parser_name):
        return forms.HARMONY
    if has_recipients(source):
        return forms.RECIPIENTS
    form = call_form(source, parser_name)
    if form is not None:
        return form.syntax
    if tag == "[":
        return forms.CallSyntax(is_list=True)
    closing = "" if tag == "{" else _closing_of(tag)
    opening = "" if tag == "{" else f"{tag}\n"
    if not closing:
        return forms.CallSyntax(opening)
    return forms.CallSyntax(opening, f"\n{closing}", between="\n", repeats=True)


def call_marks(source: str, tag: str, parser_name: str = "") -> tuple[str, ...]:
    """Texts that the parser of calls looks for, which can be control tokens of the model."""
    form = call_form(source, parser_name)
    marks = form.marks if form else (tag,)
    texts = form.texts if form else ()
    return (*marks, *(closing for mark in marks if (closing := _closing_of(mark))), *texts)


def call_form(source: str, parser_name: str = "") -> Form | None:
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
