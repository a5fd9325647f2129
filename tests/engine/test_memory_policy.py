"""A pool of cells: nobody is lost, no promise is broken, everybody finishes; whatever the order of events."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.engine.batch import TokenArray
from server.engine.cells import CellPool
from server.engine.kv_cache import Placement, SlotCache, Stored
from server.engine.memory_policy import PoolPolicy
from server.engine.scheduler import MAX_PASSED_OVER, MAX_TRIES, Scheduler
from server.engine.sequence import Phase, Sequence

N_SLOTS = 4
N_CTX = 48
N_CELLS = 64
N_BATCH = 32


class Request:
    """A request as the machine knows it: each token of its answer is one of a kind."""

    def __init__(self, sequence: Sequence, n_output: int) -> None:
        self.sequence = sequence
        self.prompt = sequence.tokens.tolist()
        self.n_output = n_output
        self.answer: list[int] = []


class PoolMachine(RuleBasedStateMachine):
    """Plays the engine, with a memory of cells that may be shared."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = CellPool(N_CELLS, N_SLOTS, N_CTX)
        self.pool = PoolPolicy(self.cells, N_CTX, answer_tokens=4)
        self.cache = SlotCache(N_SLOTS, N_CTX, cells=self.cells)
        self.scheduler = Scheduler(N_SLOTS, N_BATCH, self.cache, pool=self.pool)
        self.memory: list[list[tuple[int, int]]] = [[] for _ in range(N_SLOTS)]  # (token, cell) each
        self.open: dict[int, Request] = {}
        self.names = itertools.count(1000)
        self.cell_names = itertools.count()
        self.n_added = 0

    @rule(
        n=st.integers(1, N_CTX - 1),
        family=st.integers(0, 2),
        n_output=st.integers(0, 60),
        is_alone=st.sampled_from([False] * 9 + [True]),
    )
    def add(self, n: int, family: int, n_output: int, is_alone: bool) -> None:
        tokens = np.full(n, family, np.int32)
        tokens[-1] = next(self.names)
        self.n_added += 1
        sequence = Sequence(self.n_added, tokens, is_alone=is_alone, n_output_max=n_output)
        self.scheduler.add(sequence)
        self.open[self.n_added] = Request(sequence, n_output)

    @rule(n_prompt_tokens=st.integers(1, N_BATCH))
    def step(self, n_prompt_tokens: int) -> None:
        self.scheduler.admit(self.carry_out)
        self.scheduler.make_room(self.reached)
        plan = self.scheduler.plan(n_prompt_tokens)
        if self.open:
            assert plan.decoding or plan.chunks
        self.evict_for(len(plan.decoding) + plan.n_prompt_tokens)
        for sequence in plan.decoding:
            request = self.open[sequence.request_id]
            self.put(sequence.slot, [request.answer[-1]])
            self.choose(request)
        for chunk in plan.chunks:
            sequence = chunk.sequence
            start = sequence.n_prefilled
            assert self.cache.length(sequence.slot) == start
            self.put(sequence.slot, sequence.tokens[start : start + chunk.n_tokens].tolist())
            self.scheduler.prefilled(chunk)
            if chunk.is_last:
                self.choose(self.open[sequence.request_id])

    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        for request in list(self.open.values())[which : which + 1]:
            self.end(request)

    def carry_out(self, placement: Placement) -> int:
        source = placement.slot if placement.copy_from < 0 else placement.copy_from
        self.memory[placement.slot] = self.memory[source][: placement.n_keep]
        return placement.n_keep

    def reached(self, sequence: Sequence) -> TokenArray:
        request = self.open[sequence.request_id]
        sequence.n_output_max = request.n_output - len(request.answer)
        if sequence.phase is Phase.PREFILL:
            return sequence.tokens
        return np.append(self.cache.tokens(sequence.slot), np.int32(request.answer[-1]))

    def evict_for(self, n: int) -> None:
        while self.cells.n_free < n:
            slot = self.cache.oldest(self.scheduler.free_slots)
            assert slot is not None, "what was promised is there"
            self.memory[slot] = []
            self.cache.truncate(slot, 0)

    def put(self, slot: int, tokens: list[int]) -> None:
        self.memory[slot] += [(token, next(self.cell_names)) for token in tokens]
        self.cache.append(slot, np.array(tokens, np.int32))

    def choose(self, request: Request) -> None:
        """The next token of an answer; the sequence holds what was said before, in order."""
        sequence = request.sequence
        assert self.cache.tokens(sequence.slot).tolist() == request.prompt + request.answer
        if len(request.answer) < request.n_output:
            request.answer.append(next(self.names))
        if len(request.answer) >= request.n_output or self.cache.length(sequence.slot) >= N_CTX:
            self.end(request)

    def end(self, request: Request) -> None:
        self.scheduler.end(request.sequence)
        del self.open[request.sequence.request_id]

    @invariant()
    def promises_are_kept(self) -> None:
        assert self.pool.n_available() >= 0
        for sequence in self.scheduler.running:
            limit = self.pool.limits[sequence.slot]
            assert self.cells.length(sequence.slot) <= limit <= N_CTX
            if sequence.phase is Phase.PREFILL:
                assert limit >= len(sequence.tokens)
        assert set(self.pool.limits) == {sequence.slot for sequence in self.scheduler.running}

    @invariant()
    def no_request_is_lost(self) -> None:
        assert len(self.open) == len(self.scheduler.running) + self.scheduler.n_queued
        if any(sequence.is_alone for sequence in self.scheduler.running):
            assert len(self.scheduler.running) == 1

    @invariant()
    def the_books_are_those_of_the_memory(self) -> None:
        held = {cell for slot in self.memory for _, cell in slot}
        assert self.cells.n_free == N_CELLS - len(held)
        for slot, content in enumerate(self.memory):
            assert self.cache.tokens(slot).tolist() == [token for token, _ in content]
            assert self.cells.length(slot) == len(content)
            others = {cell for other in range(N_SLOTS) if other != slot for _, cell in self.memory[other]}
            assert self.cells.is_shared(slot, 0) == any(cell in others for _, cell in content)
        slots = self.scheduler.free_slots
        assert self.cells.n_held(slots) == len({cell for slot in slots for _, cell in self.memory[slot]})

    def teardown(self) -> None:
        for _ in range(100 * (len(self.open) + 1)):
            if not self.open:
                break
            self.step(N_BATCH)
            self.promises_are_kept()
        assert not self.open, "everybody finishes"


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_cells_are_dropped_from_the_middle() -> None:
    cells = CellPool(10, 2, 10)
    cells.append(0, 6)
    cells.share(0, 1, 3)
    assert cells.is_shared(0, 2)
    assert not cells.is_shared(0, 3)
    assert cells.shares_with(0, 1, 0)
    cells.drop(0, 2, 3)
    assert (cells.length(0), cells.n_free) == (3, 6)
    assert not cells.is_shared(0, 2)
    cells.truncate(1, 0)
    assert cells.n_free == 7
    with pytest.raises(IndexError, match="the 7 that are free"):
        cells.append(1, 8)
    cells.clear()
    assert cells.n_free == 10


