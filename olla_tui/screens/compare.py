"""The answers of several models to one prompt: side by side where there is room, one by one where not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.timer import Timer

from olla_tui.bridge import Bridge
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.panes.chat_feed import TranscriptFeed
from olla_tui.state.comparison import Comparison, begin, columns_that_fit, diff_rows, tally_text
from olla_tui.state.drafts import Draft
from olla_tui.state.header import hints_row
from olla_tui.state.rail import rule
from olla_tui.state.rows import Span, fit_row, row
from olla_tui.text.styles import ASCII_GLYPHS, UNICODE_GLYPHS
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.transcript import Transcript

SHOW_EVERY_S = 0.1


class CompareScreen(Screen[None]):
    """Transcripts of all answers; one of them has the focus and is what keys are about.

    Left and right, or tab, go to another answer. v votes for it, d shows how it differs from the one before
    it, enter goes on with it as a chat, escape stops what still runs and leaves. The answers scroll together
    with the one that has the focus, until s lets each go its own way.
    """

    DEFAULT_CSS = """
    CompareScreen { layout: vertical; background: $background; }
    CompareScreen .line { height: 1; }
    CompareScreen #answers { height: 1fr; }
    CompareScreen .answer { width: 1fr; height: 1fr; border-left: solid $olla-faint; }
    CompareScreen .answer:first-child { border-left: none; }
    CompareScreen .answer Transcript { height: 1fr; }
    CompareScreen.-single .answer { display: none; border-left: none; }
    CompareScreen.-single .answer.-current { display: block; }
    CompareScreen #diff { display: none; height: 1fr; scrollbar-size-vertical: 1; padding: 0 1; }
    CompareScreen #diff LineBoard { height: auto; }
    CompareScreen.-diff #diff { display: block; }
    CompareScreen.-diff #answers { display: none; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Leave", id="compare.leave", priority=True),
        Binding("right,tab", "go(1)", "Next answer", id="compare.next", priority=True),
        Binding("left,shift+tab", "go(-1)", "Answer before", id="compare.before", priority=True),
        Binding("v", "vote", "Vote for this answer", id="compare.vote"),
        Binding("s", "together", "Scroll together, or each by itself", id="compare.together"),
        Binding("d", "diff", "Show or hide the differences", id="compare.diff"),
        Binding("enter", "take", "Go on with this answer", id="compare.take", priority=True),
        Binding("ctrl+c", "stop", "Stop all answers", id="compare.stop", priority=True),
    ]
    AUTO_FOCUS = ""

    def __init__(self, bridge: Bridge, desk: ChatDesk, comparison: Comparison) -> None:
        super().__init__()
        self._bridge = bridge
        self._desk = desk
        self._comparison = comparison
        self._feeds: list[TranscriptFeed] = []
        self._current = 0
        self._is_together = True
        self._tally = ""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        glyphs = UNICODE_GLYPHS if self._bridge.state.glyphs.braille else ASCII_GLYPHS
        yield LineBoard(id="compare-title", classes="line")
        with Horizontal(id="answers"):
            for index in range(len(self._comparison.chats)):
                with Vertical(id=f"answer-{index}", classes="answer"):
                    yield LineBoard(id=f"name-{index}", classes="line")
                    yield Transcript(glyphs=glyphs, id=f"transcript-{index}")
        with VerticalScroll(id="diff"):
            yield LineBoard(id="diff-lines")
        yield LineBoard(id="compare-hints", classes="line")

    def on_mount(self) -> None:
        count = len(self._comparison.chats)
        self._feeds = [TranscriptFeed(self._transcript(index)) for index in range(count)]
        for index, chat in enumerate(self._comparison.chats):
            self._bridge.answer(chat)
            self.watch(self._transcript(index), "scroll_y", partial(self._scrolled, index), init=False)
        self._timer = self.set_interval(SHOW_EVERY_S, self._show)
        self.action_go(0)

    def on_resize(self) -> None:
        """Choose between columns and single answers."""
        count = len(self._comparison.chats)
        self.set_class(columns_that_fit(count, self.app.size.width) == 1, "-single")
        self.call_after_refresh(self._show)

    def _transcript(self, index: int) -> Transcript:
        return self.query_one(f"#transcript-{index}", Transcript)

    def _scrolled(self, index: int) -> None:
        """Take the other answers along with the one that has the focus."""
        if index != self._current or not self._is_together:
            return
        leader = self._transcript(index)
        for other in range(len(self._comparison.chats)):
            follower = self._transcript(other)
            if other == index:
                continue
            if leader.following:
                follower.follow()
            else:
                follower.scroll_to(y=min(leader.scroll_y, follower.max_scroll_y))

    def on_transcript_view_follow_changed(self, event: Transcript.FollowChanged) -> None:
        """Going to the end moves no scrollbar by hand."""
        event.stop()
        self._scrolled(self._current)

    # --- showing ---

    def _show(self) -> None:
        """Catch up with the answers; ends by itself once all have come."""
        comparison, state, width = self._comparison, self._bridge.state, self.app.size.width
        for index, (feed, chat) in enumerate(zip(self._feeds, comparison.chats, strict=True)):
            feed.show(chat)
            board = self.query_one(f"#name-{index}", LineBoard)
            here, won = index == self._current, index == comparison.winner
            mark = state.glyphs.cursor if here else state.glyphs.ok if won else " "
            number = f"{index + 1}/{len(comparison.chats)}"
            name = Span(f" {mark} {chat.model}", "title" if here else "strong")
            won_words = Span(f"  {state.glyphs.ok} voted for" if won else "", "good")
            board.show(
                [fit_row(row(name, won_words, Span(f"  {number}", "muted")), board.size.width or width)]
            )
        title = " ".join(comparison.prompt.text.split())
        note = f"votes: {self._tally}" if self._tally else ""
        self.query_one("#compare-title", LineBoard).show(
            [rule(f"Compare: {title}"[: max(8, width - len(note) - 8)], width, note, line=state.glyphs.rule)]
        )
        self._show_hints(width)
        if self.has_class("-diff"):
            self._show_diff()
        if not comparison.is_answering and self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _show_hints(self, width: int) -> None:
        hints = [
            ("←→", "answers", ""),
            ("v", "vote", ""),
            ("d", "differences", ""),
            ("s", "scroll apart" if self._is_together else "scroll together", ""),
            ("⏎", "go on with it", ""),
        ]
        if self._comparison.is_answering:
            hints.append(("^C", "stop", ""))
        leave = row(Span("esc", "key"), Span(" leave ", "muted"))
        self.query_one("#compare-hints", LineBoard).show([hints_row(hints, leave, width)])

    def _show_diff(self) -> None:
        count = len(self._comparison.chats)
        left, right = (self._current - 1) % count, self._current
        chats = self._comparison.chats
        rows = diff_rows(
            self._comparison.answer(left),
            self._comparison.answer(right),
            self.app.size.width - 4,
            names=(chats[left].model, chats[right].model),
        )
        board = self.query_one("#diff-lines", LineBoard)
        if len(rows) != len(board.rows):
            board.refresh(layout=True)
        board.show(rows)

    # --- actions ---

    def action_go(self, step: int) -> None:
        """Go to another answer."""
        self._current = (self._current + step) % len(self._comparison.chats)
        for index in range(len(self._comparison.chats)):
            self.query_one(f"#answer-{index}").set_class(index == self._current, "-current")
        if self.has_class("-diff"):
            self.query_one("#diff").focus()
        else:
            self._transcript(self._current).focus()
        self._show()

    def action_diff(self) -> None:
        """Show how this answer differs from the one before it, or the answers again."""
        self.toggle_class("-diff")
        self.action_go(0)

    def action_together(self) -> None:
        """Scroll all answers together, or each by itself."""
        self._is_together = not self._is_together
        self._scrolled(self._current)
        self._show()

    def action_vote(self) -> None:
        """Say that this answer is the best; the last vote counts."""
        comparison = self._comparison
        if comparison.is_answering or comparison.winner >= 0:
            words = "still coming" if comparison.is_answering else "voted on already"
            self._bridge.tell(f"The answers are {words}.")
            return
        comparison.winner = self._current
        self._bridge.order(self._keep_vote())
        self._show()

    async def _keep_vote(self) -> None:
        comparison = self._comparison
        models = [chat.model for chat in comparison.chats]
        losers = [name for index, name in enumerate(models) if index != comparison.winner]
        await self._desk.add_vote(comparison.prompt.text, models[comparison.winner], losers)
        self._tally = tally_text(await self._desk.votes(), models)
        self._show()

    def action_take(self) -> None:
        """Go on with this answer as a chat of its own."""
        chat = self._comparison.chats[self._current]
        self._stop_all(but=chat.id)
        self._desk.adopt(chat)
        self.dismiss(None)

    def action_stop(self) -> None:
        """Stop all answers; what came stays."""
        self._stop_all()

    def action_leave(self) -> None:
        """Stop what still runs and leave; from the differences back to the answers."""
        if self.has_class("-diff"):
            self.action_diff()
        else:
            self._stop_all()
            self.dismiss(None)

    def _stop_all(self, but: str = "") -> None:
        for chat in self._comparison.chats:
            if chat.id != but:
                self._bridge.stop(chat)


def open_comparison(
    app: App[object],
    bridge: Bridge,
    desk: ChatDesk,
    prompt: str,
    draft_of: Callable[[str], Awaitable[Draft]],
) -> None:
    """Ask for what is missing, the models and the prompt, then compare.

    Args:
        draft_of: reads the files that a prompt names.
    """
    from olla_tui.screens.compare_picker import ComparePicker
    from olla_tui.screens.confirm import AskTextScreen

    async def begin_with(models: list[str], text: str) -> None:
        draft = await draft_of(text)
        made = begin(draft, models, desk.current, desk.new_id, bridge.clock())
        app.push_screen(CompareScreen(bridge, desk, made))

    def take(models: list[str], text: str | None) -> None:
        if text and text.strip():
            bridge.order(begin_with(models, text))

    def chosen(names: str | None) -> None:
        models = (names or "").split("\n") if names else []
        if models and prompt:
            take(models, prompt)
        elif models:
            ask = AskTextScreen("Ask them", "", "Ask", placeholder="one prompt for all, with @files")
            app.push_screen(ask, lambda text: take(models, text))

    app.push_screen(ComparePicker(bridge.state, [desk.current.model] if desk.current.model else []), chosen)
