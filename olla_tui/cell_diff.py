"""What a terminal shows, remembered cell by cell, so that only cells that change are sent.

Textual sends every region that it draws in whole, and the colours of each word anew. For a slow link
`CellDiff` stands between: it reads the frames, knows from them what the terminal shows, and writes what makes
the one of the other. What it does not understand goes on as it came, and after that it knows nothing.
"""

from __future__ import annotations

import re
from array import array
from functools import lru_cache

from rich.cells import cell_len

_TOKEN = re.compile(
    r"\x1b\[(?P<row>\d+);(?P<column>\d+)H"
    r"|\x1b\[(?P<style>[\d;]*)m"
    r"|(?P<newline>\n)"
    r"|(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|(?P<harmless>\x1b\[\?(?!1049|1047|47[hl])[\d;]+[hl]|\x1b\[\?[\d;]+\$p|\x1b\[[<>=][\d;]*u|\x1b\[\?u|\x1b\[c"
    r"|\x1b\](?:0|2|9|52);[^\x07\x1b]*(?:\x07|\x1b\\)|\x07)"
)
SYNC_BEGIN, SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
UNKNOWN = "\x00"
"""In the place of a cell of which it is not known what the terminal shows there."""
MAX_GAP = 4
"""Unchanged cells that are sent rather than jumped over: a jump takes as many bytes."""
MAX_STYLES = 4000
"""Styles that are numbered before all is begun anew; a number takes two bytes."""
_ATTRIBUTES = {str(code) for code in range(1, 10)} | {"21", "51", "52", "53"}


class CellDiff:
    """Turns frames for a terminal into smaller ones of the same effect. Not for several threads at once.

    It expects of frames what Textual's are: each run of text follows a cursor position, styles are whole, so
    that what is not said is the default, nothing wraps or scrolls, and the default style is left behind.
    """

    def __init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._styles = _Styles()
        self._rows: dict[int, str] = {}  # row to characters, from 1
        self._looks: dict[int, array[int]] = {}  # row to numbers of styles
        self._at: tuple[int, int] | None = None  # row and column of the cursor, from 1
        self._look = 0  # number of the style in force
        self._held = ""  # the beginning of an update of which nothing is sent yet

    def feed(self, frame: str, columns: int, rows: int) -> str:
        """What to send in the place of a frame, to a terminal of this size."""
        if self._styles.are_many:
            self._begin_anew()
        reader = _Reader(self._styles, columns, rows)
        tokens, end = reader.read(frame)
        if end < len(frame):
            held = self._held
            self._begin_anew()
            return held + frame
        out = [self._diff(token) if isinstance(token, _RowRuns) else self._pass_on(token) for token in tokens]
        out.append(self._switch_to(0))
        if reader.cursor is not None and reader.cursor != self._at:
            out.append(self._send(_move(*reader.cursor)))
            self._at = reader.cursor
        return "".join(out)

    def _send(self, text: str) -> str:
        held, self._held = self._held, ""
        return held + text

    def _switch_to(self, look: int) -> str:
        before, self._look = self._look, look
        return self._styles.switch(before, look)

    def _pass_on(self, control: str) -> str:
        if control == SYNC_BEGIN:
            self._held = control
            return ""
        if control == SYNC_END and self._held:
            self._held = ""
            return ""
        return self._send(control)

    def _diff(self, runs: _RowRuns) -> str:
        """What changes in one row."""
        row = runs.row
        old, old_looks = self._rows.get(row, ""), self._looks.get(row, array("H"))
        short = runs.end - 1 - len(old)
        if short > 0:
            old += UNKNOWN * short
            old_looks = old_looks + array("H", bytes(2 * short))
        new, looks = old, old_looks[:]
        for column, text, look in runs.known:
            at = column - 1
            new = new[:at] + text + new[at + len(text) :]
            looks[at : at + len(text)] = array("H", [look]) * len(text)
        out = ""
        if new != old or looks != old_looks:
            first = min(column for column, _, _ in runs.known) - 1
            out = self._changes(row, (first, runs.end - 1), (old, old_looks), (new, looks))
        for column, text, look, width in runs.whole:
            out += _move(row, column) + self._switch_to(look) + text
            new = new[: column - 1] + UNKNOWN * width + new[column - 1 + width :]
            self._at = None
        self._rows[row], self._looks[row] = new, looks
        return self._send(out) if out else ""

    def _changes(
        self, row: int, drawn: tuple[int, int], old: tuple[str, array[int]], new: tuple[str, array[int]]
    ) -> str:
        """What makes the new cells of the old ones, of which those of the range `drawn` may differ."""
        (was, was_looks), (text, looks) = old, new
        styles, out = self._styles, list[str]()
        at = self._at[1] - 1 if self._at is not None and self._at[0] == row else -1
        is_in_row = at >= 0
        for cell in range(*drawn):
            char, look = text[cell], looks[cell]
            if char == UNKNOWN or (
                char == was[cell]
                and (
                    look == was_looks[cell] or (char == " " and styles.are_same_blank(look, was_looks[cell]))
                )
            ):
                continue
            if cell != at:
                gap = text[at:cell] if at >= 0 and 0 < cell - at <= MAX_GAP else ""
                # Only cells of the style in force are sent once more.
                if gap and UNKNOWN not in gap and all(known == self._look for known in looks[at:cell]):
                    out.append(gap)
                else:
                    out.append(f"\x1b[{cell + 1}G" if is_in_row else _move(row, cell + 1))
                    is_in_row = True
            if look != self._look and not (char == " " and styles.are_same_blank(self._look, look)):
                out.append(self._switch_to(look))
            out.append(char)
            at = cell + 1
        if not out:
            return ""
        # After the last column terminals differ in where the cursor is.
        self._at = None if at >= len(text) else (row, at + 1)
        return "".join(out)


