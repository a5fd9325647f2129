"""What other programs take of the processors, told from the kernel's counters."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.processor_time import (
    SAMPLE_S,
    OtherPrograms,
    Usage,
    busy_ticks,
    n_others,
    process_ticks,
)

STAT = b"""cpu  1000 10 200 5000 70 1 30 8 40 4
cpu0 600 4 100 2000 30 1 10 3 20 2
cpu1 300 5 80 2500 30 0 15 4 10 1
cpu12 100 1 20 500 10 0 5 1 10 1
intr 12345 1 2 3
ctxt 99
"""


def test_only_the_processors_that_may_be_used_count() -> None:
    assert busy_ticks(STAT, frozenset({0})) == 600 + 4 + 100 + 1 + 10 + 3
    assert busy_ticks(STAT, frozenset({1, 12})) == (300 + 5 + 80 + 15 + 4) + (100 + 1 + 20 + 5 + 1)


def test_a_text_without_them_is_refused() -> None:
    with pytest.raises(ValueError, match="processors"):
        busy_ticks(STAT, frozenset({7}))
    with pytest.raises(ValueError, match="processors"):
        busy_ticks(b"", frozenset({0}))


def test_an_old_kernel_without_steal_is_read() -> None:
    assert busy_ticks(b"cpu0 6 5 4 300 20 3 2\n", frozenset({0})) == 20


@given(name=st.binary(max_size=15).filter(lambda name: b"\0" not in name))
def test_the_name_of_a_process_may_hold_anything(name: bytes) -> None:
    stat = b"42 (" + name + b") S 1 42 42 0 -1 4194560 100 0 0 0 123 45 6 7 20 0 3 0 99 1000 200"
    assert process_ticks(stat) == 168


@given(own=st.floats(0.0, 100.0), others=st.floats(0.0, 100.0), elapsed_s=st.floats(0.5, 1000.0))
def test_what_is_not_ours_is_others(own: float, others: float, elapsed_s: float) -> None:
    before = Usage(5.0, 1000.0, 50.0)
    after = Usage(5.0 + elapsed_s, 1000.0 + own + others, 50.0 + own)
    assert n_others(before, after) == pytest.approx(others / elapsed_s, abs=1e-6)


def test_counters_that_disagree_or_stand_still_give_none_taken() -> None:
    before = Usage(5.0, 1000.0, 50.0)
    assert n_others(before, Usage(6.0, 1000.1, 50.2)) == 0.0
    assert n_others(before, before) == 0.0


def test_counters_are_read_again_only_after_a_while() -> None:
    others = OtherPrograms()
    if others.n_taken is None:
        pytest.skip("this system has no /proc/stat")
    assert others.n_taken == 0.0
    now_s = time.monotonic()
    others.look(now_s)
    first = others._last
    others.look(now_s + SAMPLE_S + 1.0)
    assert first is not None and others._last is not None
    assert others._last.at_s > first.at_s
    assert others.n_taken >= 0.0
