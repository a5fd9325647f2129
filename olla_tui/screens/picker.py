"""Dialogs in which one line of a list is chosen: a model, or a chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from olla_tui.screens.listing import ListingScreen
from olla_tui.state.rows import Row, Span, row
from olla_tui.widgets.filter import SteadyInput
from olla_tui.widgets.table import Column, LineTable


class PickerScreen(ListingScreen):
    """A filter and a list; the result is the key of the chosen line, "" for none.

    Typing filters, up and down move, enter chooses, escape leaves.
    """

    DEFAULT_CSS = """
    PickerScreen { align: center middle; background: $background 60%; }
    PickerScreen #picker {
        width: 88; max-width: 96%; height: 24; max-height: 90%;
        padding: 0 1; background: $surface; border: round $primary; border-title-color: $primary;
        border-title-style: bold; border-subtitle-color: $olla-muted;
    }
    PickerScreen #picker-filter { height: 1; border: none; padding: 0; background: $panel; margin-bottom: 1; }
    PickerScreen #picker-filter:focus { border: none; }
    PickerScreen LineTable { background: $surface; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "leave", "Leave", show=False, priority=True, id="picker.leave"),
        Binding("up", "move(-1)", "Up", show=False, priority=True, id="picker.up"),
        Binding("down", "move(1)", "Down", show=False, priority=True, id="picker.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, priority=True, id="picker.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, priority=True, id="picker.page_down"),
        Binding("enter", "choose", "Choose", show=False, priority=True, id="picker.choose"),
    ]

    def __init__(
        self,
        title: str,
        columns: Sequence[Column],
        lines: Sequence[tuple[str, Sequence[Row]]],
        *,
        current: str = "",
        subtitle: str = "enter chooses, esc leaves",
        empty: str = "Nothing matches.",
    ) -> None:
        """Make the dialog.

        Args:
            lines: (key, cells) in order; the filter searches the text of all cells.
            current: key that the cursor stands on at first.
        """
        super().__init__()
        self._title = title
        self._columns = tuple(columns)
        self._lines = {key: tuple(cells) for key, cells in lines}
        self._hay = {
            key: " ".join(span.text for cell in cells for span in cell).lower() for key, cells in lines
        }
        self._current = current
        self._subtitle = subtitle
        self._empty = empty

    def compose(self) -> ComposeResult:
        with Vertical(id="picker") as box:
            box.border_title = self._title
            box.border_subtitle = self._subtitle
            yield SteadyInput(placeholder="type to filter", id="picker-filter")
            yield LineTable(self._columns, led=True, id="picker-table")

    def on_mount(self) -> None:
        self._show("")
        self.table.go_to(self._current)
        self.query_one("#picker-filter", Input).focus()

    def _show(self, text: str) -> None:
        words = text.lower().split()
        keys = [key for key in self._lines if all(word in self._hay[key] for word in words)]
        self.table.show(keys, self.cells_of, empty=[row(Span(f"  {self._empty}", "muted"))])

    def cells_of(self, key: str) -> Sequence[Row]:
        """The cells of a line."""
        return self._lines[key]

    def show_again(self) -> None:
        """Draw the lines again, whose cells may have changed."""
        self._show(self.query_one("#picker-filter", Input).value)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show(event.value)

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
