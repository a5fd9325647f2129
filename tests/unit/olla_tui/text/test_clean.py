"""No control of the terminal survives, in one piece or in many."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given

from olla_tui.text.clean import MAX_STRING_CHARS, Cleaner, clean, clean_line
from tests.support.markdown_text import cuts, dirty_text


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x9b2Jclear", "clear"),
        ("\x1bP1$r0m\x1b\\x", "x"),
        ("\x1bcreset", "reset"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b]0;never ended\nnext", "\nnext"),
        ("bell\x07\x00\x08\x7f", "bell"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\u2028b", "a\nb"),
        ("lone \ud800", "lone �"),
    ],
)
def test_known_sequences(dirty: str, cleaned: str) -> None:
    assert clean(dirty) == cleaned


def test_a_string_without_an_end_swallows_a_bounded_part() -> None:
    text = "\x1b]0;" + "x" * (MAX_STRING_CHARS + 10)
    assert 0 < len(clean(text)) < 20
    cleaner = Cleaner()
    assert "".join(cleaner.feed(char) for char in text) + cleaner.finish() == clean(text)


def test_one_line_stays_one_line() -> None:
    assert clean_line("a\nb\tc\x1b[2J") == "a b c"


@given(cuts(dirty_text))
@example(("\x1b]8;;x\x1b\\y", ["\x1b]8;;x\x1b", "\\y"]))
@example(("a\r\nb", ["a\r", "\nb"]))
def test_pieces_never_change_the_text(text_and_pieces: tuple[str, list[str]]) -> None:
    whole, pieces = text_and_pieces
    cleaner = Cleaner()
    assert "".join(map(cleaner.feed, pieces)) + cleaner.finish() == clean(whole)


@given(dirty_text)
def test_nothing_that_controls_is_left(text: str) -> None:
    cleaned = clean(text)
    assert all(char in "\t\n" or unicodedata.category(char) not in ("Cc", "Cs") for char in cleaned)
    assert clean(cleaned) == cleaned
