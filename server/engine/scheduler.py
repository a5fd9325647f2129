"""Who gets a slot and what each step decodes: a pure state machine over sequences, without llama.cpp.

    QUEUED -> PREFILL -> DECODE -> ENDED

A sequence holds a slot from admission to its end. Among waiting prompts the one with the fewest remaining
tokens goes first, and each time that a prompt is passed over counts as if it had become shorter, so none
waits forever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from server.engine.batch import TokenArray
from server.engine.kv_cache import Placement, SlotCache, common_prefix
from server.engine.memory_policy import PoolPolicy
from server.engine.sequence import Chunk, Phase, Plan, Sequence, media_chunk
from server.engine.shared_start import is_worth_a_pool
from server.engine.slot_choice import choose
from server.engine.tiles import MIN_DEPTH, TILE_ROWS, n_beside, n_in_step, n_to_keep

AGEING_TOKENS: Final = 64
"""Tokens that a prompt seems shorter by for each step in which it was passed over."""

MIN_HELD_TOKENS: Final = 256
"""A prompt waits for another one's prefill when they share at least this much that is not yet in memory."""

MAX_PASSED_OVER: Final = 32
"""A prompt that finds no room in the pool is overtaken so many times; then the others wait for it."""

MAX_TRIES: Final = 16
"""Prompts that are looked at in vain before a step; a look compares one with all that is in memory."""

ImprovePlacement = Callable[[TokenArray, Placement, Collection[int]], Placement]

ALONE_CHUNK_TOKENS: Final = 256
"""Prompt tokens in a step of a sequence that is decoded alone: always as many, whatever they take."""


