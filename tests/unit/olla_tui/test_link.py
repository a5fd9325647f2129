from hypothesis import given
from hypothesis import strategies as st

from olla_tui.link import MAX_STAYS_S, SLOW_SHARE, STAYS_S, WINDOW_S, LinkWatch

LIMIT_S = SLOW_SHARE * WINDOW_S


def test_a_link_is_slow_once_writes_have_waited_long_enough_within_the_window():
    watch = LinkWatch()
    for at in range(4):
        watch.waited(LIMIT_S / 5, 100.0 + at)
        assert not watch.is_slow(100.0 + at)
    watch.waited(LIMIT_S / 5, 104.0)
    assert watch.is_slow(104.0)


def test_waits_that_are_long_ago_or_the_schedulers_count_for_nothing():
    watch = LinkWatch()
    watch.waited(LIMIT_S * 0.9, 100.0)
    watch.waited(LIMIT_S * 0.9, 100.1 + WINDOW_S)
    for at in range(1000):
        watch.waited(0.005, 100.2 + WINDOW_S + at / 1000)
    assert not watch.is_slow(101.2 + WINDOW_S)


def test_a_write_that_still_waits_counts():
    assert not LinkWatch().is_slow(100.0, waiting_s=LIMIT_S * 0.9)
    assert LinkWatch().is_slow(100.0, waiting_s=LIMIT_S)


def test_a_slow_link_stays_so_for_a_while_and_longer_each_time():
    watch = LinkWatch()
    now_s, stays_s = 100.0, STAYS_S
    for _ in range(6):
        watch.waited(LIMIT_S, now_s)
        last_s = now_s + WINDOW_S
        assert watch.is_slow(last_s)
        assert watch.is_slow(last_s + stays_s - 0.1)
        assert not watch.is_slow(last_s + stays_s)
        now_s, stays_s = last_s + stays_s + 1, min(2 * stays_s, MAX_STAYS_S)


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 10))))
def test_a_link_without_waits_becomes_a_fast_one_in_the_end(waits):
    watch, now_s = LinkWatch(), 0.0
    for length_s, pause_s in waits:
        now_s += pause_s + length_s
        watch.waited(length_s, now_s)
    watch.is_slow(now_s + WINDOW_S)
    assert not watch.is_slow(now_s + 2 * WINDOW_S + MAX_STAYS_S)
