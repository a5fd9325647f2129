"""Line filters for terminals that show less: no colours, and nothing but ASCII."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter


class WithoutColor(LineFilter):
    """Takes every colour away; a background that stood out becomes reverse video."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments in the terminal's own two colours."""
        return [Segment(text, style and without_color(style), control) for text, style, control in segments]


@lru_cache(1024)
def without_color(style: Style) -> Style:
    """The style in the terminal's own two colours; bold and the like stay."""
    stands_out = style.bgcolor is not None and not style.bgcolor.is_default
    return style + Style(color="default", bgcolor="default", reverse=bool(style.reverse) != stands_out)


class OnlyAscii(LineFilter):
    """Draws lines, blocks and marks with ASCII characters, each in as many cells as before.

    Attributes:
        letters: also those of other scripts, for a terminal that can show none of them.
    """

    def __init__(self, *, letters: bool) -> None:
        super().__init__()
        self.letters = letters

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with what stands in for their characters."""
        if all(text.isascii() for text, _, _ in segments):
            return segments
        return [Segment(ascii_text(text, self.letters), style, control) for text, style, control in segments]


@lru_cache(4096)
def ascii_text(text: str, letters: bool) -> str:
    """A text with ASCII in the place of drawing characters, and of all other letters where asked for."""
    if text.isascii():
        return text
    return "".join(char if char.isascii() else _stand_in(char, letters) for char in text)


_MARKS = {
    "…": "~",
    "·": ".",
    "•": "*",
    "–": "-",
    "—": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "⏎": "<",
    "❯": ">",
    "✓": "+",
    "✗": "x",
    "↑": "^",
    "↓": "v",
    "←": "<",
    "→": ">",
    "▸": ">",
    "▾": "v",
    "▲": "^",
    "▼": "v",
    "◀": "<",
    "▶": ">",
    "●": "*",
    "◌": "o",
    "○": "o",
    "◐": "@",
    "⎸": "|",
    "▏": "|",
    "▎": "|",
    "▍": "|",
    "▌": "|",
    "▋": "#",
    "▊": "#",
    "▉": "#",
    "▁": "_",
    "▂": "_",
    "▃": "_",
    "▔": "-",
    "▕": "|",
    "▐": "|",
    "░": ".",
    "▒": ":",
    "▓": "=",
    "°": " ",
}


@lru_cache(4096)
def _stand_in(char: str, letters: bool) -> str:
    code = ord(char)
    if char in _MARKS:
        return _MARKS[char]
    if 0x2500 <= code <= 0x257F:
        return _line(unicodedata.name(char))
    if 0x2580 <= code <= 0x259F:
        return "#"
    if 0x2800 <= code <= 0x28FF:
        return " .:|#"[min(4, (code - 0x2800).bit_count())]
    if not letters:
        return char
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    width = cell_len(char)
    return plain if len(plain) == width else "?" * width


def _line(name: str) -> str:
    """What stands in for a box drawing character of this Unicode name."""
    has_rows = any(word in name for word in ("HORIZONTAL", "LEFT", "RIGHT"))
    has_columns = any(word in name for word in ("VERTICAL", "UP", "DOWN"))
    if has_rows and has_columns:
        return "+"
    return "|" if has_columns else "-"
