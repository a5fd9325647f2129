"""The conversation on the screen: one line-API widget, however long the conversation is.

How its owner uses it::

    transcript = Transcript()
    transcript.load(turns)                                  # a stored conversation; painted at its tail
    transcript.begin_turn("user", "you", content="Why?", stats="14:02")
    answer = transcript.begin_turn("assistant", "qwen3:14b", streaming=True)
    transcript.append_thinking(answer, "...")               # 10 to 20 times a second, with joined text
    transcript.append_content(answer, "...")
    transcript.set_stats(answer, "120 tok · 40.9/s")        # when it changes, at most a few times a second
    transcript.end_turn(answer, stats="412 tok · 41.3/s · first 0.38 s")

All methods belong to the screen's loop and return at once. Turn ids are never used twice in one transcript.

The widget posts `Transcript.CopyRequested`, `Transcript.FollowChanged` and `Transcript.CursorMoved`; it never
touches the clipboard. Selected text is read by `Screen.get_selected_text()`, as for every Textual widget.

Colours come from the theme's variables (`olla_tui.widgets.transcript_styles`).
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer

from olla_tui.text.styles import UNICODE_GLYPHS, Glyphs
from olla_tui.widgets.transcript_flow import BlockSpan
from olla_tui.widgets.transcript_layout import Turn
from olla_tui.widgets.transcript_model import Place
from olla_tui.widgets.transcript_turns import TurnView
from olla_tui.widgets.transcript_view import FOLLOW_STEP_LINES, LOW_BANDWIDTH_STEP_LINES, TranscriptView
from server.types.messages import ToolCall

__all__ = ["Transcript", "TurnView"]

PAINT_INTERVAL_S = 0.04
LOW_BANDWIDTH_INTERVAL_S = 0.25
COST_FACTOR = 8
"""Painting a growing turn may take one part in so many of the time, however long its open block is."""


class Transcript(TranscriptView):
    """A conversation: follows its tail in steps, folds reasoning, copies blocks, selects with the mouse."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+up", "cursor_up", "Block above", id="transcript.cursor_up", show=False),
        Binding("alt+down", "cursor_down", "Block below", id="transcript.cursor_down", show=False),
        Binding("y", "copy_block", "Copy block", id="transcript.copy_block"),
        Binding("Y", "copy_message", "Copy message", id="transcript.copy_message"),
        Binding("o,enter", "toggle_fold", "Fold reasoning", id="transcript.toggle_fold"),
        Binding("end", "follow", "Follow", id="transcript.follow"),
        Binding("escape", "drop_cursor", "Put the cursor away", id="transcript.drop_cursor", show=False),
    ]

    class CopyRequested(Message):
        """The user wants a text on the clipboard.

        Attributes:
            text: what to copy.
            what: for the toast: "block", "code", "message" or "selection".
        """

        def __init__(self, text: str, what: str) -> None:
            super().__init__()
            self.text = text
            self.what = what

    class CursorMoved(Message):
        """The block cursor stands in another turn; `turn_id` is None when it was put away."""

        def __init__(self, turn_id: int | None) -> None:
            super().__init__()
            self.turn_id = turn_id

    def __init__(self, *, glyphs: Glyphs = UNICODE_GLYPHS, id: str | None = None) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self._interval_s = PAINT_INTERVAL_S
        self._dirty: set[int] = set()  # ids of turns that changed since they were painted
        self._painted_at = 0.0
        self._cost_s = 0.0  # of the latest painting
        self._timer: Timer | None = None

    # --- content ---

    def load(self, turns: Sequence[TurnView]) -> tuple[int, ...]:
        """Show a conversation in the place of the present one, at its tail; returns the turns' ids.

        Args:
            turns: asked by position when a turn comes near the view, so it may make the views then.
        """
        self._forget_view()
        self.model.replace_all(turns)
        self._show_tail()
        return self.turn_ids

    def begin_turn(
        self,
        role: str,
        title: str,
        *,
        content: str = "",
        stats: str = "",
        attachments: tuple[str, ...] = (),
        streaming: bool = False,
    ) -> int:
        """Add a turn at the end; returns its id. A streaming one stays open until `end_turn`."""
        view = TurnView(role=role, title=title, content=content, stats=stats, attachments=attachments)
        turn = Turn(self.model.new_id(), view, streaming=streaming)
        self.model.add(turn)
        position = len(self.model.turns) - 1
        if self.size.height:
            changed = self.model.update(position)
            self.refresh_changed(position, changed, 0)
        return turn.id

    def append_content(self, turn_id: int, text: str) -> None:
        """Add to the Markdown of an open turn. Raises: KeyError when gone, ValueError when ended."""
        self._open_turn(turn_id).content.feed(text)
        self._changed(turn_id)

    def append_thinking(self, turn_id: int, text: str) -> None:
        """Add to the reasoning of an open turn; as `append_content`."""
        self._open_turn(turn_id).thinking.feed(text)
        self._changed(turn_id)

    def set_tool_calls(self, turn_id: int, calls: tuple[ToolCall, ...]) -> None:
        """Show these calls below the content."""
        self._turn(turn_id).tool_calls = calls
        self._changed(turn_id)

    def set_stats(self, turn_id: int, stats: str) -> None:
        """Change the right of a turn's header; one line is painted again."""
        self._turn(turn_id).stats = stats
        self._changed(turn_id)

    def set_thinking_note(self, turn_id: int, note: str) -> None:
        """Change the words on the fold of the reasoning."""
        self._turn(turn_id).thinking_note = note
        self._changed(turn_id)

    def end_turn(self, turn_id: int, *, stats: str | None = None, error: str | None = None) -> None:
        """Close a turn; None leaves `stats` or `error` as they are. Ending twice is allowed."""
        turn = self._turn(turn_id)
        turn.end()
        turn.stats = turn.stats if stats is None else stats
        turn.error = turn.error if error is None else error
        self._dirty.add(turn_id)
        self._paint()
        turn.forget_blocks()

    def remove_from(self, turn_id: int) -> None:
        """Take away a turn and all after it (regenerate, edit). Raises: KeyError."""
        position = self.model.position(turn_id)
        # Ids grow from the first turn to the last.
        self._dirty = {dirty for dirty in self._dirty if dirty < turn_id}
        if self._cursor is not None and self._cursor[0] >= turn_id:
            self._move_cursor(None)
        self._room = 0
        self.keep_place(lambda: self.model.truncate(position))

    def clear(self) -> None:
        """Take away all turns."""
        self.load(())

    def source(self, turn_id: int) -> TurnView:
        """A turn as it stands. Raises: KeyError."""
        return self._turn(turn_id).view()

    def _turn(self, turn_id: int) -> Turn:
        return self.model.turns[self.model.position(turn_id)]

    def _open_turn(self, turn_id: int) -> Turn:
        turn = self._turn(turn_id)
        if not turn.streaming:
            raise ValueError(f"turn {turn_id} has ended")
        return turn

    def _forget_view(self) -> None:
        self._dirty.clear()
        self._room = 0
        self._move_cursor(None)
        if self._selected is not None:
            self.screen.clear_selection()

    def _show_tail(self) -> None:
        self._set_following(True)
        self.settle(Place(0, 0))
        self.refresh()
        self.prewarm_later()

    # --- painting at a bounded rate ---

    def _changed(self, turn_id: int) -> None:
        """Paint a turn now, or a little later when it was painted just now or is costly."""
        self._dirty.add(turn_id)
        if self._timer is not None:
            return
        wait_s = self._painted_at + max(self._interval_s, self._cost_s * COST_FACTOR) - perf_counter()
        if wait_s <= 0 or not self.is_mounted:
            self._paint()
        else:
            self._timer = self.set_timer(wait_s, self._paint)

    def _paint(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        dirty, self._dirty = self._dirty, set()
        if not self.size.height:
            return
        begun = perf_counter()
        for turn_id in sorted(dirty):
            position = self.model.position(turn_id)
            before = self.model.height(position)
            self.refresh_changed(position, self.model.update(position), before)
        self._painted_at = perf_counter()
        self._cost_s = self._painted_at - begun

    # --- view ---

    @property
    def turn_ids(self) -> tuple[int, ...]:
        """Ids of all turns in order."""
        return tuple(self.model.turns.ids)

    @property
    def cursor_turn(self) -> int | None:
        """The turn in which the block cursor stands; without one, None."""
        return None if self._cursor is None else self._cursor[0]

    def follow(self) -> None:
        """Go to the tail and follow it."""
        self._show_tail()

    def scroll_to_turn(self, turn_id: int) -> None:
        """Bring a turn's header to the top of the view and stop following. Raises: KeyError."""
        position = self.model.position(turn_id)
        self._set_following(False)
        self.settle(Place(position, 0))
        self.prewarm_later()

    def toggle_fold(self, turn_id: int | None = None) -> None:
        """Open or fold the reasoning of a turn: the given one, the cursor's, or the latest that has any."""
        wanted = turn_id if turn_id is not None else self.cursor_turn
        if wanted is None:
            wanted = self.model.turns.latest(lambda view: view.thinking)
        if wanted is None:
            return
        turn, position = self._turn(wanted), self.model.position(wanted)
        turn.unfolded = not turn.unfolded

        def change() -> None:
            self.model.update(position)

        self.keep_place(change)

    def set_low_bandwidth(self, on: bool) -> None:
        """Scroll in steps of 24 lines instead of 6, paint at most 4 times a second, and show no scrollbar.

        For each line that comes all of the scrollbar is painted anew, which is half of what a stream sends.
        """
        self.styles.scrollbar_visibility = "hidden" if on else "visible"
        self._step_lines = LOW_BANDWIDTH_STEP_LINES if on else FOLLOW_STEP_LINES
        self._interval_s = LOW_BANDWIDTH_INTERVAL_S if on else PAINT_INTERVAL_S

    # --- cursor ---

    def _move_cursor(self, cursor: tuple[int, int] | None) -> None:
        before, self._cursor = self._cursor, cursor
        if before == cursor:
            return
        if cursor is not None:
            self._show_cursor()
        self.refresh()
        turn = None if cursor is None else cursor[0]
        if (None if before is None else before[0]) != turn:
            self.post_message(self.CursorMoved(turn))

    def _show_cursor(self) -> None:
        """Scroll as little as brings the block, or its beginning, into view."""
        found = self._cursor_span()
        if found is None:
            return
        position, span = found
        top, height = self.model.top(position), self.size.height
        first, last = top + span.start, top + span.end - 1
        if first < self.scroll_offset.y:
            self.scroll_to(y=max(first - 1, 0))
        elif last >= self.scroll_offset.y + height:
            self.scroll_to(y=min(last - height + 1, first))

    def _step_cursor(self, step: int) -> None:
        if not self.model.turns or not self.size.height:
            return
        if self._cursor is None:
            row = self.size.height - 1 if step < 0 else 0
            place = self.model.find(min(self.scroll_offset.y + row, self.model.n_lines - 1))
            block = self.model.firm(place).block
            if block >= 0:
                self._move_cursor((self.model.turns[place.position].id, block))
                return
            position, block = place.position, 0 if step < 0 else -1
        else:
            position, block = self.model.position(self._cursor[0]), self._cursor[1]
        block += step
        while not 0 <= block < len(self.model.layout(position).spans):
            position += step
            if not 0 <= position < len(self.model.turns):
                return
            block = 0 if step > 0 else len(self.model.layout(position).spans) - 1
        self._move_cursor((self.model.turns[position].id, block))

    def action_cursor_up(self) -> None:
        """Move the block cursor to the block above."""
        self._step_cursor(-1)

    def action_cursor_down(self) -> None:
        """Move the block cursor to the block below."""
        self._step_cursor(1)

    def action_drop_cursor(self) -> None:
        """Put the block cursor away."""
        self._move_cursor(None)

    # --- actions ---

    def action_copy_block(self) -> None:
        """Ask to copy the block under the cursor, or the latest code; a fence without its marks."""
        found = self._cursor_span()
        span = found[1] if found else self._latest_code()
        if span is not None:
            self.post_message(self.CopyRequested(span.copied, span.what))

    def _latest_code(self) -> BlockSpan | None:
        if not self.model.turns:
            return None
        spans = self.model.layout(len(self.model.turns) - 1).spans
        code = [span for span in spans if span.what == "code"] or [*spans]
        return code[-1] if code else None

    def action_copy_message(self) -> None:
        """Ask to copy the Markdown of the cursor's turn, or of the latest answer."""
        wanted = self.cursor_turn
        if wanted is None:
            wanted = self.model.turns.latest(lambda view: view.role == "assistant")
        if wanted is not None:
            self.post_message(self.CopyRequested(self._turn(wanted).content.source, "message"))

    def action_toggle_fold(self) -> None:
        """`toggle_fold` for the cursor's turn."""
        self.toggle_fold()

    def action_follow(self) -> None:
        """`follow`."""
        self.follow()

    # --- mouse ---

    def on_click(self, event: events.Click) -> None:
        """Open the reasoning whose line was clicked, or put the cursor on a block."""
        found = self.model.line_at(self.scroll_offset.y + event.y)
        if found is None or self._selected is not None:
            return
        place = found[0]
        turn = self.model.turns[place.position]
        if place.line == self.model.layout(place.position).fold_line:
            self.toggle_fold(turn.id)
            return
        block = self.model.firm(place).block
        self._move_cursor((turn.id, block) if block >= 0 else None)

    def on_mouse_up(self, _event: events.MouseUp) -> None:
        """Copy what was selected by dragging."""
        if self._selected is not None and (found := self.get_selection(self._selected)) is not None:
            self.post_message(self.CopyRequested(found[0], "selection"))
