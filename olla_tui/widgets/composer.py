"""Where the user writes: grows from 1 to 12 rows, sends on enter.

Keys: enter sends; ctrl+j, shift+enter and alt+enter start a new line; up in the first row and down in the last
walk the history; ctrl+e opens the text in the user's editor.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message
from textual.widgets import TextArea

MAX_ROWS = 12


class Composer(TextArea):
    """The prompt."""

    class PromptSubmitted(Message):
        """The user sends a text; it is not blank and ends without white space."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class EditorFailed(Message):
        """The editor could not be used; `reason` is a sentence for a toast."""

        def __init__(self, reason: str) -> None:
            super().__init__()
            self.reason = reason

    def __init__(self, *, editor: str = "", history: Sequence[str] = (), id: str | None = None) -> None:
        """Make an empty prompt.

        Args:
            editor: command line of the user's editor; "" means "vi".
            history: earlier prompts, oldest first.
        """
        super().__init__(id=id)

    def disable_with(self, reason: str) -> None:
        """Take no input and say why in the placeholder; the text stays."""
        raise NotImplementedError

    def enable(self, placeholder: str = "") -> None:
        """Take input again."""
        raise NotImplementedError

    def set_history(self, prompts: Sequence[str]) -> None:
        """Replace the history, oldest first."""
        raise NotImplementedError

    def action_submit(self) -> None:
        """Send the text, remember it and empty the prompt; nothing happens when it is blank."""
        raise NotImplementedError

    def action_newline(self) -> None:
        """Start a new line."""
        raise NotImplementedError

    def action_open_editor(self) -> None:
        """Edit the text in the user's editor while the screen is suspended."""
        raise NotImplementedError
