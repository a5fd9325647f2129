"""The likeliest tokens of many rows are those of each row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.candidates import MAX_TOP, Row
from server.engine.likeliest import MIN_VOCAB, likeliest_of_rows


def random_rows(n: int, n_vocab: int, seed: int) -> Row:
    return np.random.default_rng(seed).standard_normal((n, n_vocab)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 5),
    n_vocab=st.sampled_from([MIN_VOCAB, MIN_VOCAB + 1, 32_000, 50_257, 128_256]),
    k=st.integers(1, MAX_TOP),
    seed=st.integers(0, 2**31),
    n_levels=st.sampled_from([0, 2, 10_000]),
)
def test_all_of_the_likeliest_are_found_unless_equals_leave_them_open(
    n: int, n_vocab: int, k: int, seed: int, n_levels: int
) -> None:
    rows = random_rows(n, n_vocab, seed)
    if n_levels:
        rows = (np.round(rows * n_levels) / n_levels).astype(np.float32)
    for row, found in zip(rows, likeliest_of_rows(rows, k), strict=True):
        ordered = np.sort(row)[::-1]
        is_open = bool((ordered[1 : k + 1] == ordered[:k]).any())
        assert (found is None) == is_open
        if found is not None:
            ids, logits = found
            assert len(set(ids.tolist())) == len(ids)
            assert np.array_equal(row[ids], logits)
            assert np.array_equal(np.sort(logits)[::-1][:k], ordered[:k])


@pytest.mark.parametrize("column", [0, 5000, 128_255])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_of_numbers_is_left_to_others_and_disturbs_none(column: int, value: float) -> None:
    rows = random_rows(3, 128_256, 1)
    expected = likeliest_of_rows(rows, 40)
    rows[1, column] = value
    found = likeliest_of_rows(rows, 40)
    if column < 100_000:
        assert found[1] is None
    for index in (0, 2):
        for ours, theirs in zip(found[index] or (), expected[index] or (), strict=True):
            assert np.array_equal(ours, theirs)


def test_short_rows_and_large_k_are_left_to_others() -> None:
    assert likeliest_of_rows(random_rows(2, MIN_VOCAB - 1, 1), 40) == [None, None]
    rows = random_rows(2, MIN_VOCAB, 1)
    assert likeliest_of_rows(rows, 0) == [None, None]
    assert likeliest_of_rows(rows, MAX_TOP + 1) == [None, None]
