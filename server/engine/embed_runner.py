"""Runs batches of whole inputs through llama.cpp."""

from __future__ import annotations

from typing import Final

from server.engine.context import Context, Decoded, Rows
from server.engine.embed_queue import Piece
from server.engine.failures import DecodeFailed
from server.engine.inbox import Inbox

_SPLIT_SEQ: Final = 0
"""Sequence of the input that comes in several batches."""

_N_OWN_SEQUENCES: Final = 2
"""Sequences of a context that are not for whole inputs: that of a split one, and that of the padding."""

_MIN_TOKENS: Final = 2
"""llama.cpp multiplies a single row with another kernel than several, with other roundings."""


class EmbedRunner:
    """The context of one embedder."""

    def __init__(self, context: Context, inbox: Inbox) -> None:
        self.context = context
        self._inbox = inbox
        self._n_filled = 0

    @property
    def n_sequences(self) -> int:
        """Inputs in one batch, at most."""
        return self.context.n_seq_max - _N_OWN_SEQUENCES

    def run(self, pieces: list[Piece], *, keep_split: bool) -> Rows | None:
        """The results of the pieces that complete their inputs, in order; None when nobody wants them now.

        Args:
            keep_split: sequence `_SPLIT_SEQ` holds the beginning of an input.

        Raises: NoMemory, DecodeFailed, InvalidBatch.
        """
        context = self.context
        if keep_split:
            for seq_id in (*range(1, self._n_filled + 1), context.n_seq_max - 1):
                context.remove(seq_id, -1)
        else:
            context.clear(data=False)
        ends = self._fill(pieces)
        context.reset_abort()
        self._inbox.step_begins([piece.input.request_id for piece in pieces], context.abort_step)
        try:
            decoded = context.decode()
        finally:
            self._inbox.step_ends()
        if decoded is Decoded.ABORTED:
            return None
        if decoded is Decoded.NO_ROOM:
            raise DecodeFailed("llama.cpp has no room for a batch of inputs")
        return context.pooled(ends)

    def forget(self, request_id: int) -> None:
        """An abort of this request has been carried out."""
        self._inbox.forget(request_id)

    def _fill(self, pieces: list[Piece]) -> list[int]:
        """Put pieces into the batch; returns the sequences whose results are wanted."""
        batch = self.context.batch
        batch.clear()
        self._n_filled = len(pieces)
        ends: list[int] = []
        for number, piece in enumerate(pieces, 1):
            item = piece.input
            seq_id = number if item.n_done == 0 and piece.is_last else _SPLIT_SEQ
            batch.add(seq_id, item.tokens[item.n_done : piece.end], item.n_done, output="all")
            if piece.is_last:
                ends.append(seq_id)
        if batch.n_tokens < _MIN_TOKENS:
            batch.pad(self.context.n_seq_max - 1, _MIN_TOKENS - batch.n_tokens)
        return ends
