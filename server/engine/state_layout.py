"""States of a sequence between a context of streams and a pool of cells. Pure.

llama.cpp writes both in one way but for their heads (llama_context::state_seq_get_data,
llama_kv_cache::state_write): a magic number and the sequence, the number of streams, and for each of them the
number of its cells and then these cells, of which only the stream of the sequence has any. So a state is
moved by giving it another head, and what is not laid out like that is refused.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

State = npt.NDArray[np.uint8]
"""[n] uint8"""

_WORD: Final = 4
_N_FIXED: Final = 3
"""Words before the numbers of cells: magic, sequence, number of streams."""


def pool_state(state: State, seq_id: int, n_streams: int, n_cells: int) -> State | None:
    """The state of a stream of `n_cells` tokens, for a pool. The bytes are those of `state`, which is lost.

    None where `state` is not laid out as expected; it is as it was then.
    """
    n_head = _WORD * (_N_FIXED + n_streams)
    if len(state) <= n_head:
        return None
    first = _WORD * (_N_FIXED + seq_id + 1)
    n_behind = _WORD * (n_streams - 1 - seq_id)
    before, behind = _words(state[:first]), _words(state[len(state) - n_behind :])
    expected = [seq_id, n_streams, *[0] * seq_id, n_cells]
    if before[1:].tolist() != expected or behind.any():
        return None
    start = first - _WORD * (_N_FIXED + 1)
    magic = before[0]
    moved = state[start : len(state) - n_behind]
    _words(moved[: _WORD * (_N_FIXED + 1)])[:] = [magic, seq_id, 1, n_cells]
    return moved


def stream_state(room: State, seq_id: int, n_streams: int, n_cells: int) -> State | None:
    """The state of `n_cells` tokens of a pool, for a stream. The bytes are those of `room`.

    `room`: the state, with `slack_bytes` before and behind it.
    None where the state is not laid out as expected.
    """
    slack = slack_bytes(n_streams)
    n_head = _WORD * (_N_FIXED + 1)
    if len(room) < n_head + 2 * slack:
        return None
    head = _words(room[slack : slack + n_head])
    if head[1:].tolist() != [seq_id, 1, n_cells]:
        return None
    n_behind = _WORD * (n_streams - 1 - seq_id)
    moved = room[n_behind : len(room) - slack + n_behind]
    first = _WORD * (_N_FIXED + seq_id + 1)
    _words(moved[:first])[:] = [head[0], seq_id, n_streams, *[0] * seq_id, n_cells]
    moved[len(moved) - n_behind :] = 0
    return moved


def slack_bytes(n_streams: int) -> int:
    """By so much the state of a stream is larger than that of the same tokens in a pool."""
    return _WORD * (n_streams - 1)


def _words(data: State) -> npt.NDArray[np.uint32]:
    words: npt.NDArray[np.uint32] = data.view(np.uint32)
    return words
