"""Where the user writes: grows from 1 to 12 rows, sends on enter.

Keys: enter sends; ctrl+j, shift+enter and alt+enter start a new line; up in the first row and down in the
last walk the history; ctrl+e opens the text in the user's editor.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

MAX_ROWS = 12
MAX_HISTORY = 500


class Composer(TextArea):
    """The prompt."""

    DEFAULT_CSS = """
    Composer {
        height: auto;
        min-height: 1;
        max-height: 12;
        border: none;
        padding: 0;
        scrollbar-size-vertical: 1;
    }
    Composer:focus { border: none; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send", id="composer.submit", priority=True),
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "New line", id="composer.newline", priority=True),
        Binding("ctrl+e", "open_editor", "Edit in $EDITOR", id="composer.editor", priority=True),
    ]

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
        super().__init__(id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", compact=True)
        self.highlight_cursor_line = False
        self._editor = editor or "vi"
        self._history: list[str] = []
        self._place = 0
        self._draft = ""
        self.set_history(history)

    def disable_with(self, reason: str) -> None:
        """Take no input and say why in the placeholder; the text stays."""
        self.placeholder = reason
        self.disabled = True

    def enable(self, placeholder: str = "") -> None:
        """Take input again."""
        self.placeholder = placeholder
        self.disabled = False

    def set_history(self, prompts: Sequence[str]) -> None:
        """Replace the history, oldest first."""
        self._history = list(prompts)[-MAX_HISTORY:]
        self._place = len(self._history)

    def action_submit(self) -> None:
        """Send the text, remember it and empty the prompt; nothing happens when it is blank."""
        text = self.text.rstrip()
        if not text.strip():
            return
        if not self._history or self._history[-1] != text:
            self.set_history([*self._history, text])
        self._place = len(self._history)
        self.text = ""
        self.post_message(self.PromptSubmitted(text))

    def action_newline(self) -> None:
        """Start a new line."""
        self.insert("\n")

    def action_open_editor(self) -> None:
        """Edit the text in the user's editor while the screen is suspended."""
        handle, name = tempfile.mkstemp(suffix=".md", prefix="olla-prompt-")
        path = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self.text)
            with self.app.suspend():
                code = subprocess.run([*shlex.split(self._editor), str(path)], check=False).returncode
            if code:
                self.post_message(
                    self.EditorFailed(f"{self._editor} ended with {code}; the text is unchanged")
                )
            else:
                self._replace(path.read_text(encoding="utf-8", errors="replace").rstrip("\n"))
        except (OSError, ValueError, SuspendNotSupported) as error:
            self.post_message(self.EditorFailed(f"the editor {self._editor!r} cannot be used: {error}"))
        finally:
            path.unlink(missing_ok=True)

    def action_cursor_up(self, select: bool = False) -> None:
        """Up a row; in the first row, back in the history."""
        if not select and self.cursor_at_first_line and self._place > 0:
            if self._place == len(self._history):
                self._draft = self.text
            self._recall(self._place - 1)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """Down a row; in the last row, forward in the history, at its end back to what was being written."""
        if not select and self.cursor_at_last_line and self._place < len(self._history):
            self._recall(self._place + 1)
        else:
            super().action_cursor_down(select)

    def _recall(self, place: int) -> None:
        self._place = place
        self._replace(self._draft if place == len(self._history) else self._history[place])

    def _replace(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)
