"""Hints in headers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.wire.headers import HINT_HEADER, MAX_HINT_CHARS, hint_headers, read_hint


@given(st.text(min_size=1, max_size=MAX_HINT_CHARS).filter(lambda hint: hint.isprintable()))
def test_a_hint_reads_back(hint: str) -> None:
    ((name, value),) = hint_headers(hint)
    assert name == HINT_HEADER
    assert value.isascii()
    assert value.isprintable()
    assert read_hint(value) == hint


@given(st.text(min_size=1, alphabet=st.characters()))
def test_no_hint_breaks_out_of_its_header(hint: str) -> None:
    ((_, value),) = hint_headers(hint)
    assert value.isascii()
    assert value.isprintable()


def test_no_hint_is_no_header() -> None:
    assert hint_headers("") == ()
    assert read_hint(None) == read_hint("") == ""
