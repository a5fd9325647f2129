"""Conversations through Jinja chat templates."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidTemplate
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import read_header
from server.prompts import jinja_bounds, jinja_sandbox
from server.prompts.jinja import JinjaTemplate
from server.prompts.template import RenderInput, jinja_template
from server.types.generation import Think
from server.types.messages import Message, Tool, ToolCall
from tests.support.conversations import WEATHER, assistant, system, tool_result, user

ROOT = Path(__file__).parents[4]
SPARK = GgufMetadata(read_header(ROOT / "server/bundled/spark.gguf")).chat_template
RECORDED = Path(__file__).parent / "recorded"


def render(
    source: str, *messages: Message, tools: tuple[Tool, ...] = (), think: Think = None, eos: str = ""
) -> str:
    inp = RenderInput(messages=messages, tools=tools, think=think, bos_text="<s>", eos_text=eos)
    return jinja_template(source).render(inp)


def test_spark_as_recorded_from_a_real_ollama() -> None:
    prompt = render(
        SPARK, system("Be kind."), user("What is the capital of Japan?"), tools=(WEATHER,), think=True
    )
    assert prompt == (RECORDED / "spark-jinja.txt").read_text(encoding="utf-8")


def test_spark_tool_round_trip() -> None:
    call = ToolCall("get_weather", {"unit": "C", "city": "Zürich <3"})
    prompt = render(SPARK, user("Weather?"), assistant("", call), tool_result("21 degrees"), think=False)
    assert prompt == (
        "<|im_start|>user\nWeather?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "get_weather", '
        '"arguments": {"unit": "C", "city": "Zürich <3"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n21 degrees\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_last_assistant_message_is_continued() -> None:
    prompt = render(SPARK, user("Hi"), assistant("Once upon"))
    assert prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nOnce upon"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>hi</s>"),
        ("{{ messages[0]['role'] }} {{ messages | length }}", "user 1"),
        ("{% if tools %}t{% else %}none{% endif %}{{ documents is none }}", "noneTrue"),
        ("{{ enable_thinking is defined }}", "False"),
        (
            "{% set n = namespace(n=0) %}{% for m in messages %}{% set n.n = n.n + 1 %}{% endfor %}{{ n.n }}",
            "1",
        ),
        ("{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        (
            "{% for i in 'ab' %}{% if loop.first %}{% continue %}{% endif %}{{ loop.length }}{% endfor %}",
            "2",
        ),
        ("{% for i in [1, 2] %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2"),
        ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"),
        ("{% for i in nothing %}x{% else %}empty{% endfor %}", "empty"),
        ("{% generation %}kept{% endgeneration %}", "kept"),
        ("  {% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),
        (
            "{{ {'b': 'é<>&', 'a': [1, 2.0, none, true]} | tojson }}",
            '{"b": "é<>&", "a": [1, 2.0, null, true]}',
        ),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{{ [1, 2] | map('string') | tojson }}", '["1", "2"]'),
        ("{{ 'a' ~ 1 ~ 'b' }}{% set x %}y{% endset %}{{ x }}", "a1by"),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(1) }}", "[1]"),
        ("{{ messages[0].content.split('i')[0] | trim | upper }}", "H"),
        ("{{ strftime_now('%d %b %Y') }}", "01 Mar 2026"),
        ("{{ messages[0].get('nope', 'd') }}{{ 'x'.startswith('x') }}", "dTrue"),
        ("{% for a in [[1, [2]], [3]] recursive %}{{ a if a is number else loop(a) }}{% endfor %}", "123"),
    ],
)
def test_the_language_and_variables_of_hugging_face(source: str, expected: str) -> None:
    template = JinjaTemplate(source, now=lambda: datetime.datetime(2026, 3, 1))
    assert template.render(RenderInput(messages=(user("hi"),), bos_text="<s>", eos_text="</s>")) == expected


@pytest.mark.parametrize(
    ("think", "expected"), [(None, "-,-"), (False, "False,-"), (True, "True,-"), ("low", "True,low")]
)
def test_think_reaches_the_template(think: Think, expected: str) -> None:
    source = "{{ enable_thinking | default('-') }},{{ reasoning_effort | default('-') }}"
    assert render(source, user("x"), think=think) == expected


def test_messages_have_the_keys_that_they_have() -> None:
    call = ToolCall("f", {"b": 1, "a": 2}, id="c1")
    source = "{% for m in messages %}{{ m | tojson }};{% endfor %}"
    result = Message(role="tool", content="r", tool_name="f", tool_call_id="c1")
    assert render(source, user("u"), assistant("", call, thinking="t"), result) == (
        '{"role": "user", "content": "u"};'
        '{"role": "assistant", "content": "", "reasoning_content": "t", "tool_calls": [{"id": "c1", "type": '
        '"function", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}}]};'
        '{"role": "tool", "content": "r", "tool_call_id": "c1", "name": "f"};'
    )


def test_images_are_numbered() -> None:
    assert render("{{ messages[0].content }}", user("a", b"1", b"2")) == "[img-0][img-1]a"


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ messages",
        "{% for %}",
        "{{ raise_exception('only users may speak') }}",
        "{{ 1 / 0 }}",
        "{{ messages[99].content }}",
        "{{ nope.nope.nope }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% include 'x' %}",
        "{{ x | tojson }}",
    ],
)
def test_a_fault_or_a_way_out_is_an_invalid_template(source: str) -> None:
    with pytest.raises(InvalidTemplate):
        render(source, user("x"))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages.pop() }}",
        "{{ messages[0].tool_calls.append(1) }}",
        "{{ tools.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{% set messages[0].role = 'x' %}",
        "{{ [].extend([1]) }}",
        "{{ ''.format.__self__ }}",
        "{{ ''.format.__globals__ }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '{0.__class__.__mro__}'.format_map({'0': 1}) }}",
        "{{ (messages | map(attribute='__class__') | list)[0].mro() }}",
        "{{ messages | attr('__class__') }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__ }}",
        "{{ range.__class__ }}",
        "{{ loop.__class__ }}",
        "{% macro m() %}{% endmacro %}{{ m.__class__ }}",
        "{% macro m() %}{% endmacro %}{{ m._environment }}",
        "{{ (1).real.__class__ }}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{% from 'x' import y %}",
    ],
)
def test_there_is_no_way_out_and_nothing_of_the_callers_changes(source: str) -> None:
    message = assistant("a", ToolCall("f", {}))
    with pytest.raises(InvalidTemplate):
        rendered = render(source, message, user("x"), tools=(Tool(name="t"),))
        if "object at 0x" not in rendered and "class" not in rendered:
            raise InvalidTemplate("nothing came of it")


def test_lists_of_the_templates_own_can_grow() -> None:
    source = "{% set x = [1] %}{% set _ = x.append(2) %}{% set y = x.pop() %}{{ x }}{{ y }}"
    assert render(source, user("x")) == "[1]2"


def test_a_template_that_refuses_a_form_gets_another() -> None:
    assert render("{% for tool in tools %}x{% endfor %}.", user("u")) == "."
    texts = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ '' + c.function.arguments }}{% endfor %}"
    )
    call = assistant("", ToolCall("f", {"a": 1}))
    assert render(texts + "{% endfor %}", call, user("u")) == '{"a": 1}'
    no_system = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "[{{ m.content }}]{% endfor %}"
    )
    system = Message(role="system", content="S")
    assert render(no_system, system, user("u"), user("v")) == "[S\n\nu][v]"
    assert render(no_system, user("u"), system) == "[u][S]"
    assert render("{{ '' + functions }}{{ ('' + datetime) | length }}", user("u")) == "[]11"


def test_the_text_of_raise_exception_reaches_the_user() -> None:
    with pytest.raises(InvalidTemplate, match="only users may speak"):
        render("{{ raise_exception('only users may speak') }}", user("x"))


GROW = "{% set ns = namespace(x='x') %}{% for i in range(99) %}STEP{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{{ range(1000000000) | list }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 1000000000 * 'x' }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x' | indent(width=1000000000, first=true) }}",
        "{{ '%1000000000d' | format(1) }}",
        GROW.replace("STEP", "{% set ns.x = ns.x ~ ns.x %}"),
        GROW.replace("STEP", "{% set ns.x = ns.x + ns.x %}"),
        GROW.replace("STEP", "{% set ns.x = ns.x | replace('x', 'xx') %}"),
        GROW.replace("STEP", "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
        "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}" + GROW.replace("STEP", "{% set ns.x = m(ns.x) %}"),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        GROW.replace("STEP", "{% set ns.x = [ns.x, ns.x] %}") + "{{ ns.x }}",
        GROW.replace("STEP", "{% set ns.x = (ns.x, ns.x) %}") + "{{ ns.x | string }}",
        GROW.replace("STEP", "{% set ns.x = {'a': ns.x, 'b': ns.x} %}") + "{{ ns.x | tojson }}",
        GROW.replace("STEP", "{% set ns.x = [ns.x] * 2 %}") + "{{ ns.x | length }}",
        GROW.replace("STEP", "{% set ns.x = dict(a=ns.x, b=ns.x) %}") + "{{ ns.x == ns.x | tojson }}",
        GROW.replace(
            "STEP",
            "{% set y = [] %}{% set _ = y.append(ns.x) %}{% set _ = y.append(ns.x) %}{% set ns.x = y %}",
        )
        + "{{ ns.x }}",
        "{% set b = 'x' * 1000000 %}{{ [b, b, b] | join(b) }}",
        "{% set b = 'x' * 1000000 %}{% set c %}{% for i in range(100000) %}{{ b }}{% endfor %}{% endset %}",
        "{% set b = 'x' * 1000000 %}{% macro m() %}{% for i in range(100000) %}{{ b }}{% endfor %}"
        "{% endmacro %}{{ m() }}",
        "{% set b = 'x' * 1000000 %}{{ b.replace('x', b) }}",
        "{% set b = 'x' * 1000000 %}{{ b | replace('x', b) }}",
        "{% set b = 'x' * 1000000 %}{{ b.translate({120: b}) }}",
        "{% set b = 'x' * 1000000 %}{{ b.join(b) }}",
        "{% set b = 'x' * 1000000 %}{{ ('%s' * 1000) % ((b,) * 1000) }}",
        "{% set b = 'x' * 1000000 %}{{ ('{0}' * 1000).format(b) }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ ('\\t' * 1000000).expandtabs(1000000) }}",
        "{{ ('\\n' * 100000) | indent(100000) }}",
        "{{ [1] | tojson(indent=1000000) }}",
        "{{ lipsum(n=100000) }}",
        "{{ strftime_now('%Y' * 100000) }}",
        "{% set b = 'ab' * 500000 %}{% for i in range(100000) %}{% set c = b | upper | lower %}{% endfor %}",
        "{% set x = 'x' * 100000 %}{% for i in range(100000) %}{{ x }}{% endfor %}",
    ],
)
def test_a_hostile_template_is_stopped_soon(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja_bounds, "MAX_TEXT_CHARS", 1 << 20)
    monkeypatch.setattr(jinja_sandbox, "MAX_SECONDS", 1.0)
    monkeypatch.setattr("server.prompts.jinja.MAX_TEXT_CHARS", 1 << 20)
    started = time.process_time()
    with pytest.raises(InvalidTemplate):
        render(source, user("x"))
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("source", "tools", "thinking", "tag"),
    [
        (SPARK, True, True, "<tool_call>"),
        ("{{ messages }}", False, False, ""),
        ("{{ tools }}", True, False, "{"),
        ("<think></think>", False, True, ""),
        ("{{ content.split('</think>') }}", False, True, ""),
        ("{{ content.split('</think>') }}{{ reasoning_content }}", False, False, ""),
        ("{{ tools }}[TOOL_CALLS]", True, False, "[TOOL_CALLS]"),
    ],
)
def test_what_a_template_supports(source: str, tools: bool, thinking: bool, tag: str) -> None:
    template = jinja_template(source)
    assert (template.supports_tools, template.supports_thinking, template.supports_insert) == (
        tools,
        thinking,
        False,
    )
    assert template.tool_call_tag == tag
    assert template.thinking_tags == (("<think>", "</think>") if thinking else None)


@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "{%", "%}", " if ", " for x in ", " set ", "messages", "tools", ".x", "|", "tojson",
             "(", ")", "'", "~", "+", "*", "9", "endif", "endfor", "else", "[0]", "{#", "#}", "-", "\n", "x"]
        ),
        max_size=25,
    ).map("".join)
)  # fmt: skip
def test_any_source_renders_or_is_refused(source: str) -> None:
    try:
        JinjaTemplate(source).render(RenderInput(messages=(user("x"),), tools=(WEATHER,)))
    except InvalidTemplate as exc:
        assert exc.message
