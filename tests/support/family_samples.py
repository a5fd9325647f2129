"""Recorded answers of the families of models, and the parser that each chat template chooses."""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

from server.prompts.output import Parsed, output_parser
from server.types.messages import Tool
from tests.support.chat_templates import chat_template_of

WEATHER = Tool(
    name="get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "detail": {"type": "object"},
            "units": {"type": "array"},
        },
    },
)
NOW = Tool(name="now", parameters={"type": "object", "properties": {}})
OSLO: tuple[str, dict[str, Any]] = ("get_weather", {"city": "Oslo", "days": 3})
CLOCK: tuple[str, dict[str, Any]] = ("now", {})


class Sample(NamedTuple):
    """What a model writes, and what it means."""

    template: str
    text: str
    content: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = (OSLO,)
    prompt: str = ""


ARGS = '{"city": "Oslo", "days": 3}'
XML = (
    "<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
    "</function>"
)
PAIRS = (
    "<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>"
)
OBJECT = f'{{"name": "get_weather", "arguments": {ARGS}}}'
INVOKE = (
    '<{0}invoke name="get_weather">\n<{0}parameter name="city"{1}>Oslo</{0}parameter>\n'
    '<{0}parameter name="days"{2}>3</{0}parameter>\n</{0}invoke>'
)
DSML = INVOKE.format("｜DSML｜", ' string="true"', ' string="false"')
M3 = "]<]minimax[>["
GEMMA = 'call:get_weather{city:<|"|>Oslo<|"|>,days:3}'

