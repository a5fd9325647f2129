"""How many rows of a prompt a step should have for llama.cpp's attention on a processor. Pure.

Flash attention on a processor works in tiles, which is several times as fast for a row, from 64 rows of one
sequence in one computation on, and row by row below. So it can pay to decode a few tokens once more that are
in memory, and the last part of a prompt should not be a small one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from server.engine.batch import TokenArray

TILE_ROWS: Final = 64
"""GGML_FA_TILE_Q of ggml/src/ggml-cpu/common.h, which ggml_compute_forward_flash_attn_ext_f16 of ops.cpp
compares with the rows of each stream (its neq1)."""

_WORTH_A_TILE: Final = ((8_000, 16), (2_000, 20), (1_000, 28), (256, 48))
"""Behind so many tokens, so many rows take about as long as a tile or longer. Milliseconds with 60M on two
processors, behind 256 tokens: 48 rows 49, 64 rows 47; behind 1,000: 32 rows 73, 64 rows 61; behind 2,000: 24
rows 93, 64 rows 83; behind 8,000: 16 rows 306, 64 rows 272."""

MIN_DEPTH: Final = _WORTH_A_TILE[-1][0]
"""Behind fewer tokens attention takes too little time to matter."""

_TILED_KV_TYPES: Final = ("f16", "f32")


def has_tiles(*, on_gpu: bool, flash_attention: bool | None, kv_type: str) -> bool:
    """Whether a context attends in tiles. `flash_attention`: None is where supported, as a processor does."""
    return not on_gpu and flash_attention is not False and kv_type in _TILED_KV_TYPES


def n_to_keep(tokens: TokenArray, n_kept: int, n_tile: int = TILE_ROWS) -> int:
    """Of the `n_kept` tokens of a prompt that are in memory, how many to keep.

    `n_tile`: rows that make a tile, which is one more where the first one is computed with other sequences.
    Pictures and sounds (negative tokens) are not decoded once more.
    """
    n_rows = len(tokens) - n_kept
    is_worth_it = any(n_kept >= depth and n_rows >= rows for depth, rows in _WORTH_A_TILE)
    if n_rows >= n_tile or not is_worth_it or np.any(tokens[-n_tile:n_kept] < 0):
        return n_kept
    return len(tokens) - n_tile


def n_in_step(room: int, most: int, n_remaining: int, n_before: int, n_tile: int = TILE_ROWS) -> int:
    """Tokens of a prompt to decode now, so that its end is no small part.

    `room`: tokens that there is time for. `most`: tokens that fit, for a prompt that ends with this step
    instead of with a small part later. `n_before`: tokens in memory.
    """
    n = min(room, n_remaining)
    if not 0 < n_remaining - n < n_tile or n_before + n < MIN_DEPTH:
        return n
    if n_remaining >= 2 * n_tile:
        return n_remaining - n_tile
    return n_remaining if n >= n_tile and n_remaining <= most else n


def n_beside(n: int, n_remaining: int, others: Collection[int], n_tile: int = TILE_ROWS) -> int:
    """Of `n` tokens of a prompt, how many to decode in a step with parts of `others` tokens of other streams.

    llama.cpp computes streams together for as many rows as the shortest part has, and the others go on
    without it, so what they then have left should be a tile, or nothing. 0: it does better without them.
    """

    def goes_with_all(n: int) -> bool:
        return all(n == other or abs(n - other) >= TILE_ROWS for other in others)

    if goes_with_all(n):
        return n
    shorter = [
        other for other in others if other + n_tile <= n_remaining and other <= n and goes_with_all(other)
    ]
    return max(shorter, default=0)
