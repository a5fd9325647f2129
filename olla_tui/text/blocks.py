"""Split Markdown into blocks while it arrives.

A block that is closed never changes again, so it is laid out once; only the last one is open. The splitter
works line by line and looks only back, so the pieces in which a text arrives cannot change its blocks.

It is coarser than CommonMark: a text block is everything between blank lines, fences, headings and list items
of the outermost level, and `olla_tui.text.markdown` parses each by itself. The one difference that shows: a
link reference is known only in the block that defines it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum

_FENCE = re.compile(r"( {0,3})(`{3,})([^`]*)$|( {0,3})(~{3,})(.*)$")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_MARKER = re.compile(r"( {0,3})([-+*]|(\d{1,9})[.)])(?:([ \t]+)(?=\S)|[ \t]*$)")
_QUOTE = re.compile(r" {0,3}>")


class BlockKind(Enum):
    """What a block holds."""

    TEXT = "text"
    ITEM = "item"
    FENCE = "fence"


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of Markdown that is laid out by itself.

    Attributes:
        source: its lines; of a fence only the code, without the marks.
        gap: a blank line stood before it.
        number: of an item in an ordered list, counted from the list's first number; -1 otherwise.
        info: of a fence, the words after its mark.
        closed: of a fence, whether its end mark came.
    """

    kind: BlockKind
    source: str
    gap: bool = False
    number: int = -1
    info: str = ""
    closed: bool = True


def indent_of(line: str) -> int:
    """Columns of white space before the first other character; a tab goes to the next multiple of 4."""
    columns = 0
    for char in line:
        if char == " ":
            columns += 1
        elif char == "\t":
            columns += 4 - columns % 4
        else:
            break
    return columns


@dataclass(slots=True)
class _Fence:
    mark: str  # one character
    length: int

    def closes(self, line: str) -> bool:
        stripped = line.strip()
        return len(stripped) >= self.length and stripped == self.mark * len(stripped) and indent_of(line) <= 3


def _open_fence(line: str) -> tuple[_Fence, int, str] | None:
    """The fence that a line opens, its indent and its info."""
    if (match := _FENCE.match(line)) is None:
        return None
    pad, marks, info = match.group(1, 2, 3) if match[2] else match.group(4, 5, 6)
    return _Fence(marks[0], len(marks)), len(pad), info.strip()


@dataclass(slots=True)
class _State:
    """The open block, and what is pending before the next line."""

    kind: BlockKind | None = None
    lines: list[str] = field(default_factory=list)
    gap: bool = False  # before the open block
    blanks: int = 0  # after the last line
    fence: _Fence | None = None  # open one, in a fence block or inside an item
    fence_indent: int = 0
    info: str = ""
    marker: str = ""  # of the item's list: "-", "+", "*", "." or ")"
    number: int = -1
    content_indent: int = 0
    indented_code: bool = False

    def copy(self) -> _State:
        return replace(self, lines=self.lines.copy())


def _take_block(state: _State, *, closed: bool = True) -> Block:
    """The open block; the state is left without one."""
    assert state.kind is not None
    is_fence = state.kind is BlockKind.FENCE
    block = Block(
        state.kind,
        "\n".join(state.lines),
        gap=state.gap,
        number=state.number if state.kind is BlockKind.ITEM else -1,
        info=state.info if is_fence else "",
        closed=closed if is_fence else True,
    )
    state.kind, state.lines, state.fence, state.gap = None, [], None, False
    state.indented_code = False
    return block


def _start(state: _State, line: str, out: list[Block]) -> None:
    """Begin a block with a line that is not blank, when none is open."""
    state.gap, state.blanks = state.blanks > 0, 0
    if (opened := _open_fence(line)) is not None:
        state.kind = BlockKind.FENCE
        state.fence, state.fence_indent, state.info = opened
        return
    state.lines = [line]
    marker = None if _RULE.match(line) else _MARKER.match(line)
    if marker is None:
        state.kind = BlockKind.TEXT
        state.indented_code = indent_of(line) >= 4
        if _HEADING.match(line) or _RULE.match(line):
            out.append(_take_block(state))
        return
    state.kind = BlockKind.ITEM
    state.marker = marker[2][-1]
    state.number = int(marker[3]) if marker[3] else -1
    _measure_item(state, line, marker)


def _measure_item(state: _State, line: str, marker: re.Match[str]) -> None:
    padding = len((marker[4] or " ").expandtabs(4))
    state.content_indent = len(marker[1]) + len(marker[2]) + (padding if padding <= 4 else 1)
    first = line[marker.end() :]
    opened = _open_fence(first)
    state.fence = opened[0] if opened else None


def _feed_fence(state: _State, line: str, out: list[Block]) -> None:
    assert state.fence is not None
    if state.fence.closes(line):
        out.append(_take_block(state))
        return
    cut = min(state.fence_indent, len(line) - len(line.lstrip(" ")))
    state.lines.append(line[cut:])


