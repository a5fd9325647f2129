"""States of conversations beside the slots: found for a prompt, put back, copied out before they are lost."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.context import Context
from server.engine.disk_cache import DiskCache, DiskState
from server.engine.host_cache import HostCache, SavedState, machine_room_bytes
from server.engine.kv_cache import Placement, SlotCache, Stored, common_prefix
from server.engine.pace import Pace
from server.engine.state_file import FORMAT_VERSION
from server.engine.state_policy import Offer, Rate, gain_s, is_worth_copying, n_usable
from server.types.generation import StateCacheParams

_COPY_BYTES_PER_S: Final = 4e9
_READ_BYTES_PER_S: Final = 1e9
"""First guesses, on the cautious side: between memory and a slot, and from disk with its checksums."""


class StateStore:
    """Serves the slots of one context."""

    def __init__(
        self,
        context: Context,
        slots: SlotCache,
        pace: Pace,
        host: HostCache,
        disk: DiskCache | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.host = host
        self.disk = disk
        self._context = context
        self._slots = slots
        self._pace = pace
        self._clock = clock
        self._copying = Rate(_COPY_BYTES_PER_S)
        self._reading = Rate(_READ_BYTES_PER_S)

    def improve(self, prompt: TokenArray, placement: Placement, free: Collection[int]) -> Placement:
        """A placement by a saved state, where that saves time against what a slot offers."""
        usable = [slot for slot in free if self._context.is_settled(slot)]
        stored = self.find(prompt, placement.n_keep) if usable else None
        return placement if stored is None else self._slots.place_stored(stored, usable)

    def find(self, prompt: TokenArray, n_kept: int) -> Stored | None:
        """The state that saves most time for a prompt, beside a slot that has `n_kept` tokens of it.

        None when no state saves more time than putting it back takes.
        """
        best: Stored | None = None
        best_s = 0.0
        states: list[SavedState | DiskState] = [*self.host, *(self.disk.states() if self.disk else ())]
        for state in states:
            n_shared = n_usable(state.tokens, prompt, whole_only=self._context.restores_whole)
            if n_shared <= n_kept:
                continue
            restore_s = self._copying.seconds(state.n_bytes)
            if isinstance(state, DiskState):
                restore_s += self._reading.seconds(state.n_bytes)
            saved_s = gain_s(Offer(n_shared, restore_s), n_kept, self._pace.tokens_per_s)
            if saved_s > best_s:
                best, best_s = Stored(state.tokens, n_shared, state), saved_s
        return best

    def restore(self, stored: Stored, slot: int) -> bool:
        """Put a state into a slot. False: the slot is empty now, and the prompt is decoded from its start."""
        saved = stored.state
        if isinstance(saved, DiskState):
            saved = self._read(saved)
        if not isinstance(saved, SavedState):
            return False
        begin = self._clock()
        is_restored = self._context.restore_state(slot, saved.data)
        if is_restored and self._context.n_cached(slot) != len(saved.tokens):
            self._context.remove(slot, -1)
            is_restored = False
        self._copying.measured(saved.data.nbytes, self._clock() - begin)
        self.host.touch(saved)
        if not is_restored and isinstance(stored.state, DiskState) and self.disk is not None:
            self.disk.remove(stored.state)
        return is_restored

    def keep(self, placement: Placement) -> None:
        """Copy the state of a slot out, when a placement is about to lose what is worth it."""
        slot = placement.slot
        tokens = self._slots.tokens(slot)
        n_kept = self._n_kept(placement, tokens)
        if not is_worth_copying(len(tokens), n_kept) or self.host.covers(tokens):
            return
        # A copy takes time from the request that waits for the slot.
        n_bytes = self._context.state_bytes(slot)
        lost_s = (len(tokens) - n_kept) / max(self._pace.tokens_per_s, 1e-9)
        if self._copying.seconds(n_bytes) >= lost_s or not self.host.could_hold(n_bytes):
            return
        saved = self.copy_out(slot)
        if saved is not None:
            self.host.put(saved)

    def copy_out(self, slot: int) -> SavedState | None:
        """The state of a slot; None when it is not exactly that of its tokens, or memory is short."""
        tokens = self._slots.tokens(slot)
        if not self._slots.is_exact(slot) or not self._context.is_settled(slot):
            return None
        if self._slots.position(slot, len(tokens)) != len(tokens):
            return None  # a state says nothing of positions that a picture in a plane has moved
        # An aborted step may have left more in memory than was recorded.
        self._context.remove(slot, len(tokens))
        if self._context.n_cached(slot) != len(tokens):
            return None
        begin = self._clock()
        try:
            data = self._context.copy_state(slot)
        except MemoryError:
            return None
        if data is None:
            return None
        self._copying.measured(data.nbytes, self._clock() - begin)
        return SavedState(tokens.copy(), data)

    def _n_kept(self, placement: Placement, tokens: TokenArray) -> int:
        """Tokens of a slot that are still in some slot when a placement was carried out."""
        if not self._slots.can_trim:
            is_continued = placement.stored is None and placement.n_keep == len(tokens)
            return len(tokens) if is_continued else 0
        others = [self._slots.tokens(slot) for slot in range(self._slots.n_slots) if slot != placement.slot]
        return max(common_prefix(tokens, other) for other in (self._slots.source(placement), *others))

    def _read(self, state: DiskState) -> SavedState | None:
        begin = self._clock()
        saved = self.disk.read(state) if self.disk is not None else None
        if saved is not None:
            self._reading.measured(saved.data.nbytes, self._clock() - begin)
        return saved


def open_store(context: Context, slots: SlotCache, pace: Pace, params: StateCacheParams) -> StateStore:
    """The store for a context. Files are kept only where a folder, a bound and the model's name are given."""
    whole_only = context.restores_whole
    disk: DiskCache | None = None
    if params.disk_bytes > 0 and params.disk_folder and params.model_key:
        disk = DiskCache(
            Path(params.disk_folder),
            state_key(context, params.model_key),
            params.disk_bytes,
            whole_only=whole_only,
            log=context.log.write,
        )
    host = HostCache(params.host_bytes, whole_only=whole_only, room_bytes=machine_room_bytes)
    return StateStore(context, slots, pace, host, disk)


def state_key(context: Context, model_key: str) -> bytes:
    """All that the bytes of a state depend on, as 32 bytes. `model_key`: digests of model and adapters."""
    parts = {
        "format": FORMAT_VERSION,
        "llama": native.version().decode("utf-8", "replace"),
        "model": model_key,
        "n_ctx": context.n_ctx,
        "n_slots": context.n_seq_max,
        "unified": context.params.unified,
        "kv_type": context.params.kv_type,
        "flash_attention": context.params.flash_attention,
        "restores_whole": context.restores_whole,
    }
    return hashlib.sha256(msgspec.json.encode(parts)).digest()
