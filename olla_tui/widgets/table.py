"""A table of any length: lines are made when they are seen, and painted again only when they changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from olla_tui.state.rows import Align, Row, Span, fit, fit_row
from olla_tui.widgets.roles import RoleStyles


class Column(NamedTuple):
    """A column. `width` is in cells; 0 takes what the others leave.

    Attributes:
        title: an "↓" or "↑" in it marks the sort order.
        min_table_width: the column is left out of a narrower table.
    """

    title: str
    width: int
    align: Align = "left"
    min_table_width: int = 0


CellsOf = Callable[[str], Sequence[Row]]
"""Key of a line to its cells, one row of spans per column."""

GAP = 2
MARK = 2
"""Cells at the left for the cursor's mark."""


class LineMessage(Message):
    """Something about the line of a table that has this key."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


class LineTable(ScrollView, can_focus=True):
    """Lines with a key each, a cursor that stays on its key, and titles above."""

    DEFAULT_CSS = """
    LineTable { height: 1fr; width: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="list.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="list.down"),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("pagedown,ctrl+d", "page(1)", "Page down", show=False, id="list.page_down"),
        Binding("home,g", "edge(-1)", "First", show=False, id="list.first"),
        Binding("end,G", "edge(1)", "Last", show=False, id="list.last"),
        Binding("enter", "choose", "Open", show=False, id="list.open"),
    ]

    class Highlighted(LineMessage):
        """The cursor stands on another key, "" when there is no line."""

    class Chosen(LineMessage):
        """The user opened a line by enter or by a double click."""

    class TitleClicked(Message):
        """The user clicked the title of a column."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        titles: bool = True,
        follow: bool = False,
        led: bool = False,
        id: str | None = None,
    ) -> None:
        """Make an empty table.

        Args:
            titles: show the titles in a line of their own.
            led: its cursor is moved from outside, so it always looks as if the table had the focus.
            follow: stay on the last line while it is the last one, as a log does.
        """
        super().__init__(id=id)
        self.columns: tuple[Column, ...] = tuple(columns)
        self._titles = titles
        self._follow = follow
        self._led = led
        self._keys: list[str] = []
        self._cells: CellsOf = lambda key: ()
        self._cursor = 0
        self._painted: dict[int, Row] = {}
        self._made: dict[int, Row] = {}  # lines that are to be painted, as they were compared
        self._made_for: tuple[int, int, Size] | None = None
        self._base: Style | None = None
        self._roles: RoleStyles | None = None
        self._empty: list[Row] = []

    @property
    def key(self) -> str:
        """Key of the line under the cursor, "" when there is none."""
        return self._keys[self._cursor] if self._cursor < len(self._keys) else ""

    @property
    def keys(self) -> list[str]:
        """Keys of all lines in order."""
        return self._keys

    @property
    def following(self) -> bool:
        """Whether the cursor stays on the newest line."""
        return self._follow and self._cursor >= len(self._keys) - 1

    def show(self, keys: Sequence[str], cells: CellsOf, *, empty: Sequence[Row] = ()) -> None:
        """Show lines with these keys. The cursor stays on its key, or near it when the key is gone.

        Args:
            cells: called for visible lines only.
            empty: what to show when there are no keys.
        """
        before, following = self.key, self.following
        reordered = self._keys != list(keys) or list(empty) != self._empty
        self._keys, self._cells, self._empty = list(keys), cells, list(empty)
        if following and self._follow:
            self._cursor = max(0, len(self._keys) - 1)
        elif before and before in self._keys:
            self._cursor = self._keys.index(before)
        self._cursor = min(self._cursor, max(0, len(self._keys) - 1))
        if reordered:
            self._take_height()
        self._refresh_changed()
        if self.key != before:
            if reordered and (following or not before):
                self.call_after_refresh(self._show_cursor)
            self.post_message(self.Highlighted(self.key))

    def _take_height(self) -> None:
        """Scroll over as many lines as there are. A scrollbar that comes or goes sees to the layout itself.

        Setting the size through its reactive would lay out the whole screen and draw all of it again.
        """
        size = Size(self.size.width, len(self._keys) + self._titles)
        if self.virtual_size.height != size.height:
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Change titles and widths."""
        if tuple(columns) != self.columns:
            self.columns = tuple(columns)
            self._refresh_changed()

    def go_to(self, key: str) -> None:
        """Put the cursor on a key, when it is there."""
        if key in self._keys:
            self._move_to(self._keys.index(key))

    # --- drawing ---

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # it is the same for all lines, and is put together from all ancestors
        try:
            return super().render_lines(crop)
        finally:
            self._base = None

    def render_line(self, y: int) -> Strip:
        line = self._made.pop(y, None) if self._made_for == self._view else None
        if line is None:
            line = self._line(y)
        self._painted[y] = line
        roles = self._role_styles()
        base = self._base or self.rich_style
        if self._keys and self._index_at(y) == self._cursor and not (self._titles and y == 0):
            base = base + (roles.cursor if self.has_focus or self._led else roles.cursor_unfocused)
        strip = Strip([Segment(span.text, base + roles[span.role]) for span in line])
        return strip.adjust_cell_length(self.size.width, base)

    def notify_style_update(self) -> None:
        self._roles = None
        super().notify_style_update()

    def on_resize(self) -> None:
        self._painted.clear()
        self.virtual_size = Size(self.size.width, len(self._keys) + self._titles)
        self._show_cursor()

    def on_focus(self) -> None:
        self._refresh_cursor()

    def on_blur(self) -> None:
        self._refresh_cursor()

    def _role_styles(self) -> RoleStyles:
        if self._roles is None:
            self._roles = RoleStyles(self.app.theme_variables)
        return self._roles

    def _index_at(self, y: int) -> int:
        return y - self._titles + self.scroll_offset.y

    def _line(self, y: int) -> Row:
        width = self.size.width
        if self._titles and y == 0:
            titles = [(Span(column.title, "column"),) for column in self.columns]
            return self._compose_line(titles, Span(" " * MARK), width)
        if not self._keys:
            index = y - self._titles
            return fit_row(self._empty[index], width) if index < len(self._empty) else ()
        index = self._index_at(y)
        if not 0 <= index < len(self._keys):
            return ()
        mark = "▸ " if index == self._cursor else "  "
        return self._compose_line(self._cells(self._keys[index]), Span(mark, "accent"), width)

    def _compose_line(self, cells: Sequence[Row], mark: Span, width: int) -> Row:
        shown = self._shown_columns(width)
        fixed = sum(self.columns[index].width for index in shown) + GAP * (len(shown) - 1) + MARK + 1
        n_flexible = sum(self.columns[index].width == 0 for index in shown)
        flexible = max(6, (width - fixed) // n_flexible) if n_flexible else 0
        spans: list[Span] = [mark]
        for position, index in enumerate(shown):
            column = self.columns[index]
            cell = cells[index] if index < len(cells) else ()
            cell_width = column.width or flexible
            if position:
                spans.append(Span(" " * GAP))
            if len(cell) == 1:
                only = cell[0]
                spans.append(only._replace(text=fit(only.text, cell_width, column.align)))
            else:
                spans.extend(fit_row(cell, cell_width, column.align))
        return fit_row(spans, width)

    def _shown_columns(self, width: int) -> list[int]:
        return [index for index, column in enumerate(self.columns) if width >= column.min_table_width]

    @property
    def _view(self) -> tuple[int, int, Size]:
        """What lines depend on beside their cells."""
        return self.scroll_offset.y, self._cursor, self.size

    def _refresh_changed(self) -> None:
        self._made, self._made_for = {}, self._view
        for y in range(self.size.height):
            line = self._line(y)
            if self._painted.get(y) != line:
                self._made[y] = line
                self.refresh(Region(0, y, self.size.width, 1))

    def _refresh_cursor(self) -> None:
        self.refresh(Region(0, self._cursor - self.scroll_offset.y + self._titles, self.size.width, 1))

    # --- moving ---

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self._keys) - 1))
        if not self._keys or index == self._cursor:
            return
        self._refresh_cursor()
        self._cursor = index
        self._show_cursor()
        self._refresh_cursor()
        self.post_message(self.Highlighted(self.key))

    def _show_cursor(self) -> None:
        visible = max(1, self.size.height - self._titles)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + visible:
            self.scroll_to(y=self._cursor - visible + 1, animate=False, immediate=True)

    def action_move(self, step: int) -> None:
        """Move the cursor by lines."""
        self._move_to(self._cursor + step)

    def action_page(self, step: int) -> None:
        """Move the cursor by pages."""
        self._move_to(self._cursor + step * max(1, self.size.height - self._titles - 1))

    def action_edge(self, step: int) -> None:
        """Move the cursor to the first (-1) or last (1) line."""
        self._move_to(0 if step < 0 else len(self._keys) - 1)

    def action_choose(self) -> None:
        """Open the line under the cursor."""
        if self.key:
            self.post_message(self.Chosen(self.key))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if self._titles and offset.y == 0:
            self._click_title(offset.x)
            return
        index = self._index_at(offset.y)
        if 0 <= index < len(self._keys):
            self._move_to(index)
            if event.chain == 2:
                self.action_choose()

    def _click_title(self, x: int) -> None:
        start = 0
        spans = self._line(0)
        # Titles stand in the columns' order, each in a span of its own with role "column".
        titles = iter(self._shown_columns(self.size.width))
        for span in spans:
            index = next(titles, None) if span.role == "column" else None
            if index is not None and start <= x < start + len(span.text):
                self.post_message(self.TitleClicked(index))
                return
            start += len(span.text)
