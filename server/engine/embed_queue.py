"""Which inputs share the next batch: a pure state machine over lengths, without llama.cpp.

A request's inputs become tokens only when a batch can soon take them, so that a request of a hundred thousand
inputs neither holds up the others while it is tokenised nor fills the memory. The request with the least left
to do goes first. The oldest one collects a share of every batch in which others were preferred to it, and
when its shares pay for its next input, that input goes before all others: none waits forever, and a huge
request delays a small one by one batch.
"""

from __future__ import annotations

import bisect
import math
import sys
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from server.engine.batch import TokenArray
from server.engine.failures import EngineFailure

OLDEST_SHARE: Final = 0.25
"""Part of a batch that the oldest request has a claim to, whoever else waits."""

WINDOW_BATCHES: Final = 4
"""Batches' worth of tokens that a request keeps ready, to choose those of fitting lengths from."""

S = TypeVar("S")


class Input(msgspec.Struct, eq=False):
    """One input as tokens. `index`: its place in its request; `n_done`: tokens that are in memory."""

    request_id: int
    index: int
    tokens: TokenArray
    n_done: int = 0

    @property
    def n_left(self) -> int:
        """Tokens that no batch has had yet."""
        return len(self.tokens) - self.n_done


class Piece(msgspec.Struct, frozen=True):
    """Tokens `input.n_done` to `end` of an input, for the next batch."""

    input: Input
    end: int

    @property
    def n_tokens(self) -> int:
        """Its length."""
        return self.end - self.input.n_done

    @property
    def is_last(self) -> bool:
        """Whether it completes its input."""
        return self.end == len(self.input.tokens)


class _Request(msgspec.Struct, Generic[S], eq=False):
    """What is left of an open request.

    Attributes:
        sources: inputs that are no tokens yet start at `n_read`.
        n_unread: estimate of their tokens.
        ready: inputs as tokens, shortest first.
        split: the input that is partly in memory.
    """

    request_id: int
    sources: tuple[S, ...]
    n_unread: int
    n_read: int = 0
    ready: list[Input] = []
    n_ready_tokens: int = 0
    split: Input | None = None

    @property
    def n_left(self) -> int:
        """Tokens that no batch has had yet, partly by estimate."""
        return self.n_unread + self.n_ready_tokens + self.n_split_left

    @property
    def n_waiting(self) -> int:
        """Inputs that wait."""
        return len(self.sources) - self.n_read + len(self.ready)

    @property
    def n_longest(self) -> int:
        """Tokens of the longest input that is ready."""
        return len(self.ready[-1].tokens) if self.ready else 0

    @property
    def n_split_left(self) -> int:
        """Tokens of the split input that no batch has had yet."""
        return self.split.n_left if self.split is not None else 0

    @property
    def has_work(self) -> bool:
        """Whether a batch can take something of it."""
        return self.split is not None or self.n_waiting > 0


class _Batch:
    """A batch that fills up."""

    def __init__(self, n_tokens: int, n_pieces: int) -> None:
        self.pieces: list[Piece] = []
        self.room = n_tokens
        self._n_pieces = n_pieces

    @property
    def is_full(self) -> bool:
        """Whether nothing fits any more."""
        return self.room <= 0 or len(self.pieces) == self._n_pieces

    def add(self, piece: Piece) -> None:
        """Add a piece."""
        self.pieces.append(piece)
        self.room -= piece.n_tokens


