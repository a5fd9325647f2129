"""No sequence is lost, slots are conserved, nobody waits forever; whatever the order of events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from server.engine.kv_cache import Placement, SlotCache
from server.engine.scheduler import Scheduler
from server.engine.sequence import Phase, Sequence

N_SLOTS = 3
N_BATCH = 64
N_CTX = 200


class SchedulerMachine(RuleBasedStateMachine):
    """Plays the engine: a memory per slot that only does what placements and chunks say."""

    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.cache = SlotCache(N_SLOTS, N_CTX)
        self.scheduler = Scheduler(N_SLOTS, N_BATCH, self.cache, in_tiles=True)
        self.memory: list[list[int]] = [[] for _ in range(N_SLOTS)]
        self.open: list[Sequence] = []
        self.n_added = 0

    @rule(
        target=sequences,
        n=st.integers(1, 150),
        family=st.integers(0, 2),
        tail=st.integers(0, 5),
        is_alone=st.booleans(),
    )
    def add(self, n: int, family: int, tail: int, is_alone: bool) -> Sequence:
        tokens = np.full(n, family, np.int32)
        tokens[-1] = 10 + tail
        self.n_added += 1
        sequence = Sequence(self.n_added, tokens, is_alone=is_alone)
        self.scheduler.add(sequence)
        self.open.append(sequence)
        return sequence

    @rule(n_prompt_tokens=st.integers(1, 100), trims=st.booleans())
    def step(self, n_prompt_tokens: int, trims: bool) -> None:
        def carry_out(placement: Placement) -> int:
            if placement.copy_from >= 0:
                self.memory[placement.slot] = list(self.memory[placement.copy_from])
            n_keep = placement.n_keep if trims else 0
            del self.memory[placement.slot][n_keep:]
            return n_keep

        for sequence in self.scheduler.admit(carry_out):
            assert self.memory[sequence.slot] == sequence.tokens[: sequence.n_cached].tolist()
            assert sequence.n_cached < len(sequence.tokens)
            assert not sequence.is_alone or sequence.n_cached == 0
        plan = self.scheduler.plan(n_prompt_tokens)
        assert plan.is_alone or plan.n_prompt_tokens <= n_prompt_tokens + len(plan.chunks)
        assert not plan.is_alone or len(list(plan.sequences())) == 1
        assert plan.n_prompt_tokens + len(plan.decoding) <= N_BATCH
        if self.scheduler.running:
            assert plan.decoding or plan.chunks
        decoding = {one.request_id for one in self.scheduler.running if one.phase is Phase.DECODE}
        if not plan.is_alone:
            apart = {one.request_id for one in self.scheduler.running if one.is_alone}
            assert {one.request_id for one in plan.decoding} == decoding - apart
        waiting = [one for one in self.scheduler.running if one.phase is Phase.PREFILL]
        assert not (self.scheduler.is_steady and waiting)
        n_left = sum(one.n_remaining for one in waiting)
        assert self.scheduler.n_pressing == (n_left if 2 * len(waiting) > len(decoding) else 0)
        assert len({sequence.request_id for sequence in plan.sequences()}) == len(list(plan.sequences()))
        slots = [sequence.slot for sequence, _ in plan.rows()]
        assert slots == sorted(sequence.slot for sequence in plan.sequences())
        for sequence in plan.decoding:
            if self.cache.length(sequence.slot) < N_CTX:
                self.memory[sequence.slot].append(7)
                self.cache.append(sequence.slot, 7)
        for chunk in plan.chunks:
            sequence = chunk.sequence
            start = sequence.n_prefilled
            part = sequence.tokens[start : start + chunk.n_tokens]
            assert self.cache.length(sequence.slot) == start
            self.memory[sequence.slot] += part.tolist()
            self.cache.append(sequence.slot, part)
            self.scheduler.prefilled(chunk)
            assert (sequence.phase is Phase.DECODE) == chunk.is_last == (sequence.n_remaining == 0)

    @rule(sequence=consumes(sequences))
    def end(self, sequence: Sequence) -> None:
        self.scheduler.end(sequence)
        self.scheduler.end(sequence)
        self.open.remove(sequence)

    @invariant()
    def slots_are_conserved(self) -> None:
        slots = [sequence.slot for sequence in self.scheduler.running]
        assert len(set(slots)) == len(slots)
        assert len(slots) + len(self.scheduler.free_slots) == N_SLOTS

    @invariant()
    def no_sequence_is_lost(self) -> None:
        assert len(self.open) == len(self.scheduler.running) + self.scheduler.n_queued
        for sequence in self.open:
            assert sequence.phase is not Phase.ENDED
            assert (sequence.slot >= 0) == (sequence.phase is not Phase.QUEUED)
        assert self.scheduler.is_idle == (not self.open)

    @invariant()
    def the_cache_knows_the_memory(self) -> None:
        for slot in range(N_SLOTS):
            assert self.cache.tokens(slot).tolist() == self.memory[slot]


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def keep(placement: Placement) -> int:
    return placement.n_keep


def test_a_long_prompt_is_not_passed_over_forever_by_short_ones() -> None:
    cache = SlotCache(2, 4096)
    scheduler = Scheduler(2, 64, cache)
    long = Sequence(0, np.arange(2000, dtype=np.int32))
    scheduler.add(long)
    for step in range(200):
        if len(scheduler.running) + scheduler.n_queued < 2:
            scheduler.add(Sequence(step + 1, np.full(60, 5000 + step, np.int32)))
        scheduler.admit(keep)
        for chunk in scheduler.plan(64).chunks:
            start = chunk.sequence.n_prefilled
            cache.append(chunk.sequence.slot, chunk.sequence.tokens[start : start + chunk.n_tokens])
            scheduler.prefilled(chunk)
            if chunk.is_last and chunk.sequence is not long:
                scheduler.end(chunk.sequence)
        if long.phase is Phase.DECODE:
            break
    assert long.phase is Phase.DECODE


def test_the_shortest_prompt_goes_first() -> None:
    scheduler = Scheduler(2, 512, SlotCache(2, 1024))
    scheduler.add(Sequence(1, np.arange(600, dtype=np.int32)))
    scheduler.add(Sequence(2, np.arange(1000, 1020, dtype=np.int32)))
    scheduler.admit(keep)
    plan = scheduler.plan(64)
    assert [(chunk.sequence.request_id, chunk.n_tokens) for chunk in plan.chunks] == [(2, 20), (1, 44)]


def test_a_prompt_waits_for_another_prompts_long_common_beginning() -> None:
    cache = SlotCache(2, 1024)
    scheduler = Scheduler(2, 512, cache)
    beginning = np.arange(600, dtype=np.int32)
    first = Sequence(1, np.append(beginning, [7, 7]).astype(np.int32))
    second = Sequence(2, np.append(beginning, [8, 8, 8]).astype(np.int32))
    scheduler.add(first)
    scheduler.add(second)
    assert scheduler.admit(keep) == [first]
    while first.phase is Phase.PREFILL:
        (chunk,) = scheduler.plan(512).chunks
        start = first.n_prefilled
        cache.append(first.slot, first.tokens[start : start + chunk.n_tokens])
        scheduler.prefilled(chunk)
    placements: list[Placement] = []

    def record(placement: Placement) -> int:
        placements.append(placement)
        return placement.n_keep

    scheduler.admit(record)
    assert placements == [Placement(second.slot, 600, first.slot)]
    assert second.n_cached == 600


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Scheduler(1, 8, SlotCache(1, 8)).add(Sequence(1, np.empty(0, np.int32)))
