"""States get another head on their way between streams and a pool, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.state_layout import State, pool_state, slack_bytes, stream_state

MAGIC = 0xABCD1234


def state(seq_id: int, counts: list[int], body: bytes) -> State:
    """As llama.cpp writes it: the cells behind the count of their stream."""
    words = [MAGIC, seq_id, len(counts)]
    parts: list[bytes] = []
    for n in counts:
        words.append(n)
        parts.append(np.array(words, np.uint32).tobytes())
        words = []
        if n:
            parts.append(body)
    return np.frombuffer(b"".join(parts), np.uint8).copy()


@given(
    n_streams=st.integers(1, 40),
    seq=st.integers(0, 39),
    n_cells=st.integers(1, 5000),
    body=st.binary(min_size=4, max_size=400).map(lambda data: data[: len(data) // 4 * 4]),
)
def test_there_and_back(n_streams: int, seq: int, n_cells: int, body: bytes) -> None:
    seq_id = seq % n_streams
    counts = [n_cells if stream == seq_id else 0 for stream in range(n_streams)]
    of_stream = state(seq_id, counts, body)
    before = of_stream.tobytes()
    moved = pool_state(of_stream, seq_id, n_streams, n_cells)
    of_pool = state(seq_id, [n_cells], body)
    assert moved is not None
    assert moved.tobytes() == of_pool.tobytes()
    slack = np.full(slack_bytes(n_streams), 0xFF, np.uint8)
    back = stream_state(np.concatenate([slack, of_pool, slack]), seq_id, n_streams, n_cells)
    assert back is not None
    assert back.tobytes() == before


@pytest.mark.parametrize(
    ("seq_id", "counts"),
    [(1, [0, 8, 0]), (2, [0, 7, 0]), (1, [8, 7, 0]), (1, [0, 7, 1]), (1, [0, 7]), (1, [0, 0, 7])],
)
def test_what_is_laid_out_otherwise_is_refused_and_left_alone(seq_id: int, counts: list[int]) -> None:
    given_state = state(seq_id, counts, b"abcd" * 7)
    before = given_state.tobytes()
    assert pool_state(given_state, 1, 3, 7) is None
    assert given_state.tobytes() == before


def test_a_state_of_a_pool_that_is_laid_out_otherwise_is_refused() -> None:
    slack = np.zeros(slack_bytes(3), np.uint8)
    for wrong in (state(0, [7], b"abcd"), state(1, [6], b"abcd"), state(1, [0, 7], b"abcd"), slack[:4]):
        assert stream_state(np.concatenate([slack, wrong, slack]), 1, 3, 7) is None
