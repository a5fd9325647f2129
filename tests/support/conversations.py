"""Conversations and tools that several tests render."""

from __future__ import annotations

from server.types.messages import Message, Tool, ToolCall

WEATHER = Tool(
    name="get_weather",
    description="Get the current weather in a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The name of the city"}},
        "required": ["city"],
    },
)


def system(content: str) -> Message:
    return Message(role="system", content=content)


def user(content: str, *images: bytes) -> Message:
    return Message(role="user", content=content, images=images)


def assistant(content: str = "", *calls: ToolCall, thinking: str = "") -> Message:
    return Message(role="assistant", content=content, tool_calls=calls, thinking=thinking)


def tool_result(content: str, name: str = "get_weather") -> Message:
    return Message(role="tool", content=content, tool_name=name)
