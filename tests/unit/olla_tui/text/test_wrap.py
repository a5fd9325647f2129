"""Wrapping keeps every word and never passes the width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from rich.style import Style

from olla_tui.text.wrap import Line, cells, fit, join, wrap, wrap_code

RED, BLUE = Style(color="red"), Style(color="blue")
words = st.lists(
    st.sampled_from(["a", "word", "longer-word", "漢字", "👩‍👩‍👧", "é", " ", "\n", "supercalifragilistic"])
)
spans = st.lists(st.tuples(words.map(" ".join), st.sampled_from([RED, BLUE])), max_size=5)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(segment.text for segment in line) for line in lines]


def test_breaks_between_words_and_inside_long_ones() -> None:
    assert texts(wrap([("one two three", RED)], 7)) == ["one two", "three"]
    assert texts(wrap([("x abcdefghij", RED)], 4)) == ["x", "abcd", "efgh", "ij"]


def test_a_word_of_two_styles_is_not_broken_between_them() -> None:
    lines = wrap([("one tw", RED), ("oh", BLUE), (" x", RED)], 6)
    assert lines == [[Segment("one", RED)], [Segment("tw", RED), Segment("oh", BLUE), Segment(" x", RED)]]


def test_wide_characters_break_anywhere() -> None:
    assert texts(wrap([("漢字漢字", RED)], 5)) == ["漢字", "漢字"]


def test_an_empty_text_is_one_empty_line() -> None:
    assert wrap([], 10) == [[]]
    assert wrap_code([], 10) == [[]]


def test_code_keeps_its_white_space() -> None:
    assert texts(wrap_code([("    a   b", RED)], 6)) == ["    a ", "  b"]


@given(spans, st.integers(2, 30))
def test_no_line_is_too_wide_and_no_letter_is_lost(pieces: list[tuple[str, Style]], width: int) -> None:
    lines = wrap(pieces, width)
    assert all(cells(line) <= width for line in lines)
    source = "".join(text for text, _ in pieces)
    assert "".join("".join(texts(lines)).split()) == "".join(source.split())


@given(spans, st.integers(2, 30))
def test_styles_stay_with_their_letters(pieces: list[tuple[str, Style]], width: int) -> None:
    def painted(runs: list[tuple[str, Style | None]]) -> list[tuple[str, Style | None]]:
        return [(char, style) for text, style in runs for char in text if not char.isspace()]

    wrapped = [(segment.text, segment.style) for line in wrap(pieces, width) for segment in line]
    assert painted(wrapped) == painted([(text, style) for text, style in pieces])


@given(st.text(st.sampled_from("ab 漢é"), max_size=40), st.integers(2, 12))
def test_code_loses_nothing(text: str, width: int) -> None:
    lines = wrap_code([(text, RED)], width)
    assert "".join(texts(lines)) == text
    assert all(cells(line) <= width for line in lines)


@given(st.text(st.sampled_from("ab漢👩é"), max_size=20), st.integers(1, 12))
def test_fit_is_no_wider_than_asked(text: str, width: int) -> None:
    assert cells([Segment(fit(text, width))]) <= width


def test_join_makes_one_segment_per_style() -> None:
    assert join([Segment("a", RED), Segment("b", RED), Segment("", BLUE), Segment("c", BLUE)]) == [
        Segment("ab", RED),
        Segment("c", BLUE),
    ]
