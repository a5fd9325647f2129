"""Which messages of a conversation fit the context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from server.types.messages import Message

IMAGE_TOKENS = 768
"""What Ollama counts for an image of a model that sees."""

_MOST_ADDED = 4
"""Tokens that a tokenizer adds to a text at most: a blank in front, BOS, EOS, and one to spare."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt and the messages that it was rendered from.

    Attributes:
        messages: what was kept, in order.
        n_dropped: how many messages were left out.
        n_tokens: tokens of the prompt, images included; 0 when they were not counted.
        n_dropped_tokens: by how many the prompt is shorter than that of all messages.
    """

    prompt: str
    messages: tuple[Message, ...]
    n_dropped: int = 0
    n_tokens: int = 0
    n_dropped_tokens: int = 0


async def fit(
    messages: tuple[Message, ...],
    render: Callable[[tuple[Message, ...]], str],
    count_tokens: Callable[[list[str]], Awaitable[list[int]]],
    n_ctx: int,
    *,
    truncate: bool,
    n_tokens_per_image: int = 0,
) -> Fitted:
    """Drop the oldest messages until the prompt fits `n_ctx` tokens.

    System messages and the last message always stay, even when those alone do not fit. The answer is the one
    that dropping one message at a time would give, for templates whose prompts only get shorter with fewer
    messages; it is found by halving, one call of `count_tokens` per try, and none for a prompt that must fit.

    Args:
        render: makes the prompt; what it raises is passed on.
        truncate: False renders all messages and counts nothing.
        n_tokens_per_image: added for each image, `IMAGE_TOKENS` for a model with a projector.
    """
    if not truncate or not messages:
        return Fitted(prompt=render(messages), messages=messages)

    async def attempt(n_skipped: int) -> Fitted:
        kept = _kept(messages, n_skipped)
        prompt = render(kept)
        n_images = sum(len(message.images) for message in kept)
        if not (n_skipped or n_images) and is_surely_short(prompt, n_ctx):
            return Fitted(prompt=prompt, messages=kept)
        (n_text_tokens,) = await count_tokens([prompt])
        return Fitted(
            prompt=prompt,
            messages=kept,
            n_dropped=len(messages) - len(kept),
            n_tokens=n_text_tokens + n_images * n_tokens_per_image,
        )

    best = whole = await attempt(0)
    if best.n_tokens <= n_ctx or len(messages) == 1:
        return best
    too_many, fits = 0, len(messages) - 1
    best = await attempt(fits)
    while best.n_tokens <= n_ctx and fits - too_many > 1:
        middle = (too_many + fits) // 2
        tried = await attempt(middle)
        if tried.n_tokens <= n_ctx:
            fits, best = middle, tried
        else:
            too_many = middle
    return msgspec.structs.replace(best, n_dropped_tokens=max(0, whole.n_tokens - best.n_tokens))


def is_surely_short(text: str, n_tokens: int) -> bool:
    """Whether a text cannot have more tokens than that: each of its own stands for a byte at least."""
    return len(text.encode("utf-8", "surrogatepass")) + _MOST_ADDED <= n_tokens


def _kept(messages: tuple[Message, ...], n_skipped: int) -> tuple[Message, ...]:
    """All but the first messages, with the system messages among those."""
    system = tuple(message for message in messages[:n_skipped] if message.role == "system")
    return system + messages[n_skipped:]
