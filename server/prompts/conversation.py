"""Conversations before they meet a template: merged turns, numbered images."""

from __future__ import annotations

import re

import msgspec

from server.types.messages import Message

_IMAGE = "[img]"


def image_mark(index: int, key: str = "") -> str:
    """What stands for an image in a prompt."""
    return f"[img-{key}{index}]"


def split_at_images(prompt: str, n_images: int, key: str = "") -> tuple[str | int, ...]:
    """A rendered prompt as its texts and the numbers of the images between them.

    What looks like a mark but has no image is text.
    """
    parts: list[str | int] = []
    start = 0
    for mark in re.finditer(rf"\[img-{re.escape(key)}([0-9]{{1,9}})\]", prompt):
        index = int(mark[1])
        if index < n_images:
            parts += [prompt[start : mark.start()], index]
            start = mark.end()
    return tuple(part for part in (*parts, prompt[start:]) if part != "")


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


def number_images(messages: tuple[Message, ...], key: str = "") -> tuple[Message, ...]:
    """Each image gets a mark in its message: `[img-N]`, N from 0 over all messages.

    The mark takes the place of an `[img]` in the content while there is one, else it stands in front of it.
    `key`: put before N, so that nobody's text can hold a mark by chance or on purpose.
    """
    n_images = 0
    numbered: list[Message] = []
    for message in messages:
        prefix, content = "", message.content
        for _ in message.images:
            tag = image_mark(n_images, key)
            n_images += 1
            if _IMAGE in content:
                content = content.replace(_IMAGE, tag, 1)
            else:
                prefix += tag
        numbered.append(
            msgspec.structs.replace(message, content=prefix + content) if message.images else message
        )
    return tuple(numbered)
