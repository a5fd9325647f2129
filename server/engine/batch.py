"""The llama_batch of a context, filled through numpy views.

A ctypes element loop costs 230 us for 512 tokens, the views 2 us. Everything that llama_decode would end the
process over is checked here, where it costs nothing: the room in the batch, the number of outputs, token ids.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.failures import BadRequest, InvalidBatch

TokenArray = npt.NDArray[np.int32]
"""Token ids, [n] int32."""


class Batch:
    """Tokens for one llama_decode.

    Attributes:
        n_tokens, n_outputs: filled so far.
    """

    def __init__(self, *, n_batch: int, n_seq_max: int, n_outputs_max: int, n_vocab: int) -> None:
        self._c: Any = native.batch_init(n_batch, 0, 1)
        self._n_batch = n_batch
        self._n_seq_max = n_seq_max
        self._n_outputs_max = n_outputs_max
        self._n_vocab = n_vocab
        as_array = np.ctypeslib.as_array
        self._token: TokenArray = as_array(self._c.token, (n_batch,))
        self._pos: TokenArray = as_array(self._c.pos, (n_batch,))
        self._output: npt.NDArray[np.int8] = as_array(self._c.logits, (n_batch,))
        as_array(self._c.n_seq_id, (n_batch,))[:] = 1
        # Each row has a pointer to its own list of sequence ids. They are pointed into one flat array once,
        # so that the ids of a whole segment are one vector store; the allocated lists are put back to free.
        self._seq: TokenArray = np.zeros(n_batch, np.int32)
        rows: npt.NDArray[np.uint64] = as_array(
            ctypes.cast(self._c.seq_id, ctypes.POINTER(ctypes.c_uint64)), (n_batch,)
        )
        self._rows = rows
        self._own_lists = rows.copy()
        rows[:] = self._seq.ctypes.data + 4 * np.arange(n_batch, dtype=np.uint64)
        self._bytes = (self._token.data, self._pos.data, self._seq.data)
        self._seq_ids: Sequence[int] | None = None  # of the rows that the arrays begin with
        self.n_tokens = 0
        self.n_outputs = 0

    @property
    def room(self) -> int:
        """Tokens that can still be added."""
        return self._n_batch - self.n_tokens

    @property
    def seq_ids(self) -> TokenArray:
        """The sequence of each row, a view. [n_tokens]"""
        return self._seq[: self.n_tokens]

    @property
    def outputs(self) -> npt.NDArray[np.bool_]:
        """Which rows have an output, a view. [n_tokens]"""
        rows: npt.NDArray[np.bool_] = self._output[: self.n_tokens].view(np.bool_)
        return rows

    def take(self, other: Batch, rows: npt.NDArray[np.bool_]) -> None:
        """Hold some rows of another batch and nothing else. `rows`: [other.n_tokens].

        Raises: InvalidBatch.
        """
        n = int(rows.sum())
        n_outputs = int(other.outputs[rows].sum())
        if n > self._n_batch or n_outputs > self._n_outputs_max:
            raise InvalidBatch(f"{n} rows with {n_outputs} outputs do not fit a batch")
        end = other.n_tokens
        self._seq_ids = None
        self._token[:n] = other._token[:end][rows]
        self._pos[:n] = other._pos[:end][rows]
        self._seq[:n] = other._seq[:end][rows]
        self._output[:n] = other._output[:end][rows]
        self.n_tokens = n
        self.n_outputs = n_outputs

    def clear(self) -> None:
        """Start over."""
        self.n_tokens = 0
        self.n_outputs = 0

    def add(self, seq_id: int, tokens: TokenArray, first_pos: int, *, output: str) -> None:
        """Add consecutive tokens of one sequence. `output`: rows with logits: "none", "last" or "all".

        Raises: InvalidBatch, BadRequest for a token id that the vocabulary does not have.
        """
        n = len(tokens)
        n_outputs = {"none": 0, "last": min(n, 1), "all": n}[output]
        start, end = self.n_tokens, self.n_tokens + n
        if end > self._n_batch:
            raise InvalidBatch(f"a batch of {end} tokens is larger than n_batch {self._n_batch}")
        if self.n_outputs + n_outputs > self._n_outputs_max:
            raise InvalidBatch(
                f"a batch with {self.n_outputs + n_outputs} outputs has more than {self._n_outputs_max}"
            )
        if not 0 <= seq_id < self._n_seq_max:
            raise InvalidBatch(f"sequence {seq_id} is not one of {self._n_seq_max}")
        if first_pos < 0:
            raise InvalidBatch(f"position {first_pos} is negative")
        if n == 0:
            return
        check_tokens(tokens, self._n_vocab)
        self._seq_ids = None
        self._token[start:end] = tokens
        self._pos[start:end] = np.arange(first_pos, first_pos + n, dtype=np.int32)
        self._seq[start:end] = seq_id
        self._output[start:end] = output == "all"
        if output == "last":
            self._output[end - 1] = 1
        self.n_tokens = end
        self.n_outputs += n_outputs

    def pad(self, seq_id: int, n: int) -> None:
        """Add `n` tokens that nobody asks about, all at the first position of a sequence of their own.

        Raises: InvalidBatch.
        """
        start, end = self.n_tokens, self.n_tokens + n
        if end > self._n_batch or self.n_outputs + n > self._n_outputs_max:
            raise InvalidBatch(f"{n} tokens of padding do not fit a batch with room for {self.room}")
        if not 0 <= seq_id < self._n_seq_max:
            raise InvalidBatch(f"sequence {seq_id} is not one of {self._n_seq_max}")
        self._seq_ids = None
        self._token[start:end] = 0
        self._pos[start:end] = 0
        self._seq[start:end] = seq_id
        self._output[start:end] = 1
        self.n_tokens = end
        self.n_outputs += n

    def add_rows(self, seq_ids: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> None:
        """Add one token with an output for each of several sequences: the decode rows of a step.

        Raises: InvalidBatch, BadRequest.
        """
        n = len(tokens)
        start, end = self.n_tokens, self.n_tokens + n
        if end > self._n_batch or self.n_outputs + n > self._n_outputs_max:
            raise InvalidBatch(f"{n} more rows do not fit a batch with room for {self.room}")
        if n == 0:
            return
        if max(tokens) >= self._n_vocab or min(tokens) < 0:
            raise BadRequest("a token id is not in the model's vocabulary")
        if min(positions) < 0:
            raise InvalidBatch("a position is negative")
        # `struct` is less code to have in the processor's caches than a numpy assignment, after a decode that
        # has pushed all of it out.
        pack_into = struct.Struct(f"{n}i").pack_into
        token_bytes, pos_bytes, seq_bytes = self._bytes
        pack_into(token_bytes, 4 * start, *tokens)
        pack_into(pos_bytes, 4 * start, *positions)
        if start or seq_ids is not self._seq_ids:
            if max(seq_ids) >= self._n_seq_max or min(seq_ids) < 0:
                raise InvalidBatch("a sequence is out of bounds")
            pack_into(seq_bytes, 4 * start, *seq_ids)
            self._output[start:end] = 1
            self._seq_ids = seq_ids if start == 0 and isinstance(seq_ids, tuple) else None
        self.n_tokens = end
        self.n_outputs += n

    def as_native(self) -> Any:
        """The structure for llama_decode."""
        self._c.n_tokens = self.n_tokens
        return self._c

    def close(self) -> None:
        """Free the arrays."""
        if self._c is not None:
            self._rows[:] = self._own_lists
            native.batch_free(self._c)
            self._c = None


def check_tokens(tokens: TokenArray, n_vocab: int) -> None:
    """Raises `BadRequest` when an id is not in a vocabulary of `n_vocab` tokens."""
    if len(tokens) and (int(tokens.max()) >= n_vocab or int(tokens.min()) < 0):
        raise BadRequest(f"a token id is not in the model's vocabulary of {n_vocab} tokens")
