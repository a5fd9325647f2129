"""The card in an empty chat."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from olla_tui.messages import ActionChosen
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.composer import is_written


class WelcomeBoard(LineBoard, can_focus=True):
    """The card in an empty chat; takes the focus when there is no model to write to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "bundled", "Chat with the model in the package", id="welcome.start")
    ]

    class Typed(Message):
        """The user writes here; the text belongs into the prompt."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def action_bundled(self) -> None:
        """As the chat's own action."""
        self.post_message(ActionChosen("chat.bundled"))

    def on_key(self, event: events.Key) -> None:
        """Hand on what is written."""
        if is_written(event):
            event.stop()
            self.post_message(self.Typed(event.character or ""))

    def on_paste(self, event: events.Paste) -> None:
        """Hand on what is pasted."""
        event.stop()
        self.post_message(self.Typed(event.text))
