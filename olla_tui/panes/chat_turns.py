"""Turns of a conversation as the transcript is told about them."""

from __future__ import annotations

from collections.abc import Sequence

from olla_tui.state import turns
from olla_tui.state.conversation import Turn
from olla_tui.widgets.transcript import TurnView


def view_of(turn: Turn) -> TurnView:
    """A turn for the transcript."""
    return TurnView(
        role=turn.role,
        title=turns.title_of(turn),
        content=turn.content,
        thinking=turn.thinking,
        thinking_note=turns.thinking_note_of(turn),
        stats=turns.stats_of(turn),
        error=turns.error_of(turn),
    )


class TurnViews(Sequence[TurnView]):
    """The views of turns, made as they are asked for: of a long chat the transcript shows the last few."""

    def __init__(self, ended: Sequence[Turn]) -> None:
        self._turns = tuple(ended)

    def __len__(self) -> int:
        return len(self._turns)

    def __getitem__(self, position: int) -> TurnView:  # type: ignore[override]  # no slices
        return view_of(self._turns[position])


def continues(before: Turn, after: Turn) -> bool:
    """Whether `after` is `before` or a later state of it."""
    if before is after:
        return True
    return (
        before.state in ("waiting", "streaming")
        and (before.role, before.at) == (after.role, after.at)
        and after.content.startswith(before.content)
        and after.thinking.startswith(before.thinking)
    )
