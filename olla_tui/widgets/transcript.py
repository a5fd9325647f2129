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

Colours come from component classes, which a stylesheet of the application may set from its theme variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.message import Message
from textual.scroll_view import ScrollView

from olla_tui.widgets.transcript_turns import TurnView
from server.types.messages import ToolCall

__all__ = ["Transcript", "TurnView"]


class Transcript(ScrollView, can_focus=True):
    """A conversation: follows its tail in steps, folds reasoning, copies blocks, selects with the mouse."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--user",  # header of a role
        "transcript--assistant",
        "transcript--system",
        "transcript--tool",
        "transcript--stats",  # right of the header
        "transcript--thinking",  # the fold's line and the reasoning
        "transcript--error",
        "transcript--muted",  # borders of fences and tables, list bullets, quote bars
        "transcript--cursor",  # gutter of the chosen block
        "transcript--new",  # "▼ 3 new · end: follow"
        "transcript--heading",
        "transcript--strong",
        "transcript--emphasis",
        "transcript--code",  # code in a sentence
        "transcript--link",
        "transcript--quote",
        "transcript--fence",  # code in a fence, and the roles of its tokens
        "transcript--fence-title",
        "transcript--keyword",
        "transcript--string",
        "transcript--number",
        "transcript--comment",
        "transcript--name",
        "transcript--operator",
    }

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

    class FollowChanged(Message):
        """The view began or stopped to follow the tail."""

        def __init__(self, following: bool) -> None:
            super().__init__()
            self.following = following

    class CursorMoved(Message):
        """The block cursor stands in another turn; `turn_id` is None when it was put away."""

        def __init__(self, turn_id: int | None) -> None:
            super().__init__()
            self.turn_id = turn_id

    # --- content ---------------------------------------------------------------------------------------------

    def load(self, turns: Sequence[TurnView]) -> tuple[int, ...]:
        """Show a conversation in the place of the present one, at its tail; returns the turns' ids."""
        raise NotImplementedError

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
        raise NotImplementedError

    def append_content(self, turn_id: int, text: str) -> None:
        """Add to the Markdown of an open turn. Raises: KeyError when the turn is gone, ValueError when ended."""
        raise NotImplementedError

    def append_thinking(self, turn_id: int, text: str) -> None:
        """Add to the reasoning of an open turn; as `append_content`."""
        raise NotImplementedError

    def set_tool_calls(self, turn_id: int, calls: tuple[ToolCall, ...]) -> None:
        """Show these calls below the content."""
        raise NotImplementedError

    def set_stats(self, turn_id: int, stats: str) -> None:
        """Change the right of a turn's header; one line is painted again."""
        raise NotImplementedError

    def set_thinking_note(self, turn_id: int, note: str) -> None:
        """Change the words on the fold of the reasoning."""
        raise NotImplementedError

    def end_turn(self, turn_id: int, *, stats: str | None = None, error: str | None = None) -> None:
        """Close a turn; None leaves `stats` or `error` as they are. Ending twice is allowed."""
        raise NotImplementedError

    def remove_from(self, turn_id: int) -> None:
        """Take away a turn and all after it (regenerate, edit). Raises: KeyError."""
        raise NotImplementedError

    def clear(self) -> None:
        """Take away all turns."""
        raise NotImplementedError

    def source(self, turn_id: int) -> TurnView:
        """A turn as it stands. Raises: KeyError."""
        raise NotImplementedError

    # --- view ------------------------------------------------------------------------------------------------

    @property
    def turn_ids(self) -> tuple[int, ...]:
        """Ids of all turns in order."""
        raise NotImplementedError

    @property
    def cursor_turn(self) -> int | None:
        """The turn in which the block cursor stands; without one, None."""
        raise NotImplementedError

    @property
    def following(self) -> bool:
        """Whether the view follows the tail."""
        raise NotImplementedError

    def follow(self) -> None:
        """Go to the tail and follow it."""
        raise NotImplementedError

    def scroll_to_turn(self, turn_id: int) -> None:
        """Bring a turn's header to the top of the view and stop following. Raises: KeyError."""
        raise NotImplementedError

    def toggle_fold(self, turn_id: int | None = None) -> None:
        """Open or fold the reasoning of a turn: the given one, the cursor's, or the latest that has any."""
        raise NotImplementedError

    def set_low_bandwidth(self, on: bool) -> None:
        """Scroll in steps of 12 lines instead of 6 and paint at most 5 times a second."""
        raise NotImplementedError

    # --- actions (bindings: alt+up, alt+down, y, Y, o, enter, end) --------------------------------------------

    def action_cursor_up(self) -> None:
        """Move the block cursor to the block above."""
        raise NotImplementedError

    def action_cursor_down(self) -> None:
        """Move the block cursor to the block below."""
        raise NotImplementedError

    def action_copy_block(self) -> None:
        """Ask to copy the block under the cursor; a fence without its marks."""
        raise NotImplementedError

    def action_copy_message(self) -> None:
        """Ask to copy the Markdown of the cursor's turn, or of the latest answer."""
        raise NotImplementedError

    def action_toggle_fold(self) -> None:
        """`toggle_fold` for the cursor's turn."""
        raise NotImplementedError

    def action_follow(self) -> None:
        """`follow`."""
        raise NotImplementedError
