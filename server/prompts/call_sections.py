"""Tool calls as a head that names the tool, a separator and a JSON object, each between marks.

DeepSeek to V3.1 has `<｜tool▁call▁begin｜>get<｜tool▁sep｜>{...}<｜tool▁call▁end｜>`, the older ones with the
word `function` in front and the object in a code fence; Kimi K2 has `functions.get:0` as the head.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from server.prompts.call_block import Call, ReadBlock
from server.prompts.call_values import json_object


class Marks(NamedTuple):
    """The control texts of one call: in front of the head, between head and object, and behind the object."""

    begin: str
    separator: str
    end: str


DEEPSEEK = Marks("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
KIMI = Marks("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>")
SOLAR = Marks("<|tool_call:begin|>", "<|tool_call:args|>", "<|tool_call:end|>")

_FENCED = re.compile(r"\s*([^\s`]+)\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
_KIMI_NAME = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?")
_SOLAR_NAME = re.compile(r".*<\|tool_call:name\|>(.+)", re.DOTALL)


def sections_reader(marks: Marks) -> ReadBlock:
    """A reader of blocks of such calls; the closing mark of the last one may be missing."""
    one = re.compile(
        rf"\s*{re.escape(marks.begin)}(.*?){re.escape(marks.separator)}(.*?)(?:{re.escape(marks.end)}|\Z)\s*",
        re.DOTALL,
    )

    def read(body: str) -> list[Call] | None:
        calls: list[Call] = []
        at = 0
        while body[at:].strip():
            section = one.match(body, at)
            call = None if section is None else _call(section.group(1).strip(), section.group(2))
            if section is None or call is None:
                return None
            calls.append(call)
            at = section.end()
        return calls

    return read


def _call(head: str, text: str) -> Call | None:
    """The call of one section; where the object is fenced, its name stands in front of the fence."""
    if (fenced := _FENCED.fullmatch(text)) is not None:
        head, text = fenced.groups()
    for named in (_SOLAR_NAME, _KIMI_NAME):
        if (match := named.fullmatch(head)) is not None:
            arguments = json_object(text) if text.strip() else {}
            return None if arguments is None else (match.group(1).strip(), arguments)
    return None
