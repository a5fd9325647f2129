"""What the reader of GGUF headers lets through, llama.cpp's own reader takes without a complaint."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import BadModelFile
from server.gguf.reader import read_header
from tests.support.broken_gguf import HEAD, SIZE, mutated

N_MUTATIONS = 2_000


class InitParams(ctypes.Structure):
    """gguf_init_params of gguf.h."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


@pytest.fixture(scope="module")
def accepts() -> Callable[[Path], bool]:
    """Whether gguf.cpp reads the header of a file."""
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    libraries = (Path(spec.origin).parent / "lib").glob("*ggml-base*")
    (path,) = (path for path in libraries if path.name in ("libggml-base.so", "libggml-base.dylib"))
    library = ctypes.CDLL(str(path))
    library.gguf_init_from_file.restype = ctypes.c_void_p
    library.gguf_init_from_file.argtypes = [ctypes.c_char_p, InitParams]
    library.gguf_free.argtypes = [ctypes.c_void_p]

    def reads(path: Path) -> bool:
        header = library.gguf_init_from_file(os.fsencode(path), InitParams(True, None))
        if header:
            library.gguf_free(header)
        return bool(header)

    return reads


def write(path: Path, head: bytes, size: int) -> Path:
    path.write_bytes(head[:size])
    os.truncate(path, size)
    return path


def test_what_is_let_through_is_whole(tmp_path: Path, accepts: Callable[[Path], bool]) -> None:
    assert accepts(write(tmp_path / "whole", HEAD, SIZE))
    rng = random.Random(21)
    n_read = n_refused = 0
    for _ in range(N_MUTATIONS):
        path = write(tmp_path / "broken", *mutated(rng))
        try:
            read_header(path)
        except BadModelFile:
            n_refused += 1
        else:
            n_read += 1
            assert accepts(path)
    assert n_read > 50
    assert n_refused > 1000
