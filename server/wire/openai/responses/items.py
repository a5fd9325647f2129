"""Items of a conversation as `/v1/responses` writes them, and the messages that they mean.

Items of earlier responses are kept as JSON and read again, so reading is from plain dictionaries.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.types.messages import Message, ToolCall
from server.types.quoting import go_quote
from server.wire.codec import GoObject, decode
from server.wire.openai.chat import image_from_url

Item = dict[str, Any]

_ID_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_HOSTED = frozenset(
    (
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "compaction",
    )
)
"""Items of tools that run at OpenAI: the answer that follows them tells what they brought."""


def new_id(kind: str) -> str:
    """An identifier of an item of this kind."""
    return f"{_ID_PREFIXES.get(kind, 'item')}_{secrets.token_hex(24)}"


def items_from_input(value: object) -> list[Item]:
    """`input` as a list of items, each with its type and an id. Raises: InvalidRequest."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise InvalidRequest("input must be a string or array")
    return [_item(item, index) for index, item in enumerate(value)]


def _item(value: object, index: int) -> Item:
    if not isinstance(value, dict):
        raise InvalidRequest(f"input[{index}]: an item must be an object")
    item = {key: part for key, part in value.items() if part is not None}
    kind = item.get("type", "message" if "role" in item else None)
    if kind is None:
        raise InvalidRequest(f"input[{index}]: input item missing required 'type' field")
    if not isinstance(kind, str) or not (kind in _ID_PREFIXES or kind in _HOSTED):
        text = go_quote(kind) if isinstance(kind, str) else str(kind)
        raise InvalidRequest(f"input[{index}]: unknown input item type: {text}")
    made = {"id": item.get("id") or new_id(kind), **item, "type": kind}
    if kind == "message" and isinstance(item.get("content"), str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        made["content"] = [{"type": part, "text": item["content"]}]
    try:
        messages_from_items([made])
    except InvalidRequest as error:
        raise InvalidRequest(f"input[{index}]: {error.message}", hint=error.hint) from None
    return made


def messages_from_items(items: Iterable[Item]) -> tuple[Message, ...]:
    """The messages of a conversation. What the assistant did between two others is one message.

    Raises: InvalidRequest.
    """
    messages: list[Message] = []
    for item in items:
        message = _message(item)
        if message is None:
            continue
        if message.role == "assistant" and messages and messages[-1].role == "assistant":
            messages[-1] = _joined(messages[-1], message)
        else:
            messages.append(message)
    return tuple(messages)


def _joined(first: Message, second: Message) -> Message:
    calls = (*first.tool_calls, *second.tool_calls)
    return msgspec.structs.replace(
        first,
        content="\n".join(filter(None, (first.content, second.content))),
        thinking="\n".join(filter(None, (first.thinking, second.thinking))),
        images=first.images + second.images,
        tool_calls=tuple(msgspec.structs.replace(call, index=index) for index, call in enumerate(calls)),
    )


def _message(item: Item) -> Message | None:
    fields = GoObject(item, "ResponsesInputItem")
    kind = item["type"]
    if kind == "message":
        role = fields.text("role").lower()
        if role not in ("user", "assistant", "system", "developer"):
            raise InvalidRequest(f"unknown role: {go_quote(role)}")
        content, images = _content(fields.raw("content"))
        return Message(role="system" if role == "developer" else role, content=content, images=images)
    if kind == "function_call":
        return Message(role="assistant", tool_calls=(_call(fields),))
    if kind == "function_call_output":
        content, images = _content(fields.raw("output"))
        return Message(role="tool", content=content, images=images, tool_call_id=fields.text("call_id"))
    if kind == "reasoning":
        return Message(role="assistant", thinking=_thoughts(fields))
    return None


def _thoughts(fields: GoObject) -> str:
    """The reasoning: `encrypted_content`, which this server leaves readable, else the texts."""
    if text := fields.text("encrypted_content"):
        return text
    parts = [*fields.children("content", "Content"), *fields.children("summary", "Summary")]
    return "\n".join(part.text("text") for part in parts)


def _call(fields: GoObject) -> ToolCall:
    text = fields.text("arguments")
    try:
        arguments = decode(text.encode()) if text else {}
    except InvalidRequest as error:
        raise InvalidRequest(f"failed to parse function call arguments: {error.message}") from None
    if not isinstance(arguments, dict):
        raise InvalidRequest("failed to parse function call arguments: they must be an object")
    name = fields.text("name")
    if not name:
        raise InvalidRequest("a function call must have a name")
    return ToolCall(name, arguments, fields.text("call_id"))


def _content(value: object) -> tuple[str, tuple[bytes, ...]]:
    """Texts, joined, and images."""
    if value is None:
        return "", ()
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, list):
        raise InvalidRequest("content must be a string or array")
    texts: list[str] = []
    images: list[bytes] = []
    for index, part in enumerate(value):
        fields = GoObject(part, "ResponsesContent")
        kind = fields.text("type")
        if kind in ("input_text", "output_text", "text"):
            texts.append(fields.text("text"))
        elif kind == "refusal":
            texts.append(fields.text("refusal"))
        elif kind == "input_image":
            images.append(_image(fields))
        elif kind == "input_file":
            raise InvalidRequest("file inputs are not currently supported")
        else:
            raise InvalidRequest(f"content[{index}]: unknown content type: {kind}")
    return "".join(texts), tuple(images)


def _image(fields: GoObject) -> bytes:
    url = fields.raw("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    if not isinstance(url, str) or not url:
        raise InvalidRequest("images must be sent as a data URL in image_url; files are not kept here")
    return image_from_url(url)
