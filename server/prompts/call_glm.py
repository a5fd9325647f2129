"""Tool calls as a name and pairs of key and value, as GLM from 4.5 on and its kin write them:

<tool_call>get_weather
<arg_key>city</arg_key>
<arg_value>Paris</arg_value>
</tool_call>
"""

from __future__ import annotations

import re

from server.prompts.call_block import Call, ReadBlock
from server.prompts.call_values import Parameters, typed_argument
from server.types.messages import JsonObject


def pairs_list_reader(parameters: Parameters, *, suffix: str) -> ReadBlock:
    """A reader of blocks of several such calls, each between its own tags."""
    opening, closing = re.escape(f"<tool_call{suffix}>"), re.escape(f"</tool_call{suffix}>")
    one = re.compile(rf"\s*{opening}(.*?){closing}\s*", re.DOTALL)
    read_one = pairs_reader(parameters, suffix=suffix)

    def read(body: str) -> list[Call] | None:
        calls: list[Call] = []
        at = 0
        while body[at:].strip():
            block = one.match(body, at)
            found = None if block is None else read_one(block.group(1))
            if block is None or found is None:
                return None
            calls += found
            at = block.end()
        return calls

    return read


def pairs_reader(parameters: Parameters, *, suffix: str = "") -> ReadBlock:
    """A reader of blocks; `suffix` is part of the names of the elements."""
    key, value = re.escape(f"arg_key{suffix}"), re.escape(f"arg_value{suffix}")
    named = re.compile(rf"\s*([^\s<]+)\s*(?:<tool_sep{re.escape(suffix)}>)?\s*(?=<{key}>|\Z)")
    pair = re.compile(rf"\s*<{key}>(.*?)</{key}>\s*<{value}>(.*?)</{value}>\s*", re.DOTALL)

    def read(body: str) -> list[Call] | None:
        name = named.match(body)
        if name is None:
            return None
        tool = name.group(1)
        arguments: JsonObject = {}
        at = name.end()
        while body[at:].strip():
            one = pair.match(body, at)
            if one is None:
                return None
            argument = one.group(1).strip()
            arguments[argument] = typed_argument(one.group(2), parameters, tool, argument)
            at = one.end()
        return [(tool, arguments)]

    return read
