"""States in memory: bounded, the least recently used goes first, a longer state replaces its beginning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from server.engine.host_cache import HostCache, SavedState, machine_room_bytes
from server.engine.state_policy import replaces

LIMIT = 1000


def saved(tokens: list[int], n_data: int = 0) -> SavedState:
    return SavedState(np.array(tokens, np.int32), np.zeros(n_data, np.uint8))


class HostCacheMachine(RuleBasedStateMachine):
    """Beside the cache a list of the same states, the least recently used first."""

    @initialize(whole_only=st.booleans())
    def begin(self, whole_only: bool) -> None:
        self.room = LIMIT
        self.whole_only = whole_only
        self.cache = HostCache(LIMIT, whole_only=whole_only, room_bytes=lambda: self.room)
        self.model: list[SavedState] = []

    @rule(room=st.integers(-100, 2 * LIMIT))
    def memory_changes(self, room: int) -> None:
        self.room = room

    @rule(tokens=st.lists(st.integers(0, 1), max_size=4), n_data=st.integers(0, 600))
    def put(self, tokens: list[int], n_data: int) -> None:
        state = saved(tokens, n_data)

        def is_replaced(other: SavedState) -> bool:
            return replaces(state.tokens, other.tokens, whole_only=self.whole_only)

        bound = min(LIMIT, sum(other.n_bytes for other in self.model) + max(self.room, 0))
        fits = self.cache.put(state)
        assert fits == (state.n_bytes <= bound)
        if fits:
            self.model = [other for other in self.model if not is_replaced(other)]
            while sum(other.n_bytes for other in self.model) + state.n_bytes > bound:
                self.model.pop(0)
            self.model.append(state)
            assert self.cache.covers(state.tokens)

    @rule(index=st.integers(0, 5))
    def touch(self, index: int) -> None:
        if index < len(self.model):
            state = self.model.pop(index)
            self.model.append(state)
            self.cache.touch(state)

    @rule()
    def touch_what_is_gone(self) -> None:
        self.cache.touch(saved([9]))

    @rule()
    def clear(self) -> None:
        self.model = []
        self.cache.clear()

    @invariant()
    def is_as_the_model(self) -> None:
        assert [id(state) for state in self.cache] == [id(state) for state in self.model]
        assert self.cache.n_bytes == sum(state.n_bytes for state in self.model) <= LIMIT


TestHostCache = HostCacheMachine.TestCase
TestHostCache.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("whole_only", [True, False])
def test_a_longer_state_serves_its_beginning_only_where_states_can_be_cut(whole_only: bool) -> None:
    cache = HostCache(LIMIT, whole_only=whole_only)
    cache.put(saved([1, 2, 3]))
    assert cache.covers(saved([1, 2, 3]).tokens)
    assert cache.covers(saved([1, 2]).tokens) is not whole_only
    assert not cache.covers(saved([1, 2, 3, 4]).tokens)
    cache.put(saved([1, 2, 3, 4]))
    assert len(cache) == (2 if whole_only else 1)


def test_a_cache_without_room_takes_nothing() -> None:
    cache = HostCache(0, whole_only=False)
    assert not cache.could_hold(1)
    assert not cache.put(saved([1]))


def test_the_machine_has_room_or_none() -> None:
    assert -(1 << 60) < machine_room_bytes() <= 1 << 60
