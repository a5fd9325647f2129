"""The likeliest tokens, found without sorting the vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.candidates import MAX_TOP, best_id, top_ids
from server.engine.failures import DecodeFailed


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_vocab=st.integers(1536, 40_000),
    k=st.integers(1, MAX_TOP),
    ties=st.booleans(),
)
def test_every_one_of_the_k_likeliest_is_found(seed: int, n_vocab: int, k: int, ties: bool) -> None:
    row = np.random.default_rng(seed).normal(0, 3, n_vocab).astype(np.float32)
    if ties:
        row = np.round(row)
    found = top_ids(row, k)
    assert found is not None
    likeliest = np.argsort(-row, kind="stable")[:k]
    bound = row[likeliest[-1]]
    assert set(np.flatnonzero(row > bound)) <= set(found.tolist())
    assert (row[found] >= bound).sum() >= k
    assert (np.diff(found) > 0).all() or len(set(found.tolist())) == len(found)


def test_the_tail_beyond_whole_blocks_is_searched() -> None:
    row = np.arange(768 * 3 + 5, dtype=np.float32) / 1e4
    row[-1] = 9.0
    found = top_ids(row, 1)
    assert found is not None
    assert len(row) - 1 in found.tolist()


def test_folding_is_left_to_rows_for_which_it_pays() -> None:
    row = np.zeros(5000, np.float32)
    assert top_ids(row[:1000], 5) is None
    assert top_ids(row, MAX_TOP + 1) is None
    assert top_ids(row, 0) is None


def test_rows_that_are_not_numbers_are_refused() -> None:
    row = np.full(5000, np.nan, np.float32)
    with pytest.raises(DecodeFailed):
        top_ids(row, 3)
    with pytest.raises(DecodeFailed):
        best_id(row)


def test_the_first_of_equals_is_the_best() -> None:
    assert best_id(np.array([1, 3, 3], np.float32)) == 1
