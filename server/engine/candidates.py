"""Candidate tokens for a sampler: the likeliest ones found with numpy, and the array that llama.cpp works on.

Samplers sort what they are given. Given the whole vocabulary of 128,000 tokens, one row takes 0.1 to 0.5 ms;
given every token that can be among the k likeliest it takes 0.05 ms, with the same result.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.failures import DecodeFailed

Row = npt.NDArray[np.float32]
"""Logits of one position. [n_vocab] float32"""

_N_BLOCKS: Final = 768
"""Columns into which a row is folded; measured best of 384 to 3072 for 128,000 tokens."""

MAX_TOP: Final = 384
"""Above half of the blocks, folding no longer saves anything."""

_TOKEN_DATA: Final = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def top_ids(row: Row, k: int) -> TokenArray | None:
    """Ids of all tokens that are among the `k` likeliest, and maybe a few more, ascending.

    The row is folded into blocks, and the k-th largest of the blocks' maxima is a bound: at least k tokens
    reach it, so each of the k likeliest does. None when the row is too small or k too large for that to
    pay.
    """
    n_rows = len(row) // _N_BLOCKS
    if n_rows < 2 or not 0 < k <= MAX_TOP:
        return None
    n_folded = n_rows * _N_BLOCKS
    folded = row[:n_folded].reshape(n_rows, _N_BLOCKS)
    maxima = folded.max(0)
    bound = np.partition(maxima, _N_BLOCKS - k)[_N_BLOCKS - k]
    columns = np.flatnonzero(maxima >= bound)
    row_of, column_of = np.nonzero(folded[:, columns] >= bound)
    ids = row_of * _N_BLOCKS + columns[column_of]
    if n_folded < len(row):
        ids = np.concatenate([ids, n_folded + np.flatnonzero(row[n_folded:] >= bound)])
    if len(ids) < k:
        raise DecodeFailed("the model gave logits that are not numbers")
    return ids.astype(np.int32)


def best_id(row: Row) -> int:
    """The likeliest token; the first of equals. Raises: DecodeFailed for logits that are not numbers."""
    token = int(row.argmax())
    if row[token] != row[token]:
        raise DecodeFailed("the model gave logits that are not numbers")
    return token


class Candidates:
    """The array of tokens that llama.cpp's samplers filter, sort and select from. One for all requests."""

    def __init__(self, n_vocab: int) -> None:
        self._data: npt.NDArray[np.void] = np.zeros(n_vocab, _TOKEN_DATA)
        self._all_ids = np.arange(n_vocab, dtype=np.int32)
        self._pointer = ctypes.cast(self._data.ctypes.data, ctypes.POINTER(native.TokenData))
        self._array: Any = native.TokenDataArray()
        self._ref = ctypes.byref(self._array)

    @property
    def all_ids(self) -> TokenArray:
        """Every id of the vocabulary. [n_vocab]"""
        return self._all_ids

    def load(self, ids: TokenArray, logits: Row) -> None:
        """Take these tokens."""
        n = len(ids)
        self._data["id"][:n] = ids
        self._data["logit"][:n] = logits
        self._array.data = self._pointer
        self._array.size = n
        self._array.selected = -1
        self._array.sorted = False

    def apply(self, sampler: native.SamplerPointer) -> None:
        """Run a sampler or a chain over the tokens."""
        native.sampler_apply(sampler, self._ref)

    def selected(self) -> int:
        """The token that the chain chose.

        Raises: DecodeFailed when it chose none: llama_sampler_sample would end the process.
        """
        index = self._array.selected
        if not 0 <= index < self._array.size:
            raise DecodeFailed("the sampler chain selected no token")
        return int(self._array.data[index].id)

    def allowed(self, n: int) -> npt.NDArray[np.bool_]:
        """Which of the first `n` loaded tokens a grammar has not struck out. [n] bool"""
        mask: npt.NDArray[np.bool_] = self._data["logit"][:n] != -np.inf
        return mask
