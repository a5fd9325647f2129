"""Turns of a conversation as the transcript is told about them."""

from __future__ import annotations

from collections.abc import Sequence

from olla_tui.state import turns
from olla_tui.state.conversation import Conversation, Turn
from olla_tui.widgets.transcript import TurnView


def view_of(turn: Turn, chat: Conversation) -> TurnView:
    """A turn of a chat for the transcript."""
    return TurnView(
        role=turn.role,
        title=turns.title_of(turn),
        content=turn.content,
        thinking=turn.thinking,
        thinking_note=turns.thinking_note_of(turn),
        stats=turns.stats_of(turn, chat.sibling_place(turn)),
        error=turns.error_of(turn),
        attachments=turns.attachments_of(turn),
    )


class TurnViews(Sequence[TurnView]):
    """The views of turns, made as they are asked for: of a long chat the transcript shows the last few."""

    def __init__(self, chat: Conversation, ended: Sequence[Turn]) -> None:
        self._chat = chat
        self._turns = tuple(ended)

    def __len__(self) -> int:
        return len(self._turns)

    def __getitem__(self, position: int) -> TurnView:  # type: ignore[override]  # no slices
        return view_of(self._turns[position], self._chat)


def continues(before: Turn, after: Turn) -> bool:
    """Whether `after` is `before` or a later state of it."""
    if before is after:
        return True
    return (
        before.state in ("waiting", "streaming")
        and (before.role, before.key) == (after.role, after.key)
        and after.content.startswith(before.content)
        and after.thinking.startswith(before.thinking)
    )
