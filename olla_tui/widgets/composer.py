"""Where the user writes: grows from 1 to 12 rows, sends on enter.

Keys: enter sends; ctrl+j, shift+enter and alt+enter start a new line; up in the first row and down in the
last walk the history; ctrl+e opens the text in the user's editor.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from olla_tui.text.clean import clean
from olla_tui.widgets.composer_history import PromptHistory

MAX_ROWS = 12
MAX_EDITED_BYTES = 4 * 1024 * 1024


def run_editor(command: Sequence[str]) -> int:
    """Run an editor on the terminal that the screen is drawn on; returns its exit status.

    The screen may have sent file descriptors 1 and 2 elsewhere; `sys.__stderr__` is its way to the terminal.

    Raises: OSError when it cannot be started.
    """
    terminal = sys.__stderr__
    return subprocess.run(command, stdout=terminal, stderr=terminal, check=False).returncode


def is_written(event: events.Key) -> bool:
    """Whether a key writes something; with alt it is a command, also where that has nothing to do now."""
    return event.is_printable and not event.key.startswith("alt+")


class Composer(TextArea):
    """The prompt."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "Start a new line", id="composer.newline"),
        Binding("ctrl+e", "open_editor", "Edit the prompt in your editor", id="composer.editor"),
    ]
    DEFAULT_CSS = """
    Composer {
        height: 1;
        border: none;
        padding: 0;
        scrollbar-size-vertical: 1;
        background: $background;
        &:focus { border: none; }
        .text-area--cursor-line { background: $background; }
    }
    """

    class PromptSubmitted(Message):
        """The user sends a text; it is not blank and ends without white space."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Refused(Message):
        """The user wants to send what cannot be sent now; the text stays, and `reason` says why.

        Attributes:
            is_empty: there was nothing to send.
        """

        def __init__(self, reason: str, *, is_empty: bool) -> None:
            super().__init__()
            self.reason = reason
            self.is_empty = is_empty

    class BlankSubmitted(Message):
        """Enter was pressed where nothing is written."""

    class EditorFailed(Message):
        """The editor could not be used; `reason` is a sentence for a toast."""

        def __init__(self, reason: str) -> None:
            super().__init__()
            self.reason = reason

    def __init__(
        self,
        *,
        editor: str = "",
        history: Sequence[str] = (),
        id: str | None = None,
        run: Callable[[Sequence[str]], int] = run_editor,
    ) -> None:
        """Make an empty prompt.

        Args:
            editor: command line of the user's editor; "" means "vi".
            history: earlier prompts, oldest first.
            run: runs the editor.
        """
        super().__init__(id=id, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False)
        self.cursor_blink = False  # each blink is bytes on the wire
        self._editor = editor or "vi"
        self._history = PromptHistory(history)
        self._run = run
        self._blocked = ""
        self.take_key: Callable[[str], bool] = lambda key: False
        """Asked for every key first: who takes it returns True, and the prompt does nothing with it."""

    # --- state ---

    def block(self, reason: str) -> None:
        """Send nothing from now on, and say why in the placeholder; text can be written all the same."""
        self._blocked = reason
        self._invite(reason)

    def allow(self, placeholder: str = "") -> None:
        """Send again."""
        self._blocked = ""
        self._invite(placeholder)

    def _invite(self, words: str) -> None:
        content = Content(clean(words))
        if self.placeholder != content:
            self.placeholder = content

    def put(self, text: str) -> None:
        """Show another text; the one that was written goes into the history."""
        if self.text.strip() and self.text != text:
            self._history.add(self.text.rstrip())
        self._show(text)

    def set_history(self, prompts: Sequence[str]) -> None:
        """Replace the history, oldest first."""
        self._history = PromptHistory(prompts)

    # --- size ---

    def on_text_area_changed(self) -> None:
        """Grow and shrink with the text."""
        self._fit_rows()

    def on_resize(self, _event: events.Resize) -> None:
        """A new width wraps the text in another number of rows, once the text area has taken it."""
        self.call_later(self._fit_rows)

    def _fit_rows(self) -> None:
        rows = min(max(self.wrapped_document.height, 1), MAX_ROWS)
        if self.styles.height is None or self.styles.height.value != rows:
            self.styles.height = rows

    # --- keys ---

    async def _on_key(self, event: events.Key) -> None:
        if self.take_key(event.key):
            event.stop()
            event.prevent_default()
        elif event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_submit()
        elif event.is_printable and not is_written(event):
            event.prevent_default()

    def action_cursor_up(self, select: bool = False) -> None:
        """In the first row the prompt before this one, else as usual."""
        if select or not self.navigator.is_first_wrapped_line(self.cursor_location):
            super().action_cursor_up(select)
        elif (text := self._history.older(self.text)) is not None:
            self._show(text)

    def action_cursor_down(self, select: bool = False) -> None:
        """In the last row the prompt after this one, else as usual."""
        if select or not self.navigator.is_last_wrapped_line(self.cursor_location):
            super().action_cursor_down(select)
        elif (text := self._history.newer()) is not None:
            self._show(text)

    def _show(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)

    def action_submit(self) -> None:
        """Send the text, remember it and empty the prompt; a blank one and a blocked one stay."""
        text = self.text.rstrip()
        if self._blocked:
            self.post_message(self.Refused(self._blocked, is_empty=not text))
        elif text.strip():
            self._history.add(text)
            self.text = ""
            self.post_message(self.PromptSubmitted(text))
        else:
            self.post_message(self.BlankSubmitted())

    def action_newline(self) -> None:
        """Start a new line."""
        if not self.read_only:
            self.insert("\n")

    # --- editor ---

    def action_open_editor(self) -> None:
        """Edit the text in the user's editor while the screen is suspended."""
        try:
            command = shlex.split(self._editor)
        except ValueError:
            command = []
        if not command:
            self.post_message(self.EditorFailed(f"The editor's command line is not valid: {self._editor}"))
            return
        try:
            with tempfile.TemporaryDirectory(prefix="olla-") as directory:
                self._edit(command, Path(directory) / "prompt.md")
        except SuspendNotSupported:
            self.post_message(self.EditorFailed("This terminal cannot be handed to an editor."))
        except OSError as error:
            self.post_message(self.EditorFailed(f"{command[0]} cannot be used: {error.strerror or error}"))

    def _edit(self, command: list[str], path: Path) -> None:
        path.write_text(self.text, encoding="utf-8")
        with self.app.suspend():
            status = self._run([*command, str(path)])
        if status != 0:
            self.post_message(
                self.EditorFailed(f"{command[0]} ended with status {status}; nothing was changed.")
            )
        elif path.stat().st_size > MAX_EDITED_BYTES:
            self.post_message(self.EditorFailed(f"A prompt may have {MAX_EDITED_BYTES // 2**20} MB at most."))
        else:
            self._show(clean(path.read_text(encoding="utf-8", errors="replace")).rstrip("\n"))
