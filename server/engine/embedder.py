"""Embedding and ranking: inputs of all open requests share batches, each as a sequence of its own."""

from __future__ import annotations

import sys
import time
from typing import Final

import msgspec
import numpy as np

from server.engine.context import Rows
from server.engine.embed_inputs import InputReader, Source
from server.engine.embed_queue import EmbedQueue, Piece
from server.engine.embed_runner import EmbedRunner
from server.engine.failures import BadRequest, DecodeFailed, EngineBusy, EngineFailure
from server.ipc.framing import MAX_FRAME_BYTES
from server.ipc.messages import (
    Embed,
    Embeddings,
    EngineTimings,
    Finished,
    FromEngine,
    Rerank,
    Scores,
    Step,
    StepStats,
)

MAX_QUEUED_BYTES: Final = 256 * 1024 * 1024
"""Inputs and results of open requests, at most; a single request may be larger."""

STEP_INTERVAL_S: Final = 0.1
"""A `Step` that ends nothing is told at most so often: each one takes the server's time from the batches."""

_TOKEN_ID_BYTES: Final = 40
"""A Python integer in a tuple."""

_RESULT_BYTES: Final = 32
"""What a result takes in a frame or a list beside its numbers."""


class _Request(msgspec.Struct, eq=False):
    """An open request; results come in any order.

    Attributes:
        n_bytes: what its inputs and results take.
        n_missing: inputs without a result.
    """

    message: Embed | Rerank
    n_bytes: int
    results: list[bytes | float]
    n_tokens: list[int]
    n_missing: int


