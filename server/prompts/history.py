"""Reasoning in earlier answers, which some models must not see again."""

from __future__ import annotations

import re

import msgspec

from server.types.messages import Message

_FAMILIES = frozenset({"qwen3"})
_MODELS = frozenset({"deepseek-r1"})
_LEADING_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)


def strip_history_thinking(
    messages: tuple[Message, ...], *, family: str, model_name: str
) -> tuple[Message, ...]:
    """Without the `<think>` block at the start of each assistant message before the last user message.

    Only for the models that were trained so; others keep their messages.

    Args:
        family: `model_family` of the model's config.
        model_name: the model's name without namespace and tag.
    """
    if family not in _FAMILIES and model_name not in _MODELS:
        return messages
    last_user = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    return tuple(
        msgspec.structs.replace(message, content=_LEADING_THOUGHT.sub("", message.content, count=1))
        if message.role == "assistant" and at < last_user and _LEADING_THOUGHT.match(message.content)
        else message
        for at, message in enumerate(messages)
    )
