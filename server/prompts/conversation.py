"""Conversations before they meet a template: merged turns, numbered images, stripped reasoning."""

from __future__ import annotations

import re

import msgspec

from server.types.messages import Message

_IMAGE = "[img]"
_LEADING_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)


def collate(messages: tuple[Message, ...]) -> tuple[str, list[Message]]:
    """The joined system texts, and the messages with neighbours of one role merged (except tool results).

    A merged message keeps the images, reasoning and calls of all its parts.
    """
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1].role == message.role and message.role != "tool":
            merged[-1] = _joined(merged[-1], message)
        else:
            merged.append(message)
    return system, merged


def _joined(first: Message, second: Message) -> Message:
    return msgspec.structs.replace(
        first,
        content=f"{first.content}\n\n{second.content}",
        thinking="\n\n".join(filter(None, (first.thinking, second.thinking))),
        images=first.images + second.images,
        tool_calls=first.tool_calls + second.tool_calls,
    )


def number_images(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Each image becomes `[img-N]` in its message, N from 0 over all messages.

    It takes the place of an `[img]` in the content while there is one, else it stands in front of it.
    """
    n_images = 0
    numbered: list[Message] = []
    for message in messages:
        prefix, content = "", message.content
        for _ in message.images:
            tag = f"[img-{n_images}]"
            n_images += 1
            if _IMAGE in content:
                content = content.replace(_IMAGE, tag, 1)
            else:
                prefix += tag
        numbered.append(
            msgspec.structs.replace(message, content=prefix + content) if message.images else message
        )
    return tuple(numbered)


def strip_history_thinking(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Without the `<think>` block at the start of each assistant message before the last user message.

    For models that were trained so: family qwen3 and models named deepseek-r1.
    """
    last_user = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    return tuple(
        msgspec.structs.replace(message, content=_LEADING_THOUGHT.sub("", message.content, count=1))
        if message.role == "assistant" and at < last_user and _LEADING_THOUGHT.match(message.content)
        else message
        for at, message in enumerate(messages)
    )
