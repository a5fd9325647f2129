"""Blocks to lines: what they look like, and that pieces cannot change it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.segment import Segment
from rich.style import Style

from olla_tui.text import markdown as markdown_module
from olla_tui.text.blocks import Block, BlockKind, split
from olla_tui.text.markdown import lay_out
from olla_tui.text.styles import ASCII_GLYPHS, TextStyles
from olla_tui.text.table import column_widths
from olla_tui.text.wrap import Line, cells
from olla_tui.widgets.transcript_flow import FlowLayout, TextFlow
from tests.support.markdown_text import cuts, markdown

STYLES = TextStyles(
    text=Style(color="white"),
    heading=Style(color="red", bold=True),
    code=Style(color="green"),
    link=Style(color="blue", underline=True),
    tokens={"keyword": Style(color="magenta")},
)


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def drawn(text: str, width: int = 40, styles: TextStyles = STYLES) -> list[str]:
    return [line for block in split(text) for line in texts(lay_out(block, width, styles))]


def styled(text: str, piece: str) -> Style:
    """The style of the one segment with exactly this text."""
    lines = [line for block in split(text) for line in lay_out(block, 60, STYLES)]
    (found,) = {segment.style for line in lines for segment in line if segment.text == piece}
    assert found is not None
    return found


def test_nested_lists_have_their_own_marks_and_indents() -> None:
    assert drawn("- a\n  - b\n    1. c\n       d") == ["• a", "  ◦ b", "    1. c", "       d"]


def test_list_numbers_go_on_across_blocks() -> None:
    assert drawn("9. a\n9. b") == ["9. a", "10. b"]


def test_a_table_aligns_its_columns() -> None:
    table = "| name | size | note |\n|:--|--:|:-:|\n| a | 1 | x |\n| long name | 1024 | yes |"
    assert drawn(table) == [
        "name      │ size │ note",
        "──────────┼──────┼─────",
        "a         │    1 │  x",
        "long name │ 1024 │ yes",
    ]


def test_a_table_wraps_in_narrow_places_and_falls_apart_in_tiny_ones() -> None:
    table = "| a | b |\n|-|-|\n| one two | three four |"
    assert drawn(table, 12) == ["a    │ b", "─────┼──────", "one  │ three", "two  │ four"]
    assert drawn(table, 6) == ["a", "b", "one", "two", "three", "four"]


def test_column_widths_leave_narrow_columns_alone() -> None:
    assert column_widths([3, 50, 40], 63) == [3, 30, 30]
    assert column_widths([3, 5], 63) == [3, 5]


def test_a_fence_has_a_title_and_keeps_its_code() -> None:
    assert drawn("```python x\nif a:\n\tb\n```", 30) == [
        "┌─ python ────────── y copy ─┐",
        "│ if a:                      │",
        "│     b                      │",
        "└────────────────────────────┘",
    ]


def test_a_fence_without_a_language_and_an_open_one() -> None:
    assert drawn("```\nx", 30)[0].startswith("┌─ text ─")
    assert len(drawn("```\nx", 30)) == 2


def test_ascii_glyphs_leave_nothing_else() -> None:
    text = "- a\n\n> q\n\n```\nx\n```\n\n| a | b |\n|-|-|\n| 1 | 2 |\n\n---"
    assert all(line.isascii() for line in drawn(text, 40, TextStyles(glyphs=ASCII_GLYPHS)))


def test_styles() -> None:
    assert styled("# Big", "Big") == STYLES.heading
    assert styled("a `b` c", "b") == STYLES.code
    assert styled("a **b** c", "b") == STYLES.text + STYLES.strong
    assert styled("a ***b*** c", "b") == STYLES.text + STYLES.emphasis + STYLES.strong
    assert styled("```python\nreturn x\n```", "return").color == STYLES.token("keyword").color


def test_a_link_shows_where_it_leads() -> None:
    assert drawn("[here](http://a.example/x)") == ["here <http://a.example/x>"]
    assert drawn("<http://a.example>") == ["http://a.example"]


def test_markup_and_html_are_text() -> None:
    assert drawn("[red]x[/red] <b>y</b> [@click=app.quit]z[/]") == [
        "[red]x[/red] <b>y</b>",
        "[@click=app.quit]z[/]",
    ]


def test_single_line_ends_are_kept() -> None:
    assert drawn("roses are red\nviolets are blue") == ["roses are red", "violets are blue"]


@pytest.mark.parametrize(
    "text", ["plain words here", "two\nlines", "dots... and (brackets)", "  padded", "a - b + c"]
)
def test_the_short_way_for_plain_text_gives_what_the_parser_gives(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = Block(BlockKind.TEXT, text)
    short = texts(lay_out(block, 20, STYLES))
    monkeypatch.setattr(markdown_module, "_is_plain", lambda _source: False)
    assert texts(lay_out(block, 20, STYLES)) == short


@given(markdown, st.integers(1, 60))
def test_no_line_is_wider_than_the_width(text: str, width: int) -> None:
    for block in split(text):
        for line in lay_out(block, width, STYLES):
            assert cells(line) <= max(width, 2)  # a wide character needs two


@given(cuts(markdown), st.sampled_from([12, 40, 100]))
def test_pieces_never_change_the_lines(text_and_pieces: tuple[str, list[str]], width: int) -> None:
    whole, pieces = text_and_pieces
    flow = TextFlow(ended=False)
    layout = FlowLayout(flow, width, STYLES)
    for piece in pieces:
        flow.feed(piece)
        layout.update()
    flow.end()
    layout.update()
    at_once = FlowLayout(TextFlow(whole), width, STYLES)
    assert layout.lines == at_once.lines
    assert layout.spans == at_once.spans


def test_a_long_fence_in_pieces_is_coloured_as_a_whole_one() -> None:
    code = "\n".join(f'def f_{at}(x):\n    """Doc\n\n    of {at}."""\n    return {at}\n' for at in range(60))
    text = f"```python\n{code}\n```\n"
    flow = TextFlow(ended=False)
    layout = FlowLayout(flow, 60, STYLES)
    for start in range(0, len(text), 7):
        flow.feed(text[start : start + 7])
        layout.update()
    flow.end()
    layout.update()
    assert layout.lines == FlowLayout(TextFlow(text), 60, STYLES).lines


def test_a_growing_text_does_not_lay_out_its_finished_blocks_again() -> None:
    flow = TextFlow(ended=False)
    layout = FlowLayout(flow, 40, STYLES)
    flow.feed("one\n\ntwo\n\nthr")
    layout.update()
    first = layout.lines[0]
    flow.feed("ee")
    layout.update()
    assert layout.lines[0] is first
    assert layout.lines[-1] == [Segment("three", STYLES.text)]


@given(markdown)
def test_the_parser_is_not_handed_a_reason_to_fail(text: str) -> None:
    parser = MarkdownIt("commonmark", {"html": False})
    for block in split(text):
        parser.parse(block.source)
        lay_out(block, 40, STYLES)
