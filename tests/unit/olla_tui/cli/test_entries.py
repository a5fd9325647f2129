"""Lines typed into a conversation, and what they amount to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.cli.entries import Entry, EntryReader


def entries(*lines: str) -> list[Entry]:
    reader = EntryReader()
    return [entry for line in lines if (entry := reader.feed(line)) is not None]


@pytest.mark.parametrize(
    ("lines", "entry"),
    [
        (("Hi there",), Entry("prompt", "Hi there")),
        (('"""one line"""',), Entry("prompt", "one line")),
        (('"""a', "b", 'c"""'), Entry("prompt", "a\nb\nc")),
        (('"""', "a", '"""'), Entry("prompt", "\na\n")),
        (('"""a\nb"""',), Entry("prompt", "a\nb")),
        (("/bye",), Entry("command", "/bye")),
        (("/set system  Be  brief",), Entry("system", "Be  brief")),
        (('/set system """a', 'b"""'), Entry("system", "a\nb")),
        (('/set system """', "a", "", 'b"""'), Entry("system", "a\n\nb")),
        (("/set verbose",), Entry("command", "/set verbose")),
        (
            ("/usr/bin is a path\nand this is pasted",),
            Entry("prompt", "/usr/bin is a path\nand this is pasted"),
        ),
    ],
)
def test_one_entry(lines: tuple[str, ...], entry: Entry) -> None:
    assert entries(*lines) == [entry]


def test_nothing_typed_is_nothing() -> None:
    assert entries("", '""""""') == []


def test_an_open_entry_can_be_dropped() -> None:
    reader = EntryReader()
    assert reader.feed('"""lost') is None
    was_open = reader.is_open
    reader.drop()
    assert (was_open, reader.is_open) == (True, False)
    assert reader.feed("kept") == Entry("prompt", "kept")


@given(st.lists(st.text("ab /", max_size=5), min_size=1, max_size=5))
def test_between_the_quotes_everything_is_text(lines: list[str]) -> None:
    first, *rest = lines
    typed = [f'"""{first}', *rest]
    typed[-1] += '"""'
    text = "\n".join(lines)
    assert entries(*typed) == ([Entry("prompt", text)] if text else [])
