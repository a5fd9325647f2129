"""Texts made of the parts that parsers look for, and any cut of a text into pieces."""

from __future__ import annotations

from hypothesis import strategies as st


def marked_texts(*marks: str) -> st.SearchStrategy[str]:
    """Texts in which the marks, halves of them and ordinary characters meet."""
    halves = [mark[: len(mark) // 2] for mark in marks] + [mark[len(mark) // 2 :] for mark in marks]
    parts = st.sampled_from([*marks, *halves, "a", " ", "\n", "<", "é", "{", "}", '"', "[", "]", ","])
    return st.lists(parts, max_size=14).map("".join)


def cut(text: str, data: st.DataObject) -> list[str]:
    """The text in pieces, cut where the data says."""
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
