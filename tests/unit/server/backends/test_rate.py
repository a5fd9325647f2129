from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.backends.rate import RateWindow


def test_steady_stream_has_its_rate() -> None:
    window = RateWindow(window_s=4.0)
    for step in range(1000):
        window.add(2, step * 0.02)
    assert 90 <= window.per_second(1000 * 0.02) <= 105


def test_old_events_leave_the_window() -> None:
    window = RateWindow(window_s=4.0)
    window.add(100, 0.0)
    assert window.per_second(1.0) == 100.0
    assert window.per_second(4.0) == 0.0


def test_new_burst_is_not_diluted_by_the_pause_before_it() -> None:
    window = RateWindow(window_s=4.0)
    window.add(1, 0.0)
    for step in range(11):
        window.add(10, 100.0 + step * 0.1)
    assert 100 <= window.per_second(101.0) <= 115


@given(st.lists(st.tuples(st.floats(0, 0.3), st.integers(0, 50)), min_size=1, max_size=200))
def test_rate_is_bounded_by_all_events(steps: list[tuple[float, int]]) -> None:
    window, now_s = RateWindow(), 0.0
    for pause_s, n_events in steps:
        now_s += pause_s
        window.add(n_events, now_s)
    assert 0 <= window.per_second(now_s) <= sum(n for _, n in steps) / 0.5
