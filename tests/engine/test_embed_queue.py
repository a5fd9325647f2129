"""Properties of the queue that decides which inputs share a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.batch import TokenArray
from server.engine.embed_queue import OLDEST_SHARE, EmbedQueue, Piece
from server.engine.failures import BadRequest

BATCH, SEQUENCES, SPLIT = 64, 6, 100

lengths = st.integers(1, 250)
requests = st.lists(st.lists(lengths, min_size=1, max_size=30), min_size=1, max_size=8)


def queue_of(*, can_split: bool = False) -> EmbedQueue[int]:
    """A queue whose sources are lengths; a length of 0 cannot be tokenised."""

    def tokens_of(length: int) -> TokenArray:
        if length == 0:
            raise BadRequest("empty")
        return np.zeros(length, np.int32)

    return EmbedQueue(
        n_batch_tokens=BATCH,
        n_sequences=SEQUENCES,
        n_split_tokens=SPLIT if can_split else None,
        tokens_of=tokens_of,
        n_tokens_guess=lambda length: length // 2 + 1,
    )


def check_batch(pieces: list[Piece], *, can_split: bool) -> None:
    """What holds for every batch."""
    assert 0 < len(pieces) <= SEQUENCES
    assert len({(piece.input.request_id, piece.input.index) for piece in pieces}) == len(pieces)
    assert all(piece.n_tokens > 0 for piece in pieces)
    assert len(pieces) == 1 or sum(piece.n_tokens for piece in pieces) <= BATCH
    assert not can_split or all(piece.n_tokens <= SPLIT for piece in pieces)
    if not can_split:
        assert all(piece.input.n_done == 0 and piece.is_last for piece in pieces)
    assert sum(piece.input.n_done > 0 or not piece.is_last for piece in pieces) <= 1


@given(requests, st.booleans())
def test_every_input_is_run_once_and_in_order(sizes: list[list[int]], can_split: bool) -> None:
    queue = queue_of(can_split=can_split)
    for request_id, request in enumerate(sizes):
        queue.add(request_id, tuple(request))
    assert queue.n_waiting == sum(map(len, sizes))
    n_done = {
        (request_id, index): 0 for request_id, request in enumerate(sizes) for index in range(len(request))
    }
    begun: set[tuple[int, int]] = set()
    while queue.n_waiting or begun:
        pieces, failed = queue.next_batch()
        assert not failed
        check_batch(pieces, can_split=can_split)
        for piece in pieces:
            key = (piece.input.request_id, piece.input.index)
            assert piece.input.n_done == n_done[key]
            n_done[key] = piece.end
            if piece.is_last:
                assert n_done[key] == sizes[key[0]][key[1]]
                begun.discard(key)
            else:
                begun.add(key)
                assert len(begun) == 1
        queue.done(pieces)
        assert queue.has_begun_split == bool(begun)
    assert all(n == sizes[request_id][index] for (request_id, index), n in n_done.items())


@given(st.lists(lengths, min_size=1, max_size=5), st.integers(1, BATCH), st.booleans())
def test_a_small_request_is_answered_soon(huge: list[int], small: int, can_split: bool) -> None:
    """It is in the next batch, or in the one after it when the huge request has its turn."""
    queue = queue_of(can_split=can_split)
    queue.add(0, tuple(huge) * 100)
    for request_id in range(1, 6):
        queue.done(queue.next_batch()[0])
        queue.add(request_id, (small,))
        for _ in range(2):
            pieces, _ = queue.next_batch()
            queue.done(pieces)
            if any(piece.input.request_id == request_id for piece in pieces):
                break
        else:
            raise AssertionError("it waits for a third batch")


@given(st.lists(lengths, min_size=1, max_size=10), st.booleans())
def test_a_huge_request_is_not_starved(huge: list[int], can_split: bool) -> None:
    """While small requests fill every batch, it gets its share of the tokens."""
    queue = queue_of(can_split=can_split)
    queue.add(0, tuple(huge))
    n_huge, n_batches, request_id = 0, 0, 0
    while n_huge < sum(huge):
        for _ in range(SEQUENCES):
            request_id += 1
            queue.add(request_id, (BATCH // SEQUENCES,))
        pieces, _ = queue.next_batch()
        n_huge += sum(piece.n_tokens for piece in pieces if piece.input.request_id == 0)
        queue.done(pieces)
        n_batches += 1
        n_due = sum(huge) / (OLDEST_SHARE * BATCH)
        assert n_batches <= 2 * (n_due + len(huge))


@given(requests, st.booleans())
def test_what_is_put_back_comes_again(sizes: list[list[int]], can_split: bool) -> None:
    queue = queue_of(can_split=can_split)
    for request_id, request in enumerate(sizes):
        queue.add(request_id, tuple(request))
    n_tokens = 0
    for turn in range(10_000):
        pieces, _ = queue.next_batch()
        if not pieces:
            break
        if turn % 3 == 1:
            queue.put_back(pieces)
            continue
        n_tokens += sum(piece.n_tokens for piece in pieces)
        queue.done(pieces)
    assert n_tokens == sum(map(sum, sizes))
    assert queue.n_waiting == 0


@given(requests, st.booleans(), st.integers(0, 7), st.integers(0, 5))
def test_a_removed_request_is_gone_and_the_others_go_on(
    sizes: list[list[int]], can_split: bool, victim: int, after: int
) -> None:
    queue = queue_of(can_split=can_split)
    for request_id, request in enumerate(sizes):
        queue.add(request_id, tuple(request))
    n_tokens = dict.fromkeys(range(len(sizes)), 0)
    for turn in range(10_000):
        if turn == after:
            queue.remove(victim)
        pieces, _ = queue.next_batch()
        if not pieces and turn >= after:
            break
        assert turn < after or all(piece.input.request_id != victim for piece in pieces)
        for piece in pieces:
            n_tokens[piece.input.request_id] += piece.n_tokens
        queue.done(pieces)
    assert all(n == sum(sizes[request_id]) for request_id, n in n_tokens.items() if request_id != victim)
    assert not queue.has_begun_split


def test_a_request_that_fails_while_it_is_tokenised_fails_alone() -> None:
    queue = queue_of()
    with pytest.raises(BadRequest):
        queue.add(1, (5, 0, 5))
    assert queue.n_waiting == 0
    queue.add(2, (*[BATCH] * 10, 0))  # the bad one is beyond what is read at first
    queue.add(3, (5,) * 4)
    failures = {}
    n_of = {2: 0, 3: 0}
    while queue.n_waiting:
        pieces, failed = queue.next_batch()
        failures |= failed
        for piece in pieces:
            n_of[piece.input.request_id] += 1
        queue.done(pieces)
    assert list(failures) == [2]
    assert n_of[3] == 4
    assert n_of[2] < 10


def test_few_inputs_are_tokens_before_they_are_needed() -> None:
    read: list[int] = []

    def tokens_of(length: int) -> TokenArray:
        read.append(length)
        return np.zeros(length, np.int32)

    queue: EmbedQueue[int] = EmbedQueue(
        n_batch_tokens=BATCH,
        n_sequences=SEQUENCES,
        n_split_tokens=None,
        tokens_of=tokens_of,
        n_tokens_guess=lambda length: length,
    )
    queue.add(1, (8,) * 10_000)
    assert len(read) <= 4 * BATCH // 8 + 1
    queue.next_batch()
    assert len(read) <= 5 * BATCH // 8 + 1


def test_batches_are_filled_with_the_lengths_that_fit() -> None:
    queue = queue_of()
    queue.add(1, (40, 24, 40, 24, 40, 24))
    for _ in range(3):
        pieces, _ = queue.next_batch()
        assert sorted(piece.n_tokens for piece in pieces) == [24, 40]
        queue.done(pieces)
    assert queue.next_batch() == ([], {})