class _RowRuns:
    """Runs of text for one row: those whose cells are known, and then those that are sent in whole."""

    def __init__(self, row: int) -> None:
        self.row = row
        self.end = 1
        self.known: list[tuple[int, str, int]] = []  # column, text, style
        self.whole: list[tuple[int, str, int, int]] = []  # column, text, style, cells

    def add(self, column: int, text: str, look: int) -> int:
        """Take a run; returns the column behind it."""
        width = len(text)
        if self.whole or not has_plain_cells(text):
            # Terminals do not agree on the width of all characters: what follows is sent as well.
            width = cell_len(text)
            self.whole.append((column, text, look, width))
        else:
            self.known.append((column, text, look))
        self.end = max(self.end, column + width)
        return column + width


class _Reader:
    """Reads one frame."""

    def __init__(self, styles: _Styles, columns: int, rows: int) -> None:
        self._styles = styles
        self._columns, self._rows = columns, rows
        self.cursor: tuple[int, int] | None = None

    def read(self, frame: str) -> tuple[list[_RowRuns | str], int]:
        """Runs by row and control sequences, in order, and how far the frame was understood."""
        tokens: list[_RowRuns | str] = []
        runs: _RowRuns | None = None
        at, look = 0, 0
        while at < len(frame):
            found = _TOKEN.match(frame, at)
            if found is None:
                return tokens, at
            kind = found.lastgroup
            if kind == "text":
                if self.cursor is None:
                    return tokens, at
                row, column = self.cursor
                if runs is None or runs.row != row:
                    runs = _RowRuns(row)
                    tokens.append(runs)
                column = runs.add(column, found["text"], look)
                if row > self._rows or column - 1 > self._columns:
                    return tokens, at  # drawn for a larger terminal: it wraps or scrolls
                self.cursor = (row, column)
            elif kind == "style":
                look = self._styles.number(found["style"])
            elif kind == "column":
                self.cursor = (int(found["row"]), int(found["column"]))
            elif kind == "newline":
                self.cursor = None
            elif kind == "harmless":
                tokens.append(found[0])
                runs = None
            at = found.end()
        return tokens, at


