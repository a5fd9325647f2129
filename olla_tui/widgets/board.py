"""A few lines of live text: only the cells that changed are painted again."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from olla_tui.messages import ActionChosen
from olla_tui.state.rows import Row, action_at, plain
from olla_tui.widgets.roles import RoleStyles


def changed_cells(before: Row, after: Row) -> tuple[int, int] | None:
    """First and one past the last cell in which two rows differ, None when they are the same.

    Wide characters make cells and characters differ, so rows that hold any are taken to differ from the first
    differing character's cell on to the end.
    """
    if before == after:
        return None
    old = [(char, span.role) for span in before for char in span.text]
    new = [(char, span.role) for span in after for char in span.text]
    if old == new:
        return None
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    if len(old) != len(new) or any(cell_len(text) != len(text) for text in (plain(before), plain(after))):
        return start, max(len(old), len(new), 1) * 2
    end = len(new)
    while end > start and old[end - 1] == new[end - 1]:
        end -= 1
    return start, end


class LineBoard(Widget):
    """Lines of spans. `show` may be called as often as one likes: nothing is painted when nothing changed."""

    DEFAULT_CSS = """
    LineBoard { height: 1; width: 1fr; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: list[Row] = []
        self._roles: RoleStyles | None = None

    @property
    def rows(self) -> list[Row]:
        """The lines that are shown."""
        return self._rows

    def show(self, rows: Sequence[Row]) -> None:
        """Show these lines in the place of the present ones; the widget's height does not follow."""
        old, new = self._rows, list(rows)
        if old == new:
            return
        self._rows = new
        for y in range(max(len(old), len(new))):
            before = old[y] if y < len(old) else ()
            after = new[y] if y < len(new) else ()
            cells = changed_cells(before, after)
            if cells is None:
                continue
            start, end = cells
            left, top = self.gutter.left, self.gutter.top
            self.refresh(Region(left + start, top + y, max(1, min(end, self.content_size.width) - start), 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self._rows))

    def render_line(self, y: int) -> Strip:
        line = self._rows[y] if y < len(self._rows) else ()
        roles = self._role_styles()
        base = self.rich_style
        strip = Strip([Segment(span.text, base + roles[span.role]) for span in line])
        return strip.adjust_cell_length(self.content_size.width, base)

    def notify_style_update(self) -> None:
        self._roles = None
        super().notify_style_update()

    def _role_styles(self) -> RoleStyles:
        if self._roles is None:
            self._roles = RoleStyles(self.app.theme_variables)
        return self._roles

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y >= len(self._rows):
            return
        action = action_at(self._rows[offset.y], offset.x)
        if action:
            event.stop()
            self.post_message(ActionChosen(action))
