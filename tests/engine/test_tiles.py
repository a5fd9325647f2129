"""A prompt keeps what is in memory, but for what a tile needs; its end is no small part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.cells import CellPool
from server.engine.kv_cache import Placement, SlotCache
from server.engine.memory_policy import PoolPolicy
from server.engine.scheduler import Scheduler
from server.engine.sequence import Phase, Sequence
from server.engine.tiles import TILE_ROWS, has_tiles, n_beside, n_in_step, n_to_keep


def prompt(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.arange(n, dtype=np.int32)


@given(n_kept=st.integers(0, 20_000), n_new=st.integers(1, 200), n_more=st.integers(0, 1))
def test_less_is_kept_only_to_make_a_tile(n_kept: int, n_new: int, n_more: int) -> None:
    n_tile = TILE_ROWS + n_more
    n_keep = n_to_keep(prompt(n_kept + n_new), n_kept, n_tile)
    assert 0 <= n_keep <= n_kept
    assert n_keep == n_kept or n_kept + n_new - n_keep == n_tile
    assert n_to_keep(prompt(n_kept + n_new), n_keep, n_tile) == n_keep


@pytest.mark.parametrize(
    ("n_kept", "n_new", "n_rows"),
    [(8000, 33, 64), (8000, 15, 15), (1000, 28, 64), (1000, 27, 27), (300, 48, 64), (200, 48, 48)],
)
def test_a_few_rows_are_worth_a_tile_from_some_depth_on(n_kept: int, n_new: int, n_rows: int) -> None:
    assert n_kept + n_new - n_to_keep(prompt(n_kept + n_new), n_kept) == n_rows


def test_a_picture_is_not_decoded_once_more() -> None:
    tokens = prompt(1040)
    tokens[990:1000] = -3
    assert n_to_keep(tokens, 1000) == 1000
    tokens[990:1000] = 3
    assert n_to_keep(tokens, 1000) == 976


@given(
    room=st.integers(1, 2000),
    n_more=st.sampled_from([0, TILE_ROWS]),
    n_remaining=st.integers(1, 3000),
    n_before=st.integers(0, 10_000),
)
def test_a_prompt_ends_with_a_tile(room: int, n_more: int, n_remaining: int, n_before: int) -> None:
    most = room + n_more
    n = n_in_step(room, most, n_remaining, n_before)
    assert 1 <= n <= min(most, n_remaining)
    assert n <= room or n == n_remaining < 2 * TILE_ROWS
    assert n > min(room, n_remaining) - TILE_ROWS
    if (
        n < n_remaining
        and n_before + n >= 300
        and (n_remaining >= 2 * TILE_ROWS or room >= TILE_ROWS == n_more)
    ):
        assert n_remaining - n >= TILE_ROWS


def test_what_has_tiles() -> None:
    assert has_tiles(on_gpu=False, flash_attention=None, kv_type="f16")
    assert not has_tiles(on_gpu=True, flash_attention=None, kv_type="f16")
    assert not has_tiles(on_gpu=False, flash_attention=False, kv_type="f16")
    assert not has_tiles(on_gpu=False, flash_attention=None, kv_type="q8_0")


def _admitted(cache: SlotCache, tokens: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Sequence:
    """A prompt that finds all but its last 32 tokens in a slot."""
    cache.append(0, tokens[:-32])
    scheduler = Scheduler(1, 512, cache, in_tiles=True)
    sequence = Sequence(1, tokens)
    scheduler.add(sequence)
    scheduler.admit(lambda placement: placement.n_keep)
    return sequence


def test_a_prompt_that_was_seen_before_is_cut_where_the_memory_can_be() -> None:
    sequence = _admitted(SlotCache(1, 2048), prompt(1032))
    assert sequence.n_cached == sequence.n_prefilled == 1032 - TILE_ROWS
    sequence = _admitted(SlotCache(1, 2048, can_trim=False), prompt(1032))
    assert sequence.n_cached == 1000


@pytest.mark.parametrize(("n_prompts", "n_rows"), [(1, TILE_ROWS), (3, 32)])
def test_in_a_pool_several_prompts_make_up_a_tile(n_prompts: int, n_rows: int) -> None:
    cells = CellPool(8192, 4, 2048)
    cache = SlotCache(4, 2048, cells=cells)
    scheduler = Scheduler(4, 512, cache, pool=PoolPolicy(cells, 2048), in_tiles=True)
    cache.append(0, prompt(1000))
    sequences = [Sequence(i, np.append(prompt(1000), prompt(32) + 2000 + i)) for i in range(n_prompts)]
    for sequence in sequences:
        scheduler.add(sequence)
    scheduler.admit(lambda placement: placement.n_keep)
    assert [sequence.n_remaining for sequence in sequences] == [n_rows] * n_prompts


@pytest.mark.parametrize(("n_prompts", "n_rows"), [(1, TILE_ROWS), (2, 32), (3, 32)])
def test_several_prompts_with_one_beginning_make_up_a_tile(n_prompts: int, n_rows: int) -> None:
    cache = SlotCache(4, 2048)
    scheduler = Scheduler(4, 512, cache, in_tiles=True, shares_beginnings=True)
    cache.append(0, prompt(1000))
    sequences = [Sequence(i, np.append(prompt(1000), prompt(32) + 2000 + i)) for i in range(n_prompts)]
    for sequence in sequences:
        scheduler.add(sequence)
    scheduler.admit(lambda placement: placement.n_keep)
    assert [sequence.n_remaining for sequence in sequences] == [n_rows] * n_prompts


def test_prompts_of_a_group_need_not_be_equally_long() -> None:
    cache = SlotCache(4, 2048)
    scheduler = Scheduler(4, 512, cache, in_tiles=True, shares_beginnings=True)
    cache.append(0, prompt(1000))
    for i in range(4):
        scheduler.add(Sequence(i, np.append(prompt(1000), prompt(20 + 3 * i) + 2000 + i)))
    scheduler.admit(lambda placement: placement.n_keep)
    assert sorted(chunk.n_tokens for chunk in scheduler.plan(512).chunks) == [20, 23, 26, 29]


def test_prompts_that_begin_otherwise_make_up_no_tile() -> None:
    cache = SlotCache(4, 2048)
    scheduler = Scheduler(4, 512, cache, in_tiles=True, shares_beginnings=True)
    sequences = [Sequence(i, np.append(prompt(1000) + 2000 * i, prompt(32))) for i in range(2)]
    for slot, sequence in enumerate(sequences):
        cache.append(slot, sequence.tokens[:1000])
        scheduler.add(sequence)
    scheduler.admit(lambda placement: placement.n_keep)
    assert [sequence.n_remaining for sequence in sequences] == [TILE_ROWS] * 2


def test_beside_others_that_decode_a_part_has_one_more() -> None:
    cache = SlotCache(3, 4096)
    scheduler = Scheduler(3, 512, cache, in_tiles=True)

    def carry_out(placement: Placement) -> int:
        return placement.n_keep

    def add(number: int, tokens: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Sequence:
        sequence = Sequence(number, tokens)
        scheduler.add(sequence)
        scheduler.admit(carry_out)
        return sequence

    first = add(1, prompt(8))
    scheduler.prefilled(scheduler.plan(512).chunks[0])
    assert first.phase is Phase.DECODE
    cache.append(1, prompt(1000) + 5000)
    second = add(2, np.append(prompt(1000) + 5000, prompt(32)))
    assert second.n_remaining == TILE_ROWS + 1
    third = add(3, prompt(3000) + 9000)
    plan = scheduler.plan(TILE_ROWS)
    assert [(chunk.sequence, chunk.n_tokens) for chunk in plan.chunks] == [(second, 65)]
    # What is left of the step is no tile.
    assert len(scheduler.plan(TILE_ROWS + 60).chunks) == 1
    # Of 101 more rows, 36 would be left alone once the other stream is done.
    for n_prompt_tokens in (2 * TILE_ROWS, TILE_ROWS + 100):
        plan = scheduler.plan(n_prompt_tokens)
        assert {chunk.sequence: chunk.n_tokens for chunk in plan.chunks} == {second: 65, third: 65}
        assert [sequence.slot for sequence, _ in plan.rows()] == [0, 1, 2]
    plan = scheduler.plan(3 * TILE_ROWS)
    assert {chunk.sequence: chunk.n_tokens for chunk in plan.chunks} == {second: 65, third: 129}


@given(
    n=st.integers(1, 600),
    n_more=st.integers(0, 300),
    others=st.lists(st.integers(1, 600), min_size=1, max_size=4),
)
def test_streams_of_a_step_leave_tiles_or_nothing(n: int, n_more: int, others: list[int]) -> None:
    taken = n_beside(n, n + n_more, others)
    assert 0 <= taken <= n
    if taken:
        assert all(taken == other or abs(taken - other) >= TILE_ROWS for other in others)
        assert taken == n or n + n_more - taken >= TILE_ROWS
    if n in others and len(set(others)) == 1:
        assert taken == n
