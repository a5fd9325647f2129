"""Details below or beside a table: lines that scroll where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from olla_tui.state.rows import Row
from olla_tui.widgets.board import LineBoard

STEP_LINES = 3


class ScrollBoard(VerticalScroll, can_focus=False):
    """A board in a part of the screen of its own. The wheel scrolls it, and keys of the pane do by `move`."""

    DEFAULT_CSS = """
    ScrollBoard { height: 1fr; width: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    ScrollBoard LineBoard { height: auto; }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._of = ""
        self._board = LineBoard()

    def compose(self) -> ComposeResult:
        yield self._board

    @property
    def rows(self) -> list[Row]:
        """The lines that are shown."""
        return self._board.rows

    @property
    def columns(self) -> int:
        """Cells in a line."""
        return self._board.content_size.width or max(0, self.content_size.width - 1)

    def show(self, rows: Sequence[Row], *, of: str = "") -> None:
        """Show these lines in the place of the present ones.

        Args:
            of: what they are about; the first lines are seen of another thing.
        """
        grown = len(rows) != len(self._board.rows)
        self._board.show(rows)
        if of != self._of:
            self._of = of
            self.scroll_home(animate=False)
        if grown:
            self._board.refresh(layout=True)
            self.refresh(layout=True)

    def move(self, step: int) -> None:
        """Scroll down (1) or up (-1) by a few lines."""
        self.scroll_relative(y=step * STEP_LINES, animate=False)
