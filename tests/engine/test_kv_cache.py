"""The slot that serves a prompt best, and what is remembered of each slot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.batch import TokenArray
from server.engine.kv_cache import MIN_COPY_TOKENS, Placement, SlotCache, common_prefix


def tokens(*values: int) -> TokenArray:
    return np.array(values, np.int32)


def filled(n_slots: int, *contents: TokenArray, can_trim: bool = True) -> SlotCache:
    cache = SlotCache(n_slots, 1024, can_trim=can_trim)
    for slot, content in enumerate(contents):
        cache.append(slot, content)
        cache.touch(slot)
    return cache


@given(a=st.lists(st.integers(0, 2), max_size=8), b=st.lists(st.integers(0, 2), max_size=8))
def test_common_prefix_is_the_longest(a: list[int], b: list[int]) -> None:
    n = common_prefix(tokens(*a), tokens(*b))
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


@given(
    contents=st.lists(st.lists(st.integers(0, 1), max_size=6), min_size=3, max_size=3),
    prompt=st.lists(st.integers(0, 1), min_size=1, max_size=8),
    free=st.sets(st.integers(0, 2), min_size=1),
)
def test_a_placement_is_possible_and_leaves_a_token(
    contents: list[list[int]], prompt: list[int], free: set[int]
) -> None:
    cache = filled(3, *(tokens(*content) for content in contents))
    placement = cache.place(tokens(*prompt), free)
    assert placement.slot in free
    assert placement.n_keep < len(prompt)
    source = placement.copy_from if placement.copy_from >= 0 else placement.slot
    assert contents[source][: placement.n_keep] == prompt[: placement.n_keep]


def test_the_longest_common_beginning_wins() -> None:
    cache = filled(3, tokens(1, 2, 9), tokens(1, 2, 3), tokens(5))
    assert cache.place(tokens(1, 2, 3, 4), [0, 1, 2]) == Placement(1, 3)


def test_without_a_common_beginning_an_empty_slot_is_taken_then_the_oldest() -> None:
    cache = filled(3, tokens(1, 1), tokens(2, 2))
    assert cache.place(tokens(7, 7), [0, 1, 2]).slot == 2
    cache.touch(0)
    assert cache.place(tokens(7, 7), [0, 1]).slot == 1


def test_a_busy_slot_lends_its_beginning() -> None:
    long = np.arange(MIN_COPY_TOKENS + 10, dtype=np.int32)
    cache = filled(2, long)
    assert cache.place(np.append(long, 5).astype(np.int32), [1]) == Placement(1, len(long), 0)


def test_a_long_conversation_is_copied_rather_than_cut_when_a_slot_is_empty() -> None:
    system = np.arange(100, dtype=np.int32)
    conversation = np.append(system, np.full(500, 7)).astype(np.int32)
    cache = filled(2, conversation)
    other = np.append(system, np.full(20, 8)).astype(np.int32)
    assert cache.place(other, [0, 1]) == Placement(1, 100, 0)
    cache.append(1, tokens(1))
    assert cache.place(other, [0, 1]) == Placement(0, 100)


def test_a_memory_that_cannot_trim_is_only_continued_whole() -> None:
    cache = filled(2, tokens(1, 2, 3), tokens(1, 2), can_trim=False)
    assert cache.place(tokens(1, 2, 5), [0, 1]) == Placement(1, 2)
    assert cache.place(tokens(1, 9), [0]) == Placement(0, 0)


def test_a_shift_drops_the_middle() -> None:
    cache = filled(1, tokens(0, 1, 2, 3, 4, 5))
    cache.shift(0, 2, 2)
    assert cache.tokens(0).tolist() == [0, 1, 4, 5]


def test_a_slot_holds_no_more_than_its_context() -> None:
    cache = SlotCache(1, 2)
    cache.append(0, tokens(1, 2))
    with pytest.raises(IndexError, match="room for 2 tokens"):
        cache.append(0, 3)
