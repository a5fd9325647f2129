"""A llama_batch of embeddings, for a picture or sound. llama.cpp takes no tokens in the same batch."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.media import Embeddings


class EmbeddingBatch:
    """Consecutive rows of one sequence.

    Attributes:
        n_tokens, n_outputs: rows, and those with logits.
        n_embd: numbers of a row.
    """

    def __init__(
        self, seq_id: int, embeddings: Embeddings, positions: TokenArray, *, has_output: bool
    ) -> None:
        """`embeddings`: [n, n_embd]; `positions`: [n_axes, n]; `has_output`: the last row has logits."""
        n = len(embeddings)
        self.seq_id = seq_id
        self.n_tokens = n
        self.n_outputs = int(has_output)
        self.n_embd = embeddings.shape[1]
        self._embeddings = np.ascontiguousarray(embeddings, np.float32)
        self._positions = np.ascontiguousarray(positions, np.int32)
        self._n_seq_id = np.ones(n, np.int32)
        self._seq = np.full(1, seq_id, np.int32)
        self._seq_lists = np.full(n, self._seq.ctypes.data, np.uint64)
        self._outputs = np.zeros(n, np.int8)
        self._outputs[-1:] = has_output

    def as_native(self) -> Any:
        """The structure for llama_decode; it points into this object."""
        return native.Batch(
            self.n_tokens,
            None,
            _pointer(self._embeddings, ctypes.c_float),
            _pointer(self._positions, ctypes.c_int32),
            _pointer(self._n_seq_id, ctypes.c_int32),
            _pointer(self._seq_lists, ctypes.POINTER(ctypes.c_int32)),
            _pointer(self._outputs, ctypes.c_int8),
        )


def _pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
