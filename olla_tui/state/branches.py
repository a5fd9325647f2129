"""The branches of a chat that are not shown: earlier answers, and questions as they were before an edit.

Every turn has a key, which grows within its chat, and the key of the turn that it follows. Turns that follow
the same one are siblings: different ways on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

MAX_ASIDE = 10_000
"""Turns that a chat keeps beside the shown ones; those put aside first go first."""


class Keyed(Protocol):
    """A turn as far as branches are concerned."""

    @property
    def key(self) -> int:
        """Number of the turn in its chat, from 1."""
        ...

    @property
    def parent(self) -> int:
        """Key of the turn that it follows, 0 at the beginning."""
        ...


K = TypeVar("K", bound=Keyed)


class SiblingPlace(NamedTuple):
    """Where a turn stands among its siblings: the `number`-th of `total`, from 1, the oldest first."""

    number: int
    total: int


class Branches(dict[int, K]):
    """Turns beside the shown ones, by key, in the order in which they were put aside."""

    def __init__(self, turns: Iterable[K] = ()) -> None:
        super().__init__()
        self._children: dict[int, list[int]] = {}
        self.put(turns)

    def put(self, turns: Iterable[K]) -> None:
        """Put turns aside."""
        for turn in turns:
            self[turn.key] = turn
            self._children.setdefault(turn.parent, []).append(turn.key)
        while len(self) > MAX_ASIDE:
            self._take(next(iter(self)))

    def siblings(self, shown: Keyed) -> list[int]:
        """Keys of a shown turn and of its siblings, the oldest first."""
        return sorted([shown.key, *self._children.get(shown.parent, ())])

    def place(self, shown: Keyed) -> SiblingPlace:
        """Where a shown turn stands among its siblings."""
        others = self._children.get(shown.parent)
        if not others:
            return SiblingPlace(1, 1)
        return SiblingPlace(1 + sum(key < shown.key for key in others), 1 + len(others))

    def take_chain(self, key: int) -> list[K]:
        """Take out a turn and what follows it, at each fork the branch shown last. Raises: KeyError."""
        chain = [self._take(key)]
        while children := self._children.get(chain[-1].key):
            chain.append(self._take(children[-1]))
        return chain

    def forget_unreachable(self, shown: Sequence[Keyed]) -> None:
        """Drop turns that follow none of the shown ones, directly or over others."""
        reachable = {shown[0].parent if shown else 0, *(turn.key for turn in shown)}
        # A turn's key is above the key of the turn that it follows.
        for key in sorted(self):
            if self[key].parent in reachable:
                reachable.add(key)
            else:
                self._take(key)

    def _take(self, key: int) -> K:
        turn = self.pop(key)
        children = self._children[turn.parent]
        children.remove(key)
        if not children:
            del self._children[turn.parent]
        return turn
