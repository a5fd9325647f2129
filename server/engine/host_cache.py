"""States of conversations in the worker's memory, bounded in bytes; the least recently used goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine.batch import TokenArray
from server.engine.state_policy import evictions, is_beginning, replaces

StateBytes = npt.NDArray[np.uint8]
"""What llama.cpp copied out of a slot. [n] uint8"""

FREE_SHARE: Final = 0.1
"""Share of the machine's memory that the cache leaves free, for whatever else needs some."""

_UNLIMITED_BYTES: Final = 1 << 60


class SavedState(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """The state of a slot and the tokens that it stands for."""

    tokens: TokenArray
    data: StateBytes

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return int(self.data.nbytes + self.tokens.nbytes)


class HostCache:
    """The states, the least recently used first.

    Attributes:
        whole_only: a state cannot be cut, so none replaces another one.
        n_bytes: of all states together; never more than the limit.
    """

    def __init__(
        self, limit_bytes: int, *, whole_only: bool, room_bytes: Callable[[], int] | None = None
    ) -> None:
        """`room_bytes`: what the machine can still give; without it only the limit counts."""
        self.whole_only = whole_only
        self.n_bytes = 0
        self._limit_bytes = limit_bytes
        self._room_bytes = room_bytes
        self._states: dict[int, SavedState] = {}

    def __iter__(self) -> Iterator[SavedState]:
        return iter(tuple(self._states.values()))

    def __len__(self) -> int:
        return len(self._states)

    def covers(self, tokens: TokenArray) -> bool:
        """Whether a state in the cache serves every prompt that a state of `tokens` would serve."""
        return any(
            is_beginning(tokens, state.tokens) and (not self.whole_only or len(tokens) == len(state.tokens))
            for state in self
        )

    def could_hold(self, n_bytes: int) -> bool:
        """Whether a state of so many bytes fits, others removed; asked before it is copied out of a slot."""
        return n_bytes <= self._bound_bytes()

    def touch(self, state: SavedState) -> None:
        """A state was used; nothing happens when it is not in the cache any more."""
        if self._states.pop(id(state), None) is not None:
            self._states[id(state)] = state

    def put(self, state: SavedState) -> bool:
        """Keep a state in place of those that are of little use beside it. False when it does not fit."""
        replaced = [
            other for other in self if replaces(state.tokens, other.tokens, whole_only=self.whole_only)
        ]
        others = [other for other in self if other not in replaced]
        sizes = [(other, other.n_bytes) for other in (*replaced, *others)]
        victims = evictions(sizes, state.n_bytes, self._bound_bytes())
        if victims is None:
            return False
        for victim in {*victims, *replaced}:
            self._remove(victim)
        self._states[id(state)] = state
        self.n_bytes += state.n_bytes
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
        self.n_bytes = 0

    def _remove(self, state: SavedState) -> None:
        del self._states[id(state)]
        self.n_bytes -= state.n_bytes

    def _bound_bytes(self) -> int:
        if self._room_bytes is None:
            return self._limit_bytes
        return min(self._limit_bytes, self.n_bytes + max(self._room_bytes(), 0))


def machine_room_bytes() -> int:
    """Memory that may still be taken: what the kernel can give, less the share that stays free.

    Linux alone tells, and there the control group's limit counts too; elsewhere there is no such bound.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
        available, total = kib["MemAvailable"] * 1024, kib["MemTotal"] * 1024
    except (OSError, ValueError, LookupError):
        return _UNLIMITED_BYTES
    room = available - int(FREE_SHARE * total)
    try:
        cgroup = Path("/sys/fs/cgroup")
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        used -= int(statistics["inactive_file"])
    except (OSError, ValueError, LookupError):  # no such limit
        return room
    return min(room, limit - used - int(FREE_SHARE * limit))
