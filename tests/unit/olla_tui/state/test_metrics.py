from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state.metrics import Ring


def test_samples_of_one_period_keep_their_maximum():
    ring = Ring(10, 1.0)
    assert [ring.add(0.2, 5.0), ring.add(0.9, 5.4), ring.add(0.1, 5.9)] == [True, False, False]
    assert list(ring) == [0.9]


def test_a_gap_is_filled_with_the_last_value():
    ring = Ring(10, 1.0)
    ring.add(0.5, 1.0)
    ring.add(0.7, 4.0)
    assert list(ring) == [0.5, 0.5, 0.5, 0.7]


def test_a_long_gap_fills_no_more_than_the_ring():
    ring = Ring(4, 1.0)
    ring.add(0.5, 1.0)
    ring.add(0.7, 1e9)
    assert list(ring) == [0.5, 0.5, 0.5, 0.7]


def test_a_clock_that_goes_back_loses_nothing():
    ring = Ring(4, 1.0)
    ring.add(0.5, 100.0)
    ring.add(0.6, 50.0)
    assert list(ring) == [0.5, 0.6]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 120), st.integers(1, 50))
def test_a_window_keeps_the_peak_and_its_bounds(values, n_slots, n_columns):
    ring = Ring(300, 1.0)
    for second, value in enumerate(values):
        ring.add(value, float(second))
    window = ring.window(n_slots, n_columns)
    assert len(window) <= n_columns
    assert max(window) == max(values[-n_slots:])


def test_no_room_shows_nothing():
    ring = Ring(3, 1.0)
    assert (ring.peak, ring.window(3, 0), len(ring)) == (0.0, [], 0)
