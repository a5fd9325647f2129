"""Conversations go to disk while the worker is idle, and when it leaves.

A conversation is copied out of its slot at once and written block by block, with a look at the inbox between
two blocks, so that a request waits for one block at most.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from typing import Final

from server.engine.disk_cache import DiskCache
from server.engine.host_cache import SavedState
from server.engine.kv_cache import SlotCache
from server.engine.state_file import StateWriter
from server.engine.state_policy import MIN_DISK_TOKENS, SAVE_DELAY_S, is_beginning, save_delay_s
from server.engine.state_store import StateStore

LEAVE_BUDGET_S: Final = 1.5
"""How long a worker that was told to leave may still write; the server ends it after 2 s."""


class IdleSaver:
    """Writes what is not on disk yet: first what is in the slots, then what is only in memory."""

    def __init__(
        self, store: StateStore, slots: SlotCache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._slots = slots
        self._clock = clock
        self._idle_since = clock()
        self._writer: StateWriter | None = None
        self._refused_slots: dict[int, int] = {}  # slot -> when it was used
        self._refused_states: weakref.WeakSet[SavedState] = weakref.WeakSet()

    def went_idle(self) -> None:
        """The last open request has ended."""
        self._idle_since = self._clock()

    def wait_s(self) -> float | None:
        """How long nothing has to be done: 0 when `work` has something to do now, None without end."""
        disk = self._store.disk
        if disk is None:
            return None
        if self._writer is not None:
            return 0.0
        due = [self._idle_since + delay_s for _, delay_s in self._slots_to_write(disk)]
        if next(self._states_to_write(disk), None) is not None:
            due.append(self._idle_since + SAVE_DELAY_S)
        return max(0.0, min(due) - self._clock(), disk.paused_s) if due else None

    def work(self) -> None:
        """Write one block, or begin with the next conversation. The worker has to be idle."""
        disk = self._store.disk
        if disk is None:
            return
        if self._writer is None:
            self._begin_next(disk, self._clock() - self._idle_since)
        elif self._is_outdated(self._writer.saved):
            self._abandon()
        elif not disk.write_block(self._writer) or self._writer.is_whole:
            self._writer = None

    def finish(self, budget_s: float = LEAVE_BUDGET_S) -> None:
        """Write what is left, the last used first, as long as there is time."""
        self._idle_since = float("-inf")
        deadline = self._clock() + budget_s
        while self._clock() < deadline and self.wait_s() == 0.0:
            self.work()
        self._abandon()

    def _begin_next(self, disk: DiskCache, idle_s: float) -> None:
        slots = [slot for slot, delay_s in self._slots_to_write(disk) if delay_s <= idle_s]
        slot = max(slots, key=self._slots.used_at) if slots else -1
        saved = self._store.copy_out(slot) if slots else next(self._states_to_write(disk), None)
        self._writer = disk.begin(saved) if saved is not None else None
        if self._writer is not None or disk.paused_s > 0:
            return
        if slots:
            self._refused_slots[slot] = self._slots.used_at(slot)
        elif saved is not None:
            self._refused_states.add(saved)

    def _slots_to_write(self, disk: DiskCache) -> Iterator[tuple[int, float]]:
        """Slots whose conversations are not on disk, with how long they must have been idle."""
        for slot in range(self._slots.n_slots):
            if self._slots.is_exact(slot) and self._refused_slots.get(slot) != self._slots.used_at(slot):
                tokens = self._slots.tokens(slot)
                delay_s = save_delay_s(len(tokens), disk.n_covered(tokens))
                if delay_s is not None:
                    yield slot, delay_s

    def _states_to_write(self, disk: DiskCache) -> Iterator[SavedState]:
        """States in memory that are not on disk, the last used first."""
        for state in reversed(tuple(self._store.host)):
            if state not in self._refused_states and len(state.tokens) >= MIN_DISK_TOKENS:
                if disk.n_covered(state.tokens) < len(state.tokens):
                    yield state

    def _is_outdated(self, saved: SavedState) -> bool:
        """Whether a slot holds the same conversation with more turns by now."""
        return not self._store.host.whole_only and any(
            len(saved.tokens) < self._slots.length(slot)
            and is_beginning(saved.tokens, self._slots.tokens(slot))
            for slot in range(self._slots.n_slots)
        )

    def _abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
