"""Other forms of a conversation, for templates that refuse the usual one.

Templates differ in what they take: no system message, arguments of calls as texts, an empty list where there
are no tools. Nothing is left out in any of these forms.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

Variables = dict[str, Any]


def adapted(variables: Variables, now: datetime.datetime) -> Iterator[Variables]:
    """Variables of a template in other forms, those that change least first."""
    more = {
        **variables,
        "tools": variables["tools"] or [],
        "functions": json.dumps(variables["tools"] or [], ensure_ascii=False, indent=4),
        "datetime": now.strftime("%d %b %Y"),
    }
    yield more
    with_texts = {**more, "messages": [_with_text_arguments(message) for message in variables["messages"]]}
    if with_texts["messages"] != more["messages"]:
        yield with_texts
    if any(message["role"] == "system" for message in variables["messages"]):
        yield {**more, "messages": _without_system(variables["messages"])}


def _with_text_arguments(message: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        arguments = json.dumps(function["arguments"], ensure_ascii=False)
        calls.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": calls}


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Instructions in front of what the next user message says, or as a message of the user's."""
    made: list[dict[str, Any]] = []
    instructions: list[str] = []
    for message in messages:
        if message["role"] == "system":
            instructions.append(message["content"])
        elif instructions and message["role"] == "user":
            made.append({**message, "content": "\n\n".join([*instructions, message["content"]])})
            instructions.clear()
        else:
            made.append(message)
    return [*made, {"role": "user", "content": "\n\n".join(instructions)}] if instructions else made
