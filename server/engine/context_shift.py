"""A full context slides: its start is kept, half of the rest is dropped, and the end moves down. Pure.

The sizes are those of llama-server: of `n` tokens the first `n_keep` stay and half of the others go.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from server.engine.batch import TokenArray
from server.engine.failures import ContextFull

_MIN_FREE_TOKENS: Final = 4
"""A shift must be able to drop something: so many tokens at the end of the context are never kept."""


def shift_sizes(n_tokens: int, *, n_ctx: int, n_keep: int) -> tuple[int, int]:
    """Tokens to keep at the start, and tokens to drop after them."""
    n_keep = max(0, min(n_ctx - _MIN_FREE_TOKENS, n_keep, n_tokens))
    return n_keep, (n_tokens - n_keep) // 2


def fitted(tokens: TokenArray, *, n_ctx: int, n_keep: int, can_shift: bool) -> TokenArray:
    """A prompt with what was generated before, as it is after the shifts that it went through.

    A context that cannot slide can be full but for the last token, or full with one token more, which was the
    last that could be chosen. [n < n_ctx, or n <= n_ctx + 1]

    Raises: ContextFull when there are more than that.
    """
    while len(tokens) >= n_ctx:
        n_kept, n_discard = shift_sizes(n_ctx - 1, n_ctx=n_ctx, n_keep=n_keep)
        if not can_shift or n_discard == 0:
            break
        tokens = np.concatenate([tokens[:n_kept], tokens[n_kept + n_discard :]])
    if len(tokens) > n_ctx + 1:
        raise ContextFull(
            "the generation cannot be continued: its context is full",
            n_prompt_tokens=len(tokens),
            n_ctx=n_ctx,
        )
    return tokens
