"""What is worth keeping, and when a state is put back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.engine.batch import TokenArray
from server.engine.state_policy import (
    FRESH_SHARE,
    LONG_TAIL_TOKENS,
    MIN_DISK_TOKENS,
    MIN_HOST_TOKENS,
    RESAVE_DELAY_S,
    SAVE_DELAY_S,
    Offer,
    Rate,
    evictions,
    gain_s,
    is_beginning,
    is_worth_copying,
    n_usable,
    replaces,
    save_delay_s,
)

short_lists = st.lists(st.integers(0, 1), max_size=8)


def tokens(values: list[int]) -> TokenArray:
    return np.array(values, np.int32)


@given(a=short_lists, b=short_lists)
def test_a_beginning_is_what_python_calls_one(a: list[int], b: list[int]) -> None:
    assert is_beginning(tokens(a), tokens(b)) == (b[: len(a)] == a)


@given(stored=short_lists, prompt=st.lists(st.integers(0, 1), min_size=1, max_size=8), whole=st.booleans())
def test_what_is_usable_is_shared_and_leaves_a_token(
    stored: list[int], prompt: list[int], whole: bool
) -> None:
    n = n_usable(tokens(stored), tokens(prompt), whole_only=whole)
    assert n < len(prompt)
    assert stored[:n] == prompt[:n]
    if whole:
        assert n in (0, len(stored))
    else:
        assert n == len(prompt) - 1 or n == len(stored) or stored[n] != prompt[n]


@given(n_shared=st.integers(0, 5000), n_old=st.integers(0, 2000), n_new=st.integers(0, 2000))
def test_a_state_is_replaced_by_one_that_lacks_little_of_it(n_shared: int, n_old: int, n_new: int) -> None:
    start = [1] * n_shared
    old, new = tokens(start + [2] * n_old), tokens(start + [3] * n_new)
    assert replaces(new, old, whole_only=False) == (
        n_old <= (n_shared + n_old) // 4 and n_old <= LONG_TAIL_TOKENS
    )
    assert replaces(new, old, whole_only=True) == (n_old == n_new == 0)
    assert replaces(new, tokens(start), whole_only=False)


@given(
    n_shared=st.integers(0, 100_000),
    n_kept=st.integers(0, 100_000),
    restore_s=st.floats(0, 100),
    speed=st.floats(0.1, 1e6),
)
def test_a_restore_pays_only_when_decoding_takes_longer(
    n_shared: int, n_kept: int, restore_s: float, speed: float
) -> None:
    gain = gain_s(Offer(n_shared, restore_s), n_kept, speed)
    if gain > 0:
        assert n_shared > n_kept
        assert (n_shared - n_kept) / speed > restore_s
    assert gain_s(Offer(n_shared + 1, restore_s), n_kept, speed) >= gain
    assert gain_s(Offer(n_shared, restore_s + 1), n_kept, speed) <= gain


@given(n_tokens=st.integers(0, 10_000), share=st.floats(0, 1))
def test_a_slot_is_copied_when_much_of_it_would_be_lost(n_tokens: int, share: float) -> None:
    n_kept = int(n_tokens * share)
    n_lost = n_tokens - n_kept
    if is_worth_copying(n_tokens, n_kept):
        assert n_lost >= MIN_HOST_TOKENS
    else:
        assert n_lost < LONG_TAIL_TOKENS
        assert n_lost < MIN_HOST_TOKENS or n_lost <= n_kept


@given(n_tokens=st.integers(0, 10_000), share=st.floats(0, 1))
def test_a_long_conversation_is_written_soon_when_much_is_missing(n_tokens: int, share: float) -> None:
    n_on_disk = int(n_tokens * share)
    delay_s = save_delay_s(n_tokens, n_on_disk)
    if n_tokens < MIN_DISK_TOKENS or n_on_disk == n_tokens:
        assert delay_s is None
    elif n_tokens - n_on_disk >= FRESH_SHARE * n_tokens:
        assert delay_s == SAVE_DELAY_S
    else:
        assert delay_s == RESAVE_DELAY_S


@given(
    sizes=st.lists(st.integers(0, 50), max_size=8), needed=st.integers(0, 120), limit=st.integers(-10, 100)
)
def test_evictions_keep_the_bound_and_take_the_first_and_no_more(
    sizes: list[int], needed: int, limit: int
) -> None:
    victims = evictions(enumerate(sizes), needed, limit)
    if victims is None:
        assert needed > limit
        return
    assert victims == list(range(len(victims)))
    kept = sum(sizes[len(victims) :])
    assert kept + needed <= limit
    if victims:
        assert kept + sizes[victims[-1]] + needed > limit


def test_a_rate_follows_what_is_measured_and_ignores_small_copies() -> None:
    rate = Rate(1e9)
    rate.measured(1000, 10.0)
    assert rate.bytes_per_s == 1e9
    for _ in range(30):
        rate.measured(2_000_000_000, 1.0)
    assert abs(rate.seconds(2_000_000_000) - 1.0) < 0.01
