"""Memory that holds nothing but zeros goes back to the system (Linux).

A KV cache takes memory where it is used (`server.engine.fresh_memory`), but in huge pages: a few tokens of
one slot bring in 2 MiB for each layer. And where llama.cpp has written zeros over all of it, all is resident,
however little of it is ever used. A page of zeros that the process gives up is one of zeros again when it is
touched next, so nothing changes but the memory that is taken. Looked at are only mappings that came with the
context, and only while nothing is decoded.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Range = tuple[int, int]
"""Addresses: the first, and the one behind the last."""

BLOCK_BYTES: Final = 1 << 16
"""What is given up together. More would keep what lies beside a few tokens; huge pages are split."""

SLICE_BYTES: Final = 1 << 24
"""What is looked at in one go, in about 3 ms."""

MIN_MAPPING_BYTES: Final = 1 << 22
"""Smaller mappings hold no KV cache worth the look."""

_MAPPINGS: Final = Path("/proc/self/maps")
_PAGE_MAP: Final = Path("/proc/self/pagemap")
_PRESENT: Final = np.uint64(1 << 63)
"""Documentation/admin-guide/mm/pagemap.rst of Linux: bit 63, page present."""

_ENTRY_BYTES: Final = 8
_ADVICE_DONTNEED: Final = 4


def own_mappings() -> tuple[Range, ...]:
    """The anonymous private writable mappings of this process; none where the system does not tell."""
    try:
        return anonymous(_MAPPINGS.read_text())
    except OSError:
        return ()


def anonymous(mappings: str) -> tuple[Range, ...]:
    """Of mappings as /proc/PID/maps lists them those that are private, writable and of no file."""
    found: list[Range] = []
    for line in mappings.splitlines():
        fields = line.split()
        if len(fields) == 5 and fields[1].startswith("rw") and fields[1].endswith("p") and fields[4] == "0":
            first, _, end = fields[0].partition("-")
            found.append((int(first, 16), int(end, 16)))
    return tuple(found)


def added(before: Sequence[Range], after: Iterable[Range]) -> tuple[Range, ...]:
    """What of `after` is not in `before`. Both are ascending and without overlaps."""
    found: list[Range] = []
    for first, end in after:
        for known_first, known_end in before:
            if known_end <= first or known_first >= end:
                continue
            if known_first > first:
                found.append((first, known_first))
            first = max(first, known_end)
        if first < end:
            found.append((first, end))
    return tuple(found)


class UntouchedMemory:
    """Gives back, slice by slice, what of some mappings holds only zeros.

    Attributes:
        n_bytes: given back so far.
    """

    def __init__(self, ranges: Iterable[Range]) -> None:
        """`ranges`: nobody may write to them while `work` runs but who holds the interpreter's lock."""
        slices: list[Range] = []
        for first, end in ranges:
            first = -(-first // BLOCK_BYTES) * BLOCK_BYTES
            end = end // BLOCK_BYTES * BLOCK_BYTES
            if end - first >= MIN_MAPPING_BYTES:
                slices += [(at, min(at + SLICE_BYTES, end)) for at in range(first, end, SLICE_BYTES)]
        self._slices = slices[::-1]
        self.n_bytes = 0

    @property
    def is_done(self) -> bool:
        """Whether all was looked at."""
        return not self._slices

    def work(self) -> None:
        """Look at one slice. Nothing may be decoding."""
        if not self._slices:
            return
        first, end = self._slices.pop()
        # Neither call lets go of the interpreter's lock, and nobody is to ask for it between them.
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(60.0)
        try:
            for block in np.flatnonzero(_present_blocks(first, end)).tolist():
                self.n_bytes += _give_back(first + block * BLOCK_BYTES, BLOCK_BYTES)
        finally:
            sys.setswitchinterval(interval_s)


def _present_blocks(first: int, end: int) -> npt.NDArray[np.bool_]:
    """For each block whether some of it is in memory. Reading what is not would bring it in."""
    n_entries = (end - first) // mmap.PAGESIZE
    try:
        with _PAGE_MAP.open("rb", buffering=0) as file:
            file.seek(first // mmap.PAGESIZE * _ENTRY_BYTES)
            data = file.read(n_entries * _ENTRY_BYTES)
    except OSError:
        data = b""
    if len(data) < n_entries * _ENTRY_BYTES:
        return np.zeros((end - first) // BLOCK_BYTES, np.bool_)
    entries = np.frombuffer(data, np.uint64).reshape(-1, BLOCK_BYTES // mmap.PAGESIZE)
    present: npt.NDArray[np.bool_] = (entries & _PRESENT).max(1) > 0
    return present


def _give_back(at: int, size: int) -> int:
    """Bytes that were given back: all, where they are zeros."""
    libc = _libc()
    if libc.memcmp(at, _ZEROS, size) != 0:
        return 0
    return size if libc.madvise(at, size, _ADVICE_DONTNEED) == 0 else 0


_ZEROS: Final = bytes(BLOCK_BYTES)


@functools.cache
def _libc() -> Any:
    """The C library, of which calls keep the interpreter's lock."""
    libc = ctypes.PyDLL(None)
    libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc
