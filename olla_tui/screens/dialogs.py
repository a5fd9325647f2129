"""The dialogs of the main screen, and what follows from their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from olla_tui.bridge import Bridge
from olla_tui.messages import ChatWanted
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.screens.chat_dialogs import ChatDialogs
from olla_tui.screens.store_dialogs import StoreDialogs
from olla_tui.state.drafts import Draft

if TYPE_CHECKING:
    from textual.screen import Screen


class Dialogs:
    """Opens dialogs over a screen. Each is imported when it is first needed."""

    def __init__(
        self,
        screen: Screen[None],
        bridge: Bridge,
        desk: ChatDesk,
        *,
        run_shell: Callable[[str], None],
        draft_of: Callable[[str], Awaitable[Draft]],
    ) -> None:
        self._screen = screen
        self._run_shell, self._draft_of = run_shell, draft_of
        self._bridge = bridge
        self._desk = desk

    def open(self, kind: str, name: str) -> None:
        """Open the dialog that a pane asked for; see `DialogWanted`."""
        about_chats = ChatDialogs(
            self._screen, self._bridge, self._desk, run_shell=self._run_shell, draft_of=self._draft_of
        )
        openers = {
            "pick_model": self._pick_model,
            **about_chats.openers(),
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
