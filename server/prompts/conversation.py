"""Conversations before they meet a template: merged turns, numbered images."""

from __future__ import annotations

import msgspec

from server.types.messages import Message

_IMAGE = "[img]"


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
