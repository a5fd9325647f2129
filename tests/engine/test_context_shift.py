"""A full context keeps its start, drops half of the rest and always gets room."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.context_shift import fitted, shift_sizes
from server.engine.failures import ContextFull


@given(n_tokens=st.integers(0, 500), n_ctx=st.integers(8, 500), n_keep=st.integers(-5, 600))
def test_what_is_kept_and_dropped_are_parts_of_what_is_there(n_tokens: int, n_ctx: int, n_keep: int) -> None:
    n_kept, n_discard = shift_sizes(n_tokens, n_ctx=n_ctx, n_keep=n_keep)
    assert 0 <= n_kept <= max(n_keep, 0)
    assert 0 <= n_discard <= n_tokens - n_kept
    if n_tokens >= n_ctx - 1:
        assert n_discard >= 1


@given(n_tokens=st.integers(1, 2000), n_ctx=st.integers(8, 300), n_keep=st.integers(0, 400))
def test_a_long_run_of_tokens_fits_after_its_shifts(n_tokens: int, n_ctx: int, n_keep: int) -> None:
    tokens = np.arange(n_tokens, dtype=np.int32)
    result = fitted(tokens, n_ctx=n_ctx, n_keep=n_keep, can_shift=True)
    assert len(result) < n_ctx
    assert (np.diff(result) > 0).all()
    assert result[-1] == n_tokens - 1
    if n_tokens < n_ctx:
        assert (result == tokens).all()


@pytest.mark.parametrize("n_tokens", [15, 16, 17])
def test_a_context_that_cannot_slide_may_be_full_to_the_last_token(n_tokens: int) -> None:
    tokens = np.arange(n_tokens, dtype=np.int32)
    assert fitted(tokens, n_ctx=16, n_keep=4, can_shift=False).tolist() == tokens.tolist()


def test_a_context_that_cannot_slide_says_so() -> None:
    with pytest.raises(ContextFull) as caught:
        fitted(np.arange(18, dtype=np.int32), n_ctx=16, n_keep=4, can_shift=False)
    assert (caught.value.n_prompt_tokens, caught.value.n_ctx) == (18, 16)
