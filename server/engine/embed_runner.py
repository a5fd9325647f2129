"""Runs batches of whole inputs through llama.cpp, so that each has the result it has when it is alone.

On a processor the rounding of a row depends on where in a batch it stands: sums over all tokens of a batch go
eight or sixteen numbers at a time, and an input that begins in the middle of a group is added up in another
order. Activations are rounded to eight bits in between, which turns a difference in the last bit into one of
up to 2e-4 of the vector (cosine), and the kernels of flash attention, which change with the number of rows,
into one of 5e-4. So each input begins at the beginning of a group, the gap behind it is filled with tokens of
a sequence that nobody reads, and attention is computed without the flash kernels. Inputs beyond
`SHORT_TOKENS` run alone, in a context of their own that is made when the first one comes: there the flash
kernels save memory, and alone means the same every time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from server.engine.context import Context, Decoded, Rows
from server.engine.embed_queue import Piece
from server.engine.failures import DecodeFailed
from server.engine.inbox import Inbox

SHORT_TOKENS: Final = 512
"""Longest input that shares batches on a processor."""

_SPLIT_SEQ: Final = 0
"""Sequence of the input that comes in several batches."""

N_OWN_SEQUENCES: Final = 2
"""Sequences of a context that are not for whole inputs: that of a split one, and that of the padding."""


class EmbedRunner:
    """The contexts of one embedder.

    Attributes:
        context: the one for inputs that share batches.
        align: inputs begin at multiples of this.
        can_split: an input may come in several batches.
    """

    def __init__(
        self,
        context: Context,
        inbox: Inbox,
        *,
        align: int,
        can_split: bool,
        open_long: Callable[[], Context] | None = None,
    ) -> None:
        """`open_long`: makes the context for inputs that `context` cannot take whole."""
        self.context = context
        self.align = align
        self.can_split = can_split
        self._inbox = inbox
        self._open_long = open_long
        self._long: Context | None = None
        self._n_filled = 0

    @property
    def n_sequences(self) -> int:
        """Inputs in one batch, at most."""
        return self.context.n_seq_max - N_OWN_SEQUENCES

    def run(self, pieces: list[Piece], *, keep_split: bool) -> Rows | None:
        """The results of the pieces that complete their inputs, in order; None when nobody wants them now.

        Args:
            keep_split: sequence `_SPLIT_SEQ` holds the beginning of an input.

        Raises: NoMemory, DecodeFailed, InvalidBatch.
        """
        context = self._context_for(pieces)
        if keep_split:
            for seq_id in (*range(1, self._n_filled + 1), context.n_seq_max - 1):
                context.remove(seq_id, -1)
        else:
            context.clear(data=False)
        ends = self._fill(context, pieces)
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

    def close(self) -> None:
        """Free the context of the long inputs; the other one is its maker's."""
        if self._long is not None:
            self._long.close()

    def _context_for(self, pieces: list[Piece]) -> Context:
        if self.can_split or self._open_long is None or pieces[0].n_tokens <= self.context.n_batch:
            return self.context
        if self._long is None:
            self._long = self._open_long()
        return self._long

    def _fill(self, context: Context, pieces: list[Piece]) -> list[int]:
        """Put pieces into the batch; returns the sequences whose results are wanted."""
        batch = context.batch
        batch.clear()
        self._n_filled = len(pieces)
        ends: list[int] = []
        for number, piece in enumerate(pieces, 1):
            item = piece.input
            seq_id = number if item.n_done == 0 and piece.is_last else _SPLIT_SEQ
            batch.add(seq_id, item.tokens[item.n_done : piece.end], item.n_done, output="all")
            if piece.is_last:
                ends.append(seq_id)
            n_padding = min(-batch.n_tokens % self.align, batch.room)
            if n_padding:
                batch.pad(context.n_seq_max - 1, n_padding)
        return ends
