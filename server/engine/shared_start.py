"""When requests with one long beginning are decoded in a pool of their own instead of in their streams. Pure.

In a pool all rows of a step are one computation, so that a few new tokens of each of several requests make
tiles of attention together (`server.engine.tiles`), and what they share is read once. But each row also looks
at the cells of the others, to find that it must not see them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from server.engine.tiles import TILE_ROWS

MIN_SHARED_TOKENS: Final = 512
"""A shorter beginning is not worth the copies. Milliseconds with 60M on two processors for a step of eight
requests with 32 rows each, in streams and in a pool: behind 256 tokens 241 and 303, behind 512 401 and 237,
behind 1,000 578 and 251, behind 4,000 2117 and 656."""

_MAX_OTHERS_SHARE: Final = 1.0
"""Cells of others that a row may come by for each of its own."""


def is_worth_a_pool(n_shared: int, n_rows: Collection[int]) -> bool:
    """Whether a step is faster there where requests that share `n_shared` tokens have so many rows each."""
    if n_shared < MIN_SHARED_TOKENS or len(n_rows) < 2:
        return False
    return max(n_rows) < TILE_ROWS <= sum(n_rows)


def may_stay(n_used: int, lengths: Collection[int], n_rows: Collection[int]) -> bool:
    """Whether requests go on in the pool. `n_used`: cells of everybody. `lengths`: of those in the step."""
    if len(lengths) < 2 or max(n_rows) >= TILE_ROWS:
        return False
    n_own = sum(lengths)
    return len(lengths) * n_used - n_own <= _MAX_OTHERS_SHARE * n_own
