"""The slot that serves a prompt best, and what is remembered of each slot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.batch import TokenArray
from server.engine.kv_cache import MIN_COPY_TOKENS, Placement, SlotCache, Stored, common_prefix


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


def test_a_few_tokens_of_a_template_do_not_cost_a_conversation_its_slot() -> None:
    template = np.arange(20, dtype=np.int32)
    cache = filled(3, np.append(template, np.full(90, 7)), np.append(template, np.full(200, 8)))
    prompt = np.append(template, np.full(50, 9)).astype(np.int32)
    assert cache.place(prompt, [0, 1, 2]) == Placement(2, 0)
    cache.append(2, tokens(5))
    cache.touch(0)
    assert cache.place(prompt, [0, 1]) == Placement(1, 20), "without an empty slot the oldest is taken"
    assert cache.place(prompt, [0]) == Placement(0, 20)
    cache = filled(2, np.append(template, np.full(30, 7)))
    assert cache.place(prompt, [0, 1]) == Placement(0, 20), "a short one is no loss"


# Saved states.


def test_a_saved_state_goes_to_an_empty_slot_then_to_the_oldest() -> None:
    cache = filled(3, tokens(1, 2), tokens(3, 4))
    stored = Stored(tokens(5, 6, 7), 2, None)
    placement = cache.place_stored(stored, [0, 1, 2])
    assert placement == Placement(2, 2, stored=stored)
    assert cache.source(placement).tolist() == [5, 6]
    cache.take(placement)
    assert cache.tokens(2).tolist() == [5, 6]
    cache.touch(0)
    assert cache.place_stored(stored, [0, 1]).slot == 1


def test_what_was_restored_whole_is_not_cut() -> None:
    cache = SlotCache(2, 1024, restores_whole=True)
    beginning = np.arange(100, dtype=np.int32)
    cache.take(Placement(0, 100, stored=Stored(beginning, 100, None)))
    cache.append(0, tokens(7, 7, 7))
    assert cache.place(np.append(beginning, [7, 9, 9]).astype(np.int32), [0]) == Placement(0, 101)
    assert cache.place(np.append(beginning[:99], [9, 9]).astype(np.int32), [0]) == Placement(0, 0)
    cache.take(Placement(1, 103, copy_from=0))
    assert cache.place(np.append(beginning[:99], [9, 9]).astype(np.int32), [1]) == Placement(1, 0)
    cache.take(Placement(0, 0))
    cache.append(0, beginning)
    assert cache.place(np.append(beginning[:99], [9, 9]).astype(np.int32), [0]) == Placement(0, 99)


def test_what_is_left_of_a_restored_beginning_after_a_shift_is_not_cut() -> None:
    cache = SlotCache(1, 1024, restores_whole=True)
    beginning = np.arange(100, dtype=np.int32)
    cache.take(Placement(0, 100, stored=Stored(beginning, 100, None)))
    cache.append(0, np.arange(200, 300, dtype=np.int32))
    cache.shift(0, 4, 150)
    assert cache.tokens(0)[:6].tolist() == [0, 1, 2, 3, 254, 255]
    assert cache.place(tokens(0, 1, 2, 9), [0]) == Placement(0, 0)
    assert cache.place(tokens(0, 1, 2, 3, 9), [0]) == Placement(0, 4)


def test_a_slot_is_exact_until_a_shift_and_again_once_that_is_gone() -> None:
    cache = filled(2, tokens(0, 1, 2, 3, 4, 5))
    assert cache.is_exact(0)
    cache.shift(0, 2, 2)
    assert not cache.is_exact(0)
    cache.take(Placement(1, 3, copy_from=0))
    assert not cache.is_exact(1)
    cache.take(Placement(0, 2))
    cache.append(0, tokens(9, 9, 9))
    assert cache.is_exact(0)
    cache.take(Placement(1, 3, stored=Stored(tokens(1, 2, 3), 3, None)))
    assert cache.is_exact(1)
    cache.shift(0, 1, 1)
    cache.clear()
    assert cache.is_exact(0)
