"""Which cells of a shared KV cache each sequence holds. Pure.

With one pool for all sequences llama.cpp keeps each token in a cell, which several sequences may share: those
that were copied from each other. This keeps the same books, so that it is known beforehand what fits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

CellArray = npt.NDArray[np.int32]
"""Numbers of cells, [n] int32; not llama.cpp's own numbers, which do not matter."""


class CellPool:
    """The cells and who holds them.

    Attributes:
        n_cells: all of them.
        n_free: those that nobody holds.
    """

    def __init__(self, n_cells: int, n_sequences: int, n_ctx: int) -> None:
        """`n_ctx`: most tokens of one sequence."""
        self.n_cells = n_cells
        self.n_free = n_cells
        self._held = np.zeros((n_sequences, n_ctx), np.int32)
        self._n_held = [0] * n_sequences
        self._n_holders = np.zeros(n_cells, np.int32)
        self._free: CellArray = np.arange(n_cells, dtype=np.int32)  # the first `n_free` are free

    def length(self, sequence: int) -> int:
        """Cells of a sequence, shared or not."""
        return self._n_held[sequence]

    def append(self, sequence: int, n: int) -> None:
        """`n` tokens of a sequence were put in cells. Raises: IndexError when so many are not free."""
        if n > self.n_free:
            raise IndexError(f"{n} tokens need more cells than the {self.n_free} that are free")
        start = self._n_held[sequence]
        taken = self._free[self.n_free - n : self.n_free]
        self._held[sequence, start : start + n] = taken
        self._n_holders[taken] = 1
        self._n_held[sequence] = start + n
        self.n_free -= n

    def share(self, source: int, target: int, n: int) -> None:
        """`target` holds the first `n` cells of `source` now, and nothing else."""
        if source == target:
            self.truncate(target, n)
            return
        self.truncate(target, 0)
        cells = self._held[source, :n]
        self._held[target, :n] = cells
        self._n_holders[cells] += 1
        self._n_held[target] = n

    def truncate(self, sequence: int, n: int) -> None:
        """A sequence ends after `n` tokens."""
        end = self._n_held[sequence]
        if n < end:
            self._let_go(self._held[sequence, n:end])
            self._n_held[sequence] = n

    def drop(self, sequence: int, start: int, n: int) -> None:
        """`n` tokens from `start` on are gone, and what followed them has moved down."""
        end = self._n_held[sequence]
        self._let_go(self._held[sequence, start : start + n])
        self._held[sequence, start : end - n] = self._held[sequence, start + n : end].copy()
        self._n_held[sequence] = end - n

    def clear(self) -> None:
        """Nobody holds anything."""
        self._n_held = [0] * len(self._n_held)
        self._n_holders[:] = 0
        self._free = np.arange(self.n_cells, dtype=np.int32)
        self.n_free = self.n_cells

    def is_shared(self, sequence: int, start: int) -> bool:
        """Whether others hold cells of a sequence from position `start` on."""
        return bool((self._n_holders[self._held[sequence, start : self._n_held[sequence]]] > 1).any())

    def shares_with(self, sequence: int, other: int, start: int) -> bool:
        """Whether `other` holds cells of a sequence from position `start` on."""
        mine = self._held[sequence, start : self._n_held[sequence]]
        return bool(np.isin(mine, self._held[other, : self._n_held[other]]).any())

    def n_held(self, sequences: Iterable[int], also: tuple[int, int] = (0, 0)) -> int:
        """Cells that some sequences hold together. `also`: and the first n of another one, as (which, n)."""
        marks = np.zeros(self.n_cells, np.bool_)
        for sequence in sequences:
            marks[self._held[sequence, : self._n_held[sequence]]] = True
        which, n = also
        marks[self._held[which, :n]] = True
        return int(marks.sum())

    def _let_go(self, cells: CellArray) -> None:
        self._n_holders[cells] -= 1
        freed = cells[self._n_holders[cells] == 0]
        self._free[self.n_free : self.n_free + len(freed)] = freed
        self.n_free += len(freed)
