"""The dialogs of the main screen, and what follows from their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from olla_tui.bridge import Bridge
from olla_tui.messages import ChatWanted
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.screens.store_dialogs import StoreDialogs

if TYPE_CHECKING:
    from textual.screen import Screen


class Dialogs:
    """Opens dialogs over a screen. Each is imported when it is first needed."""

    def __init__(self, screen: Screen[None], bridge: Bridge, desk: ChatDesk) -> None:
        self._screen = screen
        self._bridge = bridge
        self._desk = desk

    def open(self, kind: str, name: str) -> None:
        """Open the dialog that a pane asked for; see `DialogWanted`."""
        openers = {
            "pick_model": self._pick_model,
            "switch_chat": self._switch_chat,
            "rename_chat": self._rename_chat,
            "delete_chat": self._delete_chat,
            **StoreDialogs(self._screen, self._bridge).openers(),
        }
        openers[kind](name)

    def show_help(self) -> None:
        """Show help for what has the focus."""
        from olla_tui.screens.help import HelpScreen, help_text, live_sections

        title, text = help_text(self._screen)
        self._screen.app.push_screen(HelpScreen(title, text, live_sections(self._screen)))

    def jump(self, do: Callable[[str], object]) -> None:
        """Show the keys of jump mode.

        Args:
            do: carries out an action.
        """
        from olla_tui.screens.jump import JumpScreen, jump_targets

        found, widgets = jump_targets(self._screen)

        def chosen(goal: str | None) -> None:
            if goal in widgets:
                self._screen.set_focus(widgets[goal])
            elif goal:
                self._screen.call_later(do, goal)

        self._screen.app.push_screen(JumpScreen(found), chosen)

    def _pick_model(self, current: str) -> None:
        from olla_tui.screens.model_picker import model_picker

        def chosen(name: str | None) -> None:
            if name:
                chat = self._desk.current
                if not chat.is_answering:
                    chat.model = name
                    self._bridge.touch("chat")
                else:
                    self._screen.post_message(ChatWanted(name))

        self._screen.app.push_screen(model_picker(self._bridge.state, current), chosen)

    def _switch_chat(self, _: str) -> None:
        self._bridge.order(self._list_chats())

    async def _list_chats(self) -> None:
        from olla_tui.screens.model_picker import chat_picker

        summaries = await self._desk.summaries()
        picker = chat_picker(summaries, self._bridge.state, self._desk.current.id)

        def chosen(chat_id: str | None) -> None:
            if chat_id:
                self._bridge.order(self._desk.open(chat_id))

        self._screen.app.push_screen(picker, chosen)

    def _rename_chat(self, chat_id: str) -> None:
        from olla_tui.screens.confirm import AskTextScreen

        def answered(title: str | None) -> None:
            if title:
                self._bridge.order(self._desk.rename(chat_id, title))

        title = self._desk.current.title
        self._screen.app.push_screen(AskTextScreen("Rename this chat", title, "Rename"), answered)

    def _delete_chat(self, chat_id: str) -> None:
        from olla_tui.screens.confirm import ChoiceScreen

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._bridge.order(self._desk.delete(chat_id), "the chat is deleted")

        chat = self._desk.current
        dialog = ChoiceScreen(
            "Delete this chat?",
            [chat.display_title, f"{len(chat.turns)} turns will be gone for good."],
            (("", "Keep"), ("yes", "Delete")),
            danger="yes",
        )
        self._screen.app.push_screen(dialog, answered)
