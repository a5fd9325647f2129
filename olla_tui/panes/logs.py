"""The log of the server and its workers."""

from __future__ import annotations

import textwrap
import time
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from olla_tui.actions import bindings_for
from olla_tui.messages import TextSaved
from olla_tui.panes.base import Pane
from olla_tui.state.logs import LEVELS, role_for
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, row
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.filter import FilterInput
from olla_tui.widgets.table import Column, LineTable
from server.types.status import LogLine

COLUMNS = (
    Column("time", 8),
    Column("level", 7, "left", 60),
    Column("source", 18, "left", 90),
    Column("text", 0),
)


MAX_LINE_ROWS = 5


class LogsPane(Pane):
    """Log lines with a level filter and a search."""

    pane_id = "logs"
    HELP = (
        "What the server and the workers of the models wrote. l changes the lowest level that is shown, "
        "/ searches, s saves the lines that are shown, f follows the newest one."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("logs", "list")]

    DEFAULT_CSS = """
    LogsPane #log-line { height: auto; max-height: 6; display: none; }
    LogsPane.-long #log-line { display: block; }
    """

    _level = 1

    def compose(self) -> ComposeResult:
        yield LineBoard(classes="pane-title")
        yield FilterInput(placeholder="search the log", id="logs-search")
        yield LineTable(COLUMNS, titles=False, follow=True, id="logs-table")
        yield LineBoard(id="log-line")

    @property
    def table(self) -> LineTable:
        """The lines."""
        return self.query_one("#logs-table", LineTable)

    @property
    def text(self) -> str:
        """What is searched."""
        return self.query_one("#logs-search", FilterInput).value

    def focus_inside(self) -> None:
        self.screen.set_focus(self.table)

    def refresh_from(self, parts: frozenset[str]) -> None:
        lines = {str(line.number): line for line in self._lines()}
        words = "No line of this level yet." if not self.text else "No line holds these words."
        if not self.state.is_olla:
            words = "An Ollama keeps its log to itself."
        self.table.show(
            list(lines), lambda key: self._cells(lines[key]), empty=[row(Span(f"  {words}", "muted"))]
        )
        follows = " · following" if self.table.following else ""
        count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
        self.show_title(f"{LEVELS[self._level]} and above · {count}{follows}")
        self._show_whole_line()

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
        self._show_whole_line()

    def _show_whole_line(self) -> None:
        """Show the line under the cursor once more below, when the table cuts it and it is not the newest."""
        key = self.table.key
        line = next((line for line in self._lines() if str(line.number) == key), None)
        width = self.columns - 2
        is_long = line is not None and not self.table.following and len(line.text) > self._text_width(width)
        self.set_class(is_long, "-long")
        if line is not None and is_long:
            texts = textwrap.wrap(line.text, max(10, width))[:MAX_LINE_ROWS]
            board = self.query_one("#log-line", LineBoard)
            rule_row = rule("Line", self.columns, _clock(line.time), line=self.state.glyphs.rule)
            board.show([rule_row, *(row(Span(f" {text}", role_for(line.level))) for text in texts)])
            board.refresh(layout=True)

    @staticmethod
    def _text_width(width: int) -> int:
        shown = [column for column in COLUMNS if column.width and column.min_table_width <= width]
        return width - sum(column.width + 2 for column in shown)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.refresh_from(frozenset())

    def on_filter_input_left(self, event: FilterInput.Left) -> None:
        event.stop()
        self.table.focus()

    def action_level(self) -> None:
        """Show the next level, from all lines to errors only."""
        self._level = (self._level + 1) % len(LEVELS)
        self.refresh_from(frozenset())

    def action_search(self) -> None:
        """Open the search."""
        self.query_one("#logs-search", FilterInput).open()

    def action_follow(self) -> None:
        """Go to the newest line and stay there."""
        self.table.action_edge(1)
        self.refresh_from(frozenset())

    def action_save(self) -> None:
        """Save the lines that are shown."""
        lines = (f"{_clock(line.time)} {line.level} {line.source}: {line.text}\n" for line in self._lines())
        self.post_message(TextSaved("log", "".join(lines)))

    def _lines(self) -> list[LogLine]:
        return self.state.logs.select(LEVELS[self._level], self.text)

    def _cells(self, line: LogLine) -> list[Row]:
        role = role_for(line.level)
        return [
            row(Span(_clock(line.time), "muted")),
            row(Span(line.level, role or "muted")),
            row(Span(line.source, "muted")),
            row(Span(line.text, role)),
        ]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
