"""Candidate tokens for a sampler: the likeliest ones found with numpy, and the array that llama.cpp works on.

Samplers sort what they are given. Given the whole vocabulary of 128,000 tokens, one row takes 0.1 to 1.2 ms;
given every token that can be chosen it takes 0.05 to 0.2 ms, with the same result. llama.cpp sorts without
regard to the order of equals, so where equal logits could make a difference no subset is given.
"""

from __future__ import annotations

import ctypes
import math
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

_N_NUCLEUS_FIRST: Final = 48
_N_NUCLEUS: Final = 256
"""Tokens among which the nucleus of top-p is looked for, first and then."""

_ROUNDING: Final = 2.0**-24
"""Largest relative error of one float32 operation."""

_EXP_ERROR: Final = (_N_NUCLEUS + 64) * _ROUNDING
"""Bound on what else makes shares of probability differ from llama.cpp's: a sum of 256 float32 here and
there, a division, and two exponentials, of which numpy's is off by at most 2.6 units in the last place."""

_MIN_P_MARGIN: Final = 1e-3
"""Makes up for a logarithm that is rounded otherwise than in C; llama.cpp filters what is too much."""

_TOKEN_DATA: Final = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def top_ids(row: Row, k: int) -> TokenArray | None:
    """Ids of all tokens that are among the `k` likeliest, and maybe a few more.

    The row is folded into blocks, and the k-th largest of the blocks' maxima is a bound: at least k tokens
    reach it, so each of the k likeliest does. None when the row is too small or k too large for that to
    pay. Raises: DecodeFailed for logits that are not numbers.
    """
    n_rows = len(row) // _N_BLOCKS
    if n_rows < 2 or not 0 < k <= MAX_TOP:
        return None
    n_folded = n_rows * _N_BLOCKS
    folded = row[:n_folded].reshape(n_rows, _N_BLOCKS)
    maxima = folded.max(0)
    bound = np.partition(maxima, _N_BLOCKS - k)[_N_BLOCKS - k]
    columns: npt.NDArray[np.intp] = (maxima >= bound).nonzero()[0]
    # `take` and one dimension: half the time of an index and of nonzero in two.
    reaching: npt.NDArray[np.bool_] = folded.take(columns, 1) >= bound
    found: npt.NDArray[np.intp] = reaching.ravel().nonzero()[0]
    row_of, column_of = np.divmod(found, len(columns))
    ids = row_of * _N_BLOCKS + columns[column_of]
    if n_folded < len(row):
        ids = np.concatenate([ids, n_folded + np.flatnonzero(row[n_folded:] >= bound)])
    if len(ids) < k:
        raise DecodeFailed("the model gave logits that are not numbers")
    return ids.astype(np.int32)


def distinct_top_ids(row: Row, k: int) -> TokenArray | None:
    """As `top_ids`; None also when equal logits leave open which tokens the likeliest are, or their order."""
    ids = top_ids(row, k)
    return None if ids is None or has_ties(row[ids], k) else ids


def has_ties(logits: Row, k: int) -> bool:
    """Whether two of the `k` largest are equal, or the smallest of them equals one that is left out."""
    ordered = np.sort(logits)[-k - 1 :]
    return bool((ordered[1:] == ordered[:-1]).any())


def best_id(row: Row) -> int:
    """The likeliest token; the first of equals. Raises: DecodeFailed for logits that are not numbers."""
    token = int(row.argmax())
    if row[token] != row[token]:
        raise DecodeFailed("the model gave logits that are not numbers")
    return token


def min_p_ids(row: Row, min_p: float) -> TokenArray:
    """Ids of all tokens whose probability is at least `min_p` times the largest, and maybe a few more."""
    bound = float(row.max()) + math.log(min_p) - _MIN_P_MARGIN
    if math.isnan(bound):
        raise DecodeFailed("the model gave logits that are not numbers")
    return np.flatnonzero(row >= np.float32(bound)).astype(np.int32)