class _Styles:
    """Styles by number, 0 is the default; and what switches from one to another."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}
        self._texts = [""]

    def number(self, text: str) -> int:
        """The number of a style that is written as the parameters of SGR."""
        text = "" if text == "0" else text
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return number

    def are_same_blank(self, one: int, other: int) -> bool:
        """Whether a blank looks the same in two styles."""
        return _bare(self._texts[one]) == _bare(self._texts[other])

    def switch(self, one: int, other: int) -> str:
        """What makes the second style of the first."""
        return _switch(self._texts[one], self._texts[other])

    @property
    def are_many(self) -> bool:
        """Whether it is time to begin anew."""
        return len(self._texts) > MAX_STYLES


@lru_cache(4096)
def _parts(style: str) -> tuple[frozenset[str], str, str] | None:
    """(attributes, foreground, background) of a style; None when it is not understood."""
    attributes, colours = set(), {"3": "", "4": ""}
    codes = style.split(";") if style else []
    while codes:
        code = codes.pop(0)
        if code in ("38", "48") and codes[:1] in (["5"], ["2"]):
            n_more = 2 if codes[0] == "5" else 4
            colours[code[0]] = ";".join([code, *codes[:n_more]])
            del codes[:n_more]
        elif code in _ATTRIBUTES:
            attributes.add(code)
        elif re.fullmatch(r"3[0-79]|9[0-7]", code):
            colours["3"] = "" if code == "39" else code
        elif re.fullmatch(r"4[0-79]|10[0-7]", code):
            colours["4"] = "" if code == "49" else code
        else:
            return None
    return frozenset(attributes), colours["3"], colours["4"]


@lru_cache(4096)
def _bare(style: str) -> str:
    """What can be seen of a style on a blank: neither the colour of letters nor boldness."""
    parts = _parts(style)
    if parts is None or parts[0] - {"1", "2", "3"}:
        return style
    return parts[2]


@lru_cache(4096)
def _switch(one: str, other: str) -> str:
    if one == other:
        return ""
    if not other:
        return "\x1b[m"
    before, after = _parts(one), _parts(other)
    if before is None or after is None or before[0] - after[0]:
        return f"\x1b[0;{other}m"
    changed = sorted(after[0] - before[0])
    for index, default in ((1, "39"), (2, "49")):
        if before[index] != after[index]:
            changed.append(str(after[index]) or default)
    shorter = min(";".join(changed), f"0;{other}", key=len)
    return f"\x1b[{shorter}m"


@lru_cache(4096)
def has_plain_cells(text: str) -> bool:
    """Whether each character takes one cell in any terminal, and none joins another."""
    return text.isascii() or all(_is_plain(char) for char in text)


@lru_cache(4096)
def _is_plain(char: str) -> bool:
    code = ord(char)
    # Letters of Latin, Greek and Cyrillic, punctuation, arrows, mathematics, lines, blocks, shapes, braille.
    ranges = ((0x20, 0x7E), (0xA1, 0xAC), (0xAE, 0x2FF), (0x370, 0x482), (0x48A, 0x52F), (0x2010, 0x2027))
    marks = ((0x2030, 0x205E), (0x2190, 0x2319), (0x231C, 0x23E8), (0x23EB, 0x23EF), (0x2500, 0x25FC))
    more = ((0x2600, 0x2603), (0x2701, 0x2704), (0x270E, 0x2727), (0x2729, 0x274B), (0x2758, 0x2775))
    is_known = any(first <= code <= last for first, last in (*ranges, *marks, *more, (0x2800, 0x28FF)))
    return is_known and cell_len(char) == 1


def _move(row: int, column: int) -> str:
    return f"\x1b[{row};{column}H"
