"""What every pane is."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import ClassVar

from textual.message_pump import _MessagePumpMeta
from textual.widget import Widget

from olla_tui.actions import PANES
from olla_tui.bridge import Bridge
from olla_tui.state.rail import rule
from olla_tui.state.workstation import Workstation
from olla_tui.widgets.board import LineBoard


class _AbstractWidget(_MessagePumpMeta, ABCMeta):
    """Makes a widget's class that leaves out an abstract method impossible to instantiate."""


class Pane(Widget, metaclass=_AbstractWidget):
    """One of the screen's parts: shows the state and starts actions on it.

    Attributes:
        pane_id: as in `olla_tui.actions.PANES`.
        HELP: what help says about it, in a few sentences.
        expected_columns: its width before it is laid out for the first time.
    """

    DEFAULT_CSS = """
    Pane { width: 1fr; height: 1fr; layout: vertical; }
    """

    pane_id: ClassVar[str]
    HELP: ClassVar[str]

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(id=f"pane-{self.pane_id}")
        self.bridge = bridge
        self.expected_columns = 0

    @property
    def columns(self) -> int:
        """Cells in a row."""
        return self.size.width or self.expected_columns

    @property
    def pane_title(self) -> str:
        """The words on the pane's tab."""
        return dict(PANES)[self.pane_id]

    @property
    def state(self) -> Workstation:
        """What there is to show."""
        return self.bridge.state

    def on_resize(self) -> None:
        """Fit what is shown to the new size; Textual calls this besides a subclass's own."""
        self.refresh_from(frozenset())

    def show_title(self, note: str = "") -> None:
        """Show the pane's title in a rule, with a note beside it."""
        board = self.query_one(".pane-title", LineBoard)
        board.show([rule(self.pane_title, max(0, self.columns), note, line=self.state.glyphs.rule)])

    @abstractmethod
    def refresh_from(self, parts: frozenset[str]) -> None:
        """Show the state; `parts` says what changed. Called only while the pane is visible."""

    @abstractmethod
    def focus_inside(self) -> None:
        """Give the focus to the part of the pane that wants it first, before the next key comes."""