class Scheduler:
    """The sequences of one worker and its slots."""

    def __init__(
        self,
        n_slots: int,
        n_batch: int,
        cache: SlotCache,
        improve: ImprovePlacement | None = None,
        pool: PoolPolicy | None = None,
        *,
        in_tiles: bool = False,
        shares_beginnings: bool = False,
        n_outputs_max: int = 0,
    ) -> None:
        """`improve`: may replace the placement of a prompt, given the free slots, by a better one.

        `pool`: the promises, where the slots share their cells.
        `in_tiles`: parts of prompts below `TILE_ROWS` are slow.
        `shares_beginnings`: unless they are of requests with one beginning.
        `n_outputs_max`: rows of a step that may have logits; 0: all.
        """
        self._n_outputs_max = n_outputs_max or n_batch
        self._in_tiles = in_tiles
        self._shares_beginnings = shares_beginnings
        self._n_batch = n_batch
        self._pool = pool
        self._n_added = 0
        self._cache = cache
        self._improve = improve
        self._free = list(range(n_slots))
        self._queued: list[Sequence] = []
        self._running: list[Sequence] = []
        self._turn = 0
        self._was_media = False
        self._steady: Plan | None = None  # as long as the same sequences decode and nobody else has a slot

    @property
    def n_queued(self) -> int:
        """Sequences without a slot."""
        return len(self._queued)

    @property
    def free_slots(self) -> tuple[int, ...]:
        """Slots without a sequence."""
        return tuple(self._free)

    @property
    def running(self) -> tuple[Sequence, ...]:
        """Sequences with a slot, in order of admission."""
        return tuple(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._queued and not self._running

    @property
    def is_steady(self) -> bool:
        """Whether the next plan is the last one, whatever time there is for prompts."""
        return self._steady is not None

    @property
    def someone_decodes(self) -> bool:
        """Whether a sequence is past its prompt."""
        return any(sequence.phase is Phase.DECODE for sequence in self._running)

    @property
    def n_pressing(self) -> int:
        """Tokens that all prompts with a slot have left, if more than half as many wait as decode; else 0."""
        waiting = [sequence.n_remaining for sequence in self._running if sequence.phase is Phase.PREFILL]
        return sum(waiting) if 3 * len(waiting) > len(self._running) else 0

    @property
    def n_longest_prompt(self) -> int:
        """Tokens that the longest prompt with a slot has left."""
        return max((one.n_remaining for one in self._running if one.phase is Phase.PREFILL), default=0)

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence with at least one token."""
        if not len(sequence.tokens):
            raise ValueError("a sequence needs at least one token")
        self._n_added += 1
        sequence.age = self._n_added
        self._queued.append(sequence)

    def admit(self, carry_out: Callable[[Placement], int]) -> list[Sequence]:
        """Give free slots to waiting sequences.

        `carry_out` does to the memory what a placement says and returns the tokens that it really kept.
        """
        admitted: list[Sequence] = []
        if not self._queued:
            return admitted
        n_tries = MAX_TRIES
        for sequence in sorted(self._queued, key=self._admission_order):
            if not self._free or n_tries == 0:
                break
            placement = self._place(sequence)
            if self._should_wait_for_prefix(sequence, placement):
                n_tries -= 1
                continue
            if not self._has_room(sequence, placement):
                if self._is_privileged(sequence):
                    break
                n_tries -= 1
                continue
            self._start(sequence, placement, carry_out)
            admitted.append(sequence)
        if admitted:
            for sequence in self._queued:
                sequence.n_passed_over += 1
        return admitted

    def _start(self, sequence: Sequence, placement: Placement, carry_out: Callable[[Placement], int]) -> None:
        slot = placement.slot
        self._steady = None
        self._free.remove(slot)
        self._queued.remove(sequence)
        self._running.append(sequence)
        n_kept = carry_out(placement)
        self._cache.take(msgspec.structs.replace(placement, n_keep=n_kept))
        if self._pool is not None:
            self._pool.begin(slot, self._pool.limit_for(len(sequence.tokens), sequence.n_output_max))
        sequence.slot = slot
        sequence.phase = Phase.PREFILL
        sequence.n_prefilled = n_kept
        if not sequence.n_preempted:
            sequence.n_cached = n_kept
        sequence.n_passed_over = 0

    def make_room(self, preempt: Callable[[Sequence], TokenArray]) -> None:
        """See to it that each sequence can take its next token: older ones first, the youngest make way.

        `preempt` is told of each sequence that goes back to the queue, and returns the tokens that it then
        begins with: those it has reached.
        """
        pool = self._pool
        if pool is None:
            return
        for sequence in sorted(self._running, key=lambda sequence: sequence.age):
            while sequence.phase is Phase.DECODE and pool.room(sequence.slot) < 1:
                if pool.grow(sequence.slot, self._next_lengths()) or pool.is_at_end(sequence.slot):
                    break
                youngest = max(self._running, key=lambda sequence: sequence.age)
                self.requeue(youngest, preempt(youngest))

    def _next_lengths(self) -> dict[int, int]:
        """For each running sequence, by slot, the length with its prompt or its next token."""
        return {
            sequence.slot: len(sequence.tokens)
            if sequence.phase is Phase.PREFILL
            else self._cache.length(sequence.slot) + 1
            for sequence in self._running
        }

    def requeue(self, sequence: Sequence, tokens: TokenArray) -> None:
        """A running sequence goes back to the queue and will begin with `tokens`; its slot keeps its own."""
        self._let_go_of_slot(sequence)
        sequence.tokens = tokens
        sequence.phase = Phase.QUEUED
        sequence.n_prefilled = 0
        sequence.n_preempted += 1
        self._queued.append(sequence)

    def plan(self, n_prompt_tokens: int) -> Plan:
        """The next step, with at most `n_prompt_tokens` tokens of prompts.

        Each sequence that is decoded apart and all others together take turns, and so do those who decode
        and pictures and sounds. A picture that has to be decoded at once may have more than
        `n_prompt_tokens` tokens. The same object comes back as long as the same sequences decode.
        """
        if self._steady is not None:
            return self._steady
        apart = [sequence for sequence in self._running if sequence.is_apart]
        if apart:
            self._turn = (self._turn + 1) % (len(apart) + (len(apart) < len(self._running)))
            if self._turn < len(apart):
                return self._plan_apart(apart[self._turn])
        together = [sequence for sequence in self._running if not sequence.is_apart]
        decoding = [sequence for sequence in together if sequence.phase is Phase.DECODE]
        room = n_prompt_tokens
        chunks: list[Chunk] = []
        waiting = sorted((sequence for sequence in together if sequence.phase is Phase.PREFILL), key=_urgency)
        if waiting and waiting[0].next_span is not None and not (decoding and self._was_media):
            self._was_media = True
            return Plan((), (media_chunk(waiting[0], room),))
        self._was_media = False
        for index, sequence in enumerate(waiting):
            # Going first once makes up for being passed over once, so a long prompt that many short ones
            # overtake ends up with about half of the steps.
            sequence.n_passed_over = max(0, sequence.n_passed_over + (1 if index else -1))
            n = 0 if sequence.next_span is not None else self._n_in_step(sequence, room, decoding, chunks)
            if n > 0:
                chunks.append(Chunk(sequence, n, n == sequence.n_remaining))
                room -= n - (self._n_tile - TILE_ROWS)
        plan = Plan(tuple(decoding), tuple(chunks))
        if len(decoding) == len(self._running):
            self._steady = plan
        return plan

    @property
    def _n_tile(self) -> int:
        """Rows that make a tile: the first one of each stream is computed with those that decode."""
        return TILE_ROWS + (self._in_tiles and self._pool is None and self.someone_decodes)

    def _n_in_step(
        self, sequence: Sequence, room: int, decoding: Collection[Sequence], chunks: Collection[Chunk]
    ) -> int:
        """Tokens of a prompt for a step in which there is time for `room`, beside what it has already."""
        most = self._n_batch - len(decoding) - sum(chunk.n_tokens for chunk in chunks)
        n = sequence.n_until_stop
        if room <= 0 or not self._in_tiles or n < sequence.n_remaining:
            return max(0, min(room, most, n))
        fitting = min(room + self._n_tile - TILE_ROWS, most)
        n = n_in_step(fitting, fitting if chunks else most, n, sequence.n_prefilled, self._n_tile)
        if not chunks:
            return n
        if n < min(sequence.n_remaining, self._n_tile):
            return 0  # what the others have left of the step is no part worth having
        if self._pool is not None or sequence.is_in_group:
            return n
        is_deep = _is_deep(sequence, n)
        others = [
            chunk.n_tokens
            for chunk in chunks
            if not chunk.sequence.is_in_group and (is_deep or _is_deep(chunk.sequence, chunk.n_tokens))
        ]
        return n_beside(n, sequence.n_remaining, others, self._n_tile)

    def _plan_apart(self, sequence: Sequence) -> Plan:
        if sequence.phase is Phase.DECODE:
            return Plan((sequence,), ())
        if sequence.next_span is not None:
            return Plan((), (media_chunk(sequence, self._n_batch),))
        n = min(sequence.n_until_stop, ALONE_CHUNK_TOKENS, self._n_batch)
        if sequence.is_scored:  # as many rows as have room for logits, in whole tiles
            n = min(n, self._n_outputs_max // TILE_ROWS * TILE_ROWS or self._n_outputs_max)
        return Plan((), (Chunk(sequence, n, n == sequence.n_remaining),))

    def prefilled(self, chunk: Chunk) -> None:
        """A chunk is in memory."""
        sequence = chunk.sequence
        if sequence.phase is not Phase.PREFILL:
            return
        sequence.n_prefilled += chunk.n_tokens
        if chunk.is_last:
            sequence.phase = Phase.DECODE

    def end(self, sequence: Sequence) -> None:
        """A sequence has ended, whatever it was doing; its slot is free and keeps its tokens."""
        if sequence.phase is Phase.ENDED:
            return
        if sequence.phase is Phase.QUEUED:
            self._queued.remove(sequence)
        else:
            self._let_go_of_slot(sequence)
        sequence.phase = Phase.ENDED

    def _let_go_of_slot(self, sequence: Sequence) -> None:
        self._steady = None
        self._running.remove(sequence)
        if self._pool is not None:
            self._pool.end(sequence.slot)
        self._free.append(sequence.slot)
        self._cache.touch(sequence.slot)
        sequence.slot = -1

    def _place(self, sequence: Sequence) -> Placement:
        if sequence.is_alone or sequence.is_scored:
            return Placement(min(self._free, key=self._cache.length), 0)
        # In a pool all rows are one computation, whatever their slots.
        busy = {other.slot for other in self._running if not other.is_alone} if self._pool is None else ()
        placement = choose(
            self._free,
            busy,
            sequence.n_output_max,
            lambda slots: self._place_among(sequence.tokens, slots),
            self._cache.length,
        )
        # Where sequences share their cells, all rows of a step count: others may make up a tile, and what is
        # cut here they would miss.
        can_keep_less = self._cache.can_trim and not self._cache.restores_whole
        has_own_cells = self._pool is None or len(self._queued) + len(self._running) == 1
        sequence.is_in_group = self._is_in_group(sequence, placement)
        if self._in_tiles and can_keep_less and has_own_cells and not sequence.is_in_group:
            n_keep = n_to_keep(sequence.tokens, placement.n_keep, self._n_tile)
            placement = msgspec.structs.replace(placement, n_keep=n_keep)
        return placement

    def _place_among(self, tokens: TokenArray, slots: Collection[int]) -> Placement:
        placement = self._cache.place(tokens, slots)
        return placement if self._improve is None else self._improve(tokens, placement, slots)

    def _is_in_group(self, sequence: Sequence, placement: Placement) -> bool:
        """Whether others that begin alike and have as little left are about to be decoded with a sequence."""
        if not self._shares_beginnings:
            return False
        n_kept = placement.n_keep
        waiting = [*self._queued, *(other for other in self._running if other.phase is Phase.PREFILL)]
        rows = [
            len(other.tokens) - n_kept
            for other in waiting[:MAX_TRIES]
            if other is sequence or common_prefix(other.tokens, sequence.tokens) >= n_kept
        ]
        return is_worth_a_pool(n_kept, [n for n in rows if n < TILE_ROWS])

    def _has_room(self, sequence: Sequence, placement: Placement) -> bool:
        """Whether the pool has room for a sequence. One that is decoded alone has the pool to itself."""
        if self._pool is None:
            return True
        if self._running and (sequence.is_alone or any(other.is_alone for other in self._running)):
            return False
        limit = self._pool.limit_for(len(sequence.tokens), sequence.n_output_max)
        if placement.stored is not None:
            return self._pool.fits(max(limit, len(placement.stored.tokens)), source=0, n_shared=0)
        source = placement.slot if placement.copy_from < 0 else placement.copy_from
        return self._pool.fits(limit, source=source, n_shared=placement.n_keep)

    def _is_privileged(self, sequence: Sequence) -> bool:
        """Whether nobody may overtake: it had begun already, or was overtaken often."""
        if self._pool is None:
            return False
        return sequence.n_preempted > 0 or sequence.n_passed_over >= MAX_PASSED_OVER

    def _admission_order(self, sequence: Sequence) -> tuple[bool, int]:
        is_privileged = self._is_privileged(sequence)
        return not is_privileged, sequence.age if is_privileged else _urgency(sequence)

    def _should_wait_for_prefix(self, sequence: Sequence, placement: Placement) -> bool:
        """Somebody decodes the same long beginning right now: soon it can be copied."""
        if not self._cache.can_copy or sequence.is_alone or sequence.is_scored:
            return False
        for other in self._running:
            if other.phase is Phase.PREFILL:
                n_shared = common_prefix(other.tokens, sequence.tokens[:-1])
                if n_shared - max(placement.n_keep, other.n_prefilled) >= MIN_HELD_TOKENS:
                    return True
        return False


def _is_deep(sequence: Sequence, n: int) -> bool:
    """Whether attention takes so long for `n` more tokens of a sequence that tiles matter."""
    return sequence.n_prefilled + n >= MIN_DEPTH


def _urgency(sequence: Sequence) -> int:
    return sequence.n_remaining - AGEING_TOKENS * sequence.n_passed_over
