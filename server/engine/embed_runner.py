"""Runs batches of whole inputs through llama.cpp, two at a time where that is faster.

On a processor two batches side by side, each with half of the threads, take less time than one after the
other with all of them: the threads of one batch wait for each other some 300 times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from server.engine.context import Context, Decoded, Rows
from server.engine.embed_queue import Piece
from server.engine.failures import DecodeFailed, EngineFailure, NoMemory
from server.engine.inbox import Inbox

_SPLIT_SEQ: Final = 0
"""Sequence of the input that comes in several batches."""

_N_OWN_SEQUENCES: Final = 2
"""Sequences of a context that are not for whole inputs: that of a split one, and that of the padding."""

_MIN_TOKENS: Final = 2
"""llama.cpp multiplies a single row with another kernel than several, with other roundings."""


class EmbedRunner:
    """The contexts of one embedder.

    Attributes:
        context: the one that has the beginnings of split inputs.
        n_parallel: batches that can run side by side.
    """

    def __init__(
        self,
        context: Context,
        inbox: Inbox,
        *,
        n_threads: int,
        open_second: Callable[[], Context] | None = None,
    ) -> None:
        """Args:
        n_threads: of a batch that runs alone.
        open_second: makes the context for second batches, when the first of them comes; None: there are none.
        """
        self.context = context
        self.n_parallel = 2 if open_second is not None and n_threads > 1 else 1
        self._inbox = inbox
        self._n_threads = n_threads
        self._open_second = open_second
        self._second: Context | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._n_filled = 0

    @property
    def n_sequences(self) -> int:
        """Inputs in one batch, at most."""
        return self.context.n_seq_max - _N_OWN_SEQUENCES

    def run(self, batches: Sequence[list[Piece]], *, keep_split: bool) -> list[Rows | EngineFailure | None]:
        """For each batch the results of the pieces that complete their inputs, in order, or why it failed.

        None stands for a batch that was given up, because nobody wants any of them now.

        Args:
            batches: at most `n_parallel`; only the first may have a part of a split input.
            keep_split: sequence `_SPLIT_SEQ` holds the beginning of an input.

        Raises: InvalidBatch.
        """
        contexts = [self.context]
        if len(batches) > 1:
            second = self._second_context()
            if second is None:
                return [*self.run(batches[:1], keep_split=keep_split), *[None] * (len(batches) - 1)]
            contexts.append(second)
        n_threads = max(1, self._n_threads // len(batches))
        ends: list[list[int]] = []
        for context, pieces in zip(contexts, batches, strict=True):
            self._clear(context, keep_split=keep_split and context is self.context)
            ends.append(self._fill(context, pieces))
            context.reset_abort()
            context.use_threads(n_threads)
        self._n_filled = len(batches[0])

        def abort() -> None:
            for context in contexts:
                context.abort_step()

        request_ids = [piece.input.request_id for pieces in batches for piece in pieces]
        self._inbox.step_begins(request_ids, abort)
        try:
            others = [
                self._executor.submit(_results, context, wanted)
                for context, wanted in zip(contexts[1:], ends[1:], strict=True)
            ]
            return [_results(self.context, ends[0]), *[other.result() for other in others]]
        finally:
            self._inbox.step_ends()

    def close(self) -> None:
        """Free the second context; the first is its maker's."""
        self._executor.shutdown()
        if self._second is not None:
            self._second.close()

    def forget(self, request_id: int) -> None:
        """An abort of this request has been carried out."""
        self._inbox.forget(request_id)

    def _second_context(self) -> Context | None:
        """The context for second batches; None when there is no memory for it, now and from then on."""
        if self._second is None and self._open_second is not None:
            try:
                self._second = self._open_second()
            except (EngineFailure, MemoryError) as error:
                self.context.log.write("warn", f"batches run one after the other: {error}")
                self._open_second, self.n_parallel = None, 1
        return self._second

    def _clear(self, context: Context, *, keep_split: bool) -> None:
        if not keep_split:
            context.clear(data=False)
            return
        for seq_id in (*range(1, self._n_filled + 1), context.n_seq_max - 1):
            context.remove(seq_id, -1)

    def _fill(self, context: Context, pieces: list[Piece]) -> list[int]:
        """Put pieces into the batch; returns the sequences whose results are wanted."""
        batch = context.batch
        batch.clear()
        ends: list[int] = []
        for number, piece in enumerate(pieces, 1):
            item = piece.input
            seq_id = number if item.n_done == 0 and piece.is_last else _SPLIT_SEQ
            batch.add(seq_id, item.tokens[item.n_done : piece.end], item.n_done, output="all")
            if piece.is_last:
                ends.append(seq_id)
        if batch.n_tokens < _MIN_TOKENS:
            batch.pad(context.n_seq_max - 1, _MIN_TOKENS - batch.n_tokens)
        return ends


def _results(context: Context, wanted: list[int]) -> Rows | EngineFailure | None:
    """Run a context's batch; the results of some sequences, None when it was aborted, or why it failed."""
    try:
        outcome = context.decode()
        if outcome is Decoded.ABORTED:
            return None
        if outcome is Decoded.NO_ROOM:
            return DecodeFailed("llama.cpp has no room for a batch of inputs")
        return context.pooled(wanted)
    except EngineFailure as error:
        return error
    except MemoryError:
        return NoMemory("the engine ran out of memory")
