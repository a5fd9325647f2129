"""One turn of a transcript, and its lines for one width."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from olla_tui.text.clean import clean_line
from olla_tui.text.styles import TextStyles
from olla_tui.text.wrap import Line, fit, join, wrap
from olla_tui.widgets.transcript_flow import BlockSpan, FlowLayout, TextFlow
from olla_tui.widgets.transcript_turns import INDENT, RIGHT_MARGIN, TurnView, text_width
from server.types.messages import ToolCall

GUTTER = " "
"""Left of every line; the block cursor stands in it."""

MAX_CALL_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptStyles:
    """All styles of a transcript; `roles` colours the headers."""

    text: TextStyles
    thinking: TextStyles
    user: Style
    assistant: Style
    system: Style
    tool: Style
    stats: Style
    error: Style
    cursor: Style
    selection: Style
    more: Style

    def role(self, role: str) -> Style:
        """Style of a role's header; unknown roles look like tools."""
        return {"user": self.user, "assistant": self.assistant, "system": self.system}.get(role, self.tool)


class Turn:
    """A turn as data that changes while it streams."""

    def __init__(self, turn_id: int, view: TurnView, *, streaming: bool = False) -> None:
        self.id = turn_id
        self.role = view.role
        self.title = view.title
        self.stats = view.stats
        self.error = view.error
        self.thinking_note = view.thinking_note
        self.tool_calls = view.tool_calls
        self.attachments = view.attachments
        self.content = TextFlow(view.content, ended=not streaming)
        self.thinking = TextFlow(view.thinking, ended=not streaming)
        self.streaming = streaming
        self.unfolded = False

    def view(self) -> TurnView:
        """The turn as it stands."""
        return TurnView(
            role=self.role,
            title=self.title,
            content=self.content.source,
            thinking=self.thinking.source,
            thinking_note=self.thinking_note,
            stats=self.stats,
            error=self.error,
            tool_calls=self.tool_calls,
            attachments=self.attachments,
        )

    def end(self) -> None:
        """Nothing more is appended."""
        self.streaming = False
        self.content.end()
        self.thinking.end()

    def forget_blocks(self) -> None:
        """Free the memory of what only laying out needs; it is made again then."""
        self.content.forget_blocks()
        self.thinking.forget_blocks()


class _Indent:
    """Puts segments before lines; a line that is the same object as before gives the same object."""

    def __init__(self, *lead: Segment) -> None:
        self._lead = lead
        self._known: dict[int, tuple[Line, Line]] = {}  # by id of the bare line, which the value keeps alive

    def apply(self, lines: list[Line]) -> list[Line]:
        """The lines with the lead; blank ones stay empty."""
        known, self._known = self._known, {}
        out: list[Line] = []
        for line in lines:
            if line:
                key = id(line)
                pair = known.get(key) or (line, join([*self._lead, *line]))
                self._known[key] = pair
                out.append(pair[1])
            else:
                out.append(line)
        return out


class TurnLayout:
    """The lines of a turn.

    Attributes:
        lines: each begins with its indent; a blank one is empty.
        spans: the blocks that the cursor may stand on, in order.
        fold_line: the line that opens and folds the reasoning, -1 without any.
    """

    def __init__(self, turn: Turn, width: int, styles: TranscriptStyles) -> None:
        self._turn = turn
        self._width = width
        self._inner = text_width(width)
        self._styles = styles
        self._indent = Segment(INDENT, styles.text.text)
        self._body: FlowLayout | None = None
        self._reasoning: FlowLayout | None = None
        self._body_indent = _Indent(self._indent)
        self._reasoning_indent = _Indent(self._indent, Segment("  ", styles.thinking.text))
        self.lines: list[Line] = []
        self.spans: list[BlockSpan] = []
        self.fold_line = -1
        self.update()

    def update(self) -> list[int]:
        """Catch up with the turn; returns the lines that changed, came or went, also past the new end."""
        lines: list[Line] = [self._header(), *self._attachments()]
        spans: list[BlockSpan] = []
        self._add_reasoning(lines, spans)
        if self._turn.content:
            if self._body is None:
                self._body = FlowLayout(self._turn.content, self._inner, self._styles.text)
            self._body.update()
            spans += (span.moved(len(lines)) for span in self._body.spans)
            lines += self._body_indent.apply(self._body.lines)
        lines += self._foot()
        old, self.lines, self.spans = self.lines, lines, spans
        # A blank line that came counts as well: the block cursor may stand on it.
        pairs = enumerate(zip_longest(old, lines))
        return [at for at, (before, after) in pairs if before is not after and before != after]

    def _header(self) -> Line:
        turn, styles = self._turn, self._styles
        width = max(self._width - len(GUTTER) - RIGHT_MARGIN, 1)
        stats = fit(clean_line(turn.stats), width)
        title = fit(clean_line(turn.title), max(width - cell_len(stats) - 2, 1)) if stats else ""
        title = title or fit(clean_line(turn.title), width)
        space = width - cell_len(title) - cell_len(stats)
        line = [Segment(GUTTER, styles.text.text), Segment(title, styles.role(turn.role))]
        if stats and space > 0:
            line += [Segment(" " * space, styles.text.text), Segment(stats, styles.stats)]
        return line

    def _attachments(self) -> list[Line]:
        if not self._turn.attachments:
            return []
        names = clean_line(", ".join(self._turn.attachments))
        return [[self._indent, Segment(fit(names, self._inner), self._styles.stats)]]

    def _add_reasoning(self, lines: list[Line], spans: list[BlockSpan]) -> None:
        turn, styles = self._turn, self._styles
        self.fold_line = -1
        if not turn.thinking:
            self._reasoning = None
            return
        start = self.fold_line = len(lines)
        glyphs = styles.text.glyphs
        mark = glyphs.unfolded if turn.unfolded else glyphs.folded
        note = clean_line(turn.thinking_note) or ("thinking" if turn.streaming else "thought")
        lines.append([self._indent, Segment(fit(f"{mark} {note}", self._inner), styles.thinking.text)])
        if turn.unfolded:
            if self._reasoning is None:
                self._reasoning = FlowLayout(turn.thinking, self._inner - 2, styles.thinking)
            self._reasoning.update()
            lines += self._reasoning_indent.apply(self._reasoning.lines)
            lines.append([])
        else:
            self._reasoning = None
        spans.append(BlockSpan(start, len(lines), turn.thinking.source, "reasoning"))

    def _foot(self) -> list[Line]:
        turn, styles = self._turn, self._styles
        glyphs = styles.text.glyphs
        lines: list[Line] = []
        for call in turn.tool_calls:
            spans = wrap([(f"{glyphs.call} {call_text(call)}", styles.tool)], self._inner)
            lines += ([self._indent, *line] for line in spans)
        if turn.error:
            text = f"{glyphs.failed} {clean_line(turn.error)}"
            lines += ([self._indent, *line] for line in wrap([(text, styles.error)], self._inner))
        lines.append([])
        return lines


def call_text(call: ToolCall) -> str:
    """A tool call as one line: name(argument=value, ...)."""
    arguments = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()
    )
    text = clean_line(f"{call.name}({arguments})")
    return text if len(text) <= MAX_CALL_CHARS else text[: MAX_CALL_CHARS - 1] + "…"
