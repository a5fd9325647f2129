"""The memory of a context, with the books that are kept of it: what placements, evictions and shifts do."""

from __future__ import annotations

from collections.abc import Callable, Collection

from server.engine.checkpoints import MIN_CHECKPOINT_TOKENS
from server.engine.context import Context
from server.engine.kv_cache import Placement, SlotCache
from server.engine.media import without_last_span
from server.engine.memory_policy import PoolPolicy
from server.engine.state_store import StateStore


class SlotMemory:
    """Carries out in llama.cpp's memory what was decided, and records it."""

    def __init__(
        self,
        context: Context,
        cache: SlotCache,
        states: StateStore,
        pool: PoolPolicy | None,
        idle_slots: Callable[[], Collection[int]],
    ) -> None:
        """`idle_slots`: those without a request, now."""
        self._context = context
        self._cache = cache
        self._states = states
        self._pool = pool
        self._idle_slots = idle_slots

    def carry_out(self, placement: Placement) -> int:
        """Prepare the memory of a slot; returns the tokens that it keeps."""
        slot = placement.slot
        end = self._cache.position_after(placement)
        if placement.copy_from in self._cache.checkpoints:
            self._cache.touch(placement.copy_from)  # the checkpoint that was used longest ago is replaced
        if placement.n_keep != self._cache.length(slot) and len(self._cache.checkpoints) > 1:
            self.checkpoint(slot)
        self._states.keep(placement)
        if placement.stored is not None:
            self._forget(slot)
            self.free_cells(len(placement.stored.tokens))
            if not self._states.restore(placement.stored, slot):
                return 0
        if placement.copy_from >= 0:
            self._context.copy_sequence(placement.copy_from, slot)
        if placement.n_keep and self._context.remove(slot, end):
            return placement.n_keep
        self._context.remove(slot, -1)
        return 0

    def checkpoint(self, slot: int) -> None:
        """Keep what a slot holds now, where the memory can only go on from places that were kept."""
        n = self._cache.length(slot)
        if not self._cache.copies_whole or n < MIN_CHECKPOINT_TOKENS:
            return
        if self._context.n_cached(slot) != self._cache.position(slot, n):
            return
        checkpoint = self._cache.checkpoint_for(slot)
        if checkpoint is not None:
            self._context.copy_sequence(slot, checkpoint)
            self._cache.take(Placement(checkpoint, n, slot))

    def free_cells(self, n: int) -> None:
        """Make sure that `n` cells of the pool are free, as long as there is something to evict."""
        while self._pool is not None and self._pool.cells.n_free < n and self.evict_oldest():
            pass

    def evict_oldest(self) -> bool:
        """Empty the slot without a request that was used longest ago. False: there is none to empty.

        What was in it goes to the host cache, where that is worth it.
        """
        slot = self._cache.oldest(self._idle_sequences())
        if self._pool is None or slot is None:
            return False
        self._states.keep(Placement(slot, 0))
        self._forget(slot)
        return True

    def forget_unrecorded(self, slots: Collection[int]) -> None:
        """A step that was cut off has left more in memory than was recorded; that goes."""
        for slot in slots:
            n = self._cache.length(slot)
            if self._context.n_cached(slot) <= self._cache.position(slot, n):
                continue
            n = without_last_span(self._cache.tokens(slot))  # a part of a picture is of no use
            self._cache.truncate(slot, n)
            if not (n and self._context.remove(slot, self._cache.position(slot, n))):
                self._forget(slot)

    def clear(self) -> None:
        """Forget everything, without the time that it takes to overwrite it."""
        self._context.clear(data=False)
        self._cache.clear()

    def shift(self, slot: int, n_keep: int, n_discard: int) -> bool:
        """Drop `n_discard` tokens after the first `n_keep`. False: others share what would have to move.

        llama.cpp would move the cells for every sequence that shares them.
        """
        if self._is_shared(slot, n_keep + n_discard):
            return False
        if self._context.shift(slot, n_keep, n_discard):
            self._cache.shift(slot, n_keep, n_discard)
        return True

    def _is_shared(self, slot: int, start: int) -> bool:
        """Whether a running request shares cells from `start` on; slots without one are emptied instead."""
        if self._pool is None:
            return False
        cells = self._pool.cells
        for idle in self._idle_sequences():
            if cells.is_shared(slot, start) and cells.shares_with(slot, idle, start):
                self._states.keep(Placement(idle, 0))
                self._forget(idle)
        return cells.is_shared(slot, start)

    def _idle_sequences(self) -> tuple[int, ...]:
        return (*self._idle_slots(), *self._cache.checkpoints)

    def _forget(self, slot: int) -> None:
        self._context.remove(slot, -1)
        self._cache.truncate(slot, 0)