def test_a_long_prompt_is_not_overtaken_forever() -> None:
    """Short requests come without end and would always fit beside each other; the long one gets its turn."""
    cells = CellPool(N_CELLS, N_SLOTS, N_CTX)
    pool = PoolPolicy(cells, N_CTX)
    cache = SlotCache(N_SLOTS, N_CTX, cells=cells)
    scheduler = Scheduler(N_SLOTS, N_BATCH, cache, pool=pool)

    def add(n: int, n_output_max: int) -> Sequence:
        sequence = Sequence(0, np.arange(n, dtype=np.int32) + 100 * n, n_output_max=n_output_max)
        scheduler.add(sequence)
        return sequence

    def carry_out(placement: Placement) -> int:
        return placement.n_keep

    for _ in range(3):
        add(10, 0)
    scheduler.admit(carry_out)
    long = add(N_CTX - 1, 1)
    for _ in range(3 * MAX_PASSED_OVER):
        scheduler.end(scheduler.running[0])
        add(10, 0)
        scheduler.admit(carry_out)
        if long.phase is not Phase.QUEUED:
            break
    assert long.phase is Phase.PREFILL


def test_a_long_queue_costs_a_step_no_more_than_some_looks() -> None:
    cells = CellPool(N_CELLS, N_SLOTS, N_CTX)
    pool = PoolPolicy(cells, N_CTX, answer_tokens=4)
    cache = SlotCache(N_SLOTS, N_CTX, cells=cells)
    n_looks = 0

    def improve(tokens: TokenArray, placement: Placement, free: object) -> Placement:
        nonlocal n_looks
        n_looks += 1
        return placement

    scheduler = Scheduler(N_SLOTS, N_BATCH, cache, improve, pool)
    for index in range(500):
        scheduler.add(Sequence(index, np.arange(40, dtype=np.int32) + 100 * index, n_output_max=8))
    admitted = scheduler.admit(lambda placement: placement.n_keep)
    assert len(admitted) == 1  # one context of 40 tokens and its answer fits, not two
    n_looks = 0
    assert scheduler.admit(lambda placement: placement.n_keep) == []
    assert 0 < n_looks <= MAX_TRIES