class Embedder:
    """Answers `Embed` messages, or `Rerank` messages when the model ranks."""

    def __init__(
        self, runner: EmbedRunner, reader: InputReader, *, n_batch_tokens: int, n_split_tokens: int | None
    ) -> None:
        """Args: see `server.engine.embed_queue.EmbedQueue`."""
        self._runner = runner
        self._reader = reader
        self._ranks = runner.context.ranks
        self._n_pooled = runner.context.n_pooled
        self._requests: dict[int, _Request] = {}
        self._n_queued_bytes = 0
        self._told_s = 0.0
        self._queue: EmbedQueue[Source] = EmbedQueue(
            n_batch_tokens=n_batch_tokens,
            n_sequences=runner.n_sequences,
            n_split_tokens=n_split_tokens,
            tokens_of=reader.tokens,
            n_tokens_guess=reader.n_tokens_guess,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no request is open."""
        return not self._requests

    def embed(self, message: Embed) -> list[FromEngine]:
        """Begin a request. Raises: BadRequest, ContextFull, EngineBusy, and the request has then ended."""
        if self._ranks:
            raise BadRequest("the model ranks documents and has no embeddings")
        return self._begin(message, self._reader.sources(message.inputs, truncate=message.truncate))

    def rerank(self, message: Rerank) -> list[FromEngine]:
        """Begin a request. Raises: BadRequest, ContextFull, EngineBusy, and the request has then ended."""
        if not self._ranks:
            raise BadRequest("the model embeds texts and does not rank documents")
        sources = self._reader.pairs(message.query, message.documents, truncate=message.truncate)
        return self._begin(message, sources)

    def abort(self, request_id: int) -> list[FromEngine]:
        """End a request now. Nothing happens when it has ended already."""
        self._runner.forget(request_id)
        if request_id not in self._requests:
            return []
        self._end(request_id)
        return [Finished(request_id=request_id, reason="cancelled", timings=EngineTimings())]

    def abort_all(self) -> list[FromEngine]:
        """End all requests now."""
        return [message for request_id in list(self._requests) for message in self.abort(request_id)]

    def step(self) -> list[FromEngine]:
        """Run a batch, or two. Returns a `Step` now and then, and the ends of the requests that ended."""
        begin_s = time.perf_counter()
        is_begun = self._queue.has_begun_split
        batches, ended = self._next_batches()
        if batches:
            ended += self._run(batches, keep_split=is_begun)
        now_s = time.perf_counter()
        if not ended and now_s - self._told_s < STEP_INTERVAL_S:
            return []
        self._told_s = now_s
        return [Step((), self.stats(1000 * (now_s - begin_s))), *ended]

    def stats(self, step_ms: float = 0.0) -> StepStats:
        """The worker now."""
        return StepStats(
            n_busy_slots=min(len(self._requests), 1), n_queued=self._queue.n_waiting, step_ms=step_ms
        )

    def close(self) -> None:
        """Free what the embedder made itself."""
        self._runner.close()

    def _begin(self, message: Embed | Rerank, sources: tuple[Source, ...]) -> list[FromEngine]:
        if message.request_id in self._requests:
            raise BadRequest(f"request {message.request_id} is open already")
        n_result_bytes = _RESULT_BYTES + 4 * self._n_pooled
        n_most = MAX_FRAME_BYTES // n_result_bytes
        if len(sources) > n_most:
            raise BadRequest(
                f"a request has at most {n_most} inputs with this model, and this one has {len(sources)}: "
                "send them in several requests"
            )
        n_bytes = _n_bytes(message) + n_result_bytes * len(sources)
        if self._requests and self._n_queued_bytes + n_bytes > MAX_QUEUED_BYTES:
            raise EngineBusy("too many inputs wait for the model already; try again later")
        request = _Request(message, n_bytes, [0.0] * len(sources), [0] * len(sources), len(sources))
        if not sources:
            return [self._answer(request)]
        self._queue.add(message.request_id, sources)
        self._requests[message.request_id] = request
        self._n_queued_bytes += n_bytes
        return []

    def _run(self, batches: list[list[Piece]], *, keep_split: bool) -> list[FromEngine]:
        """Run batches and take their results in; returns the ends of the requests that ended."""
        try:
            results = self._runner.run(batches, keep_split=keep_split)
        except EngineFailure as error:
            results = [error] * len(batches)
        ended: list[FromEngine] = []
        for pieces, rows in zip(batches, results, strict=True):
            if rows is None:
                self._queue.put_back(pieces)
                continue
            try:
                if isinstance(rows, EngineFailure):
                    raise rows
                values = self._results(rows)
            except EngineFailure as error:
                request_ids = {piece.input.request_id for piece in pieces} & self._requests.keys()
                ended += [self._failed(request_id, error) for request_id in sorted(request_ids)]
                continue
            self._queue.done(pieces)
            last = [
                (piece, value)
                for piece, value in zip([one for one in pieces if one.is_last], values, strict=True)
                if piece.input.request_id in self._requests
            ]
            ended += self._record([piece for piece, _ in last], [value for _, value in last])
        return ended

    def _next_batches(self) -> tuple[list[list[Piece]], list[FromEngine]]:
        """As many batches as can run side by side, and the ends of requests that failed on the way."""
        batches: list[list[Piece]] = []
        ended: list[FromEngine] = []
        while len(batches) < self._runner.n_parallel:
            pieces, failed = self._queue.next_batch()
            ended += [self._failed(request_id, error) for request_id, error in failed.items()]
            batches = [
                [piece for piece in batch if piece.input.request_id not in failed] for batch in batches
            ]
            if not pieces:
                break
            batches.append(pieces)
            if not all(piece.is_last for piece in pieces) or self._queue.n_waiting == 0:
                break
        return [batch for batch in batches if batch], ended

    def _results(self, rows: Rows) -> list[bytes | float]:
        """Vectors of length 1 as little-endian float32, or scores. Raises: DecodeFailed."""
        if not self._ranks:
            return list(normalised(rows))
        if not np.isfinite(rows).all():
            raise DecodeFailed("the model gave a score that is not a number")
        return [float(row[0]) for row in rows]

    def _record(self, pieces: list[Piece], results: list[bytes | float]) -> list[FromEngine]:
        """Take results in; returns the answers that are complete."""
        answers: list[FromEngine] = []
        for piece, result in zip(pieces, results, strict=True):
            item = piece.input
            request = self._requests[item.request_id]
            request.results[item.index] = result
            request.n_tokens[item.index] = len(item.tokens)
            request.n_missing -= 1
            if request.n_missing == 0:
                self._end(item.request_id)
                answers.append(self._answer(request))
        return answers

    def _answer(self, request: _Request) -> FromEngine:
        message = request.message
        n_tokens = tuple(request.n_tokens)
        if isinstance(message, Rerank):
            return Scores(
                request_id=message.request_id,
                scores=tuple(score for score in request.results if isinstance(score, float)),
                n_tokens=n_tokens,
                n_dropped=tuple(
                    # Only a pair that fills the context can have been cut.
                    self._reader.n_dropped(message.query, document) if n >= self._reader.n_ctx else 0
                    for document, n in zip(message.documents, n_tokens, strict=True)
                ),
            )
        vectors = tuple(vector for vector in request.results if isinstance(vector, bytes))
        return Embeddings(request_id=message.request_id, vectors=vectors, n_tokens=n_tokens)

    def _failed(self, request_id: int, error: EngineFailure) -> FromEngine:
        """A request fails as a whole; its other inputs are dropped."""
        self._end(request_id)
        return error.as_message(request_id)

    def _end(self, request_id: int) -> None:
        self._queue.remove(request_id)
        self._n_queued_bytes -= self._requests.pop(request_id).n_bytes


def _n_bytes(message: Embed | Rerank) -> int:
    """About what the inputs of a request take."""
    if isinstance(message, Rerank):
        return sum(map(sys.getsizeof, (message.query, *message.documents)))
    return sum(
        sys.getsizeof(item) if isinstance(item, str) else _TOKEN_ID_BYTES * len(item)
        for item in message.inputs
    )


def normalised(rows: Rows) -> list[bytes]:
    """Vectors of length 1 as little-endian float32; one without a length stays as it is.

    Raises: DecodeFailed when a row has something in it that is no number.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    if not np.isfinite(lengths).all():
        raise DecodeFailed("the model gave a vector that is not made of numbers")
    lengths[lengths == 0.0] = 1.0
    scaled = (rows / lengths[:, None]).astype("<f4")
    return [row.tobytes() for row in scaled]
