"""A context's memory is zero, takes no room until it is used, and is as any other afterwards."""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine import fresh_memory, native
from server.engine.fresh_memory import MIN_BYTES, given_up, unwritten
from server.engine.logs import LogSink
from server.engine.model import Model
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import STORY, Player

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="madvise")

PAGE = mmap.PAGESIZE
SIZE = 32 * MIN_BYTES + 40
EDGES = 2 * (2 << 20) // PAGE
"""Pages that the ends of a buffer may bring in where all memory lies in huge pages."""


class Ggml:
    """Buffers in the processor's memory, by ggml's public functions."""

    def __init__(self) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_size_t
        call = native.library_function
        self.kind = call("ggml_backend_cpu_buffer_type", pointer, [])()
        self.allocate: Any = call("ggml_backend_buft_alloc_buffer", pointer, [pointer, number])
        self.clear: Any = call("ggml_backend_buffer_clear", None, [pointer, ctypes.c_uint8])
        self.base: Any = call("ggml_backend_buffer_get_base", pointer, [pointer])
        self.free: Any = call("ggml_backend_buffer_free", None, [pointer])

    def content(self, buffer: int, size: int) -> bytes:
        return ctypes.string_at(self.base(buffer), size)


@pytest.fixture(scope="module")
def ggml(log: LogSink) -> Ggml:
    return Ggml()


def n_resident(first: int, size: int) -> int:
    """Pages of a stretch of memory that take room."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as file:
        file.seek(first // PAGE * 8)
        data = file.read(size // PAGE * 8)
    return sum(entry >> 63 for entry in memoryview(data).cast("Q"))


def test_a_buffer_that_is_cleared_is_zero_and_takes_no_room(ggml: Ggml) -> None:
    with unwritten():
        buffer = ggml.allocate(ggml.kind, SIZE)
        base = ggml.base(buffer)
        ctypes.memset(base, 7, SIZE)
        ggml.clear(buffer, 0)
    assert n_resident(base, SIZE) <= EDGES
    assert not any(ggml.content(buffer, SIZE))
    ggml.free(buffer)


def test_a_buffer_is_cleared_as_others_are_from_the_second_time_on(ggml: Ggml) -> None:
    with unwritten():
        buffer = ggml.allocate(ggml.kind, SIZE)
        ggml.clear(buffer, 0)
    for value in (5, 0):
        ggml.clear(buffer, value)
        assert set(ggml.content(buffer, SIZE)) == {value}
    ggml.free(buffer)


def test_other_values_are_written(ggml: Ggml) -> None:
    with unwritten():
        buffer = ggml.allocate(ggml.kind, SIZE)
        ggml.clear(buffer, 3)
    assert set(ggml.content(buffer, SIZE)) == {3}
    ggml.free(buffer)


def test_a_buffer_may_be_cleared_after_the_block_or_never(ggml: Ggml) -> None:
    with unwritten():
        buffers = [ggml.allocate(ggml.kind, SIZE) for _ in range(2)]
    ctypes.memset(ggml.base(buffers[0]), 7, SIZE)
    ggml.clear(buffers[0], 0)
    assert not any(ggml.content(buffers[0], SIZE))
    for buffer in buffers:
        ggml.free(buffer)


def test_what_the_kernel_refuses_is_written(ggml: Ggml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_memory, "_madvise", lambda: lambda *_: -1)
    with unwritten():
        buffer = ggml.allocate(ggml.kind, SIZE)
        ctypes.memset(ggml.base(buffer), 7, SIZE)
        ggml.clear(buffer, 0)
    assert not any(ggml.content(buffer, SIZE))
    ggml.free(buffer)


def test_buffers_of_others_are_left_alone(ggml: Ggml) -> None:
    with unwritten():
        small = ggml.allocate(ggml.kind, MIN_BYTES // 2)
    large = ggml.allocate(ggml.kind, SIZE)
    for buffer, size in ((small, MIN_BYTES // 2), (large, SIZE)):
        ggml.clear(buffer, 0)
        assert n_resident(ggml.base(buffer), size) > size // PAGE - 2
        ggml.free(buffer)


def test_another_version_of_the_interface_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_memory, "API_VERSION", 99)
    fresh_memory._fresh_buffers.cache_clear()
    try:
        assert fresh_memory._fresh_buffers() is None
        with unwritten():
            pass
    finally:
        fresh_memory._fresh_buffers.cache_clear()


@given(st.integers(0, 3 * PAGE), st.integers(0, 5 * PAGE))
def test_all_of_a_stretch_and_nothing_beside_it_is_zero(start: int, size: int) -> None:
    with mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = b"\x01" * len(memory)
        window = ctypes.c_char.from_buffer(memory)
        is_done = given_up(ctypes.addressof(window) + start, size)
        del window
        expected = b"\0" * size if is_done else b"\x01" * size
        assert memory[start : start + size] == expected
        assert memory[:start].count(1) == start
        assert memory[start + size :].count(1) == len(memory) - start - size
        assert is_done or size < 2 * PAGE


def test_slots_that_nobody_uses_take_no_memory(make_engine: MakeEngine, spark: Model) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

    before = resident()
    engine = make_engine(spark, n_ctx=2048, n_slots=64)
    assert resident() - before < 64 * 2048 * 3072 / 4  # bytes of a KV cache of float16
    text, _ = Player(engine).run(STORY, n_predict=20)
    assert text == Player(make_engine(spark, n_slots=1)).run(STORY, n_predict=20)[0]
