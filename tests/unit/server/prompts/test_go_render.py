"""Conversations through Go templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import InvalidTemplate
from server.prompts.template import RenderInput, go_template
from server.types.generation import Think
from server.types.messages import Message, Tool, ToolCall
from tests.support.conversations import WEATHER, assistant, system, tool_result, user

ROOT = Path(__file__).parents[4]
SPARK = (ROOT / "server/bundled/spark.gotmpl").read_text(encoding="utf-8")
PLAIN = (ROOT / "tests/models/plain.gotmpl").read_text(encoding="utf-8")
RECORDED = Path(__file__).parent / "recorded"


def render(
    source: str, *messages: Message, tools: tuple[Tool, ...] = (), think: Think = None, suffix: str = ""
) -> str:
    inp = RenderInput(messages=messages, tools=tools, think=think, suffix=suffix)
    return go_template(source).render(inp)


def test_spark_with_system_tools_and_thinking_as_recorded_from_a_real_ollama() -> None:
    prompt = render(
        SPARK, system("Be kind."), user("What is the capital of Japan?"), tools=(WEATHER,), think=True
    )
    assert prompt == (RECORDED / "spark-go.txt").read_text(encoding="utf-8")


def test_spark_off_and_unset_append_nothing() -> None:
    expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render(SPARK, user("Hi"), think=False) == expected
    assert render(SPARK, user("Hi")) == expected


def test_spark_tool_round_trip() -> None:
    call = ToolCall("get_weather", {"unit": "C", "city": "Paris <3"})
    prompt = render(SPARK, user("Weather?"), assistant("", call), tool_result("21 degrees"))
    assert prompt == (
        "<|im_start|>user\nWeather?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "get_weather", '
        '"arguments": {"city":"Paris \\u003c3","unit":"C"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n21 degrees\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_spark_shows_only_the_reasoning_after_the_last_user_turn() -> None:
    call = ToolCall("get_weather", {})
    prompt = render(
        SPARK,
        user("a"),
        assistant("b", thinking="old"),
        user("c"),
        assistant("", call, thinking="new"),
        tool_result("d"),
    )
    assert "<think>\nnew\n</think>\n\n<tool_call>" in prompt
    assert "old" not in prompt


def test_spark_fills_the_middle() -> None:
    assert render(SPARK, user("def f("), suffix=")") == "<|fim_prefix|>def f(<|fim_suffix|>)<|fim_middle|>"


@pytest.mark.parametrize(
    ("source", "messages", "prompt"),
    [
        ("{{ .Prompt }}", (system("S"), user("u1"), assistant("a1"), user("u2")), "u1a1u2"),
        (
            "{{ if .System }}[{{ .System }}] {{ end }}{{ .Prompt }} -> {{ .Response }}<eos>",
            (system("S"), user("u1"), assistant("a1"), user("u2")),
            "[S] u1 -> a1<eos>u2 -> ",
        ),
        (
            "<u>{{ .Prompt }}</u><a>{{ .Response }}</a>",
            (user("q"), assistant("par")),
            "<u>q</u><a>par",
        ),
        (
            "{{ .System }}|{{ .Prompt }}|{{ .Response }};",
            (user("u"), system("S2"), user("v")),
            "|u|;S2|v|",
        ),
        (
            "{{ .Prompt }}{{ if .Response }}{{ .Response }}<e>{{ else }}<none>{{ end }}!",
            (user("q"),),
            "q<none>",
        ),
        (
            "{{ .Prompt }}{{ if .Response }}{{ .Response }}<e>{{ end }}!",
            (user("q"), assistant("r"), user("s")),
            "qr<e>!s",
        ),
        ("{{ json .Prompt }}{{ .Response }}", (user("q"),), '"q"'),
    ],
)
def test_a_template_of_one_turn_is_rendered_per_turn(
    source: str, messages: tuple[Message, ...], prompt: str
) -> None:
    assert render(source, *messages) == prompt


def test_plain_with_a_system_message() -> None:
    assert render(PLAIN, system("Be brief."), user("Hi")) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_neighbours_of_one_role_are_merged_except_tool_results() -> None:
    source = (
        "{{ range .Messages }}[{{ .Role }}:{{ .Content }}:{{ len .ToolCalls }}:{{ len .Images }}]{{ end }}"
    )
    call = ToolCall("f", {})
    assert render(
        source,
        user("a", b"1"),
        user("b", b"2"),
        assistant("x", call),
        assistant("y", call),
        tool_result("r"),
        tool_result("s"),
    ) == ("[user:[img-0]a\n\n[img-1]b:0:2][assistant:x\n\ny:2:0][tool:r:0:0][tool:s:0:0]")


def test_system_messages_are_joined_and_stay_in_place() -> None:
    source = "{{ .System }}!{{ range .Messages }}{{ .Role }} {{ end }}"
    assert render(source, system("a"), user("u"), system("b")) == "a\n\nb!system user system "


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (None, "false||false"),
        (False, "false||true"),
        (True, "true|medium|true"),
        ("high", "true|high|true"),
    ],
)
def test_think_values(think: Think, expected: str) -> None:
    source = "{{ .Think }}|{{ .ThinkLevel }}|{{ .IsThinkSet }}{{ if .Messages }}{{ end }}"
    assert render(source, user("x"), think=think) == expected


def test_tools_print_as_json_in_ollamas_order() -> None:
    tool = Tool(
        name="f",
        parameters={
            "properties": {
                "z": {"description": "d", "type": ["string", "null"], "enum": ["<", 1]},
                "a": {"anyOf": [{"type": "integer"}], "properties": {"q": {"type": "null"}, "b": {}}},
            },
            "type": "object",
            "$defs": {"y": 1, "x": 2},
        },
    )
    assert render("{{ .Tools }}{{ if .Messages }}{{ end }}", user("u"), tools=(tool,)) == (
        '[{"type":"function","function":{"name":"f","description":"","parameters":{"type":"object",'
        '"$defs":{"x":2,"y":1},"properties":{"a":{"anyOf":[{"type":"integer"}],'
        '"properties":{"q":{"type":"null"},"b":{}}},'
        '"z":{"type":["string","null"],"description":"d","enum":["\\u003c",1]}}}}}]'
    )
    assert render("{{ .Tools }}{{ if .Messages }}{{ end }}", user("u")) == "null"


def test_tools_can_be_walked() -> None:
    source = (
        "{{ range .Tools }}{{ .Function.Name }}({{ range $name, $p := .Function.Parameters.Properties }}"
        "{{ $name }}: {{ $p.Type }} {{ toTypeScriptType $p }} {{ $p.Description }}{{ end }}) "
        "{{ .Function.Parameters.Required }}{{ end }}{{ if .Messages }}{{ end }}"
    )
    assert render(source, user("u"), tools=(WEATHER,)) == (
        "get_weather(city: string string The name of the city) [city]"
    )


def test_numbers_of_arguments_are_gos_floats() -> None:
    source = (
        "{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Arguments }} "
        "{{ range $k, $v := .Function.Arguments }}{{ $k }}={{ $v }};{{ end }}{{ end }}{{ end }}"
    )
    call = ToolCall("f", {"n": 1000000, "b": True, "a": [1, {"y": 2, "x": None}]})
    assert render(source, assistant("", call)) == (
        '{"a":[1,{"x":null,"y":2}],"b":true,"n":1000000} a=[1 map[x:<nil> y:2]];b=true;n=1e+06;'
    )


def test_images_are_numbered_over_the_conversation() -> None:
    source = "{{ range .Messages }}{{ .Content }}/{{ end }}"
    messages = (user("a [img] b", b"1", b"2"), assistant("x"), user("c", b"3"))
    assert render(source, *messages) == "[img-1]a [img-0] b/x/[img-2]c/"


def test_an_unknown_field_of_a_message_is_an_error() -> None:
    with pytest.raises(InvalidTemplate, match="can't evaluate field Nope in type"):
        render("{{ range .Messages }}{{ .Nope }}{{ end }}", user("x"))


# The shapes of well-known families, written small.

LLAMA3 = """{{ if .System }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>{{ end }}{{ if .Prompt }}<|start_header_id|>user<|end_header_id|>

{{ .Prompt }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

{{ .Response }}<|eot_id|>"""

QWEN = """{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

# Tools
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

MISTRAL = """{{- range $i, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (le (len (slice $.Messages $i)) 2) $.Tools }}[AVAILABLE_TOOLS] {{ $.Tools }}[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and (eq (len (slice $.Messages $i)) 1) $.System }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ .Content }}} [/TOOL_RESULTS]
{{- end }}
{{- end }}"""


def test_llama3() -> None:
    messages = (system("Be brief."), user("Hi"), assistant("Hello."), user("Bye"))
    assert render(LLAMA3, *messages) == (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_qwen_prints_a_function_as_json_and_continues_a_last_assistant_message() -> None:
    prompt = render(QWEN, user("Hi"), assistant("Once upon"), tools=(WEATHER,))
    assert '{"type": "function", "function": {"name":"get_weather","description":"Get' in prompt
    assert prompt.endswith("<|im_start|>assistant\nOnce upon")
    assert render(QWEN, system("S"), user("Hi")) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_mistral_with_a_tool_round_trip() -> None:
    messages = (
        system("S"),
        user("Weather?"),
        assistant("", ToolCall("get_weather", {"city": "Paris"})),
        tool_result("21"),
        user("Thanks"),
    )
    prompt = render(MISTRAL, *messages, tools=(Tool(name="f", parameters={"type": "object"}),))
    assert prompt == (
        "[INST] Weather?[/INST]"
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city":"Paris"}}]</s>'
        '[TOOL_RESULTS] {"content": 21} [/TOOL_RESULTS]'
        '[AVAILABLE_TOOLS] [{"type":"function","function":{"name":"f","description":"",'
        '"parameters":{"type":"object","properties":null}}}][/AVAILABLE_TOOLS]'
        "[INST] S\n\nThanks[/INST]"
    )


@pytest.mark.parametrize(
    ("source", "tools", "thinking", "insert", "tag"),
    [
        (SPARK, True, True, True, "<tool_call>"),
        (PLAIN, False, False, False, ""),
        (LLAMA3, False, False, False, ""),
        (QWEN, True, False, False, "<tool_call>"),
        (MISTRAL, True, False, False, "[TOOL_CALLS] ["),
    ],
    ids=["spark", "plain", "llama3", "qwen", "mistral"],
)
def test_what_a_template_supports(source: str, tools: bool, thinking: bool, insert: bool, tag: str) -> None:
    template = go_template(source)
    assert (template.supports_tools, template.supports_thinking, template.supports_insert) == (
        tools,
        thinking,
        insert,
    )
    assert template.tool_call_tag == tag
    assert template.kind == "go"


def test_a_template_is_parsed_once() -> None:
    assert go_template("{{ .Prompt }} once") is go_template("{{ .Prompt }} once")
