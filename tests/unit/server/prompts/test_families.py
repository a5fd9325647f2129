"""Answers of the families of models, each with the parser that its chat template chooses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.prompts.call_grammar import call_grammar
from server.types.messages import Tool
from tests.support.chat_templates import chat_template_of
from tests.support.family_samples import (
    ARGS,
    CLOCK,
    DSML,
    NOW,
    OBJECT,
    OSLO,
    PAIRS,
    SAMPLES,
    WEATHER,
    XML,
    meaning,
    parse,
)
from tests.support.grammars import accepts
from tests.support.pieces import cut


@pytest.mark.parametrize("name", SAMPLES)
def test_an_answer_means_what_its_family_means(name: str) -> None:
    sample = SAMPLES[name]
    assert meaning(parse(sample, [sample.text])) == (sample.content, sample.thinking, list(sample.calls))


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_cut_gives_the_same(name: str, data: st.DataObject) -> None:
    sample = SAMPLES[name]
    assert parse(sample, cut(sample.text, data)) == parse(sample, [sample.text])


MARKUP = sorted({piece for sample in SAMPLES.values() for piece in sample.text.split(">")})


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_broken_answers_mean_the_same_however_they_are_cut(name: str, data: st.DataObject) -> None:
    """A piece is left out, put in or doubled; nothing raises, and a text without calls is all there."""
    sample = SAMPLES[name]
    start = data.draw(st.integers(0, len(sample.text)))
    end = data.draw(st.integers(start, len(sample.text)))
    put_in = data.draw(
        st.sampled_from(("", "x", "{", "}", '"', "<", ">", "\\", "]", sample.text[start:end] * 2))
    )
    broken = sample.text[:start] + put_in + sample.text[end:]
    whole = parse(sample, [broken])
    assert parse(sample, cut(broken, data)) == whole
    json.dumps([call.arguments for call in whole.tool_calls], allow_nan=False)
    if not (whole.tool_calls or whole.thinking or "gpt-oss" in name):
        tags = chat_template_of(sample.template).thinking_tags or ("", "")
        kept = broken
        for tag in tags:
            kept = kept.replace(tag, "") if tag else kept
        assert "".join(whole.content.split()) == "".join(kept.split()) or tags[1] in broken


@given(st.sampled_from(sorted(SAMPLES)), st.text(max_size=60))
def test_ordinary_text_is_content(name: str, text: str) -> None:
    sample = SAMPLES[name]
    if not sample.prompt or sample.prompt.endswith("assistant"):
        assert parse(sample, list(text)).content == text


REQUIRED = {
    "hermes": f"<tool_call>\n{OBJECT}\n</tool_call>\n<tool_call>\n{OBJECT}\n</tool_call>",
    "qwen3-coder": f"<tool_call>\n{XML}\n</tool_call>",
    "qwen3-coder, two": SAMPLES["qwen3-coder, two"].text,
    "seed": f"<seed:tool_call>\n{XML}\n</seed:tool_call>",
    "mistral list": f"[TOOL_CALLS][{OBJECT}]",
    "mistral named": f"[TOOL_CALLS]get_weather[ARGS]{ARGS}[TOOL_CALLS]now[ARGS]{{}}",
    "llama 3": f'{{"name": "get_weather", "parameters": {ARGS}}}',
    "deepseek r1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    f"```json\n{ARGS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek v3.1": SAMPLES["deepseek v3.1"].text,
    "deepseek v3.2": f"<｜DSML｜function_calls>\n{DSML}\n</｜DSML｜function_calls>",
    "deepseek v4": SAMPLES["deepseek v4"].text,
    "minimax": SAMPLES["minimax"].text,
    "glm": f"<tool_call>get_weather\n{PAIRS}\n</tool_call>\n<tool_call>now\n</tool_call>",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
    f"<|tool_call_argument_begin|>{ARGS}<|tool_call_end|><|tool_calls_section_end|>",
    "lfm2": f"<|tool_call_start|>[{OBJECT}]<|tool_call_end|>",
    "solar": SAMPLES["solar"].text.replace("abc", "call"),
    "cohere": f'<|START_ACTION|>[{{"tool_name": "get_weather", "parameters": {ARGS}}}]<|END_ACTION|>',
    "apertus": f'<|tools_prefix|>[{{"get_weather": {ARGS}}}]<|tools_suffix|>',
    "nemotron 2": SAMPLES["nemotron 2"].text,
    "apriel": SAMPLES["apriel"].text,
    "minicpm": SAMPLES["minicpm"].text,
    "gigachat": SAMPLES["gigachat"].text,
    "command-r-plus": f'Action:\n```json\n[{{"tool_name": "get_weather", "parameters": {ARGS}}}]\n```',
    "functionary 3.1": f"<function=get_weather>{ARGS}</function><function=now>{{}}</function>",
    "gpt-oss": f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{ARGS}",
}
"""Answers that are calls alone, as a model is made to write them."""


def required(name: str, tools: tuple[Tool, ...] = (WEATHER, NOW), n_calls: int = 16) -> str:
    template = chat_template_of(SAMPLES[name].template)
    return call_grammar(template.source, template.tool_call_tag or "{", tools, n_calls=n_calls)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_call_that_is_required_has_the_form_that_is_read(name: str) -> None:
    text = REQUIRED[name]
    parsed = parse(SAMPLES[name]._replace(prompt=""), list(text))
    assert parsed.content == ""
    assert meaning(parsed)[2][0] == OSLO
    assert accepts(required(name), text)
    if len(parsed.tool_calls) == 1:
        assert accepts(required(name, n_calls=1), text)
    else:
        assert not accepts(required(name, n_calls=1), text)
    for wrong in ("", "Well.", text.replace("get_weather", "other"), text.replace("3", '"x"'), text + "x"):
        assert not accepts(required(name), wrong)


def test_a_required_call_goes_on_behind_the_mark_of_the_prompt() -> None:
    name, text = "functionary 3.2", f"get_weather\n{ARGS}>>>now\n{{}}"
    assert accepts(required(name), text)
    assert not accepts(required(name, n_calls=1), text)
    assert meaning(parse(SAMPLES[name], list(text))) == ("", "", [OSLO, CLOCK])
    for wrong in ("", "all\nWell.", f"other\n{ARGS}", f">>>{text}"):
        assert not accepts(required(name), wrong)


@pytest.mark.parametrize("name", ["minimax m3", "hunyuan 3", "kimi k3"])
def test_forms_without_a_grammar_refuse_to_require_a_call(name: str) -> None:
    with pytest.raises(InvalidRequest):
        required(name)


MARKED = {
    "qwen3-coder": (
        "<tool_call>\n<function=get>\n",
        "<parameter={key}>\n{value}\n</parameter>\n",
        "</function>\n</tool_call>",
    ),
    "glm": (
        "<tool_call>get\n",
        "<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n",
        "</tool_call>",
    ),
    "minimax": (
        '<minimax:tool_call>\n<invoke name="get">\n',
        '<parameter name="{key}">{value}</parameter>\n',
        "</invoke>\n</minimax:tool_call>",
    ),
    "deepseek v4": (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get">\n',
        '<｜DSML｜parameter name="{key}" string="{is_text}">{value}</｜DSML｜parameter>\n',
        "</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
    ),
    "minicpm": ('<function name="get">', '<param name="{key}">{value}</param>', "</function>"),
}
"""How a call begins, each of its arguments, and how it ends."""


@pytest.mark.parametrize("name", MARKED)
def test_values_between_tags_have_the_types_of_the_schema(name: str) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "n": {"type": "integer", "minimum": 1, "maximum": 9},
            "on": {"type": "boolean"},
            "list": {"type": "array", "items": {"$ref": "#/$defs/size"}},
        },
        "required": ["text", "unit", "n"],
        "$defs": {"size": {"type": "number"}},
    }
    tool = Tool(name="get", parameters=schema)
    grammar = required(name, (tool,), 1)
    before, argument, after = MARKED[name]

    def answer(**values: str) -> str:
        texts = {"text": "two\nlines, 1 < 2", "unit": "C", "n": "5", **values}
        made = (
            argument.format(key=key, value=value, is_text=str(key in ("text", "unit")).lower())
            for key, value in texts.items()
        )
        return before + "".join(made) + after

    assert accepts(grammar, answer())
    assert accepts(grammar, answer(on="true", list="[1, 2.5]"))
    for wrong in (
        {"unit": "K"},
        {"n": "10"},
        {"n": "five"},
        {"on": "maybe"},
        {"list": '["a"]'},
        {"more": "1"},
    ):
        assert not accepts(grammar, answer(**wrong))
    pattern = {**schema, "properties": {"text": {"type": "string", "pattern": "a"}}}
    with pytest.raises(InvalidRequest, match="'pattern' of 'text'"):
        required(name, (Tool(name="get", parameters=pattern),))


@pytest.mark.parametrize("name", SAMPLES)
def test_without_tools_calls_are_content(name: str) -> None:
    parsed = parse(SAMPLES[name], [SAMPLES[name].text], has_tools=False)
    assert parsed.tool_calls == ()
    if SAMPLES[name].calls:
        assert "Oslo" in parsed.content or "detail" in parsed.content


@pytest.mark.parametrize(
    "name", ["qwen3-coder", "glm", "gemma 4", "kimi", "lfm2", "deepseek v3.1", "minimax"]
)
def test_a_long_answer_is_not_read_again_for_each_piece(name: str) -> None:
    """Thousands of pieces of an open block: quadratic work would take minutes."""
    sample = SAMPLES[name]
    middle = sample.text.index("Oslo")
    text = sample.text[:middle] + "x" * 150_000 + sample.text[middle:]
    pieces = [text[at : at + 20] for at in range(0, len(text), 20)]
    (call, *_) = parse(sample, pieces).tool_calls
    assert len(call.arguments["city"]) == 150_004


@pytest.mark.parametrize(
    "body",
    [
        "-" * 150_000 + "1", "(" * 50_000, "a." * 50_000 + "b()", "not " * 40_000 + "1",
        "[" * 50_000 + "]" * 50_000, "f(x=" * 30_000 + "1" + ")" * 30_000, "1+" * 70_000 + "1", "f(x=1e999)",
        "f(x=b'a')", "f(1)", "f(**{})", "f(x=__import__('os'))", "f(x=(lambda: 1)())", "f(x={1: 2})",
        "f(x={**{}})", "\0",
    ],
)  # fmt: skip
def test_python_that_is_no_call_is_content(body: str) -> None:
    text = f"<|tool_call_start|>[{body}]<|tool_call_end|>"
    parsed = parse(SAMPLES["lfm2"], [text])
    assert (parsed.content, parsed.tool_calls) == (text, ())


@pytest.mark.parametrize("opening", ["[", "{a:"])
def test_deep_values_are_content(opening: str) -> None:
    text = f"<|tool_call>call:f{{x:{opening * 50_000}}}<tool_call|>"
    parsed = parse(SAMPLES["gemma 4"], [text])
    assert (parsed.content, parsed.tool_calls) == (text, ())
