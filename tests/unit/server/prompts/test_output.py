"""Answers taken apart: content, reasoning and tool calls, for all forms of calls."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.prompts.output import Parsed, output_parser
from server.prompts.template import PromptTemplate, go_template, jinja_template
from server.prompts.tool_calls import PARSER_FORMS
from server.types.messages import Tool
from tests.support.pieces import cut, marked_texts

TOOLS = (
    Tool(name="get"),
    Tool(
        name="get_weather",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "n": {"type": "integer"},
                "x": {"type": ["number", "null"]},
                "ok": {"type": "boolean"},
                "list": {"type": "array"},
                "o": {"anyOf": [{"type": "object"}, {"type": "string"}]},
            },
        },
    ),
)
HERMES = jinja_template("{{ tools }} <tool_call> </tool_call>")
XML = jinja_template("{{ tools }} <tool_call> <function=x> <parameter=y>")
MISTRAL = jinja_template("{{ tools }} [TOOL_CALLS]")
LLAMA = jinja_template("{{ tools }} <|python_tag|>")
BARE = go_template("{{ .Tools }}{{ .Messages }}")
FENCED = go_template("{{ .Tools }}{{ .Messages }}{{ if .ToolCalls }}Action: ```json\n{{ . }}{{ end }}")
LIST = go_template("{{ .Tools }}{{ .Messages }}{{ if .ToolCalls }}functools[{{ . }}]{{ end }}")
THINKING = jinja_template("{{ tools }} <think>\n</think> <tool_call>")
ALL = [HERMES, XML, MISTRAL, LLAMA, BARE, FENCED, LIST, THINKING]


def parse(
    template: PromptTemplate,
    *pieces: str,
    tools: tuple[Tool, ...] = TOOLS,
    has_tools: bool = True,
    think_on: bool = True,
    prompt: str = "",
    parser_name: str = "",
) -> Parsed:
    numbers = count()
    parser = output_parser(
        template,
        prompt=prompt,
        think_on=think_on,
        has_tools=has_tools,
        parser_name=parser_name,
        new_call_id=lambda: f"call_{next(numbers)}",
        tools=tools,
    )
    parts = [parser.feed(piece) for piece in pieces]
    parts.append(parser.finish())
    return Parsed(
        "".join(part.content for part in parts),
        "".join(part.thinking for part in parts),
        tuple(call for part in parts for call in part.tool_calls),
    )


def calls_of(parsed: Parsed) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in parsed.tool_calls]


ONE = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
MARKED_UP = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
)
PARIS = ("get_weather", {"city": "Paris"})


@pytest.mark.parametrize(
    ("template", "text", "content", "calls"),
    [
        (HERMES, f"<tool_call>\n{ONE}\n</tool_call>", "", [PARIS]),
        (HERMES, f"Let me see.\n<tool_call>{ONE}</tool_call>", "Let me see.\n", [PARIS]),
        (
            HERMES,
            f"<tool_call>{ONE}</tool_call>\n<tool_call>{ONE}</tool_call>\n\nDone.",
            "Done.",
            [PARIS, PARIS],
        ),
        (HERMES, f"<tool_call>{ONE}\n{ONE}</tool_call>", "", [PARIS, PARIS]),
        (HERMES, f"<tool_call>{ONE}", "", [PARIS]),
        (HERMES, '<tool_call>{"name": "other", "arguments": {}}</tool_call>', "", [("other", {})]),
        (
            HERMES,
            '<tool_call>{"name": "get", "arguments": "{\\"a\\": 1}"}</tool_call>',
            "",
            [("get", {"a": 1})],
        ),
        (HERMES, '<tool_call>{"name": "get"}</tool_call>', "", [("get", {})]),
        (
            HERMES,
            '<tool_call>{"name": "get", "parameters": {"a": "</tool_call>}"}}</tool_call>',
            "",
            [("get", {"a": "</tool_call>}"})],
        ),
        (
            HERMES,
            '<tool_call>{"arguments": {"z": 1, "a": 2}, "name": "get"}</tool_call>',
            "",
            [("get", {"z": 1, "a": 2})],
        ),
        (
            HERMES,
            '<tool_call>{"type": "function", "function": {"name": "get", "arguments": {}}}</tool_call>',
            "",
            [("get", {})],
        ),
        (HERMES, '<tool_call>{"get": {"a": 1}}</tool_call>', "", [("get", {"a": 1})]),
        (HERMES, '<tool_call>get_weather\n{"city": "Paris"}</tool_call>', "", [PARIS]),
        (
            HERMES,
            '<tool_call>{"name": "get", "arguments": {"a": "line\nbreak"}}</tool_call>',
            "",
            [("get", {"a": "line\nbreak"})],
        ),
        (HERMES, "<tool_call>{broken}</tool_call> x", "<tool_call>{broken}</tool_call> x", []),
        (HERMES, '<tool_call>{"name": "get", "argum', '<tool_call>{"name": "get", "argum', []),
        (
            HERMES,
            '<tool_call>{"name": "get", "arguments": {}</tool_call>.',
            '<tool_call>{"name": "get", "arguments": {}</tool_call>.',
            [],
        ),
        (HERMES, '<tool_call>{"answer": NaN}</tool_call>', '<tool_call>{"answer": NaN}</tool_call>', []),
        (HERMES, "<tool_call>nothing</tool_call>!", "<tool_call>nothing</tool_call>!", []),
        (HERMES, "a <tool", "a <tool", []),
        (HERMES, "a < b", "a < b", []),
        (MISTRAL, f"[TOOL_CALLS] [{ONE}, {ONE}]", "", [PARIS, PARIS]),
        (
            MISTRAL,
            'x[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get[ARGS]{}',
            "x",
            [PARIS, ("get", {})],
        ),
        (MISTRAL, f"[TOOL_CALLS] [{ONE}]\nDone.", "Done.", [PARIS]),
        (LLAMA, '{"name": "get", "parameters": {"a": 1}}', "", [("get", {"a": 1})]),
        (
            LLAMA,
            '\n {"name": "get", "parameters": {}}; {"name": "get", "parameters": {"b": 2}}',
            "",
            [("get", {}), ("get", {"b": 2})],
        ),
        (LLAMA, '<|python_tag|>{"name": "get", "parameters": {}}', "", [("get", {})]),
        (LLAMA, "<|python_tag|>print(1)", "<|python_tag|>print(1)", []),
        (LLAMA, ' {"answer": 42} and more', ' {"answer": 42} and more', []),
        (LLAMA, '{"name": "other", "parameters": {}}', '{"name": "other", "parameters": {}}', []),
        (LLAMA, 'Use {"name": "get", "parameters": {}}', 'Use {"name": "get", "parameters": {}}', []),
        (BARE, '{"name": "get", "arguments": {}} then', "then", [("get", {})]),
        (BARE, '{"name": "get", "argu', '{"name": "get", "argu', []),
        (
            FENCED,
            'Action: ```json\n[{"tool_name": "get", "parameters": {"a": 1}}]\n```',
            "",
            [("get", {"a": 1})],
        ),
        (LIST, f"functools[{ONE}]", "", [PARIS]),
        (XML, MARKED_UP, "", [PARIS]),
        (XML, "a<tool_call><function=get></function></tool_call>\nb", "ab", [("get", {})]),
        (XML, "<tool_call>\n<function=get>\n</function>", "", [("get", {})]),
        (XML, "<tool_call>junk</tool_call>", "<tool_call>junk</tool_call>", []),
        (XML, "<tool_call>\n<function=get>\n<parameter=a>", "<tool_call>\n<function=get>\n<parameter=a>", []),
    ],
)
def test_forms_of_calls(
    template: PromptTemplate, text: str, content: str, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    parsed = parse(template, text)
    assert (parsed.content, calls_of(parsed)) == (content, calls)


def test_values_of_marked_up_parameters_have_the_types_of_the_schema() -> None:
    values = {"city": "12", "n": "12", "x": "null", "ok": "True", "list": "[1]", "o": '{"a": 1}', "free": "7"}
    inner = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    parsed = parse(XML, f"<tool_call>\n<function=get_weather>\n{inner}</function>\n</tool_call>")
    assert calls_of(parsed) == [
        (
            "get_weather",
            {"city": "12", "n": 12, "x": None, "ok": True, "list": [1], "o": {"a": 1}, "free": "7"},
        )
    ]


def test_a_value_that_does_not_read_as_its_type_stays_text() -> None:
    text = "<tool_call><function=get_weather><parameter=n>many</parameter></function></tool_call>"
    assert calls_of(parse(XML, text)) == [("get_weather", {"n": "many"})]


def test_calls_are_numbered() -> None:
    parsed = parse(HERMES, f"<tool_call>{ONE}</tool_call><tool_call>{ONE}</tool_call>")
    assert [(call.id, call.index) for call in parsed.tool_calls] == [("call_0", 0), ("call_1", 1)]


def test_content_and_calls_of_one_piece_both_come() -> None:
    numbers = count()
    parser = output_parser(
        HERMES,
        prompt="",
        think_on=False,
        has_tools=True,
        new_call_id=lambda: str(next(numbers)),
        tools=TOOLS,
    )
    parsed = parser.feed(f"Hello.<tool_call>{ONE}</tool_call>")
    assert parsed.content == "Hello."
    assert calls_of(parsed) == [PARIS]


def test_without_tools_calls_are_content() -> None:
    text = f"<tool_call>{ONE}</tool_call>"
    assert parse(HERMES, text, has_tools=False, tools=()).content == text


def test_without_names_any_name_counts() -> None:
    assert calls_of(parse(HERMES, f"<tool_call>{ONE}</tool_call>", tools=())) == [PARIS]


def test_reasoning_then_a_call() -> None:
    parsed = parse(THINKING, f"<think>\nWhy?\n</think>\n\n<tool_call>{ONE}</tool_call>")
    assert (parsed.thinking, parsed.content, calls_of(parsed)) == ("Why?\n", "", [PARIS])


def test_reasoning_that_is_off_leaves_no_tags() -> None:
    parsed = parse(THINKING, "<think>Why?</think>\n\nBecause.", think_on=False)
    assert (parsed.thinking, parsed.content) == ("", "Because.")


def test_a_prompt_that_ends_with_the_tag_starts_inside() -> None:
    parsed = parse(THINKING, "Why?</think>Because.", prompt="...<think>\n")
    assert (parsed.thinking, parsed.content) == ("Why?", "Because.")


def test_a_named_parser_decides_the_form() -> None:
    text = "<tool_call><function=get></function></tool_call>"
    assert calls_of(parse(HERMES, text, parser_name="qwen3-coder")) == [("get", {})]
    assert parse(THINKING, "<think>a</think>", parser_name="passthrough").content == "<think>a</think>"


def test_every_named_parser_has_a_form() -> None:
    for name in PARSER_FORMS:
        parse(BARE, "x", parser_name=name)


MARKS = (
    "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "functools[", "Action: ```json", "```",
    "<think>", "</think>", ONE, '{"name": "get", "arguments": {}}', '{"get": {}}', "get", "get_weather",
    "<function=get>", "</function>", "<parameter=a>", "</parameter>", '\\"',
)  # fmt: skip


@given(st.sampled_from(ALL), marked_texts(*MARKS), st.data())
def test_any_cut_gives_the_same(template: PromptTemplate, text: str, data: st.DataObject) -> None:
    assert parse(template, *cut(text, data)) == parse(template, text)


@given(st.sampled_from(ALL), st.text(max_size=40))
def test_ordinary_text_passes(template: PromptTemplate, text: str) -> None:
    parsed = parse(template, *text)
    assert parsed.content == text
    assert not parsed.tool_calls


JSON_OBJECTS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


@given(JSON_OBJECTS, st.booleans(), st.data())
def test_any_arguments_arrive(arguments: dict[str, Any], ascii_only: bool, data: st.DataObject) -> None:
    call = json.dumps({"name": "get", "arguments": arguments}, ensure_ascii=ascii_only)
    parsed = parse(HERMES, *cut(f"<tool_call>\n{call}\n</tool_call>", data))
    assert (parsed.content, calls_of(parsed)) == ("", [("get", arguments)])


def test_a_long_call_is_not_read_again_for_each_piece() -> None:
    arguments = {"text": 'x"{}' * 20_000}
    text = "<tool_call>" + json.dumps({"name": "get", "arguments": arguments}) + "</tool_call>"
    parsed = parse(HERMES, *(text[at : at + 4] for at in range(0, len(text), 4)))
    assert calls_of(parsed) == [("get", arguments)]
