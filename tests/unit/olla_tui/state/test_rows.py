from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from olla_tui.state.rows import Span, action_at, fit, fit_row, join_ends, plain, printable, row, width_of

texts = st.text(alphabet=st.sampled_from("abc …日本é\t\x1b[31m"), max_size=30)


@given(texts, st.integers(0, 40), st.sampled_from(["left", "right"]))
def test_fitted_text_has_exactly_the_width(text, width, align):
    assert cell_len(fit(text, width, align)) == width


spans_of_rows = st.lists(st.builds(Span, texts.map(printable), st.sampled_from(["", "bad"])), max_size=6)


@given(spans_of_rows, st.integers(0, 40))
def test_fitted_rows_have_exactly_the_width(spans, width):
    assert width_of(fit_row(spans, width)) == width
    assert width_of(join_ends(spans, (Span("end"),), width)) == width


def test_cutting_shows_an_ellipsis_and_control_characters_never_pass():
    assert fit("a long name", 7) == "a long…"
    assert "\x1b" not in fit("\x1b[31mred", 10)


def test_right_alignment_pads_at_the_left():
    assert fit("7", 3, "right") == "  7"
    assert plain(fit_row((Span("7"),), 3, "right")) == "  7"


def test_clicks_find_the_action_of_the_span_they_hit():
    line = row("ab", Span("日", action="wide"), Span("c", action="last"))
    assert [action_at(line, x) for x in range(6)] == ["", "", "wide", "wide", "last", ""]
