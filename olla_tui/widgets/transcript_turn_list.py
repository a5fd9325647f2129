"""The turns of a transcript, each made of its view when it is first wanted; no Textual in here."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from olla_tui.widgets.transcript_layout import Turn
from olla_tui.widgets.transcript_turns import TurnView, estimate_turn


class TurnList(Sequence[Turn]):
    """Turns in order, with ids that only ever grow.

    A stored conversation comes as a sequence of views, which may make them as they are asked for: showing a
    long one costs what its visible turns cost.
    """

    def __init__(self, views: Sequence[TurnView] = (), *, first_id: int = 1) -> None:
        """Take a stored conversation.

        Args:
            views: asked by position, now and later; what they give must not change.
            first_id: of the first turn; the others' follow.
        """
        self._views = views
        self._made: list[Turn | None] = [None] * len(views)
        self._ids = list(range(first_id, first_id + len(views)))

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, position: int) -> Turn:  # type: ignore[override]  # no slices
        turn = self._made[position]
        if turn is None:
            position %= len(self._made)
            turn = self._made[position] = Turn(self._ids[position], self._views[position])
        return turn

    @property
    def ids(self) -> Sequence[int]:
        """Ids of all turns in order."""
        return self._ids

    def append(self, turn: Turn) -> None:
        """Add a turn, whose id is above all others."""
        self._made.append(turn)
        self._ids.append(turn.id)

    def truncate(self, position: int) -> None:
        """Keep the turns before a position."""
        del self._made[position:]
        del self._ids[position:]

    def position(self, turn_id: int) -> int:
        """Where a turn stands. Raises: KeyError."""
        position = bisect_left(self._ids, turn_id)
        if position == len(self._ids) or self._ids[position] != turn_id:
            raise KeyError(turn_id)
        return position

    def view(self, position: int) -> TurnView:
        """A turn as it stands; it is not made for that."""
        turn = self._made[position]
        return self._views[position] if turn is None else turn.view()

    def estimate(self, position: int, width: int) -> int:
        """About how many lines a turn takes at a width; it is not made for that."""
        turn = self._made[position]
        unfolded = turn is not None and turn.unfolded
        return estimate_turn(self.view(position), width, unfolded=unfolded)

    def latest(self, holds: Callable[[TurnView], object]) -> int | None:
        """Id of the last turn for whose view something holds."""
        return next((self._ids[at] for at in self._backwards() if holds(self.view(at))), None)

    def _backwards(self) -> Iterator[int]:
        return iter(range(len(self._ids) - 1, -1, -1))
