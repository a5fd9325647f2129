"""Running slots become neighbours where that costs no beginning that is worth more."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.engine.batch import TokenArray
from server.engine.kv_cache import Placement, SlotCache
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence
from server.engine.slot_choice import GROUP_TOKENS, choose, gain, n_groups, n_groups_added

N_SLOTS = 8
N_CTX = 2048

slots = st.sets(st.integers(0, N_SLOTS - 1), max_size=N_SLOTS - 1)


def prompt(family: int, n: int) -> TokenArray:
    return np.full(n, family, np.int32)


def cache_of(held: list[tuple[int, int]]) -> SlotCache:
    """Slots that hold (family, tokens), in order."""
    cache = SlotCache(N_SLOTS, N_CTX)
    for slot, (family, n) in enumerate(held):
        cache.append(slot, prompt(family, n))
    return cache


def choice(cache: SlotCache, busy: Collection[int], tokens: TokenArray, n_answer: int) -> Placement:
    free = [slot for slot in range(N_SLOTS) if slot not in busy]
    return choose(free, busy, n_answer, lambda some: cache.place(tokens, some), cache.length)


@given(slots, st.integers(0, N_SLOTS - 1))
def test_groups_are_counted_by_what_each_slot_adds(busy: set[int], slot: int) -> None:
    busy.discard(slot)
    assert n_groups({*busy, slot}) == n_groups(busy) + n_groups_added(slot, busy)


@given(slots, st.integers(1, N_CTX))
def test_without_anything_in_memory_no_other_slot_would_make_fewer_groups(busy: set[int], n: int) -> None:
    placed = choice(cache_of([]), busy, prompt(1, n), 100)
    assert placed.slot not in busy
    free = set(range(N_SLOTS)) - busy
    if busy:
        assert n_groups_added(placed.slot, busy) == min(n_groups_added(slot, busy) for slot in free)


@given(
    slots,
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 1500)), max_size=N_SLOTS),
    st.integers(0, 2),
    st.integers(1, 1500),
    st.integers(0, 500),
)
def test_the_choice_is_worth_no_less_than_the_one_without_regard_to_neighbours(
    busy: set[int], held: list[tuple[int, int]], family: int, n: int, n_answer: int
) -> None:
    cache = cache_of(held)
    tokens = prompt(family, n)
    free = [slot for slot in range(N_SLOTS) if slot not in busy]
    plain = cache.place(tokens, free)
    placed = choice(cache, busy, tokens, n_answer)
    assert placed.slot in free
    worth, plain_worth = (gain(one, cache.length(one.slot), busy, n_answer) for one in (placed, plain))
    assert worth >= plain_worth
    if not busy or worth == plain_worth:
        assert placed == plain


def test_a_beginning_that_is_worth_more_is_used_where_it_is() -> None:
    cache = SlotCache(N_SLOTS, N_CTX, can_copy=False)
    cache.append(6, prompt(1, 1500))
    n_answer = 64
    assert choice(cache, {0, 1}, prompt(1, 1600), n_answer) == Placement(6, 1500)
    short = GROUP_TOKENS * n_answer - 1
    assert choice(cache, {0, 1}, prompt(1, short), n_answer) == Placement(2, 0)


def test_a_beginning_far_away_is_copied_to_the_neighbours() -> None:
    cache = SlotCache(N_SLOTS, N_CTX)
    cache.append(6, prompt(1, 1500))
    assert choice(cache, {0, 1}, prompt(1, 1600), 256) == Placement(2, 1500, 6)


def test_requests_that_come_and_go_one_by_one_stay_neighbours() -> None:
    cache = SlotCache(N_SLOTS, N_CTX)
    scheduler = Scheduler(N_SLOTS, 512, cache)
    running: list[Sequence] = []

    def carry_out(placement: Placement) -> int:
        return placement.n_keep

    for number in range(40):
        sequence = Sequence(number, prompt(number + 1, 20))
        scheduler.add(sequence)
        scheduler.admit(carry_out)
        running.append(sequence)
        for chunk in scheduler.plan(512).chunks:
            cache.append(chunk.sequence.slot, chunk.sequence.tokens[: chunk.n_tokens])
            scheduler.prefilled(chunk)
        busy = {one.slot for one in running}
        assert n_groups(busy) == 1
        if len(running) == 4:  # one of them ends, and the next one closes the gap
            leaving = sorted(running, key=lambda one: one.slot)[number % 4]
            running.remove(leaving)
            scheduler.end(leaving)
