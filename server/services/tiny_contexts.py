"""Texts to embed in fewer tokens than the smallest context that a model is loaded with."""

from __future__ import annotations

from server.backends.base import Backend
from server.errors import ContextExceeded
from server.services.load_plan import MIN_N_CTX

NO_ROOM = "input after truncation exceeds maximum context length"
NOT_SHORTER = "input exceeds maximum context length and cannot be truncated further"
TOO_LONG = "the input length exceeds the context length"
HINT = "Raise num_ctx, or leave it out."

Inputs = tuple[str | tuple[int, ...], ...]


async def fitted(backend: Backend, inputs: Inputs, *, asked: int, truncate: bool) -> tuple[Inputs, int]:
    """The inputs cut to `num_ctx` as it was asked for, and how many tokens that left out of all of them.

    As in Ollama, whose runners have at least MIN_N_CTX tokens, too: below them the texts are cut to what was
    asked for, special tokens included, and 0 means that nothing may be cut.

    Raises: ContextExceeded.
    """
    if asked >= MIN_N_CTX:
        return inputs, 0
    texts = tuple(item for item in inputs if isinstance(item, str))
    of_texts = iter(await backend.tokenize(texts))
    (special,) = await backend.tokenize(("",))
    n_dropped = 0
    cut: list[str | tuple[int, ...]] = []
    for item in inputs:
        tokens = next(of_texts) if isinstance(item, str) else item
        n_special = len(special) if isinstance(item, str) else 0
        limit = asked if asked > 0 else MIN_N_CTX
        if len(tokens) <= limit:
            cut.append(item)
            continue
        message = TOO_LONG if not truncate else NOT_SHORTER if asked <= 0 else NO_ROOM
        if not truncate or asked <= 0 or limit <= n_special:
            raise ContextExceeded(message, hint=HINT, n_prompt_tokens=len(tokens), n_ctx=limit)
        n_end = n_special // 2
        cut.append(tokens[: limit - n_end] + tokens[len(tokens) - n_end :])
        n_dropped += len(tokens) - limit
    return tuple(cut), n_dropped
