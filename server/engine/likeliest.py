"""The likeliest tokens of all rows of a step, found at once.

The rows of a step are larger than the processor's caches, so what counts is how often their memory is gone
through: once here. And what numpy takes for a call is spent once for all rows. A row of 128,256 logits takes
55 us in eight rows out of the caches, and 100 us by `candidates.top_ids`, which comes back to most of the
memory for the columns that it has chosen.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from server.engine.batch import TokenArray
from server.engine.candidates import MAX_TOP, Row

Likeliest = tuple[TokenArray, Row]
"""Ids of the k likeliest tokens of a row, and maybe a few more, with their logits. [n] each"""

_WIDTH: Final = 768
_HEIGHT: Final = 16
"""A row is folded to this width, and as many of its lines make a group; measured best of 768 to 1,536 and 4
to 16."""

MIN_VOCAB: Final = 2 * _WIDTH * _HEIGHT
"""In shorter rows folding saves too little."""

_Places = npt.NDArray[np.intp]


def likeliest_of_rows(rows: Row, k: int) -> list[Likeliest | None]:
    """For each row the tokens that reach the logit of its k-th likeliest, and maybe a few more.

    Args:
        rows: [n, n_vocab] float32, one behind the other.

    Returns:
        None for rows with logits that are not numbers, and for rows where equal logits leave open which
        tokens the likeliest are, or their order. For all, where rows are too short or k is too large.
    """
    n, n_vocab = rows.shape
    if n_vocab < MIN_VOCAB or not 0 < k <= MAX_TOP:
        return [None] * n
    at, bounds = _reaching(rows, k)
    row_of, ids = np.divmod(at, n_vocab)
    logits = rows.ravel().take(at)
    counts = np.bincount(row_of, minlength=n)
    ends = counts.cumsum()
    starts = ends - counts
    # Each row's in one line of a table, ascending, to look at all rows at once.
    table = np.full((n, max(int(counts.max()), k + 1)), -np.inf, np.float32)
    table[row_of, np.arange(len(at)) - starts.take(row_of)] = logits
    table.sort(1)
    top = table[:, -k - 1 :]
    is_open = (top[:, 1:] == top[:, :-1]).any(1) | (counts < k) | np.isnan(bounds)
    ids = ids.astype(np.int32)
    return [
        None if open_ else (ids[start:end], logits[start:end])
        for open_, start, end in zip(is_open.tolist(), starts.tolist(), ends.tolist(), strict=True)
    ]


def _reaching(rows: Row, k: int) -> tuple[_Places, Row]:
    """Places in the flat rows, in order of the rows, that reach a bound which at least k of a row do.

    Also the bounds, one for each row; not a number for a row with such logits, or with infinite ones. [n]
    """
    n, n_vocab = rows.shape
    n_groups = n_vocab // (_WIDTH * _HEIGHT)
    n_folded = n_groups * _WIDTH * _HEIGHT
    maxima = rows[:, :n_folded].reshape(n, n_groups, _HEIGHT, _WIDTH).max(2)
    columns = maxima.max(1)
    columns.partition(_WIDTH - k, axis=1)
    bounds = np.where(np.isfinite(columns.max(1)), columns[:, _WIDTH - k], np.float32(np.nan))
    groups, column = np.divmod((maxima >= bounds[:, None, None]).ravel().nonzero()[0], _WIDTH)
    row_of, group = np.divmod(groups, n_groups)
    first = row_of * n_vocab + group * (_WIDTH * _HEIGHT) + column
    at = first[:, None] + np.arange(0, _WIDTH * _HEIGHT, _WIDTH)
    reaches = rows.ravel().take(at) >= bounds.take(row_of)[:, None]
    at = at.ravel().take(reaches.ravel().nonzero()[0])
    rest = (rows[:, n_folded:] >= bounds[:, None]).ravel().nonzero()[0]
    if len(rest):
        row_of, column = np.divmod(rest, n_vocab - n_folded)
        at = np.sort(np.concatenate([at, row_of * n_vocab + n_folded + column]))
    return at, bounds
