"""Which messages of a conversation fit the context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from server.types.messages import Message


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt and the messages that it was rendered from.

    Attributes:
        messages: what was kept, in order.
        n_dropped: how many messages were left out.
    """

    prompt: str
    messages: tuple[Message, ...]
    n_dropped: int = 0


async def fit(
    messages: tuple[Message, ...],
    render: Callable[[tuple[Message, ...]], str],
    count_tokens: Callable[[list[str]], Awaitable[list[int]]],
    n_ctx: int,
    *,
    truncate: bool,
    n_tokens_per_image: int = 0,
) -> Fitted:
    """Drop the oldest messages until the prompt fits `n_ctx` tokens."""
    raise NotImplementedError