class EmbedQueue(Generic[S]):
    """The inputs of all open requests.

    Attributes:
        n_batch_tokens: tokens of a batch that several inputs share; an input that is longer has its own.
    """

    def __init__(
        self,
        *,
        n_batch_tokens: int,
        n_sequences: int,
        n_split_tokens: int | None,
        tokens_of: Callable[[S], TokenArray],
        n_tokens_guess: Callable[[S], int],
    ) -> None:
        """Args:
        n_sequences: inputs in one batch, at most.
        n_split_tokens: a longer input comes in several batches; at most one is under way like that.
        tokens_of: an input as tokens, at least one; raises EngineFailure, which fails the request.
        n_tokens_guess: how many that will be, at no cost.
        """
        self.n_batch_tokens = n_batch_tokens
        self._n_sequences = n_sequences
        self._n_split_tokens = n_split_tokens or sys.maxsize
        self._tokens_of = tokens_of
        self._n_tokens_guess = n_tokens_guess
        self._requests: dict[int, _Request[S]] = {}
        self._split_of: int | None = None
        self._credit = 0.0
        self._credit_of: int | None = None
        self._was_displaced = False

    @property
    def n_waiting(self) -> int:
        """Inputs that no batch has had yet."""
        return sum(request.n_waiting for request in self._requests.values())

    @property
    def has_begun_split(self) -> bool:
        """Whether an input is partly in memory."""
        owner = self._requests.get(self._split_of) if self._split_of is not None else None
        return owner is not None and owner.split is not None and owner.split.n_done > 0

    def add(self, request_id: int, sources: tuple[S, ...]) -> None:
        """Take a request, unless `tokens_of` raises for one of its first inputs."""
        request = _Request(request_id, sources, sum(map(self._n_tokens_guess, sources)))
        self._read(request)
        self._requests[request_id] = request

    def remove(self, request_id: int) -> None:
        """Drop what is left of a request, if anything is."""
        self._requests.pop(request_id, None)
        if self._split_of == request_id:
            self._split_of = None

    def next_batch(self) -> tuple[list[Piece], dict[int, EngineFailure]]:
        """The pieces of the next batch, and the requests that failed while they were tokenised, removed."""
        waiting = [request for request in self._requests.values() if request.has_work]
        ordered = sorted(waiting, key=lambda request: request.n_left)
        batch = _Batch(self.n_batch_tokens, self._n_sequences)
        failed: dict[int, EngineFailure] = {}
        if ordered:
            self._serve_oldest(ordered[0], batch, failed)
        for request in ordered:
            if request.request_id not in failed:
                self._serve(request, batch, failed)
            if batch.is_full:
                break
        for request_id in failed:
            self.remove(request_id)
        shortest = ordered[0].request_id if ordered else None
        self._was_displaced = all(piece.input.request_id != shortest for piece in batch.pieces)
        return [piece for piece in batch.pieces if piece.input.request_id not in failed], failed

    def done(self, pieces: list[Piece]) -> None:
        """These pieces are in memory. Requests of which nothing is left are forgotten."""
        for piece in pieces:
            piece.input.n_done = piece.end
            request = self._requests.get(piece.input.request_id)
            if request is None:
                continue
            if request.split is piece.input and piece.is_last:
                request.split = self._split_of = None
            if not request.has_work:
                del self._requests[request.request_id]

    def put_back(self, pieces: list[Piece]) -> None:
        """These pieces are not in memory after all; those of requests that are gone are dropped."""
        for piece in pieces:
            request = self._requests.get(piece.input.request_id)
            if request is not None and request.split is not piece.input:
                self._keep(request, piece.input)

    def _serve_oldest(self, shortest: _Request[S], batch: _Batch, failed: dict[int, EngineFailure]) -> None:
        """Give the oldest request what its shares pay for, unless it goes first anyway."""
        # An input that is partly in memory keeps others from being split: its request counts as the oldest.
        owner = self._split_of if self._split_of is not None else next(iter(self._requests))
        oldest = self._requests[owner]
        if oldest is shortest or owner != self._credit_of:
            self._credit, self._credit_of = 0.0, owner
        if oldest is shortest or not oldest.has_work:
            return
        self._credit += OLDEST_SHARE * self.n_batch_tokens
        if self._was_displaced:
            return  # what goes first by its length is not passed over twice
        n_most = max(1, int(OLDEST_SHARE * self._n_sequences))
        self._credit -= self._serve(oldest, batch, failed, n_most=n_most, credit=self._credit)
        self._credit = min(self._credit, max(self.n_batch_tokens, oldest.n_longest, oldest.n_split_left))

    def _serve(
        self,
        request: _Request[S],
        batch: _Batch,
        failed: dict[int, EngineFailure],
        *,
        n_most: int = sys.maxsize,
        credit: float = math.inf,
    ) -> int:
        """Put at most `n_most` inputs of a request and `credit` tokens into the batch. Returns the tokens."""
        n_served, n_tokens = 0, 0
        while n_served < n_most and not batch.is_full:
            try:
                self._read(request)
            except EngineFailure as error:
                failed[request.request_id] = error
                break
            piece = self._choose(request, batch)
            if piece is None or n_tokens + piece.n_tokens > credit:
                break
            self._take(request, piece)
            batch.add(piece)
            n_served += 1
            n_tokens += piece.n_tokens
        return n_tokens

    def _read(self, request: _Request[S]) -> None:
        """Keep enough inputs ready. Raises: what `tokens_of` raises."""
        while request.n_read < len(request.sources) and (
            not request.ready or request.n_ready_tokens < WINDOW_BATCHES * self.n_batch_tokens
        ):
            source = request.sources[request.n_read]
            tokens = self._tokens_of(source)
            self._keep(request, Input(request.request_id, request.n_read, tokens))
            request.n_unread -= self._n_tokens_guess(source)
            request.n_read += 1

    def _keep(self, request: _Request[S], item: Input) -> None:
        bisect.insort(request.ready, item, key=lambda other: len(other.tokens))
        request.n_ready_tokens += len(item.tokens)

    def _choose(self, request: _Request[S], batch: _Batch) -> Piece | None:
        """The longest input that fits; for an empty batch one that never fits, or a part of it, is right."""
        if not batch.pieces:
            if request.split is not None:
                return self._part(request.split)
            if request.ready and (self._split_of is None or request.n_longest <= self._n_split_tokens):
                return self._part(request.ready[-1])
        at = bisect.bisect_right(request.ready, batch.room, key=lambda item: len(item.tokens)) - 1
        return Piece(request.ready[at], len(request.ready[at].tokens)) if at >= 0 else None

    def _part(self, item: Input) -> Piece:
        return Piece(item, min(len(item.tokens), item.n_done + self._n_split_tokens))

    def _take(self, request: _Request[S], piece: Piece) -> None:
        item = piece.input
        if item is request.split:
            return
        request.ready.remove(item)
        request.n_ready_tokens -= len(item.tokens)
        if not piece.is_last:
            request.split, self._split_of = item, request.request_id
