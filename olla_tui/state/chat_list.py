"""The list of all chats as lines of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from olla_tui.state.numbers import age_text
from olla_tui.state.rows import Align, Row, Span, printable, row
from olla_tui.state.workstation import Workstation

CHAT_COLUMNS: tuple[tuple[str, int, Align, int], ...] = (
    ("chat", 0, "left", 0),
    ("model", 22, "left", 74),
    ("turns", 5, "right", 50),
    ("last used", 11, "right", 0),
)
"""(title, width, alignment, width of the table from which on it is shown)."""

BEGIN_MARK, END_MARK = "\x02", "\x03"
"""Around the found words in an excerpt."""


class Summary(Protocol):
    """A chat as far as the list shows it."""

    @property
    def id(self) -> str:
        """Id of the chat."""
        ...

    @property
    def title(self) -> str:
        """Its title."""
        ...

    @property
    def model(self) -> str:
        """Its model."""
        ...

    @property
    def updated_at(self) -> float:
        """Unix time of the last change, seconds."""
        ...

    @property
    def n_turns(self) -> int:
        """Turns of the shown branch."""
        ...


def chat_cells(state: Workstation, summary: Summary) -> Sequence[Row]:
    """The cells of a chat's line; one that answers is marked."""
    answers = any(chat.is_answering and chat.id == summary.id for chat in state.chats)
    return (
        row(
            Span(f"{state.glyphs.busy} " if answers else "  ", "good"),
            Span(summary.title or "New chat", "strong"),
        ),
        row(Span(summary.model, "muted")),
        row(Span(str(summary.n_turns), "muted")),
        row(Span(age_text(state.now - summary.updated_at), "muted")),
    )


def excerpt_row(excerpt: str) -> Row:
    """An excerpt on one line, with what was found standing out."""
    spans: list[Span] = [Span("  ")]
    for index, part in enumerate(excerpt.split(BEGIN_MARK)):
        found, _, after = part.partition(END_MARK) if index else ("", "", part)
        spans += [Span(printable(found), "accent"), Span(printable(after), "muted")]
    return row(*spans)
