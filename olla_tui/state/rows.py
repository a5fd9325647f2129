"""Lines of styled text as plain data: what view models hand to the widgets that draw them.

A row is a tuple of spans. A span names a *role* (a key of the theme, such as "muted" or "bad"), never a
colour, and may name an action that a click on it starts. Widths are terminal cells: wide characters count 2.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Literal, NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size

Align = Literal["left", "right"]

ELLIPSIS = "…"


class Span(NamedTuple):
    """A run of text in one role.

    Attributes:
        role: key of the theme's roles; "" is the ordinary text colour.
        action: id of the action that a click starts, "" for none.
    """

    text: str
    role: str = ""
    action: str = ""


Row = tuple[Span, ...]


def row(*parts: str | Span) -> Row:
    """A row from spans and plain strings; empty ones are left out."""
    spans = (part if isinstance(part, Span) else Span(part) for part in parts)
    return tuple(span for span in spans if span.text)


def width_of(spans: Iterable[Span]) -> int:
    """Cells that the spans take."""
    return sum(cell_len(span.text) for span in spans)


def printable(text: str) -> str:
    """The text on one line, without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)


def fit(text: str, width: int, align: Align = "left") -> str:
    """The text in exactly `width` cells: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    text = printable(text)
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + ELLIPSIS
    padding = " " * (width - size)
    return padding + text if align == "right" else text + padding


def folded(text: str, width: int) -> list[str]:
    """A line's text in lines of at most `width` cells, broken at blanks where there are any."""
    text = printable(text.expandtabs(4))
    if cell_len(text) <= width:
        return [text]
    lines = textwrap.wrap(text, max(2, width), drop_whitespace=False, break_on_hyphens=False)
    return [piece for line in lines for piece in chop_cells(line.rstrip(), max(2, width)) or [""]]


def fit_row(spans: Iterable[Span], width: int, align: Align = "left") -> Row:
    """The spans in exactly `width` cells."""
    kept: list[Span] = []
    left = width
    for span in spans:
        size = cell_len(span.text)
        if size > left:
            if left > 0:
                kept.append(span._replace(text=fit(span.text, left)))
            return tuple(kept)
        kept.append(span)
        left -= size
    if left <= 0:
        return tuple(kept)
    padding = Span(" " * left)
    return (padding, *kept) if align == "right" else (*kept, padding)


def join_ends(left: Iterable[Span], right: Iterable[Span], width: int) -> Row:
    """`left` at the left edge and `right` at the right edge; the left part is cut when both do not fit."""
    right = tuple(right)
    room = max(0, width - width_of(right))
    return fit_row((*fit_row(left, room), *right), width)


def plain(spans: Iterable[Span]) -> str:
    """The text of the spans."""
    return "".join(span.text for span in spans)


def action_at(spans: Iterable[Span], x: int) -> str:
    """Action of the span that covers cell `x`, "" when there is none."""
    start = 0
    for span in spans:
        end = start + cell_len(span.text)
        if start <= x < end:
            return span.action
        start = end
    return ""