def test_who_is_decoded_alone_has_the_pool_to_itself() -> None:
    cells = CellPool(N_CELLS, N_SLOTS, N_CTX)
    cache = SlotCache(N_SLOTS, N_CTX, cells=cells)
    scheduler = Scheduler(N_SLOTS, N_BATCH, cache, pool=PoolPolicy(cells, N_CTX, answer_tokens=4))
    first, alone, last = (Sequence(index, np.full(5, index, np.int32)) for index in range(3))
    alone.is_alone = True

    def admitted() -> list[Sequence]:
        return scheduler.admit(lambda placement: placement.n_keep)

    scheduler.add(first)
    assert admitted() == [first]
    scheduler.add(alone)
    assert admitted() == []
    scheduler.end(first)
    assert admitted() == [alone]
    scheduler.add(last)
    assert admitted() == []
    scheduler.end(alone)
    assert admitted() == [last]


def test_a_saved_state_needs_room_for_all_that_it_holds() -> None:
    cells = CellPool(N_CELLS, N_SLOTS, N_CTX)
    cache = SlotCache(N_SLOTS, N_CTX, cells=cells)
    stored = Stored(np.arange(40, dtype=np.int32), 10, None)
    is_saved = False

    def improve(tokens: TokenArray, placement: Placement, free: Collection[int]) -> Placement:
        return cache.place_stored(stored, free) if is_saved else placement

    scheduler = Scheduler(N_SLOTS, N_BATCH, cache, improve, PoolPolicy(cells, N_CTX, answer_tokens=4))
    scheduler.add(Sequence(0, np.full(26, 7, np.int32)))
    scheduler.admit(lambda placement: placement.n_keep)
    is_saved = True
    short = Sequence(1, np.append(stored.tokens[:10], [9, 9]).astype(np.int32))
    scheduler.add(short)
    assert scheduler.admit(lambda placement: placement.n_keep) == [], "30 are promised and the state has 40"
    scheduler.end(scheduler.running[0])
    assert scheduler.admit(lambda placement: placement.n_keep) == [short]


def test_the_last_cells_are_shared_out() -> None:
    pool = PoolPolicy(CellPool(N_CELLS, N_SLOTS, N_CTX), N_CTX, answer_tokens=40)
    for slot in (0, 1):
        pool.begin(slot, 20)
    assert pool.grow(0, {0: 1, 1: 1})
    assert pool.limits == {0: 32, 1: 20}
