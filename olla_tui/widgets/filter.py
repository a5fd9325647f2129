"""Lines of text: one for dialogs, and one that filters a list and hides as long as it is empty."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widgets import Input


class SteadyInput(Input):
    """A line of text whose cursor does not blink: each blink is bytes on the wire.

    Its own size does not depend on its text, so a key leaves the layout of the screen alone.
    """

    virtual_size = Reactive(Size(0, 0), layout=False)

    def on_mount(self) -> None:
        self.cursor_blink = False


class FilterInput(SteadyInput):
    """The line. Enter keeps the filter and leaves; escape empties it and leaves."""

    DEFAULT_CSS = """
    FilterInput { height: 1; border: none; padding: 0 1; display: none; background: $surface; }
    FilterInput:focus { border: none; background: $panel; }
    FilterInput.-open { display: block; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "drop", "Clear the filter", show=False, id="filter.clear"),
        Binding("enter,down", "keep", "Back to the list", show=False, id="filter.keep"),
    ]

    class Left(Message):
        """The user is done with the filter."""

    def open(self) -> None:
        """Show the line and give it the focus."""
        self.add_class("-open")
        self.focus()

    def action_drop(self) -> None:
        """Empty the filter and leave."""
        self.value = ""
        self.remove_class("-open")
        self.post_message(self.Left())

    def action_keep(self) -> None:
        """Leave with the filter in place."""
        self.set_class(bool(self.value), "-open")
        self.post_message(self.Left())