def _feed_item(state: _State, line: str, out: list[Block]) -> None:
    """A line that is not blank, while an item is open."""
    inside = indent_of(line) >= state.content_indent
    if inside or (state.fence is not None and state.blanks == 0 and line.strip() == ""):
        _extend_item(state, line)
        return
    state_was_lazy = state.blanks == 0 and state.fence is None
    marker = None if _RULE.match(line) else _MARKER.match(line)
    if marker is not None and marker[2][-1] == state.marker:
        number, gap = state.number, state.blanks > 0
        out.append(_take_block(state))
        state.kind, state.lines, state.blanks, state.gap = BlockKind.ITEM, [line], 0, gap
        state.number = number + 1 if number >= 0 else -1
        _measure_item(state, line, marker)
        return
    if state_was_lazy and not _interrupts(line):
        state.lines.append(line)
        return
    out.append(_take_block(state))
    _start(state, line, out)


def _extend_item(state: _State, line: str) -> None:
    state.lines.extend([""] * state.blanks)
    state.blanks = 0
    state.lines.append(line)
    dedented = line.expandtabs(4)[state.content_indent :]
    if state.fence is not None:
        if state.fence.closes(dedented):
            state.fence = None
    elif (opened := _open_fence(dedented.lstrip())) is not None:
        state.fence = opened[0]


def _interrupts(line: str) -> bool:
    """Whether a line ends a paragraph that it stands right below."""
    if _open_fence(line) or _HEADING.match(line) or _RULE.match(line) or _QUOTE.match(line):
        return True
    marker = _MARKER.match(line)
    return marker is not None and marker[4] is not None and (marker[3] is None or int(marker[3]) == 1)


def _feed_text(state: _State, line: str, out: list[Block]) -> None:
    """A line that is not blank, while a text block is open."""
    if state.blanks:
        if state.indented_code and indent_of(line) >= 4:
            state.lines.extend([""] * state.blanks)
            state.blanks = 0
            state.lines.append(line)
            return
        out.append(_take_block(state))
        _start(state, line, out)
        return
    underline = re.fullmatch(r" {0,3}(?:-+|=+)[ \t]*", line) is not None
    if state.indented_code:
        ends = indent_of(line) < 4
    else:
        quoted = _QUOTE.match(state.lines[0]) is not None
        ends = not underline and _interrupts(line) and not (_QUOTE.match(line) and quoted)
    if ends:
        out.append(_take_block(state))
        _start(state, line, out)
    else:
        state.lines.append(line)


def _feed_line(state: _State, line: str, out: list[Block]) -> None:
    if state.kind is BlockKind.FENCE:
        _feed_fence(state, line, out)
    elif not line.strip():
        state.blanks += 1
        if state.kind is BlockKind.TEXT and not state.indented_code:
            out.append(_take_block(state))
    elif state.kind is BlockKind.ITEM:
        _feed_item(state, line, out)
    elif state.kind is BlockKind.TEXT:
        _feed_text(state, line, out)
    else:
        _start(state, line, out)


class BlockSplitter:
    """Turns Markdown that arrives in pieces into blocks.

    Attributes:
        closed: finished blocks in order; only ever grows.
    """

    def __init__(self) -> None:
        self.closed: list[Block] = []
        self._state = _State()
        self._partial: list[str] = []  # pieces of the last line, which has no end yet

    def feed(self, text: str) -> None:
        """Take the next piece."""
        *lines, rest = text.split("\n")
        if lines:
            lines[0] = "".join([*self._partial, lines[0]])
            self._partial = []
            for line in lines:
                _feed_line(self._state, line, self.closed)
        if rest:
            self._partial.append(rest)

    def tail(self) -> list[Block]:
        """The blocks after the closed ones, as if the text ended here; they may still change."""
        state, blocks = self._state, list[Block]()
        if self._partial:
            state = state.copy()
            line = "".join(self._partial)
            if not _is_begun_mark(state, line):
                _feed_line(state, line, blocks)
        if state.kind is not None:
            blocks.append(_take_block(state if state is not self._state else state.copy(), closed=False))
        return blocks

    def finish(self) -> None:
        """End the text: everything is closed, a fence without an end mark too."""
        if self._partial:
            line, self._partial = "".join(self._partial), []
            _feed_line(self._state, line, self.closed)
        if self._state.kind is not None:
            self.closed.append(_take_block(self._state, closed=False))
        self._state = _State()


def _is_begun_mark(state: _State, line: str) -> bool:
    """Whether an unfinished line may become the end mark of the open fence; showing it would flicker."""
    stripped = line.strip()
    return (
        state.kind is BlockKind.FENCE
        and state.fence is not None
        and 0 < len(stripped) < state.fence.length
        and stripped == state.fence.mark * len(stripped)
    )


def split(text: str) -> list[Block]:
    """Blocks of a whole text."""
    splitter = BlockSplitter()
    splitter.feed(text)
    splitter.finish()
    return splitter.closed
