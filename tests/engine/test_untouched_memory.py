"""Pages of zeros are given back, others stay as they are."""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.untouched_memory import (
    BLOCK_BYTES,
    MIN_MAPPING_BYTES,
    Range,
    UntouchedMemory,
    added,
    anonymous,
    own_mappings,
)

MAPS = """\
55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
7f0000400000-7f0000500000 r--p 00000000 00:00 0
7f0000500000-7f0000600000 rw-s 00000000 00:00 0
7f0000600000-7f0000700000 rw-p 00000000 08:01 4711                       /models/blob
7f0000800000-7f0000900000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
"""


def test_anonymous_mappings_are_those_without_a_file_that_are_ours_alone() -> None:
    assert anonymous(MAPS) == ((0x7F0000000000, 0x7F0000400000), (0x7F0000800000, 0x7F0000900000))
    assert anonymous("") == ()


edges = st.lists(st.integers(0, 60), unique=True, max_size=12).map(sorted)


def ranges(points: list[int]) -> tuple[Range, ...]:
    return tuple(zip(points[::2], points[1::2], strict=False))


@given(edges, edges)
def test_added_is_what_was_not_there(before: list[int], after: list[int]) -> None:
    def members(given: tuple[Range, ...]) -> list[int]:
        return [at for first, end in given for at in range(first, end)]

    found = members(added(ranges(before), ranges(after)))
    assert found == sorted(set(members(ranges(after))) - set(members(ranges(before))))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_zeros_go_and_everything_else_stays() -> None:
    n_blocks = MIN_MAPPING_BYTES // BLOCK_BYTES + 4
    with mmap.mmap(-1, n_blocks * BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        data = np.frombuffer(memory, np.uint8)
        first = data.ctypes.data
        data[:] = 0  # brings all of it in
        whole = -first % BLOCK_BYTES  # where the first whole block begins
        marked = {whole: 1, whole + 2 * BLOCK_BYTES + 77: 2, whole + 4 * BLOCK_BYTES - 1: 3}
        for at, value in marked.items():
            data[at] = value
        mine = [one for one in own_mappings() if one[0] <= first < one[1]]
        assert mine
        untouched = UntouchedMemory([(first, first + len(data))])
        interval_s = sys.getswitchinterval()
        while not untouched.is_done:
            untouched.work()
        n_whole = (len(data) - whole) // BLOCK_BYTES
        assert untouched.n_bytes == (n_whole - 3) * BLOCK_BYTES
        assert sys.getswitchinterval() == interval_s
        assert {at: int(data[at]) for at in np.flatnonzero(data).tolist()} == marked
        again = UntouchedMemory([(first, first + len(data))])
        again.work()
        assert again.n_bytes <= untouched.n_bytes  # the look at the data has brought some of it back
        del data


def test_small_mappings_are_left_alone() -> None:
    room = ctypes.create_string_buffer(4 * BLOCK_BYTES)
    assert UntouchedMemory([(ctypes.addressof(room), ctypes.addressof(room) + len(room))]).is_done
    assert UntouchedMemory(()).is_done
