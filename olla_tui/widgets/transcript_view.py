"""How a transcript is looked at: painting, scrolling, following the tail, selecting.

The view is tied to a *place* (a turn and a line in it), never to a line number, for heights of turns that
nobody has seen are estimates: whenever one becomes known, the line number is moved so that nothing moves on
the screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from olla_tui.text.lexers import LexersOnOrder, make_lexers
from olla_tui.text.styles import UNICODE_GLYPHS, Glyphs
from olla_tui.text.wrap import Line, cells
from olla_tui.widgets.transcript_flow import BlockSpan
from olla_tui.widgets.transcript_model import Place, TranscriptModel
from olla_tui.widgets.transcript_selection import selected_text, selection_line, with_selection
from olla_tui.widgets.transcript_styles import transcript_styles

FOLLOW_STEP_LINES = 6
"""Lines that the view jumps when it follows a growing tail; each jump sends the whole view again."""
LOW_BANDWIDTH_STEP_LINES = 24

PREWARM_SCREENS = 3
PREWARM_SLICE_S = 0.005
PREWARM_PAUSE_S = 0.05


class TranscriptView(ScrollView, can_focus=True):
    """Paints a `TranscriptModel`; knows nothing of how it is filled."""

    ALLOW_SELECT = True
    DEFAULT_CSS: ClassVar[str] = """
    TranscriptView {
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        background: $background;
        color: $foreground;
    }
    """

    class FollowChanged(Message):
        """The view began or stopped to follow the tail."""

        def __init__(self, following: bool) -> None:
            super().__init__()
            self.following = following

    def __init__(self, *, glyphs: Glyphs = UNICODE_GLYPHS, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._following = True
        self._step_lines = FOLLOW_STEP_LINES
        self._room = 0  # blank rows below the tail that it grows into before the view jumps
        self._shown = Place(0, 0)  # in the first row when it was settled last
        self._left = Place(0, 0)  # the end of the last turn when following stopped
        self._cursor: tuple[int, int] | None = None  # turn id, block
        self._painting = False
        self._selected: Selection | None = None
        self._prewarming = False
        self._lexers = LexersOnOrder()
        styles = transcript_styles({}, self.rich_style, glyphs, self._lexers)
        self.model = TranscriptModel(styles)

    # --- styles and size ---

    def notify_style_update(self) -> None:
        """Textual calls this whenever a style changed; lines are made anew only when one of theirs did."""
        super().notify_style_update()
        if self.is_mounted:
            self._take_styles()

    def on_mount(self) -> None:
        """Take the theme's colours, now and at each change of theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._take_styles())
        self._take_styles()

    def _take_styles(self) -> None:
        variables = self.app.theme_variables
        styles = transcript_styles(variables, self.rich_style, self._glyphs, self._lexers)
        if styles != self.model.styles:
            self.model.restyle(styles)
            self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        """Keep the place; lines are laid out anew only for what is in view."""
        width = self.columns
        self._room = 0
        if width == self.model.width or width == 0:
            self.settle(self._top_place())
            return
        place = None if self._following or not self.model.turns else self._top_place()
        firm = self.model.firm(place) if place else None
        self.model.set_width(width)
        self._mark_tail()
        if self._selected is not None:
            self.screen.clear_selection()
        self.settle(self.model.resolve(firm) if firm else Place(0, 0))
        self.refresh()

    @property
    def columns(self) -> int:
        """Cells per row, without the scrollbar's."""
        return self.scrollable_content_region.width

    # --- place ---

    @property
    def following(self) -> bool:
        """Whether the view follows the tail."""
        return self._following

    def _set_following(self, following: bool) -> None:
        if following != self._following:
            self._following = following
            self._mark_tail()
            self._room = 0
            self.post_message(self.FollowChanged(following))

    def _mark_tail(self) -> None:
        last = len(self.model.turns) - 1
        self._left = Place(last, len(self.model.layout(last).lines)) if last >= 0 else Place(0, 0)

    def _n_new_lines(self) -> int:
        """Lines that came since following stopped; heights further up that become known are none of them."""
        position, height = self._left
        if position >= len(self.model.turns):
            return 0
        return self.model.n_lines - self.model.top(position) - height

    def _top_place(self) -> Place:
        """The place in the first row of the view."""
        return self.model.find(self.scroll_offset.y) if self.model.turns else Place(0, 0)

    def settle(self, place: Place, *, grown: int = 0) -> bool:
        """Show the tail when following, else `place` in the first row; know the heights of all that is shown.

        Args:
            grown: lines by which the tail has grown since the last call.

        Returns: whether the first row shows another place than before; all is painted then.
        """
        height, model = self.size.height, self.model
        if not height:
            return False
        if not model.turns:
            return self._go_to(0, 0)
        if self._following:
            step = min(self._step_lines, max(1, height * 2 // 3))
            model.measure_up(len(model.turns) - 1, height + step)
            self._room -= grown
            if not 0 <= self._room < step:
                self._room = step - 1 if model.turns[-1].streaming else 0
            n_lines = model.n_lines + self._room
            return self._go_to(max(n_lines - height, 0), n_lines)
        model.measure_down(place, height)
        if model.top(place.position) + place.line > model.n_lines - height:
            model.measure_up(len(model.turns) - 1, height)
        line = min(model.top(place.position) + place.line, max(model.n_lines - height, 0))
        return self._go_to(line, model.n_lines)

    def _go_to(self, line: int, n_lines: int) -> bool:
        """Have `n_lines` lines and `line` in the first row, without telling the watchers."""
        has_moved = round(self.scroll_y) != line
        if has_moved:
            self.set_scroll(None, line)
            self.set_reactive(Widget.scroll_target_y, line)
        if self.virtual_size.height != n_lines:
            # The scrollbar is always there, so no other widget moves: setting the size through its reactive
            # would lay out the whole screen and send all of the view again.
            size = Size(self.columns, n_lines)
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)
        if has_moved and self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = line
        before, self._shown = self._shown, self._top_place()
        if before != self._shown:
            self.refresh()
        return before != self._shown

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The user scrolled: walk there in known heights."""
        super().watch_scroll_y(old_value, new_value)
        model = self.model
        old, new = round(old_value), round(new_value)
        if not model.turns or old == new:
            return
        near = abs(new - old) <= 3 * max(self.size.height, 1)
        place = model.walk(model.find(old), new - old) if near else model.find(new)
        self._set_following(new >= self.max_scroll_y)
        self.settle(place)
        self.prewarm_later()

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> None:
        """As Textual's, never animated: each frame of an animation sends the whole view to the terminal."""
        options["animate"] = False
        super().scroll_to(x, y, **options)

    def keep_place(self, change: Callable[[], None]) -> None:
        """Change the model; what is in the first row stays there."""
        place = self._top_place()
        firm = self.model.firm(place) if self.model.turns and not self._following else None
        change()
        if firm is not None and firm.position < len(self.model.turns):
            place = self.model.resolve(firm)
        self.settle(place if place.position < len(self.model.turns) else Place(0, 0))
        self.refresh()

    def refresh_changed(self, position: int, changed: list[int], height_before: int) -> None:
        """Paint what a turn's update changed: some of its lines, or all when lines below it moved."""
        grown = self.model.height(position) - height_before
        if grown and self.settle(self._shown, grown=grown):
            return
        if grown and position < len(self.model.turns) - 1:
            self.refresh()
            return
        first = self.model.top(position) - self.scroll_offset.y
        height, width = self.size.height, self.columns
        rows = [row for line in changed if 0 <= (row := first + line) < height]
        if grown and not self._following:
            rows.append(height - 1)
        if rows:
            self.refresh(*(Region(0, start, width, n_rows) for start, n_rows in _runs(rows)))

    # --- heights ahead of need ---

    def prewarm_later(self) -> None:
        """Soon, when nothing else is to do, lay out what a short scroll would show."""
        if not self._prewarming:
            self._prewarming = True
            self.set_timer(PREWARM_PAUSE_S, self._prewarm)

    def _prewarm(self) -> None:
        """Know the heights of turns near the view, and estimate all others', a few milliseconds at a time."""
        self._prewarming = False
        model, height = self.model, self.size.height
        if not model.turns or not height:
            return
        deadline = perf_counter() + PREWARM_SLICE_S
        place = self._top_place()
        near = (
            at for at in _around(model, place.position, PREWARM_SCREENS * height) if not model.is_exact(at)
        )
        for position in near:
            model.layout(position)
            if perf_counter() > deadline:
                break
        if model.estimate_some(lambda: perf_counter() < deadline) or next(near, None) is not None:
            self.prewarm_later()
        self.settle(place)

    # --- painting ---

    def render_lines(self, crop: Region) -> list[Strip]:
        """Lines for the terminal; unlike those for finding what is under the mouse they carry no offsets."""
        self._painting = True
        try:
            return super().render_lines(crop)
        finally:
            self._painting = False
            if self._lexers.has_orders:
                self.run_worker(self._colour_code(self._lexers.take_orders()))

    async def _colour_code(self, languages: set[str]) -> None:
        """Make lexers beside the screen's loop; code that was plain for want of one is drawn again."""
        if await asyncio.to_thread(make_lexers, languages):
            self.model.restyle(self.model.styles)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """One row of the view."""
        width, text = self.columns, self.model.styles.text.text
        found = self.model.line_at(self.scroll_offset.y + y)
        if found is None:
            strip = Strip.blank(width, text)
        else:
            place, line = found
            strip = self._selected_part(place, self._strip(place, line, width))
            if not self._painting:
                strip = strip.apply_offsets(0, selection_line(place))
        if y == self.size.height - 1 and not self._following:
            strip = self._with_more_label(strip, width)
        return strip

    def _strip(self, place: Place, line: Line, width: int) -> Strip:
        text = self.model.styles.text.text
        segments = list(line)
        if self._cursor_covers(place):
            mark = Segment(self._glyphs.cursor, self.model.styles.cursor)
            if segments:
                first = segments[0]
                segments[:1] = [mark, Segment(first.text[1:], first.style)] if len(first.text) > 1 else [mark]
            else:
                segments = [mark]
        missing = width - cells(segments)
        if missing > 0:
            if segments and segments[-1].style == text:
                segments[-1] = Segment(segments[-1].text + " " * missing, text)
            else:
                segments.append(Segment(" " * missing, text))
        strip = Strip(segments, max(width, width - missing))
        return strip if missing >= 0 else strip.crop(0, width)

    def _with_more_label(self, strip: Strip, width: int) -> Strip:
        n_new = self._n_new_lines()
        if n_new <= 0:
            return strip
        label = f" {self._glyphs.more_below} {n_new} new {self._glyphs.separator} end: follow "
        label_cells = cell_len(label)
        if label_cells >= width:
            return strip
        style = self.model.styles.more
        return Strip.join([strip.crop(0, width - label_cells), Strip([Segment(label, style)], label_cells)])

    # --- cursor ---

    def _cursor_span(self) -> tuple[int, BlockSpan] | None:
        """The turn's position and the block under the cursor."""
        if self._cursor is None:
            return None
        turn_id, block = self._cursor
        position = self.model.position(turn_id)
        spans = self.model.layout(position).spans
        return (position, spans[min(block, len(spans) - 1)]) if spans else None

    def _cursor_covers(self, place: Place) -> bool:
        if self._cursor is None or self.model.turns[place.position].id != self._cursor[0]:
            return False
        found = self._cursor_span()
        return found is not None and found[1].start <= place.line < found[1].end

    # --- selection ---

    def _selected_part(self, place: Place, strip: Strip) -> Strip:
        span = self._selected.get_span(selection_line(place)) if self._selected else None
        return strip if span is None else with_selection(strip, span, self.model.styles.selection)

    def selection_updated(self, selection: Selection | None) -> None:
        """Paint only the rows that the change of the selection touches."""
        before, self._selected = self._selected, selection
        rows = []
        for row in range(self.size.height):
            found = self.scroll_offset.y + row
            if found >= self.model.n_lines:
                break
            line = selection_line(self.model.find(found))
            if (before and before.get_span(line)) != (selection and selection.get_span(line)):
                rows.append(row)
        if rows:
            width = self.columns
            self.refresh(*(Region(0, start, width, n_rows) for start, n_rows in _runs(rows)))

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text; None when there is nothing to select."""
        return (selected_text(self.model, selection), "\n") if self.model.turns else None


def _runs(rows: list[int]) -> list[tuple[int, int]]:
    """Neighbouring rows as (first, count)."""
    rows = sorted(set(rows))
    starts = [0, *(at + 1 for at, (a, b) in enumerate(pairwise(rows)) if b != a + 1), len(rows)]
    return [(rows[start], end - start) for start, end in pairwise(starts)]


def _around(model: TranscriptModel, start: int, n_lines: int) -> Iterator[int]:
    """Positions of the turns within a number of lines below and above one, the nearest first."""
    for step in (1, -1):
        position, seen = start, 0
        while 0 <= position < len(model.turns) and seen <= n_lines:
            yield position
            seen += model.height(position)
            position += step
