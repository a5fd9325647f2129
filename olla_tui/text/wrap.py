"""Wrap styled text at a width in cells.

A line is a list of `rich.segment.Segment`; widths are cells, so wide characters count two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from unicodedata import category

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style

Span = tuple[str, Style]
"""A text in one style; "\\n" in it ends a line."""

Line = list[Segment]

_WIDE = (
    "\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60"
)
_WORD = re.compile(rf"[ \t]*(?:[{_WIDE}]|[^\s{_WIDE}]+)|\s+")


def wrap(spans: Sequence[Span], width: int) -> list[Line]:
    """Wrap at words; a word longer than a line is broken. White space at a break is dropped.

    Args:
        spans: the text; an empty one makes one empty line.
        width: cells per line, at least 1.
    """
    text = "".join(piece for piece, _ in spans)
    return _slice(spans if text.isascii() else _whole(spans), _break(text, max(width, 1)))


def wrap_code(spans: Sequence[Span], width: int) -> list[Line]:
    """Wrap at the width, wherever that is; all white space stays. The text has no line ends."""
    text = "".join(piece for piece, _ in spans)
    width = max(width, 1)
    if len(text) <= width and text.isascii():
        return [[Segment(piece, style) for piece, style in spans if piece]]
    ranges, start = list[tuple[int, int]](), 0
    for piece in _chop(text, width):
        ranges.append((start, start + len(piece)))
        start += len(piece)
    return _slice(spans if text.isascii() else _whole(spans), ranges or [(0, 0)])


def _whole(spans: Sequence[Span]) -> list[Span]:
    """The spans with no border inside what a terminal draws as one character; its first part styles it."""
    out: list[Span] = []
    for text, style in spans:
        at = 0
        while out and at < len(text) and _joins(out[-1][0][-1:], text[at]):
            out[-1] = (out[-1][0] + text[at], out[-1][1])
            at += 1
        if at < len(text):
            out.append((text[at:], style))
    return out


def _joins(before: str, char: str) -> bool:
    if char.isascii():
        return False
    modifies = category(char) in ("Mn", "Me", "Cf") or "\U0001f3fb" <= char <= "\U0001f3ff"
    return before != "\n" and (modifies or before == "\u200d")


def _chop(text: str, width: int) -> list[str]:
    if text.isascii():
        return [text[at : at + width] for at in range(0, len(text), width)]
    return chop_cells(text, width)


def _break(text: str, width: int) -> list[tuple[int, int]]:
    """Ranges of characters, one per line."""
    ranges: list[tuple[int, int]] = []
    base = 0
    for line in text.split("\n"):
        if len(line) <= width and line.isascii():
            ranges.append((base, base + len(line.rstrip())))
        else:
            ranges += ((base + start, base + end) for start, end in _break_line(line, width))
        base += len(line) + 1
    return ranges


def _break_line(line: str, width: int) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    measure = len if line.isascii() else cell_len
    start = end = used = 0  # of the open line: characters [start, end), cells used
    for match in _WORD.finditer(line):
        word = match[0].lstrip()
        if not word:
            continue
        cells = measure(match[0])
        if used + cells <= width and (used or not ranges):
            end, used = match.end(), used + cells
            continue
        if used:
            ranges.append((start, end))
        start, end, used = match.end() - len(word), match.end(), measure(word)
        if used > width:
            *full, last = _chop(word, width)
            for piece in full:
                ranges.append((start, start + len(piece)))
                start += len(piece)
            used = measure(last)
    ranges.append((start, end))
    return ranges


def _slice(spans: Sequence[Span], ranges: Iterable[tuple[int, int]]) -> list[Line]:
    """Cut the spans at ascending ranges of characters of their joined text."""
    lines: list[Line] = []
    index, offset = 0, 0  # the span at hand, and where it begins
    for start, end in ranges:
        line: Line = []
        while index < len(spans) and offset + len(spans[index][0]) <= start and offset < start:
            offset += len(spans[index][0])
            index += 1
        at, begin = index, offset
        while at < len(spans) and begin < end:
            piece, style = spans[at]
            if cut := piece[max(start - begin, 0) : end - begin]:
                line.append(Segment(cut, style))
            begin += len(piece)
            at += 1
        lines.append(line)
    return lines


def cells(line: Iterable[Segment]) -> int:
    """Width of a line in cells."""
    return sum(cell_len(segment.text) for segment in line)


def fit(text: str, width: int) -> str:
    """A text of at most `width` cells; what is cut ends in an ellipsis."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    return (chop_cells(text, width - 1) or [""])[0] + "…"


def join(line: Iterable[Segment]) -> Line:
    """Join neighbours of one style; fewer styles mean fewer bytes to the terminal."""
    out: Line = []
    for segment in line:
        if out and out[-1].style == segment.style:
            out[-1] = Segment(out[-1].text + segment.text, segment.style)
        elif segment.text:
            out.append(segment)
    return out
