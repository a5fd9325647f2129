"""Word wrap of text that comes in pieces, seen through a terminal."""

from __future__ import annotations

import pyte
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.cli.wrap import MARGIN, WordWrapper


def shown(pieces: list[str], width: int) -> list[str]:
    """Lines on a terminal of that width."""
    screen = pyte.Screen(width, 60)
    stream = pyte.Stream(screen)
    wrapper = WordWrapper()
    for piece in pieces:
        stream.feed(wrapper.feed(piece, width).replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display]


words = st.lists(st.text("abcde", min_size=1, max_size=9), max_size=30)


@given(words, st.integers(20, 50), st.integers(1, 7))
def test_words_stay_whole_and_in_order(texts: list[str], width: int, n_chars: int) -> None:
    text = " ".join(texts)
    pieces = [text[index : index + n_chars] for index in range(0, len(text), n_chars)]
    lines = shown(pieces, width)
    assert " ".join(line for line in lines if line).split() == texts
    assert all(len(line) <= width - MARGIN for line in lines)


@given(words, st.integers(1, 7))
def test_pieces_do_not_matter(texts: list[str], n_chars: int) -> None:
    text = " ".join(texts)
    pieces = [text[index : index + n_chars] for index in range(0, len(text), n_chars)]
    assert shown(pieces, 30) == shown([text], 30)


def test_lines_of_the_text_stay() -> None:
    assert shown(["ab\ncd\n\nef"], 40)[:4] == ["ab", "cd", "", "ef"]


def test_a_word_longer_than_the_line_is_cut() -> None:
    lines = shown(["x" * 50], 20)
    assert "".join(lines) == "x" * 50
    assert max(map(len, lines)) <= 20 - MARGIN


def test_no_width_is_no_wrapping() -> None:
    assert WordWrapper().feed("word " * 40, 0) == "word " * 40
