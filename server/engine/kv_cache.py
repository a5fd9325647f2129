"""Which tokens each slot's memory holds, and which slot serves a prompt best. Pure.

A slot keeps its tokens after its request has ended, so that the next prompt with the same beginning need
not be decoded from the start. Prefixes are compared token by token with numpy: 2 us for 8,000 tokens.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
import numpy as np

from server.engine.batch import TokenArray
from server.engine.cells import CellPool
from server.engine.media import whole_spans

MIN_COPY_TOKENS: Final = 64
"""Copying a slot pays from about this many tokens on: it copies the whole stream of the slot."""

_HEAD_TOKENS: Final = 64


class Stored(msgspec.Struct, frozen=True, eq=False):
    """A saved state that serves a prompt better than any slot.

    Attributes:
        tokens: what it stands for. [n]
        n_shared: tokens of the prompt that it saves from being decoded.
        state: the state, for whoever found it.
    """

    tokens: TokenArray
    n_shared: int
    state: object


class Placement(msgspec.Struct, frozen=True):
    """A slot for a prompt.

    Attributes:
        n_keep: tokens of the prompt that need not be decoded.
        copy_from: slot to copy first, -1 when the tokens are already in `slot`.
        stored: state to put into `slot` first.
    """

    slot: int
    n_keep: int
    copy_from: int = -1
    stored: Stored | None = None


def common_prefix(a: TokenArray, b: TokenArray) -> int:
    """Tokens that two sequences share at their start."""
    n = min(len(a), len(b))
    for end in (min(n, _HEAD_TOKENS), n):  # most pairs of sequences differ soon
        if end:
            differs = a[:end] != b[:end]
            first = int(differs.argmax())
            if differs[first]:
                return first
    return n


class SlotCache:
    """The tokens in memory, per slot.

    Attributes:
        can_trim: the memory can forget the end of a sequence; without it a slot is only continued whole.
        can_copy: a slot's tokens can be copied to another slot.
        restores_whole: a saved state cannot be cut once it is back in a slot.
        copies_whole: a sequence that cannot be cut can still be copied, to another slot or to a checkpoint.
        checkpoints: sequences beside the slots that keep what a slot held at some time.
        cells: the cells that all sequences share; None: each has its own.
    """

    def __init__(
        self,
        n_slots: int,
        n_ctx: int,
        *,
        can_trim: bool = True,
        can_copy: bool = True,
        restores_whole: bool = False,
        cells: CellPool | None = None,
        n_checkpoints: int = 0,
        on_plane: bool = False,
    ) -> None:
        """`on_plane`: a picture moves the positions behind it by less than its tokens."""
        n_sequences = n_slots + n_checkpoints
        self.n_slots = n_slots
        self.checkpoints = range(n_slots, n_sequences)
        self.copies_whole = n_checkpoints > 0 and not can_trim
        self.cells = cells
        self.can_trim = can_trim
        self.can_copy = can_copy and can_trim
        self.restores_whole = restores_whole or not can_trim
        self._tokens = np.zeros((n_sequences, n_ctx), np.int32)
        # Where they stand, with what comes next behind the last one; None: the nth token at position n.
        self._positions = np.zeros((n_sequences, n_ctx + 1), np.int32) if on_plane else None
        self._n_tokens = [0] * n_sequences
        self._used_at = [0] * n_sequences
        self._n_fixed = [0] * n_sequences  # tokens at the start that cannot be cut into
        self._n_exact = [n_ctx] * n_sequences  # tokens at the start that no shift has touched
        self._clock = 0

    @property
    def n_tokens(self) -> int:
        """Tokens in memory, all slots together."""
        return sum(self._n_tokens)

    def n_held(self, slots: Collection[int]) -> int:
        """Tokens in memory of some slots, those that they share once."""
        if self.cells is not None:
            return self.cells.n_held(slots)
        return sum(self._n_tokens[slot] for slot in slots)

    def length(self, slot: int) -> int:
        """Tokens in memory of one slot."""
        return self._n_tokens[slot]

    def tokens(self, slot: int) -> TokenArray:
        """The tokens of one slot, a view. [n]"""
        return self._tokens[slot, : self._n_tokens[slot]]

    def position(self, slot: int, n_tokens: int) -> int:
        """The position behind the first `n_tokens` tokens of a slot, of which it must have so many."""
        return n_tokens if self._positions is None else int(self._positions[slot, n_tokens])

    def next_positions(self, slots: Collection[int]) -> list[int]:
        """The position behind all tokens of each of some slots."""
        if self._positions is None:
            return [self._n_tokens[slot] for slot in slots]
        return [int(self._positions[slot, self._n_tokens[slot]]) for slot in slots]

    def position_after(self, placement: Placement) -> int:
        """The position behind what a placement keeps, before it is carried out."""
        if placement.stored is not None:
            return placement.n_keep
        slot = placement.slot if placement.copy_from < 0 else placement.copy_from
        return self.position(slot, placement.n_keep)

    def used_at(self, slot: int) -> int:
        """When a slot was used last, on a clock that counts uses."""
        return self._used_at[slot]

    def is_exact(self, slot: int) -> bool:
        """Whether the memory is what decoding the tokens would make it; after a shift it is not quite."""
        return self._n_exact[slot] >= self._n_tokens[slot]

    def place(self, prompt: TokenArray, free: Collection[int]) -> Placement:
        """The best of the free slots (at least one) for a prompt (at least one token).

        At least one token of the prompt is left to decode, since its logits are needed.
        """
        shared = [self._n_shared(slot, prompt) for slot in range(len(self._n_tokens))]
        own = max(free, key=lambda slot: (shared[slot], -self._n_tokens[slot], -self._used_at[slot]))
        if self.copies_whole:
            donor = max(range(len(shared)), key=lambda slot: (shared[slot], -self._n_tokens[slot]))
            if shared[donor] > shared[own]:
                return Placement(self._spare(free), shared[donor], donor)
        if self.can_copy:
            donor = max(range(len(shared)), key=lambda slot: shared[slot])
            spare = self._spare(free)
            gain = shared[donor] - (0 if self._n_tokens[spare] == 0 else shared[own])
            worth = donor not in free or self._loses_more_than_it_keeps(donor, shared[donor], spare)
            if donor != spare and worth and gain >= MIN_COPY_TOKENS:
                return Placement(spare, shared[donor], donor)
        # A few tokens in common, as those of a template, are not worth a conversation.
        if shared[own] == 0 or self._n_tokens[own] - shared[own] >= MIN_COPY_TOKENS > shared[own]:
            own = self._spare(free)
        return Placement(own, shared[own])

    def place_stored(self, stored: Stored, free: Collection[int]) -> Placement:
        """A slot for a saved state: an empty one, else the one that was used longest ago."""
        return Placement(self._spare(free), stored.n_shared, stored=stored)

    def source(self, placement: Placement) -> TokenArray:
        """The tokens that a placement leaves in its slot. [n_keep]"""
        if placement.stored is not None:
            return placement.stored.tokens[: placement.n_keep]
        slot = placement.slot if placement.copy_from < 0 else placement.copy_from
        return self._tokens[slot, : placement.n_keep]

    def take(self, placement: Placement) -> None:
        """Record that a placement was carried out."""
        slot, n_keep, source = placement.slot, placement.n_keep, placement.copy_from
        if source >= 0 or placement.stored is not None:
            self._tokens[slot, :n_keep] = self.source(placement)
            if self._positions is not None:
                kept = np.arange(n_keep + 1) if source < 0 else self._positions[source, : n_keep + 1]
                self._positions[slot, : n_keep + 1] = kept
        if placement.stored is not None or n_keep == 0:
            self._n_fixed[slot] = n_keep if self.restores_whole else 0
            self._n_exact[slot] = n_keep
        elif source >= 0:
            self._n_fixed[slot] = self._n_fixed[source]
            self._n_exact[slot] = self._n_exact[source]
        if self._n_exact[slot] >= n_keep:
            self._n_exact[slot] = self._tokens.shape[1]
        self._n_tokens[slot] = n_keep
        self._take_cells(placement)
        for checkpoint in self.checkpoints:  # what a conversation passed through may be needed by another
            n = self._n_tokens[checkpoint]
            if 0 < n <= n_keep and common_prefix(self.tokens(checkpoint), self.tokens(slot)) == n:
                self.touch(checkpoint)
        self.touch(slot)

    def set_fixed(self, slot: int, n_tokens: int) -> None:
        """So many tokens at the start of a slot cannot be cut into."""
        self._n_fixed[slot] = n_tokens

    def checkpoint_for(self, slot: int) -> int | None:
        """The checkpoint that is to keep what a slot holds; None when one does already."""
        tokens = self.tokens(slot)
        for checkpoint in self.checkpoints:
            if np.array_equal(self.tokens(checkpoint), tokens):
                self.touch(checkpoint)
                return None
        return self._spare(self.checkpoints) if self.checkpoints else None

    def touch(self, slot: int) -> None:
        """Mark a slot as the one used last."""
        self._clock += 1
        self._used_at[slot] = self._clock

    def append(self, slot: int, tokens: TokenArray | int, *, positions: TokenArray | None = None) -> None:
        """Tokens (or one) were decoded into a slot.

        `positions`: of the tokens and of what comes next, where they are not one behind the other. [n + 1]
        """
        start = self._n_tokens[slot]
        end = start + (1 if isinstance(tokens, int) else len(tokens))
        if end > self._tokens.shape[1]:
            raise IndexError(f"slot {slot} has room for {self._tokens.shape[1]} tokens, not for {end}")
        if isinstance(tokens, int):  # a slice of one takes ten times as long
            self._tokens[slot, start] = tokens
        else:
            self._tokens[slot, start:end] = tokens
        if self._positions is not None:
            if positions is None:
                positions = self._positions[slot, start] + np.arange(end - start + 1, dtype=np.int32)
            self._positions[slot, start : end + 1] = positions
        self._n_tokens[slot] = end
        if self.cells is not None:
            self.cells.append(slot, end - start)

    def truncate(self, slot: int, n_tokens: int) -> None:
        """The memory of a slot ends after `n_tokens` tokens."""
        self._n_tokens[slot] = min(self._n_tokens[slot], n_tokens)
        if self.cells is not None:
            self.cells.truncate(slot, n_tokens)

    def shift(self, slot: int, n_keep: int, n_discard: int) -> None:
        """`n_discard` tokens after the first `n_keep` were dropped and the rest moved down."""
        n = self._n_tokens[slot]
        self._tokens[slot, n_keep : n - n_discard] = self._tokens[slot, n_keep + n_discard : n].copy()
        self._n_tokens[slot] = n - n_discard
        n_fixed = self._n_fixed[slot]
        self._n_fixed[slot] = max(min(n_fixed, n_keep), n_fixed - n_discard)
        self._n_exact[slot] = min(self._n_exact[slot], n_keep)
        if self.cells is not None:
            self.cells.drop(slot, n_keep, n_discard)

    def clear(self) -> None:
        """The memory was cleared."""
        n_sequences = len(self._n_tokens)
        self._n_tokens = [0] * n_sequences
        self._n_fixed = [0] * n_sequences
        self._n_exact = [self._tokens.shape[1]] * n_sequences
        if self.cells is not None:
            self.cells.clear()

    def oldest(self, slots: Collection[int]) -> int | None:
        """Of some slots the one with tokens that was used longest ago; None when all are empty."""
        filled = [slot for slot in slots if self._n_tokens[slot]]
        return min(filled, key=lambda slot: self._used_at[slot], default=None)

    def _take_cells(self, placement: Placement) -> None:
        if self.cells is None:
            return
        slot, n_keep, source = placement.slot, placement.n_keep, placement.copy_from
        if placement.stored is not None:
            self.cells.truncate(slot, 0)
            self.cells.append(slot, n_keep)
        else:
            self.cells.share(slot if source < 0 else source, slot, n_keep)

    def _spare(self, free: Collection[int]) -> int:
        return min(free, key=lambda slot: (self._n_tokens[slot] > 0, self._used_at[slot]))

    def _n_shared(self, slot: int, prompt: TokenArray) -> int:
        n = whole_spans(prompt, common_prefix(self.tokens(slot), prompt[:-1]))
        can_cut = self.can_trim and n >= self._n_fixed[slot]
        return n if can_cut or n == self._n_tokens[slot] else 0

    def _loses_more_than_it_keeps(self, slot: int, n_shared: int, spare: int) -> bool:
        """Taking `slot` over would forget a longer rest than it saves, while an empty slot is at hand."""
        return self._n_tokens[spare] == 0 and self._n_tokens[slot] - n_shared > n_shared
