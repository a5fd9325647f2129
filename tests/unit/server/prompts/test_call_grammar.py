"""Grammars of required calls: what they accept, the parser of the same form reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.prompts.call_grammar import MAX_CALLS, call_grammar
from server.prompts.tool_calls import call_parser
from server.types.messages import Tool
from tests.support.grammars import accepts

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
    "required": ["city"],
}
TOOLS = (Tool(name="weather", parameters=CITY), Tool(name="now", parameters={"type": "", "properties": None}))
OSLO = {"city": "Oslo"}


def call(name: str, arguments: object, key: str = "arguments") -> str:
    return json.dumps({"name": name, key: arguments}, separators=(",", ": "))


def tagged(*calls: str) -> str:
    return "\n".join(f"<tool_call>\n{one}\n</tool_call>" for one in calls)


ANSWERS = [
    ("<tool_call>", "<tool_call>", tagged(call("weather", OSLO))),
    ("<tool_call>", "<tool_call>", tagged(call("weather", OSLO), call("now", {}))),
    ("[TOOL_CALLS]", "[TOOL_CALLS]", f"[TOOL_CALLS][{call('weather', OSLO)},{call('now', {})}]"),
    ("<|python_tag|>", "{", call("weather", OSLO, "parameters")),
    ("", "{", call("weather", OSLO)),
    ("", "[", f"[{call('weather', OSLO)},{call('now', {})}]"),
    ("", "<call>", f"<call>\n{call('weather', OSLO)}\n</call>"),
]


@pytest.mark.parametrize(("source", "tag", "answer"), ANSWERS)
def test_an_answer_in_the_models_form_is_accepted_and_read(source: str, tag: str, answer: str) -> None:
    assert accepts(call_grammar(source, tag, TOOLS), answer)
    parser = call_parser(source, tag, TOOLS)
    content, calls = parser.feed(answer)
    more, late = parser.finish()
    assert content + more == ""
    assert ("weather", OSLO) in [*calls, *late]
    assert len([*calls, *late]) == answer.count('"name"')


@pytest.mark.parametrize(("source", "tag", "answer"), ANSWERS)
def test_one_call_can_be_the_most(source: str, tag: str, answer: str) -> None:
    grammar = call_grammar(source, tag, TOOLS, n_calls=1)
    assert accepts(grammar, answer) == (answer.count('"name"') == 1)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Oslo",
        tagged(call("other", {})),
        tagged(call("weather", {})),
        tagged(call("weather", {"city": "Bonn"})),
        tagged(call("weather", OSLO)) + " Done.",
        tagged(*[call("now", {})] * (MAX_CALLS + 1)),
    ],
)
def test_what_is_no_call_of_these_tools_is_not_accepted(answer: str) -> None:
    assert not accepts(call_grammar("<tool_call>", "<tool_call>", TOOLS), answer)


def test_references_of_a_tools_own_are_kept() -> None:
    schema = {
        "type": "object",
        "$defs": {"place": {"type": "string", "enum": ["Oslo"]}},
        "properties": {"places": {"type": "array", "items": {"$ref": "#/$defs/place"}}},
        "required": ["places"],
    }
    tools = (*TOOLS, Tool(name="go", parameters=schema))
    grammar = call_grammar("<tool_call>", "<tool_call>", tools)
    assert accepts(grammar, tagged(call("go", {"places": ["Oslo"]})))
    assert not accepts(grammar, tagged(call("go", {"places": ["Rome"]})))


def test_a_form_without_a_grammar_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="tool_choice"):
        call_grammar("<|tool_call>call:<tool_call|>", "{", TOOLS)


def test_parameters_that_no_grammar_enforces_are_refused_by_name() -> None:
    odd = Tool(name="f", parameters={"type": "object", "properties": {"a": {"not": {}}}})
    with pytest.raises(InvalidRequest, match=r"tool_choice.*not"):
        call_grammar("<tool_call>", "<tool_call>", (odd,))
