from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state.graphs import ASCII, UNICODE, bar, braille_graph, level_role, stacked_bar
from olla_tui.state.rows import plain, width_of

fractions = st.floats(-0.5, 1.5, allow_nan=False)


@given(st.lists(fractions, max_size=80), st.integers(1, 30), st.integers(1, 6), st.booleans())
def test_a_graph_fills_its_rectangle(values, width, height, braille):
    lines = braille_graph(values, width, height, braille=braille)
    assert len(lines) == height
    assert {len(line) for line in lines} == {width}


def test_a_full_sample_reaches_the_top_and_a_small_one_shows():
    assert braille_graph([1.0, 1.0], 1, 2) == ["⣿", "⣿"]
    assert braille_graph([0.001, 0.0], 1, 2) == [" ", "⡀"]


def test_new_samples_enter_at_the_right():
    assert braille_graph([1.0], 2, 1) == [" ⢸"]


@given(fractions, st.integers(1, 40))
def test_a_bar_has_its_width(fraction, width):
    assert width_of(bar(fraction, width)) == width


@given(st.lists(st.tuples(fractions, st.just("#"), st.just("x")), max_size=5), st.integers(1, 60))
def test_a_stack_has_its_width(parts, width):
    assert width_of(stacked_bar(parts, width)) == width


def test_stacked_parts_stand_in_their_order():
    parts = [(0.5, ASCII.weights, "vram.weights"), (0.25, ASCII.kv, "vram.kv")]
    assert plain(stacked_bar(parts, 8, ASCII)) == "####==.."


def test_something_is_never_drawn_as_nothing():
    assert plain(bar(0.01, 10)).startswith("█")
    assert plain(bar(0.0, 10)) == "░" * 10


def test_levels():
    assert [level_role(value) for value in (0.2, 0.75, 0.9)] == ["meter.low", "meter.mid", "meter.high"]
    early = replace(UNICODE, warn_at=0.1, high_at=0.5)
    assert [level_role(value, early) for value in (0.05, 0.2, 0.75)] == [
        "meter.low",
        "meter.mid",
        "meter.high",
    ]
    assert bar(0.2, 10, early)[0].role == "meter.mid"
