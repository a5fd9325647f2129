"""Messages, tools and tool calls as every API of ours means them."""

from __future__ import annotations

from typing import Any

import msgspec

JsonObject = dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True):
    """A function that the model wants called.

    Attributes:
        name: function name.
        arguments: JSON object; key order is kept.
        id: identifier that a tool result refers to, "" when the caller gave none.
        index: position among the calls of one message, from 0.
    """

    name: str
    arguments: JsonObject
    id: str = ""
    index: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation.

    Attributes:
        role: lower case: system, user, assistant, tool, or what the caller wrote.
        images: encoded picture or sound files, in order.
        tool_name: for role "tool": the function whose result this is.
        tool_call_id: for role "tool": the call whose result this is.
    """

    role: str
    content: str = ""
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call.

    Attributes:
        parameters: JSON schema of the arguments, as filtered by the API it came through; key order is kept.
    """

    name: str
    description: str = ""
    parameters: JsonObject = {}
    type: str = "function"
