"""Looking back: graphs over a window, and one moment of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state import timeline
from olla_tui.state.devices import DeviceHistory, DeviceView, model_rows
from olla_tui.state.graphs import ASCII
from olla_tui.state.rows import plain, row, width_of
from tests.support.workstation_script import GPUS, busy_script, history_of, running

VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=50)


@given(VALUES, st.integers(1, 80))
def test_a_graph_fills_its_columns_and_loses_no_peak(values: list[float | None], width: int) -> None:
    columns = timeline.resample(values, width)
    assert len(columns) == (width if values else 0)
    known = [value for value in values if value is not None]
    if known:
        assert max(columns) == max(known)
    assert timeline.resample(values, 0) == []


@given(st.lists(st.sampled_from([1, -1]), max_size=100), st.integers(1, 200))
def test_looking_back_stays_within_the_window(steps: list[int], n_columns: int) -> None:
    look, history = timeline.Look(), history_of(busy_script(), 600)
    for step in steps:
        look.move(step)
    assert 0 <= look.slot(history) < len(history.n_active)
    assert 0 <= look.column(n_columns) < n_columns
    look.to_now()
    assert not look.is_back and look.column(n_columns) == n_columns - 1
    assert look.slot(history) == len(history.n_active) - 1


def test_words_of_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    history = history_of(busy_script(), 600)
    words = timeline.at_words(history, len(history.n_active) - 1)
    assert "running" in words and "tok/s" in words and "1 ended" in words
    assert timeline.at_words(history, 0).endswith("nothing is known of this time")
    track = timeline.track_of(history, 0, GPUS[0].name)
    assert track is not None and "64 °C" in timeline.device_words(track, -1)
    assert timeline.device_words(track, 0) == "–"
    assert timeline.track_of(history, 0, "another") is None
    assert timeline.track_of(None, 0, "any") is None and timeline.track_of(history, 9, "any") is None


@given(st.integers(0, 30))
def test_the_mark_stands_in_its_cell_and_moves_nothing(column: int) -> None:
    line = row("100|", "⣿⣿⣿⣿⣿⣿", "  71%")
    marked = timeline.marked(line, column, ASCII)
    assert width_of(marked) == width_of(line)
    if column < width_of(line):
        assert plain(marked)[column] == "|"
    else:
        assert marked == line


@pytest.mark.parametrize("width", [20, 60, 118])
def test_the_graph_of_rates_fits(width: int) -> None:
    history = history_of(busy_script(), 86_400)
    rows = timeline.rate_graph(history, width, 4, ASCII)
    assert [width_of(line) for line in rows] == [width] * 4
    assert "41.3 tok/s" in plain(rows[0])


def test_memory_by_model() -> None:
    view = DeviceView("GPU0", GPUS[0], DeviceHistory())
    models = (running("qwen3:14b-q4_K_M"), running("llama3.2:3b", size_bytes=10**9, size_vram_bytes=10**9))
    stack, legend = model_rows(view, models, 60)
    assert width_of(stack) == 60
    assert plain(legend).index("qwen3") < plain(legend).index("llama3.2")
    assert model_rows(view, (), 60) == []
    assert "~" in plain(model_rows(view, models, 60, share=0.5)[1])
