"""Lay out a table: as wide as it needs to be, cells wrapped where the width is short."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment

from olla_tui.text.styles import TextStyles
from olla_tui.text.wrap import Line, Span, cells, wrap

MIN_COLUMN_CELLS = 3


def column_widths(natural: Sequence[int], available: int) -> list[int]:
    """Share `available` cells among columns: narrow ones get what they want, wide ones the same each."""
    widths = list(natural)
    if sum(widths) <= available:
        return widths
    left, remaining = available, sorted(range(len(widths)), key=lambda at: widths[at])
    for done, at in enumerate(remaining):
        share = left // (len(remaining) - done)
        widths[at] = max(min(widths[at], share), 1)
        left = max(left - widths[at], 0)
    return widths


def lay_out_table(
    rows: Sequence[Sequence[Sequence[Span]]], aligns: Sequence[str], width: int, styles: TextStyles
) -> list[Line]:
    """Lines of a table whose first row is its header.

    Args:
        rows: cells as spans; every row has as many as the header.
        aligns: "left", "right", "center" or "" per column.
        width: cells available; too little for a column each makes one cell per line instead.
    """
    n_columns = len(aligns)
    if not rows or not n_columns:
        return []
    natural = [
        max(max((_natural_width(row[at]) for row in rows if at < len(row)), default=0), 1)
        for at in range(n_columns)
    ]
    available = width - 3 * (n_columns - 1)
    if available < n_columns * MIN_COLUMN_CELLS and available < sum(natural):
        return [line for row in rows for cell in row for line in wrap(cell, width)]
    widths = column_widths(natural, available)
    lines = _row(rows[0], widths, aligns, styles)
    glyphs = styles.glyphs
    rule = f"{glyphs.horizontal}{glyphs.cross}{glyphs.horizontal}".join(
        glyphs.horizontal * cells_wide for cells_wide in widths
    )
    lines.append([Segment(rule, styles.muted)])
    for row in rows[1:]:
        lines += _row(row, widths, aligns, styles)
    return lines


def _natural_width(cell: Sequence[Span]) -> int:
    return max(cell_len(line) for line in "".join(text for text, _ in cell).split("\n"))


def _row(
    row: Sequence[Sequence[Span]], widths: Sequence[int], aligns: Sequence[str], styles: TextStyles
) -> list[Line]:
    columns = [wrap(row[at] if at < len(row) else [], width) for at, width in enumerate(widths)]
    bar = Segment(f" {styles.glyphs.vertical} ", styles.muted)
    lines: list[Line] = []
    for at in range(max(len(column) for column in columns)):
        line: Line = []
        for number, column in enumerate(columns):
            if number:
                line.append(bar)
            cell = column[at] if at < len(column) else []
            line += _aligned(cell, widths[number], aligns[number], styles)
        lines.append(line)
    return lines


def _aligned(cell: Line, width: int, align: str, styles: TextStyles) -> Line:
    space = width - cells(cell)
    left = {"right": space, "center": space // 2}.get(align, 0)
    return [Segment(" " * left, styles.text), *cell, Segment(" " * (space - left), styles.text)]
