"""Tool calls as marked-up parameters, as Qwen3-Coder and its kin write them:

<tool_call>
<function=name>
<parameter=key>
value
</parameter>
</function>
</tool_call>
"""

from __future__ import annotations

import re

from server.prompts.call_block import Call
from server.prompts.call_values import Parameters, typed_argument
from server.types.messages import JsonObject

ENDS = ("</function>",)

_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*?)(?:</function>\s*|(?=<function=)|\Z)", re.DOTALL)
_PARAMETER = re.compile(
    r"\s*<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=[^>\n]+>)|\Z)\s*", re.DOTALL
)


def read_functions(body: str, parameters: Parameters) -> list[Call] | None:
    """The calls of a block."""
    calls: list[Call] = []
    at = 0
    while body[at:].strip():
        function = _FUNCTION.match(body, at)
        if function is None:
            return None
        name = function.group(1).strip()
        arguments = _arguments(function.group(2), parameters, name)
        if arguments is None:
            return None
        calls.append((name, arguments))
        at = function.end()
    return calls


def _arguments(text: str, parameters: Parameters, name: str) -> JsonObject | None:
    arguments: JsonObject = {}
    at = 0
    while text[at:].strip():
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            return None
        key = parameter.group(1).strip()
        value = parameter.group(2).removeprefix("\n").removesuffix("\n")
        arguments[key] = typed_argument(value, parameters, name, key)
        at = parameter.end()
    return arguments