SAMPLES = {
    "hermes": Sample(
        "Qwen-Qwen3-0.6B",
        f"<think>\nhm\n</think>\n\nWell.\n<tool_call>\n{OBJECT}\n</tool_call>",
        "Well.\n",
        "hm\n",
    ),
    "qwen3-coder": Sample("Qwen3-Coder", f"Well. <tool_call>\n{XML}\n</tool_call>", "Well. "),
    "qwen3-coder, two": Sample(
        "Qwen3-Coder",
        f"<tool_call>\n{XML}\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        calls=(OSLO, CLOCK),
    ),
    "qwen3-coder, unclosed": Sample("Qwen3-Coder", f"<tool_call>\n{XML}"),
    "seed": Sample(
        "ByteDance-Seed-OSS",
        f"<seed:think>hm</seed:think>\n<seed:tool_call>\n{XML}\n</seed:tool_call>",
        thinking="hm",
    ),
    "mistral list": Sample("mistralai-Mistral-Nemo-Instruct-2407", f"[TOOL_CALLS] [{OBJECT}]"),
    "mistral named": Sample(
        "mistralai-Ministral-3-14B-Reasoning-2512",
        f"[THINK]hm[/THINK]Well.[TOOL_CALLS]get_weather[ARGS]{ARGS}[TOOL_CALLS]now[ARGS]{{}}",
        "Well.",
        "hm",
        (OSLO, CLOCK),
    ),
    "mistral with ids": Sample(
        "Mistral-Small-3.2-24B-Instruct-2506", f"[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{ARGS}"
    ),
    "llama 3": Sample("meta-llama-Llama-3.1-8B-Instruct", f'{{"name": "get_weather", "parameters": {ARGS}}}'),
    "functionary 3.2": Sample(
        "meetkai-functionary-medium-v3.2",
        f"all\nIt is >>> 3.\n>>>get_weather\n{ARGS}>>>now\n{{}}",
        "It is >>> 3.\n",
        calls=(OSLO, CLOCK),
        prompt=">>>",
    ),
    "functionary 3.2, no recipient": Sample(
        "meetkai-functionary-medium-v3.2", "Well.\n>>>other\n3", "Well.\n>>>other\n3", calls=(), prompt=">>>"
    ),
    "functionary 3.2, a mark in a text": Sample(
        "meetkai-functionary-medium-v3.2",
        'get_weather\n{"city": "Oslo>>>now\\n>>>now", "days": 3}',
        calls=(("get_weather", {"city": "Oslo>>>now\n>>>now", "days": 3}),),
        prompt=">>>",
    ),
    "gpt-oss": Sample(
        "openai-gpt-oss-120b",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>Well."
        "<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json"
        f"<|message|>{ARGS}<|call|>",
        "Well.",
        "hm",
        prompt="<|start|>user<|message|>Q<|end|><|start|>assistant",
    ),
    "gpt-oss, recipient first": Sample(
        "openai-gpt-oss-120b",
        f" to=functions.get_weather<|channel|>commentary json<|message|>{ARGS}",
        prompt="<|start|>user<|message|>Q<|end|><|start|>assistant",
    ),
    "gpt-oss, final": Sample(
        "openai-gpt-oss-120b",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>It is <3.",
        "It is <3.",
        "hm",
        (),
        prompt="<|start|>assistant",
    ),
    "gpt-oss, no channel": Sample(
        "openai-gpt-oss-120b", "Just text.", "Just text.", calls=(), prompt="<|start|>assistant"
    ),
    "deepseek r1": Sample(
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "hm</think>\nWell.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        f"```json\n{ARGS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Well.",
        "hm",
        prompt="<think>\n",
    ),
    "deepseek v3.1": Sample(
        "deepseek-ai-DeepSeek-V3.1",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{ARGS}<｜tool▁call▁end｜>"
        "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        calls=(OSLO, CLOCK),
    ),
    "deepseek v3.1, unclosed": Sample(
        "deepseek-ai-DeepSeek-V3.1",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{ARGS}<｜tool▁call▁end｜>",
    ),
    "deepseek v3.2": Sample(
        "deepseek-ai-DeepSeek-V3.2",
        f"Well.\n\n<｜DSML｜function_calls>\n{DSML}\n</｜DSML｜function_calls>",
        "Well.\n\n",
    ),
    "deepseek v4": Sample("deepseek-ai-DeepSeek-V4", f"<｜DSML｜tool_calls>\n{DSML}\n</｜DSML｜tool_calls>"),
    "minimax": Sample(
        "MiniMax-M2", f"<minimax:tool_call>\n{INVOKE.format('', '', '')}\n</minimax:tool_call>"
    ),
    "gemma 4": Sample(
        "google-gemma-4-31B-it",
        f"<|channel>thought\nhm\n<channel|><|tool_call>{GEMMA}<tool_call|>",
        thinking="hm\n",
    ),
    "gemma 4, nested": Sample(
        "google-gemma-4-31B-it",
        '<|tool_call>call:get_weather{detail:{a:[1,true,null,<|"|>x, {y}<|"|>],b:-2.5}}<tool_call|>',
        calls=(("get_weather", {"detail": {"a": [1, True, None, "x, {y}"], "b": -2.5}}),),
    ),
    "minimax m3": Sample(
        "MiniMax-M3",
        f'<mm:think>hm</mm:think>Well. {M3}<tool_call>\n{M3}<invoke name="get_weather">{M3}<city>Oslo'
        f'{M3}</city>{M3}<days>3{M3}</days>{M3}</invoke>\n{M3}<invoke name="now">{M3}</invoke>\n'
        f"{M3}</tool_call>",
        "Well. ",
        "hm",
        (OSLO, CLOCK),
    ),
    "minimax m3, deep and unclosed": Sample(
        "MiniMax-M3",
        f'{M3}<tool_call>\n{M3}<invoke name="get_weather">{M3}<city> Oslo\n{M3}</city>{M3}<units>{M3}<item>C'
        f"{M3}</item>{M3}<item>{M3}<name><b>{M3}</name>{M3}</item>{M3}</units>{M3}<detail>{M3}<item>2"
        f"{M3}</item>{M3}<wind>5{M3}</wind>{M3}</detail>{M3}</invoke>\n",
        calls=(
            (
                "get_weather",
                {"city": " Oslo\n", "units": ["C", {"name": "<b>"}], "detail": {"item": "2", "wind": "5"}},
            ),
        ),
    ),
    "glm": Sample(
        "GLM-4.6",
        f"\n<think>hm</think>\nWell.\n<tool_call>get_weather\n{PAIRS}\n</tool_call>\n<tool_call>now\n</tool_call>",
        "\nWell.\n",
        "hm",
        (OSLO, CLOCK),
    ),
    "kimi": Sample(
        "moonshotai-Kimi-K2",
        "Well.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        f"<|tool_call_argument_begin|>{ARGS}<|tool_call_end|><|tool_call_begin|>functions.now:1"
        "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        "Well.",
        calls=(OSLO, CLOCK),
    ),
    "granite 3": Sample("ibm-granite-granite-3.3-2B-Instruct", f"<|tool_call|>[{OBJECT}]"),
    "granite 4": Sample("ibm-granite-granite-4.0", f"<tool_call>\n{OBJECT}\n</tool_call>"),
    "lfm2": Sample(
        "LFM2-8B-A1B",
        "<|tool_call_start|>[get_weather(city='Oslo', days=3), now()]<|tool_call_end|>Well.",
        "Well.",
        calls=(OSLO, CLOCK),
    ),
    "lfm2, json": Sample("LFM2.5-8B-A1B", f"<|tool_call_start|>[{OBJECT}]<|tool_call_end|>"),
    "lfm2, values": Sample(
        "LFM2-8B-A1B",
        "<|tool_call_start|>[get_weather(detail={'a': [1, -2.5, None, true]}, units=['C'])]<|tool_call_end|>",
        calls=(("get_weather", {"detail": {"a": [1, -2.5, None, True]}, "units": ["C"]}),),
    ),
    "hunyuan 3": Sample(
        "tencent-Hy3",
        "<think:opensource>hm</think:opensource>Well.<tool_calls:opensource>\n<tool_call:opensource>get_weather"
        f"<tool_sep:opensource>\n{PAIRS}".replace("arg_key>", "arg_key:opensource>").replace(
            "arg_value>", "arg_value:opensource>"
        )
        + "\n</tool_call:opensource>\n<tool_call:opensource>now<tool_sep:opensource>\n"
        "</tool_call:opensource>\n</tool_calls:opensource>",
        "Well.",
        "hm",
        (OSLO, CLOCK),
    ),
    "kimi k3": Sample(
        "Kimi-K3",
        "hm<|close|>think<|sep|><|open|>response<|sep|>Well.<|close|>response<|sep|><|open|>tools<|sep|>"
        '<|open|>call tool="get_weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Oslo'
        '<|close|>argument<|sep|><|open|>argument key="days" type="number"<|sep|>3<|close|>argument<|sep|>'
        '<|close|>call<|sep|><|open|>call tool="now" index="2"<|sep|><|close|>call<|sep|>'
        "<|close|>tools<|sep|><|close|>message<|sep|>",
        "Well.",
        "hm",
        (OSLO, CLOCK),
        prompt='<|open|>message role="assistant"<|sep|><|open|>think<|sep|>',
    ),
    "kimi k3, one object, unclosed": Sample(
        "Kimi-K3",
        '<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|>'
        f'<|open|>json type="object"<|sep|>{ARGS}'
        "<|close|>json<|sep|><|close|>call<|sep|>",
        prompt="<|open|>response<|sep|>",
    ),
    "lfm2.5": Sample(
        "LFM2.5-Instruct", '<|tool_call_start|>[get_weather(city="Oslo", days=3)]<|tool_call_end|>'
    ),
    "solar": Sample(
        "upstage-Solar-Open-100B",
        "<|tool_calls|><|tool_call:begin|>abc<|tool_call:name|>get_weather<|tool_call:args|>"
        f"{ARGS}<|tool_call:end|><|calls|>",
    ),
    "cohere": Sample(
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        "<|START_THINKING|>hm<|END_THINKING|><|START_ACTION|>[\n"
        f'    {{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {ARGS}}}\n]<|END_ACTION|>',
        thinking="hm",
    ),
    "apertus": Sample(
        "Apertus-8B-Instruct",
        f'<|inner_prefix|>hm<|inner_suffix|><|tools_prefix|>[{{"get_weather": {ARGS}}}]<|tools_suffix|>',
        thinking="hm",
    ),
    "nemotron 2": Sample("NVIDIA-Nemotron-Nano-v2", f"<TOOLCALL>[{OBJECT}]</TOOLCALL>"),
    "apriel": Sample("Apriel-1.6-15b-Thinker-fixed", f"<tool_calls>[{OBJECT}]</tool_calls>"),
    "minicpm": Sample(
        "openbmb-MiniCPM5-1B",
        '<function name="get_weather"><param name="city">Oslo</param><param name="days">3</param></function>',
    ),
    "command-r-plus": Sample(
        "CohereForAI-c4ai-command-r-plus-tool_use",
        'Well.\nAction:\n```json\n[\n    {\n        "tool_name": "get_weather",\n        "parameters": '
        f'{ARGS}\n    }},\n    {{"tool_name": "now", "parameters": {{}}}}\n]```',
        "Well.\n",
        calls=(OSLO, CLOCK),
    ),
    "functionary 3.1": Sample(
        "meetkai-functionary-medium-v3.1",
        f"Well. <function=get_weather>{ARGS}</function><function=now>{{}}</function>",
        "Well. ",
        calls=(OSLO, CLOCK),
    ),
    "gigachat": Sample("GigaChat3.1-10B-A1.8B", f"<|function_call|>{OBJECT}"),
}


def parse(sample: Sample, pieces: list[str], *, has_tools: bool = True) -> Parsed:
    numbers = count()
    parser = output_parser(
        chat_template_of(sample.template),
        prompt=sample.prompt,
        think_on=True,
        has_tools=has_tools,
        new_call_id=lambda: f"call_{next(numbers)}",
        tools=(WEATHER, NOW),
    )
    parts = [*map(parser.feed, pieces), parser.finish()]
    return Parsed(
        "".join(part.content for part in parts),
        "".join(part.thinking for part in parts),
        tuple(call for part in parts for call in part.tool_calls),
    )


def meaning(parsed: Parsed) -> tuple[str, str, list[tuple[str, dict[str, Any]]]]:
    return parsed.content, parsed.thinking, [(call.name, call.arguments) for call in parsed.tool_calls]
