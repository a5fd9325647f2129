"""Which parts of the screen a terminal of a given size shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from olla_tui.state.rows import Row, Span, fit_row, width_of

Size = Literal["none", "tiny", "narrow", "wide", "huge"]

MIN_COLUMNS = 40
MIN_ROWS = 10
NARROW_FROM = 60
WIDE_FROM = 100
HUGE_FROM = 160
TALL_FROM = 30


@dataclass(frozen=True)
class Layout:
    """What is on the screen.

    Attributes:
        size: "none" means that the terminal is too small for anything but one sentence.
        rail: width in columns of the rail at the right, 0 without one.
        library: width in columns of the list of models at the left, 0 without one.
    """

    size: Size
    tall: bool
    rail: int = 0
    library: int = 0


def choose_layout(columns: int, rows: int) -> Layout:
    """The layout for a terminal of this size in cells."""
    tall = rows >= TALL_FROM
    if columns < MIN_COLUMNS or rows < MIN_ROWS:
        return Layout("none", tall)
    if columns < NARROW_FROM:
        return Layout("tiny", tall)
    if columns < WIDE_FROM:
        return Layout("narrow", tall)
    if columns < HUGE_FROM:
        return Layout("wide", tall, rail=40)
    return Layout("huge", tall, rail=50, library=44)


def too_small_rows(width: int) -> list[Row]:
    """What a terminal shows that is too small: one line, or two where it is narrow."""
    need, key = Span(f"olla needs {MIN_COLUMNS}x{MIN_ROWS}", "warn"), Span("q quits", "warn")
    one = (need, Span("; ", "warn"), key)
    rows: list[Row] = [one] if width_of(one) <= width else [(need,), (key,)]
    return [fit_row(line, width) for line in rows]
