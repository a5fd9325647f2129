from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from server.registry.rate import Budget, RateLimit


def never() -> bool:
    return False


@given(st.integers(1, 10_000), st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 3)), min_size=1))
def test_no_more_is_taken_than_the_time_allows(rate: int, takes: list[tuple[int, float]]) -> None:
    now_s, taken = 100.0, 0
    budget = Budget(rate, now_s)
    for n_bytes, pause_s in takes:
        now_s += pause_s
        now_s += budget.wait_s(now_s)
        assert budget.wait_s(now_s + 1e-6) == 0
        assert taken <= rate * (now_s - 100.0 + 0.25) + 1
        budget.take(n_bytes)
        taken += n_bytes


def test_without_a_limit_nobody_waits() -> None:
    limit = RateLimit()
    for _ in range(3):
        limit.take(1 << 40, never)
    assert limit.slice_bytes(1 << 20) == 1 << 20
    assert limit.bytes_per_s == 0


def test_with_a_limit_pieces_are_a_tenth_of_a_second() -> None:
    limit = RateLimit(1_000_000)
    assert limit.slice_bytes(1 << 20) == 100_000
    limit.set(100)
    assert limit.slice_bytes(1 << 20) == 1024


def test_a_limit_that_is_lifted_lets_go_those_who_wait() -> None:
    limit = RateLimit(1)
    limit.take(1 << 30, never)
    waiting = threading.Thread(target=limit.take, args=(1, never))
    waiting.start()
    limit.set(0)
    waiting.join(10)
    assert not waiting.is_alive()


def test_who_is_stopped_does_not_wait() -> None:
    limit = RateLimit(1)
    limit.take(1 << 30, never)
    limit.take(1, lambda: True)
