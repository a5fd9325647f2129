"""What screens have in common that are a filter over one list, of which one line is chosen."""

from __future__ import annotations

from textual import events
from textual.screen import ModalScreen

from olla_tui.widgets.table import LineTable


class ListingScreen(ModalScreen[str]):
    """A dialog over a `LineTable`; its answer is the key of a line, "" for none."""

    @property
    def table(self) -> LineTable:
        """The list."""
        return self.query_one(LineTable)

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        event.stop()
        self.action_choose()

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.action_leave()

    def action_move(self, step: int) -> None:
        """Move by lines."""
        self.table.action_move(step)

    def action_page(self, step: int) -> None:
        """Move by pages."""
        self.table.action_page(step)

    def action_choose(self) -> None:
        """Take the line under the cursor."""
        if self.table.key:
            self.dismiss(self.table.key)

    def action_leave(self) -> None:
        """Take none."""
        self.dismiss("")
