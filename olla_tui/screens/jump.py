"""The overlay of jump mode: keys on panes and widgets, one of which is pressed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

from olla_tui.actions import PANES
from olla_tui.state.jump import Place, Target, places_in, targets
from olla_tui.widgets.board import LineBoard


class JumpScreen(ModalScreen[str]):
    """Shows the keys; the result is the goal of the one that was pressed, and any other key closes it."""

    DEFAULT_CSS = """
    JumpScreen { background: $background 40%; }
    JumpScreen Static {
        position: absolute; width: auto; height: 1; padding: 0 1;
        background: $olla-tab; color: $olla-tab-text; text-style: bold;
    }
    """

    def __init__(self, found: Sequence[Target]) -> None:
        super().__init__()
        self._targets = tuple(found)

    def compose(self) -> ComposeResult:
        for target in self._targets:
            label = Static(target.key, markup=False)
            label.styles.offset = (max(0, target.place.x - 1), target.place.y)
            yield label

    def on_key(self, event: events.Key) -> None:
        """Go where the key leads."""
        event.stop()
        event.prevent_default()
        goals = {target.key: target.place.goal for target in self._targets}
        self.dismiss(goals.get(event.character or ""))

    def on_click(self) -> None:
        """Close."""
        self.dismiss(None)


def jump_targets(screen: Screen[Any]) -> tuple[list[Target], dict[str, Widget]]:
    """The places of a screen, and its widgets by the goals that stand for them."""
    headings: list[Place] = []
    for board in screen.query(LineBoard):
        if board.id in ("tabs", "rail") and board.display and board.region:
            region = board.content_region
            headings += places_in(board.rows, region.x, region.y)
    widgets = {f"#{index}": widget for index, widget in enumerate(screen.focus_chain) if widget.region}
    places = [Place(widget.region.x + 1, widget.region.y, goal) for goal, widget in widgets.items()]
    inside = [place for place in places if place.x < screen.size.width and place.y < screen.size.height]
    return targets([name for name, _ in PANES], headings, inside), widgets
