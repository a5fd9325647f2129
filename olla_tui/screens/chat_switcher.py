"""All chats: searched through while one types, opened, renamed and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from olla_tui.history.store import ChatSummary, Found
from olla_tui.screens.confirm import AskTextScreen, ChoiceScreen
from olla_tui.screens.listing import ListingScreen
from olla_tui.state.chat_list import CHAT_COLUMNS, chat_cells, excerpt_row
from olla_tui.state.rows import Span, fit_row, row
from olla_tui.state.workstation import Workstation
from olla_tui.widgets.background import run_latest
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.filter import SteadyInput
from olla_tui.widgets.table import Column, LineTable
from server.errors import OllaError


class ChatSwitcher(ListingScreen):
    """A search and a list; the result is the id of the chosen chat, "" for none.

    Typing searches titles, models and every word that was said. Enter opens a chat, alt+n renames it, alt+d
    deletes it after a question, escape leaves.
    """

    DEFAULT_CSS = """
    ChatSwitcher { align: center middle; background: $background 60%; }
    ChatSwitcher #picker {
        width: 110; max-width: 96%; height: 30; max-height: 90%;
        padding: 0 1; background: $surface; border: round $primary; border-title-color: $primary;
        border-title-style: bold; border-subtitle-color: $olla-muted;
    }
    ChatSwitcher #picker-filter { height: 1; border: none; padding: 0; background: $panel; margin-bottom: 1; }
    ChatSwitcher #picker-filter:focus { border: none; }
    ChatSwitcher LineTable { background: $surface; }
    ChatSwitcher #picker-excerpt { height: 2; background: $surface; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "leave", "Leave", show=False, priority=True, id="switcher.leave"),
        Binding("up", "move(-1)", "Up", show=False, priority=True, id="switcher.up"),
        Binding("down", "move(1)", "Down", show=False, priority=True, id="switcher.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, priority=True, id="switcher.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, priority=True, id="switcher.page_down"),
        Binding("enter", "choose", "Open the chat", show=False, priority=True, id="switcher.choose"),
        Binding("alt+n", "rename", "Rename the chat", show=False, priority=True, id="switcher.rename"),
        Binding("alt+d", "delete", "Delete the chat", show=False, priority=True, id="switcher.delete"),
    ]

    def __init__(
        self,
        state: Workstation,
        found: Found,
        *,
        current: str,
        search: Callable[[str], Awaitable[Found]],
        rename: Callable[[str, str], Awaitable[None]],
        delete: Callable[[str], Awaitable[None]],
        foresee: Callable[[str], Awaitable[None]],
    ) -> None:
        """Make the dialog.

        Args:
            found: all chats.
            current: id of the chat that the cursor stands on at first.
            search, rename, delete: may raise StoreError, which is shown.
            foresee: told of the chat under the cursor, which may be opened next.
        """
        super().__init__()
        self._state = state
        self._found = found
        self._chats: dict[str, ChatSummary] = {}
        self._current = current
        self._search, self._rename, self._delete, self._foresee = search, rename, delete, foresee

    def compose(self) -> ComposeResult:
        with Vertical(id="picker") as box:
            box.border_title = "Chats"
            box.border_subtitle = "enter opens · alt+n renames · alt+d deletes · esc leaves"
            yield SteadyInput(placeholder="search all chats", id="picker-filter")
            yield LineTable([Column(*column) for column in CHAT_COLUMNS], led=True, id="picker-table")
            yield LineBoard(id="picker-excerpt")

    def on_mount(self) -> None:
        self._show(self._found)
        self.table.go_to(self._current)
        self.query_one("#picker-filter", Input).focus()

    @property
    def _text(self) -> str:
        return self.query_one("#picker-filter", Input).value

    def _show(self, found: Found) -> None:
        self._found = found
        self._chats = {summary.id: summary for summary in found.chats}
        empty = "Nothing that was said matches." if self._text.strip() else "No chat has been kept yet."
        self.table.show(
            list(self._chats),
            lambda key: chat_cells(self._state, self._chats[key]),
            empty=[row(Span(f"  {empty}", "muted"))],
        )
        self._show_excerpt()

    def _show_excerpt(self) -> None:
        board = self.query_one("#picker-excerpt", LineBoard)
        summary = self._chats.get(self.table.key)
        width = board.size.width or 80
        rows = [fit_row(excerpt_row(summary.excerpt if summary else ""), width)]
        board.show([*rows, fit_row((Span(self._found.note, "warn"),), width)])

    # --- searching ---

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._search_again()

    def _search_again(self) -> None:
        run_latest(self, partial(self._look, self._text), "search")

    async def _look(self, text: str) -> None:
        """Search; a later text cancels this."""
        try:
            found = await self._search(text)
        except OllaError as error:
            found = Found([], error.message)
        self._show(found)

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
        self._show_excerpt()
        if event.key:
            run_latest(self, partial(self._tell, event.key), "foresee")

    async def _tell(self, key: str) -> None:
        await asyncio.sleep(0)  # a cursor that is moved on at once cancels this
        try:
            await self._foresee(key)
        except OllaError as error:
            self._show(Found(self._found.chats, error.message))

    # --- actions ---

    def action_rename(self) -> None:
        """Ask for a title for the chat under the cursor."""
        summary = self._chats.get(self.table.key)
        if summary is None:
            return

        def answered(title: str | None) -> None:
            if title:
                work = partial(self._rename, summary.id, title)
                run_latest(self, partial(self._change, work), "change")

        self.app.push_screen(AskTextScreen("Rename this chat", summary.title, "Rename"), answered)

    def action_delete(self) -> None:
        """Delete the chat under the cursor, after a question."""
        summary = self._chats.get(self.table.key)
        if summary is None:
            return

        def answered(answer: str | None) -> None:
            if answer == "yes":
                work = partial(self._delete, summary.id)
                run_latest(self, partial(self._change, work), "change")

        self.app.push_screen(delete_question(summary.title, summary.n_turns), answered)

    async def _change(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except OllaError as error:
            self._show(Found(self._found.chats, error.message))
        else:
            await self._look(self._text)


def delete_question(title: str, n_turns: int) -> ChoiceScreen:
    """The question before a chat is deleted; answers "yes" or ""."""
    return ChoiceScreen(
        "Delete this chat?",
        [title or "New chat", f"{n_turns} turns will be gone for good."],
        (("", "Keep"), ("yes", "Delete")),
        danger="yes",
    )
