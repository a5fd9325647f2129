"""Dialogs about chats: switching, renaming, settings, files, the shell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from olla_tui.bridge import Bridge
from olla_tui.history.export import FORMATS, ExportFormat, file_stem
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.state.drafts import Draft

if TYPE_CHECKING:
    from textual.screen import Screen

    from olla_tui.screens.chat_options import ChatSettings


class ChatDialogs:
    """Opens dialogs over a screen; what their answers ask for is done through bridge and desk."""

    def __init__(
        self,
        screen: Screen[None],
        bridge: Bridge,
        desk: ChatDesk,
        *,
        run_shell: Callable[[str], None],
        draft_of: Callable[[str], Awaitable[Draft]],
    ) -> None:
        """Make the dialogs.

        Args:
            run_shell: runs a line that the user has confirmed.
            draft_of: reads the files that a prompt names.
        """
        self._draft_of = draft_of
        self._screen = screen
        self._bridge = bridge
        self._desk = desk
        self._shell = run_shell

    def openers(self) -> dict[str, Callable[[str], object]]:
        """Kind of a dialog, as in `DialogWanted`, to what opens it."""
        return {
            "switch_chat": lambda _: self._bridge.order(self._switch()),
            "rename_chat": self._rename,
            "delete_chat": self._delete,
            "chat_options": self._options,
            "export_chat": self._export,
            "import_chat": lambda path: self._bridge.order(self._desk.import_file(path), "the chat is here"),
            "run_shell": self._run_shell,
            "compare": self._compare,
        }

    async def _switch(self) -> None:
        from olla_tui.screens.chat_switcher import ChatSwitcher

        desk = self._desk
        switcher = ChatSwitcher(
            self._bridge.state,
            await desk.search(""),
            current=desk.current.id,
            search=desk.search,
            rename=desk.rename,
            delete=desk.delete,
            foresee=desk.foresee,
        )

        def chosen(chat_id: str | None) -> None:
            if chat_id and not desk.open_at_once(chat_id):
                self._bridge.order(desk.open(chat_id))

        self._screen.app.push_screen(switcher, chosen)

    def _rename(self, chat_id: str) -> None:
        from olla_tui.screens.confirm import AskTextScreen

        def answered(title: str | None) -> None:
            if title:
                self._bridge.order(self._desk.rename(chat_id, title))

        title = self._desk.current.title
        self._screen.app.push_screen(AskTextScreen("Rename this chat", title, "Rename"), answered)

    def _delete(self, chat_id: str) -> None:
        from olla_tui.screens.chat_switcher import delete_question

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._bridge.order(self._desk.delete(chat_id), "the chat is deleted")

        chat = self._desk.current
        self._screen.app.push_screen(delete_question(chat.display_title, len(chat.turns)), answered)

    def _options(self, _: str) -> None:
        from olla_tui.screens.chat_options import ChatOptionsScreen

        chat = self._desk.current
        model = self._bridge.state.model(chat.model)

        def answered(settings: ChatSettings | None) -> None:
            if settings is not None:
                chat.system, chat.think = settings.system, settings.think
                chat.options = settings.options
                self._bridge.order(self._desk.save(chat))
                self._bridge.touch("chat")

        can_think = model is None or "thinking" in model.capabilities
        self._screen.app.push_screen(ChatOptionsScreen(chat, can_think=can_think), answered)

    def _export(self, wanted: str) -> None:
        """Write the chat: "md notes.md" at once, and without a format after a question."""
        from olla_tui.screens.confirm import AskTextScreen

        chat, desk = self._desk.current, self._desk
        format, _, path = wanted.partition(" ")
        if format in FORMATS:
            name = path or f"{file_stem(chat)}.{format}"
            self._bridge.order(desk.export_file(chat, format, name))
            return

        def format_of(name: str) -> str:
            return Path(name).suffix.lstrip(".").lower()

        def answered(name: str | None) -> None:
            if name:
                self._bridge.order(desk.export_file(chat, cast(ExportFormat, format_of(name)), name))

        def check(name: str) -> str:
            return "" if format_of(name) in FORMATS else "The name ends with .md, .json or .html."

        suggested = wanted or f"{file_stem(chat)}.md"
        lines = [".md and .html show this branch, .json keeps all and can be read back."]
        dialog = AskTextScreen("Write this chat to a file", suggested, "Write", lines=lines, check=check)
        self._screen.app.push_screen(dialog, answered)

    def _run_shell(self, line: str) -> None:
        from olla_tui.screens.confirm import ChoiceScreen

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._shell(line)

        # Whatever is pasted behind the line lands on the answer that does nothing.
        dialog = ChoiceScreen(
            "Run this in the shell?",
            [line, "What it says goes into the prompt; nothing is sent."],
            (("", "Cancel"), ("yes", "Run")),
            danger="yes",
        )
        self._screen.app.push_screen(dialog, answered)

    def _compare(self, prompt: str) -> None:
        from olla_tui.screens.compare import open_comparison

        open_comparison(self._screen.app, self._bridge, self._desk, prompt, self._draft_of)