class Candidates:
    """The array of tokens that llama.cpp's samplers filter, sort and select from. One for all requests."""

    def __init__(self, n_vocab: int) -> None:
        self._data: npt.NDArray[np.void] = np.zeros(n_vocab, _TOKEN_DATA)
        self._ids: TokenArray = self._data["id"]
        self._logits: Row = self._data["logit"]
        self._all_ids = np.arange(n_vocab, dtype=np.int32)
        self._weights = np.empty((2, n_vocab), np.float32)
        self._pointer = ctypes.cast(self._data.ctypes.data, ctypes.POINTER(native.TokenData))
        self._array: Any = native.TokenDataArray(data=self._pointer)
        self._ref = ctypes.byref(self._array)

    @property
    def all_ids(self) -> TokenArray:
        """Every id of the vocabulary. [n_vocab]"""
        return self._all_ids

    def load(self, ids: TokenArray, logits: Row | float, *, is_sorted: bool = False) -> None:
        """Take these tokens; one logit is for all of them. `is_sorted`: the likeliest comes first."""
        n = len(ids)
        self._ids[:n] = ids
        self._logits[:n] = logits
        self._array.size = n
        self._array.selected = -1
        self._array.sorted = is_sorted

    def apply(self, sampler: native.SamplerPointer) -> None:
        """Run a sampler or a chain over the tokens."""
        native.sampler_apply(sampler, self._ref)

    def logits(self, n: int) -> Row:
        """Logits of the first `n` tokens, in the order in which they are now. A view."""
        return self._logits[:n]

    def selected(self) -> int:
        """The token that the chain chose.

        Raises: DecodeFailed when it chose none: llama_sampler_sample would end the process.
        """
        index = self._array.selected
        if not 0 <= index < self._array.size:
            raise DecodeFailed("the sampler chain selected no token")
        return int(self._ids[index])

    def allowed(self, n: int) -> npt.NDArray[np.bool_]:
        """Which of the first `n` loaded tokens a grammar has not struck out. [n] bool"""
        mask: npt.NDArray[np.bool_] = self._logits[:n] != -np.inf
        return mask

    def weights(self, row: Row, temperature: float = 1.0) -> Row:
        """exp((logit - largest) / temperature) of each token. A view that the next call overwrites."""
        weights = self._weights[0, : len(row)]
        np.subtract(row, row.max(), out=weights)
        if temperature != 1.0:
            np.divide(weights, np.float32(temperature), out=weights)
        np.exp(weights, out=weights)
        return weights

    def nucleus(self, row: Row, top_p: float) -> TokenArray | None:
        """Ids that top-p keeps of the whole row, likeliest first; None as in `nucleus_of`."""
        ids = top_ids(row, _N_NUCLEUS_FIRST)
        if ids is None:
            return None
        weights = self.weights(row)
        total = float(weights.sum())
        error = len(row) * _ROUNDING + _EXP_ERROR
        found = _nucleus(ids, row[ids], top_p, total * (1.0 - error), total * (1.0 + error))
        if found is not None:
            return found
        ids = top_ids(row, _N_NUCLEUS)
        if ids is None:
            return None
        lost = np.minimum(weights, np.float32(_ROUNDING * total), out=self._weights[1, : len(row)])
        error = float(lost.sum()) / total + _EXP_ERROR
        return _nucleus(ids, row[ids], top_p, total * (1.0 - error), total * (1.0 + error))


def nucleus_of(ids: TokenArray, logits: Row, top_p: float, outside: float) -> TokenArray | None:
    """Ids that top-p keeps of these tokens and unknown others, likeliest first.

    llama.cpp adds the exponentials up as float32 in the order of the ids, so that its sum is off by at most
    one rounding of the sum, or the summand itself, for each.

    Args:
        outside: sum of exp(logit - largest of `logits`) of the others, at most. None has a larger logit than
            the smallest of `logits`.

    Returns:
        None when the number of tokens is not the same for every sum within these bounds, when equal logits
        leave their order open, or when these tokens are not enough.
    """
    weights = np.exp(logits - logits.max())
    total = float(weights.sum())
    error = float(np.minimum(weights, _ROUNDING * total).sum()) / total + _EXP_ERROR
    return _nucleus(ids, logits, top_p, total * (1.0 - error), (total + 2.0 * outside) * (1.0 + error))


def _nucleus(ids: TokenArray, logits: Row, top_p: float, least: float, most: float) -> TokenArray | None:
    """See `nucleus_of`; `least` and `most` bound llama.cpp's sum of the exponentials."""
    if not 0.0 < least <= most < math.inf:
        return None
    order = np.argsort(-logits, kind="stable")
    ids, logits = ids[order], logits[order]
    sums = np.cumsum(np.exp(logits - logits[0]), dtype=np.float64)
    n_least, n_most = (int(np.searchsorted(sums / total, top_p)) + 1 for total in (least, most))
    if n_least != n_most or n_most >= len(ids) or has_ties(logits, n_most):
        return None
    return ids[:n_most]
