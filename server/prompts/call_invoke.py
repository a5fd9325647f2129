"""Tool calls as named elements, as MiniMax, DeepSeek from V3.2 on and MiniCPM write them:

<invoke name="get_weather">
<parameter name="city">Paris</parameter>
</invoke>

The elements have other names and prefixes from model to model. `string="true"` says that a value is text,
`string="false"` that it is JSON.
"""

from __future__ import annotations

import html
import re

from server.prompts.call_block import Call, ReadBlock
from server.prompts.call_values import Parameters, json_value, typed_argument
from server.types.messages import JsonObject


def invoke_reader(
    parameters: Parameters, *, prefix: str = "", call: str = "invoke", parameter: str = "parameter"
) -> ReadBlock:
    """A reader of blocks whose elements have these names behind the prefix."""
    outer, inner = (re.escape(prefix + name) for name in (call, parameter))
    calls = re.compile(rf'\s*<{outer} name="([^"\n]+)"\s*>(.*?)</{outer}>\s*', re.DOTALL)
    values = re.compile(rf'\s*<{inner} name="([^"\n]+)"([^>\n]*)>(.*?)</{inner}>\s*', re.DOTALL)

    def read(body: str) -> list[Call] | None:
        found: list[Call] = []
        at = 0
        while body[at:].strip():
            one = calls.match(body, at)
            if one is None:
                return None
            arguments = _arguments(one.group(2), values, parameters, one.group(1))
            if arguments is None:
                return None
            found.append((one.group(1), arguments))
            at = one.end()
        return found

    return read


def _arguments(text: str, values: re.Pattern[str], parameters: Parameters, tool: str) -> JsonObject | None:
    arguments: JsonObject = {}
    at = 0
    while text[at:].strip():
        one = values.match(text, at)
        if one is None:
            return None
        key, attributes, value = one.groups()
        arguments[key] = _value(value, attributes, parameters, tool, key)
        at = one.end()
    return arguments


def _value(text: str, attributes: str, parameters: Parameters, tool: str, key: str) -> object:
    if text.startswith("<![CDATA[") and text.endswith("]]>"):
        return text[9:-3]
    if 'string="true"' in attributes:
        return text
    if 'string="false"' in attributes:
        try:
            return json_value(text)
        except ValueError:
            return text
    return typed_argument(html.unescape(text) if "&" in text else text, parameters, tool, key)
