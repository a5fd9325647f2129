"""What a transcript is told about a turn, and how long one is about; no Textual in here.

A turn is data, never a widget: its source text, and a few words for its header. How it is laid out in lines
is `olla_tui.widgets.transcript_layout`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

from olla_tui.text.heights import estimate_lines
from server.types.messages import ToolCall

INDENT = "   "
"""Left of the text of a turn, the gutter included."""

RIGHT_MARGIN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnView:
    """One turn of a conversation as the transcript shows it.

    Attributes:
        role: "user", "assistant", "system" or "tool"; picks the colour of the header and of the gutter.
        title: left of the header: "you", or the model's name.
        content: Markdown.
        thinking: reasoning, folded away behind one line until it is opened.
        thinking_note: that line's words, "thought for 6.1 s (214 tok)"; "" makes "thought".
        stats: right of the header: "412 tok · 41.3/s · first 0.38 s", or a clock time.
        error: a sentence shown in the error colour below the content; "" for none.
        tool_calls: functions that the model asked for, one line each.
        attachments: names shown below the header, one line: "diagram.png (48 kB)".
    """

    role: str
    title: str
    content: str = ""
    thinking: str = ""
    thinking_note: str = ""
    stats: str = ""
    error: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    attachments: tuple[str, ...] = ()


def text_width(width: int) -> int:
    """Cells for a turn's text in a transcript of a width."""
    return max(width - len(INDENT) - RIGHT_MARGIN, 1)


def estimate_turn(view: TurnView, width: int, *, unfolded: bool = False) -> int:
    """About how many lines a turn takes in a transcript of a width; at least 1."""
    inner = text_width(width)
    n_lines = 2 + bool(view.attachments) + bool(view.thinking) + len(view.tool_calls)
    if unfolded:
        n_lines += estimate_lines(view.thinking, inner)
    return n_lines + estimate_lines(view.content, inner) + estimate_lines(view.error, inner)
