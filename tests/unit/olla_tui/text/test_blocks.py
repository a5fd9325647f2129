"""Splitting Markdown into blocks, in one piece and in many."""

from __future__ import annotations

import pytest
from hypothesis import given

from olla_tui.text.blocks import Block, BlockKind, BlockSplitter, split
from tests.support.markdown_text import cuts, markdown

TEXT, ITEM, FENCE = BlockKind.TEXT, BlockKind.ITEM, BlockKind.FENCE


def shape(text: str) -> list[tuple[BlockKind, str]]:
    return [(block.kind, block.source) for block in split(text)]


def test_blank_lines_part_paragraphs() -> None:
    assert split("a\nb\n\n\nc") == [Block(TEXT, "a\nb"), Block(TEXT, "c", gap=True)]


def test_a_fence_holds_its_code_without_marks_and_blank_lines() -> None:
    assert split("say\n```python x=1\na\n\nb\n```\nafter") == [
        Block(TEXT, "say"),
        Block(FENCE, "a\n\nb", info="python x=1"),
        Block(TEXT, "after"),
    ]


def test_a_fence_without_an_end_is_not_closed() -> None:
    assert split("```\na") == [Block(FENCE, "a", closed=False)]


@pytest.mark.parametrize("inside", ["```", "``", "~~~~", "    ````", "````x"])
def test_only_a_long_enough_mark_ends_a_fence(inside: str) -> None:
    assert shape(f"````\n{inside}\n````") == [(FENCE, inside)]


def test_code_in_an_indented_fence_loses_the_indent() -> None:
    assert shape("  ```\n  a\n    b\n c\n  ```") == [(FENCE, "a\n  b\nc")]


def test_items_are_blocks_with_numbers_counted_from_the_first() -> None:
    assert split("3. a\n3. b\n\n3. c") == [
        Block(ITEM, "3. a", number=3),
        Block(ITEM, "3. b", number=4),
        Block(ITEM, "3. c", gap=True, number=5),
    ]


def test_an_item_keeps_what_is_indented_below_it() -> None:
    text = "- a\n\n  para\n\n  ```\n  x\n\n  y\n  ```\n- b"
    assert shape(text) == [(ITEM, text.rsplit("\n", 1)[0]), (ITEM, "- b")]


def test_another_marker_begins_another_list() -> None:
    assert [block.number for block in split("1. a\n1) b\n- c")] == [1, 1, -1]


def test_a_line_below_an_item_continues_its_paragraph() -> None:
    assert shape("- a\nlazy\n\nnot lazy") == [(ITEM, "- a\nlazy"), (TEXT, "not lazy")]


def test_headings_and_rules_stand_alone() -> None:
    assert shape("text\n# H\nmore\n***\nend") == [
        (TEXT, "text"),
        (TEXT, "# H"),
        (TEXT, "more"),
        (TEXT, "***"),
        (TEXT, "end"),
    ]


def test_an_underline_makes_its_paragraph_a_heading() -> None:
    assert shape("Title\n---\nText") == [(TEXT, "Title\n---\nText")]


def test_a_number_other_than_one_does_not_interrupt_a_paragraph() -> None:
    assert shape("born in\n1986. And\n1. item") == [(TEXT, "born in\n1986. And"), (ITEM, "1. item")]


def test_the_tail_shows_the_unfinished_line() -> None:
    splitter = BlockSplitter()
    splitter.feed("done\n\nnot do")
    assert splitter.closed == [Block(TEXT, "done")]
    assert splitter.tail() == [Block(TEXT, "not do", gap=True)]


def test_the_tail_hides_the_beginning_of_an_end_mark() -> None:
    splitter = BlockSplitter()
    splitter.feed("```\ncode\n``")
    assert splitter.tail() == [Block(FENCE, "code", closed=False)]
    splitter.feed("x\n")
    assert splitter.tail() == [Block(FENCE, "code\n``x", closed=False)]


@given(cuts(markdown))
def test_pieces_never_change_the_blocks(text_and_pieces: tuple[str, list[str]]) -> None:
    whole, pieces = text_and_pieces
    splitter = BlockSplitter()
    for piece in pieces:
        closed_before = list(splitter.closed)
        splitter.feed(piece)
        assert splitter.closed[: len(closed_before)] == closed_before
        splitter.tail()
    splitter.finish()
    assert splitter.closed == split(whole)
    assert splitter.tail() == []


@given(markdown)
def test_no_line_with_text_is_lost(text: str) -> None:
    kept = "\n".join(block.source for block in split(text))
    marks = ("`", "~")
    for line in text.split("\n"):
        if line.strip() and line.strip()[0] not in marks:
            assert line.strip() in kept


@given(markdown)
def test_the_tail_of_everything_is_what_finishing_gives(text: str) -> None:
    splitter = BlockSplitter()
    splitter.feed(text + "\n")
    seen = [*splitter.closed, *splitter.tail()]
    splitter.finish()
    assert seen == splitter.closed
