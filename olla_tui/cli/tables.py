"""Tables without rules, in the layout of Ollama's. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

CELL_WIDTH = 30
"""A cell wraps at this many columns, on spaces alone."""

PADDING = " " * 4


def text_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(char_width, text))


def char_width(char: str) -> int:
    """Columns that a character takes: 2 for wide ones, 0 for marks that stand on the one before."""
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, cell_width: int = CELL_WIDTH) -> str:
    """Lines of a table, each ended by a line break. Without a header there is no line for it.

    Every cell is padded to its column and followed by four spaces, the last one of the header by one.
    """
    cells = [[_wrap(cell, cell_width) for cell in row] for row in rows]
    n_columns = max([len(header), *map(len, rows)], default=0)
    widths = [text_width(name) for name in header] + [0] * (n_columns - len(header))
    for row in cells:
        for column, lines in enumerate(row):
            for line in lines:
                widths[column] = max(widths[column], text_width(line))
    out = []
    if header:
        out.append(
            PADDING.join(_pad(name, width) for name, width in zip(header, widths, strict=False)) + " \n"
        )
    for row in cells:
        padded = row + [[""]] * (n_columns - len(row))
        for index in range(max(map(len, padded), default=0)):
            texts = [lines[index] if index < len(lines) else "" for lines in padded]
            out.append(PADDING.join(map(_pad, texts, widths)))
            out.append(f"{PADDING}\n" if texts else "\n")
    return "".join(out)


def _pad(text: str, width: int) -> str:
    return text.ljust(width + len(text) - text_width(text))


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns where spaces allow it; line breaks of the text stay."""
    if text_width(text) <= width and "\n" not in text:
        return [text]
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if line and text_width(longer) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines
