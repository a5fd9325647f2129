"""A new context's memory is zero without being written (Linux).

llama.cpp writes zeros over each KV cache that it makes. In memory that the process has just been given these
are zeros over zeros, but the kernel has to find room for each page: with 32 slots that takes longer than to
load a small model, and all of it is resident from then on. Here the pages are given up instead. The next
touch of each finds zeros, as the kernel promises for private memory of no file, and only what is used takes
time and room.

The structures are those of ggml/src/ggml-backend-impl.h, the interface between ggml and its backends, which
has a version of its own. With another version, and where the kernel refuses, llama.cpp writes its zeros.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from server.engine import native

API_VERSION: Final = 2
"""GGML_BACKEND_API_VERSION of the structures below."""

MIN_BYTES: Final = 1 << 20
"""Zeros over a smaller buffer are written at once."""

_ADVICE_DONTNEED: Final = 4

_Pointer = ctypes.c_void_p
_Allocate: Any = ctypes.CFUNCTYPE(_Pointer, _Pointer, ctypes.c_size_t)
_Clear: Any = ctypes.CFUNCTYPE(None, _Pointer, ctypes.c_uint8)


class _BufferType(ctypes.Structure):
    """ggml_backend_buffer_type, up to what is needed."""

    _fields_ = (("get_name", _Pointer), ("allocate", _Pointer))


class _Buffer(ctypes.Structure):
    """ggml_backend_buffer."""

    _fields_ = (
        ("before", _Pointer * 9),
        ("clear", _Pointer),
        ("reset", _Pointer),
        ("buffer_type", _Pointer),
        ("data", _Pointer),
        ("size", ctypes.c_size_t),
    )


class _Registry(ctypes.Structure):
    """ggml_backend_reg, up to what is needed."""

    _fields_ = (("api_version", ctypes.c_int),)


class _FreshBuffers:
    """Stands between llama.cpp and the allocation of buffers in the processor's memory.

    ggml keeps the addresses of its callbacks, so it lives as long as the process.
    """

    def __init__(self, buffer_type: int) -> None:
        self._address = buffer_type
        self._type = _BufferType.from_address(buffer_type)
        self._original: Any = _Allocate(self._type.allocate)
        self._original_clear = 0
        self._allocate: Any = _Allocate(self._allocated)
        self._clear: Any = _Clear(self._cleared)
        self._clear_address = _address_of(self._clear)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Buffers that are allocated in the block are not written by the first zeros over all of them."""
        before = self._type.allocate
        self._type.allocate = _address_of(self._allocate)
        try:
            yield
        finally:
            self._type.allocate = before

    def _allocated(self, buffer_type: int, size: int) -> int | None:
        """What ggml calls for a new buffer."""
        address: int | None = self._original(buffer_type, size)
        if address and size >= MIN_BYTES:
            buffer = _Buffer.from_address(address)
            if buffer.buffer_type == self._address and buffer.data and buffer.size >= size:
                self._original_clear = buffer.clear
                buffer.clear = self._clear_address
        return address

    def _cleared(self, address: int, value: int) -> None:
        """What ggml calls to fill a buffer; afterwards the buffer is as others are."""
        buffer = _Buffer.from_address(address)
        buffer.clear = self._original_clear
        if value or not given_up(buffer.data, buffer.size):
            _Clear(self._original_clear)(address, value)


def given_up(first: int, size: int) -> bool:
    """Make memory zero by giving its pages up; False, and nothing has changed, where that is refused."""
    begin = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (first + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if begin >= end or _madvise()(begin, end - begin, _ADVICE_DONTNEED) != 0:
        return False
    ctypes.memset(first, 0, begin - first)
    ctypes.memset(end, 0, first + size - end)
    return True


@contextmanager
def unwritten() -> Iterator[None]:
    """Contexts that llama.cpp makes in the block take no more memory than they use."""
    buffers = _fresh_buffers()
    if buffers is None:
        yield
        return
    with buffers.used():
        yield


@functools.cache
def _fresh_buffers() -> _FreshBuffers | None:
    """None where memory cannot be given up, or ggml's structures are others."""
    if sys.platform != "linux":
        return None
    find = native.library_function("ggml_backend_reg_by_name", _Pointer, [ctypes.c_char_p])
    registry = find(b"CPU")
    if not registry or _Registry.from_address(registry).api_version != API_VERSION:
        return None
    buffer_type: int = native.library_function("ggml_backend_cpu_buffer_type", _Pointer, [])()
    return _FreshBuffers(buffer_type)


@functools.cache
def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [_Pointer, ctypes.c_size_t, ctypes.c_int]
    advise: Callable[[int, int, int], int] = function
    return advise


def _address_of(function: Any) -> int:
    return ctypes.cast(function, _Pointer).value or 0
